"""Configuration files as the command line reads them: plain YAML, checked by the parser of ``train``'s settings."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from jsonargparse import ArgumentError

from dalib.commands.complaints import Parser, without_breaks
from dalib.core.errors import UserError
from dalib.run.settings.config import TrainConfig
from dalib.run.settings.config_file import as_meant, content_of, flat, require_plain, with_places_as_written

if TYPE_CHECKING:
    from pathlib import Path


def read_config(path: Path) -> TrainConfig:
    """Reads the configuration of a run from its YAML file.

    Raises:
        UserError: a file that is missing or does not fit.
    """
    parser = _settings_parser()
    require_plain(path)
    try:
        settings = vars(parser.instantiate(parser.parse_path(str(path))))
        config = TrainConfig(**with_places_as_written(settings, content_of(path)))
    except (ArgumentError, TypeError, ValueError, OSError) as error:
        raise UserError(f"{path}: not a configuration of this version ({without_breaks(error)})") from None
    return as_meant(config, flat(content_of(path)))


@functools.cache
def _settings_parser() -> Parser:
    """Returns a parser of all settings, which is made once: that takes longer than to read many files."""
    parser = Parser(prog="dalib train")
    parser.add_class_arguments(TrainConfig, as_group=False)
    return parser
