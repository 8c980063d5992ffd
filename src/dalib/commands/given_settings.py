"""The settings that a command line gives, typed or in the configuration files that it names, before it is parsed."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

from dalib.run.settings.config import GROUPS
from dalib.run.settings.config_file import content_of, flat


def configurations_in(arguments: list[str]) -> list[str]:
    """Returns the configuration files that a command line names."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config", nargs="?", action="append", default=[])
    return [file for file in first.parse_known_args(arguments)[0].config if file is not None]


def settings_in(arguments: list[str]) -> dict[str, str]:
    """Returns the settings that are given, by their dotted names, with the last value that each would be typed with.

    A configuration file stands there with its settings; one that holds none, by its own name, ``config``.

    >>> settings_in(["train", "--seed", "1", "--views.flip=false", "--strict"])
    {'seed': '1', 'views.flip': 'false', 'strict': ''}
    """
    return {name: value for values in values_by_place(arguments).values() for name, value in values.items()}


def values_by_place(arguments: list[str]) -> dict[int, dict[str, str]]:
    """Returns settings and values, as they would be typed, by the place of the argument that ends each of them."""
    found = {}
    for place, argument in enumerate(arguments):
        if not argument.startswith("--"):
            continue
        name, equals, value = argument[2:].partition("=")
        if not equals and place + 1 < len(arguments) and not arguments[place + 1].startswith("--"):
            place, value = place + 1, arguments[place + 1]
        if name == "config":
            found[place] = _settings_of(content_of(Path(value))) or {name: value}
        elif name in GROUPS and value.startswith("{"):
            found[place] = _settings_of({name: _mapping_in(value)}) or {name: value}
        else:
            found[place] = {name: value}
    return found


def _settings_of(content: dict[str, Any]) -> dict[str, str]:
    """Returns settings by their dotted names; several targets, which are named too, are one setting."""
    groups = {name: value for name, value in content.items() if name in GROUPS}
    others = {name: value for name, value in content.items() if name not in GROUPS}
    return flat(groups) | {
        name: each if isinstance(each, str) else json.dumps(each, default=str) for name, each in others.items()
    }


def _mapping_in(text: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):  # the parser says what is wrong with it
        return {}
    return content if isinstance(content, dict) else {}
