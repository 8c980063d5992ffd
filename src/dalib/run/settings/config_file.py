"""The configuration as the file config.yaml of a run, which `dalib train --config` reads."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from dalib.core.errors import Setting, UserError
from dalib.core.files import expanded, write_text
from dalib.run.settings.config import GROUPS, TrainConfig
from dalib.run.settings.older_files import changed_meanings
from dalib.run.settings.presets import with_inherited, with_settings

if TYPE_CHECKING:
    from collections.abc import Mapping


DEEPEST = 20
"""A configuration has groups of settings, and lists in them; more than this is not one."""


def config_text(config: TrainConfig) -> str:
    """Returns the whole configuration as YAML."""
    return yaml.dump(asdict(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def write_config(config: TrainConfig, path: Path, out: Path) -> None:
    """Writes the configuration of a run, or of several, whose folder is ``out``; read again, it replaces nothing."""
    write_text(path, config_text(replace(config, out=str(out), overwrite=False)))


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
    require_plain(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise TypeError(f"expected settings, got {type(content).__name__}")
        own = TrainConfig()
        groups = {
            name: type(getattr(own, name))(**value)
            for name, value in content.items()
            if isinstance(value, dict) and name in GROUPS
        }
        read = TrainConfig(**{**content, **groups, **changes})
    except (OSError, TypeError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path}: not a configuration of this version ({' '.join(str(error).split())})") from None
    return as_meant(read, flat(content))


def as_meant(config: TrainConfig, given: Mapping[str, Any]) -> TrainConfig:
    """Returns the configuration of a file with the meaning that its settings had where an older version wrote it.

    Args:
        config: as this version reads the file.
        given: settings of the file by their dotted names.
    """
    return with_settings(with_inherited(config, given), changed_meanings(given))


def require_settings(path: Path) -> None:
    """Refuses a file for ``--config`` that is not there, or does not hold settings.

    Raises:
        UserError: it names the file, and what came in place of settings.
    """
    where = Setting("config", str(path))
    if not path.is_file():
        raise UserError(where, ": expected a file, this is a folder" if path.is_dir() else ": no such file")
    require_plain(path)
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(where, f": not YAML ({_in_one_line(error)})") from None
    if twice := _named_twice(yaml.compose(text, Loader=yaml.SafeLoader)):
        raise UserError(where, f": {twice}; keep one of them, the last would count")
    if not isinstance(content, dict) or not content:
        got = "nothing" if not content else "a list" if isinstance(content, list) else repr(content)[:40]
        raise UserError(where, f": expected settings, such as the line `steps: 500`, got {got}")
    for name in GROUPS:
        value = content.get(name)
        if value is not None and not isinstance(value, dict):
            raise UserError(where, f": {name}: expected a group of settings, each in a line below, got {value!r}")


def _named_twice(node: yaml.Node | None) -> str:
    """Returns the first setting that has two values in one group, with the line of the second; empty without any."""
    if not isinstance(node, yaml.MappingNode):
        return ""
    known = set[str]()
    for key, value in node.value:
        name = str(key.value)
        if name in known:
            return f"line {key.start_mark.line + 1}: {name} stands there twice"
        known.add(name)
        if found := _named_twice(value):
            return found
    return ""


def _in_one_line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {getattr(error, 'problem', '') or 'cannot be read'}"


def require_plain(path: Path) -> None:
    """Refuses YAML that would fill the memory or the stack: aliases multiply what a file holds, nesting has no end.

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


def with_places_as_written(settings: dict[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings with one target, or one labelled set, whose name YAML takes for several, as it was written.

    >>> with_places_as_written({"target": {"night": "1"}, "seed": 0}, {"target": "night: 1"})
    {'target': 'night: 1', 'seed': 0}
    """
    texts = {name: written.get(name) for name in ("target", "evaluate") if isinstance(settings.get(name), dict)}
    return {**settings, **{name: text for name, text in texts.items() if isinstance(text, str) and text[:1] != "{"}}


def content_of(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):  # what is wrong with the file is told when it is read
        return {}
    return content if isinstance(content, dict) else {}


def backbone_of_run(run: str | Path) -> str | list[str] | None:
    """Returns the backbone, or several, of a run that another one starts from; None where the folder names none.

    Raises:
        UserError: its configuration is not plain YAML.
    """
    saved = Path(expanded(run)) / "config.yaml"
    if not saved.is_file():
        return None
    require_plain(saved)
    backbone = content_of(saved).get("backbone")
    return backbone if isinstance(backbone, str | list) else None


def flat(content: dict[str, Any], before: str = "") -> dict[str, str]:
    """Returns the settings in a file under their names on the command line, with values as they would be typed."""
    found: dict[str, str] = {}
    for name, value in content.items():
        found |= flat(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": _typed(value)}
    return found


def _typed(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
