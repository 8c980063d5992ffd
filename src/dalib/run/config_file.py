"""The configuration as the file config.yaml of a run, which `dalib train --config` reads."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from dalib.run.config import TrainConfig


def config_text(config: TrainConfig) -> str:
    """Returns the whole configuration as YAML."""
    return yaml.dump(asdict(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Quotes what the command line's YAML takes for a number and PyYAML's does not, such as 1e3."""


_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d[\d_]*\.?\d*|\.\d+)[eE][-+]?\d+"), list("-+.0123456789")
)
