"""Configuration files as the command line reads them: plain YAML, checked by the parser of ``train``'s settings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml
from jsonargparse import ArgumentError

from dalib.commands.complaints import Parser, without_breaks
from dalib.core.errors import UserError
from dalib.run.config import TrainConfig
from dalib.run.once_shared import with_inherited

if TYPE_CHECKING:
    from pathlib import Path

DEEPEST = 20
"""A configuration has groups of settings, and lists in them; more than this is not one."""


def read_config(path: Path) -> TrainConfig:
    """The configuration of a run from its YAML file.

    Raises:
        UserError: a file that is missing or does not fit.
    """
    parser = Parser(prog="dalib train")
    parser.add_class_arguments(TrainConfig, as_group=False)
    require_plain(path)
    try:
        config = TrainConfig(**vars(parser.instantiate(parser.parse_path(str(path)))))
    except (ArgumentError, TypeError, ValueError, OSError) as error:
        raise UserError(f"{path}: not a configuration of this version ({without_breaks(error)})") from None
    return with_inherited(config, flat(content_of(path)))


def require_plain(path: Path) -> None:
    """Refuse YAML that would fill the memory or the stack: aliases multiply what a file holds, nesting has no end.

    Raises:
        UserError: aliases, values within more than DEEPEST others, or a file that is not UTF-8.
    """
    depth = 0
    try:
        for event in yaml.parse(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader):
            where = str(path) if event.start_mark is None else f"{path}, line {event.start_mark.line + 1}"
            if isinstance(event, yaml.AliasEvent):
                raise UserError(f"{where}: *{event.anchor} refers to another value; write it out")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise UserError(f"{where}: expected settings, found values within {depth} others")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: expected UTF-8 ({error.reason}); save it as UTF-8") from None
    except (OSError, yaml.YAMLError):  # what is wrong with the file is told when it is read
        return


def content_of(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):  # what is wrong with the file is told when it is read
        return {}
    return content if isinstance(content, dict) else {}


def flat(content: dict[str, Any], before: str = "") -> dict[str, str]:
    """Returns the settings in a file under their names on the command line, with values as they would be typed."""
    found: dict[str, str] = {}
    for name, value in content.items():
        found |= flat(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": _typed(value)}
    return found


def _typed(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
