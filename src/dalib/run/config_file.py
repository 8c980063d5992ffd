"""The configuration as the file config.yaml of a run, which `dalib train --config` reads."""

from __future__ import annotations

import re
from dataclasses import asdict, fields, is_dataclass
from typing import TYPE_CHECKING, Any

import yaml

from dalib.core.errors import UserError
from dalib.run.config import TrainConfig

if TYPE_CHECKING:
    from pathlib import Path


def config_text(config: TrainConfig) -> str:
    """Returns the whole configuration as YAML."""
    return yaml.dump(asdict(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Quotes what the command line's YAML takes for a number and PyYAML's does not, such as 1e3."""


_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d[\d_]*\.?\d*|\.\d+)[eE][-+]?\d+"), list("-+.0123456789")
)


def read_plain_config(path: Path, **changes: Any) -> TrainConfig:
    """Reads a run's config.yaml as :func:`config_text` wrote it, with some settings changed.

    Raises:
        UserError: a file that is missing, damaged, or of settings that this version does not have.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise TypeError(f"expected settings, got {type(content).__name__}")
        config = TrainConfig()
        own = {each.name: getattr(config, each.name) for each in fields(TrainConfig)}
        groups = {
            name: type(own[name])(**value)
            for name, value in content.items()
            if isinstance(value, dict) and is_dataclass(own.get(name))
        }
        return TrainConfig(**{**content, **groups, **changes})
    except (OSError, TypeError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path}: not a configuration of this version ({' '.join(str(error).split())})") from None
