"""Gives methods those of their settings that used to be self-ensemble's (:mod:`dalib.run.once_shared`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from dalib.run.config_file import content_of, flat
from dalib.run.once_shared import inherited


def with_own_settings(arguments: list[str]) -> tuple[list[str], dict[str, str]]:
    """Gives a method those of its settings that :mod:`dalib.run.once_shared` takes from self-ensemble's.

    Returns:
        The arguments, each such setting after the argument or the file that it takes its value from; and the names of
        these settings, with that of the other one.

    >>> with_own_settings(["train", "--method", "fixmatch", "--self_ensemble.alpha", "0.9", "--seed", "1"])[0]
    ['train', '--method', 'fixmatch', '--self_ensemble.alpha', '0.9', '--fixmatch.alpha=0.9', '--seed', '1']
    """
    if arguments[:1] not in (["train"], ["checks"]):
        return arguments, {}
    every = _values_given(arguments)
    given = {name: value for values in every.values() for name, value in values.items()}
    taken = inherited(str(given.get("method")), given)
    found = []
    for place, argument in enumerate(arguments):
        found.append(argument)
        values = every.get(place, {})
        found += [f"--{own}={values[old]}" for own, old in taken.items() if old in values]
    return found, taken


def _values_given(arguments: list[str]) -> dict[int, dict[str, str]]:
    """Returns settings and values, as they would be typed, by the place of the argument that ends each of them."""
    found = {}
    for place, argument in enumerate(arguments):
        if not argument.startswith("--"):
            continue
        name, equals, value = argument[2:].partition("=")
        if not equals and place + 1 < len(arguments):
            place, value = place + 1, arguments[place + 1]
        if name == "config":
            found[place] = flat(content_of(Path(value)))
        elif "." not in name and value.startswith("{"):  # a group of settings
            found[place] = flat({name: _mapping_in(value)})
        else:
            found[place] = {name: value}
    return found


def _mapping_in(text: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):  # the parser says what is wrong with it
        return {}
    return content if isinstance(content, dict) else {}
