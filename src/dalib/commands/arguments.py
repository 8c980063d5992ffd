"""The arguments of a command line before they are parsed: each spelling brought to the one that the parser takes."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from dalib.commands.given_settings import configurations_in, settings_in
from dalib.core.console import Loudness, prints_for_all, say
from dalib.core.errors import Part, Setting, UserError
from dalib.core.files import NO_URL, expanded, is_url, quoted
from dalib.run.settings.config import NOT_BOTH
from dalib.run.settings.config_file import backbone_of_run, content_of, require_settings
from dalib.run.settings.image_defaults import (
    network_of_preset,
    require_weights_of_short_names,
    settings_of_images,
    settings_of_short_name,
)
from dalib.run.settings.kit_settings import settings_of_kit
from dalib.run.settings.presets import implied_preset
from dalib.run.targets import named_evaluations, named_targets

if TYPE_CHECKING:
    from collections.abc import Mapping


_OF_BACKBONES = ("--backbone", "--weights", "--weights_order")

REPEATED = ("--source", *_OF_BACKBONES)
"""Options that may be given more than once, for several values."""

_ONE_SET = {"predict": ("--images",), "features": ("--images",), "judge": ("--images",), "eval": ("--data", "--labels")}
"""Options of images or labels of which a command takes one set, by the command."""


class Prepared(NamedTuple):
    """A command line as the parser takes it.

    Attributes:
        arguments: with the preset and backbone that they imply.
        note: what the images take by default, and how to change it; empty where nothing was chosen for them.
    """

    arguments: list[str]
    note: str


def prepared(arguments: list[str]) -> Prepared:
    """Returns the arguments as the parser takes them, and what to print of them once they are known to be right.

    Raises:
        UserError: a URL in place of a path, a configuration file that is not plain YAML, or several sets of images
            where the command takes one.
    """
    arguments = with_paths([with_time(with_underscores(argument)) for argument in arguments])
    arguments = with_range_joined(with_repeated_united(arguments))
    _require_one_set(arguments)
    for file in configurations_in(arguments):
        require_settings(Path(file))
    arguments = with_targets_named(arguments)
    arguments = _with_network_of_preset(_with_short_name(_with_backbone_of_init(_with_kit(arguments))))
    arguments, note = _with_settings_of_images(arguments)
    return Prepared(_with_preset(arguments), note)


def _require_one_set(arguments: list[str]) -> None:
    """Refuses several sets of images or labels, of which all but the last would be left out without a word."""
    for option in _ONE_SET.get(arguments[0] if arguments else "", ()):
        values, _ = _values_of(arguments, option)
        if len({*values}) > 1:
            given = " ".join(f"{option} {quoted(value)}" for value in values)
            raise UserError(f"{given}: expected one of them; give the command for each")


def _with_short_name(arguments: list[str]) -> list[str]:
    """Returns the command line with the whole name and the weights of a backbone that is named in short."""
    given = {name: _united(value) for name, value in vars(first_look(arguments, *_OF_BACKBONES)).items() if value}
    settings = settings_of_short_name(given.get("backbone"), given)
    require_weights_of_short_names(given.get("backbone"), settings)
    return _with(arguments, settings)


def _with_network_of_preset(arguments: list[str]) -> list[str]:
    """Returns the command line with the network of its preset, where it names the preset alone."""
    if arguments[:1] not in (["train"], ["checks"]):
        return arguments
    return _with(arguments, network_of_preset({**settings_in(arguments), "preset": preset_in(arguments)}))


def _united(value: str) -> str | list[str]:
    """Returns the values of a setting that was repeated; see :func:`with_repeated_united`.

    >>> _united("lite0"), _united('["lite0", "lite1"]')
    ('lite0', ['lite0', 'lite1'])
    """
    if not value.startswith("["):
        return value
    try:
        values = yaml.safe_load(value)
    except yaml.YAMLError:  # the parser says what is wrong with it
        return value
    return [str(each) for each in values] if isinstance(values, list) else value


def _with_settings_of_images(arguments: list[str]) -> Prepared:
    """Returns the command line with what the images take by default, where it names no network, and a note on that.

    It stands before what is typed, which a preset would replace otherwise.
    """
    if arguments[:1] not in (["train"], ["checks"]):
        return Prepared(arguments, "")
    given = written(arguments)
    source, target = given.get("source"), given.get("target")
    if not isinstance(source, str | list) or not isinstance(target, str | dict):
        return Prepared(arguments, "")  # they are missing, or the parser says what is wrong with them
    settings, note = settings_of_images(
        _united(source) if isinstance(source, str) else list(map(str, source)),
        _places_of(target) if isinstance(target, str) else list(map(str, target.values())),
        settings_in(arguments),
    )
    settings = _with_preset_beside_file(arguments, settings)
    note = note.format(
        other="--backbone NAME --weights hub",
        none="--backbone small",
        lite0="--backbone lite0",
        digits="--preset digits",
        flip="--views.flip always",
    )
    chosen = [f"--{name}={value}" for name, value in settings.items()]
    return Prepared([*arguments[:1], *chosen, *arguments[1:]], note)


def say_of_several(message: str | Part) -> None:
    """Prints a message to standard error once, where each of several processes would print it."""
    if prints_for_all():
        say(message, sys.stderr)


def loudness_in(arguments: list[str]) -> Loudness:
    """Returns how much a command line asks to be printed.

    Raises:
        UserError: less and more at once.
    """
    quiet, verbose = "--quiet" in arguments, "--verbose" in arguments
    if quiet and verbose:
        raise UserError("--quiet --verbose: expected one of them")
    return Loudness.QUIET if quiet else Loudness.VERBOSE if verbose else Loudness.USUAL


def with_underscores(argument: str) -> str:
    """Returns an option as it is called here, however it was written; anything else as it is.

    >>> with_underscores("--target-labels=few-labels.csv"), with_underscores("paper-small")
    ('--target_labels=few-labels.csv', 'paper-small')
    """
    name, equals, value = argument.partition("=")
    return f"--{name[2:].replace('-', '_')}{equals}{value}" if name.startswith("--") else argument


def with_time(argument: str) -> str:
    """Returns the option of the time limit by the name of its setting; anything else as it is.

    >>> with_time("--time=10m"), with_time("--time"), with_time("--times")
    ('--time_limit=10m', '--time_limit', '--times')
    """
    name, equals, value = argument.partition("=")
    return f"--time_limit{equals}{value}" if name == "--time" else argument


def with_paths(arguments: list[str]) -> list[str]:
    """Returns the arguments with the home folder for a leading ``~``, which a shell leaves in ``--source=~/images``.

    Raises:
        UserError: a URL in place of a path, as it was given: paths would drop one of its slashes.

    >>> with_paths(["export", "runs/first", "--out=~nobody-of-this-name/x"])
    ['export', 'runs/first', '--out=~nobody-of-this-name/x']
    """
    found, option = [], ""
    for argument in arguments:
        name, equals, value = argument.partition("=") if argument.startswith("--") else (option, "", argument)
        option = name if argument.startswith("--") and not equals else ""
        if is_url(value):
            raise UserError(f"{name or 'RUN'} {value}: {NO_URL}")
        found.append(f"{name}={expanded(value)}" if equals else expanded(argument))
    return found


def with_range_joined(arguments: list[str]) -> list[str]:
    """Joins a range that begins with a negative number to its name, or the parser takes it for an option.

    >>> with_range_joined(["train", "--data.range", "-1000,2000", "--seed", "1"])
    ['train', '--data.range=-1000,2000', '--seed', '1']
    """
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--data.range" and argument[:1] == "-" and argument[1:2].isdigit():
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def with_repeated_united(arguments: list[str]) -> list[str]:
    """Joins several ``--source`` to one list, which the parser takes; likewise the settings of several backbones.

    >>> with_repeated_united(["train", "--source", "a", "--source=b, c", "--seed", "1"])
    ['train', '--seed', '1', '--source', '["a", "b, c"]']
    """
    for option in REPEATED:
        arguments = _with_united(arguments, option)
    return arguments


def with_targets_named(arguments: list[str]) -> list[str]:
    """Joins several ``--target`` to one dictionary by their names, which the parser takes; likewise ``--evaluate``.

    >>> with_targets_named(["train", "--target", "a", "--target", "night=b", "--evaluate=night=c"])
    ['train', '--target', '{"a": "a", "night": "b"}', '--evaluate', '{"night": "c"}']

    Raises:
        UserError: two targets of one name, or labelled sets that are not of the targets.
    """
    places, _ = _values_of(arguments, "--target")
    evaluated, without = _values_of(arguments, "--evaluate")
    if len(places) < 2:
        if len(evaluated) < 2:
            return arguments
        targets = None if places else written(arguments).get("target")
        if not isinstance(targets, dict):
            raise UserError(Setting("evaluate"), f": expected one labelled set for one target, got {len(evaluated)}")
        return [*without, "--evaluate", json.dumps(named_evaluations(evaluated, targets))]
    targets = named_targets(places)
    named = ["--evaluate", json.dumps(named_evaluations(evaluated, targets))] if evaluated else []
    return [*_values_of(without, "--target")[1], "--target", json.dumps(targets), *named]


def _places_of(target: str) -> str | list[str]:
    """Returns the places of a target that is given, or of several; see :func:`with_targets_named`."""
    if not target.startswith("{"):
        return target
    try:
        places = yaml.safe_load(target)
    except yaml.YAMLError:  # the parser says what is wrong with it
        return target
    return [str(each) for each in places.values()] if isinstance(places, dict) else target


def _with_united(arguments: list[str], option: str) -> list[str]:
    values, rest = _values_of(arguments, option)
    return [*rest, option, json.dumps(values)] if len(values) > 1 else arguments


def _values_of(arguments: list[str], option: str) -> tuple[list[str], list[str]]:
    """Returns the values of an option, and the other arguments; no value where one is missing."""
    values, rest, waiting = [], [], iter(arguments)
    for argument in waiting:
        if argument == option:
            value = next(waiting, None)
            if value is None or value.startswith("--"):
                return [], arguments  # the parser says what is missing
            values.append(value)
        elif argument.startswith(f"{option}="):
            values.append(argument.removeprefix(f"{option}="))
        else:
            rest.append(argument)
    return values, rest


def names_of(arguments: list[str]) -> set[str]:
    """Returns the names of the settings on a command line, without dashes and values."""
    return {argument.split("=")[0].lstrip("-") for argument in arguments if argument.startswith("-")}


def preset_in(arguments: list[str]) -> str | None:
    """Returns the preset that a command line asks for, by ``--preset`` or in files of ``--config``: the last one.

    A backbone that is not ours, without a preset and without a configuration, asks for ``photo-features``.
    """
    preset = settings_in(arguments).get("preset")
    if preset is None and not configurations_in(arguments):
        preset = implied_preset(first_look(arguments, "--backbone").backbone)
    return None if preset == "null" else preset


def first_look(arguments: list[str], *names: str) -> argparse.Namespace:
    """Returns the values of a few settings, before there is a parser of all."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in names:
        first.add_argument(name, nargs="?")
    return first.parse_known_args(arguments)[0]


def _with_backbone_of_init(arguments: list[str]) -> list[str]:
    """Returns the command line with the backbone of the run that it starts from, where it names no backbone."""
    given = settings_in(arguments)
    init = given.get("init", "null")
    if init == "null" or "backbone" in given or "resume" in given:
        return arguments
    backbone = backbone_of_run(init)
    if backbone is None:
        return arguments
    return _with(arguments, _with_preset_beside_file(arguments, {"backbone": backbone}))


def _with_kit(arguments: list[str]) -> list[str]:
    """Returns the command line with the settings of the kit that it starts from, but those that are given.

    A run's own file of settings has them all, those without an effect too, which are refused where they are typed.
    """
    named = names_of(arguments)
    if arguments[:1] not in (["train"], ["checks"]) or "resume" in named:
        return arguments
    given = settings_in(arguments)
    kit = given.get("kit", "null")
    if kit == "null":
        return arguments
    if "source" in named:
        raise UserError("--source: expected no source with ", Setting("kit", kit), NOT_BOTH)
    looked = {name: given.get(name, "") for name in ("preset", "features", "backbone")}
    known = {name: _united(value) for name, value in looked.items() if value not in ("", "null")}
    settings = settings_of_kit(kit, {**dict.fromkeys(named), **known})
    own = {name: value for name, value in settings.items() if name not in given}
    return _with(arguments, _with_preset_beside_file(arguments, own))


def _with_preset_beside_file(arguments: list[str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings that are chosen for a command line, with the preset of their backbone, if none is given.

    Beside a configuration file, a backbone does not imply it.
    """
    preset = implied_preset(settings.get("backbone"))
    if preset is None or not configurations_in(arguments) or "preset" in settings_in(arguments):
        return {**settings}
    return {"preset": preset, **settings}


def _with(arguments: list[str], settings: Mapping[str, object]) -> list[str]:
    """Returns the command line with more settings."""
    return [*arguments, *(f"--{name}={_typed(value)}" for name, value in settings.items())]


def _typed(value: object) -> str:
    """Returns a value as it is typed."""
    return value if isinstance(value, str) else json.dumps(value)


def _with_preset(arguments: list[str]) -> list[str]:
    """Returns the command line with the preset that its backbone asks for, as if it had been typed.

    ``--print_config=skip_default`` would leave it out as a default, and what it prints would be another run.
    """
    preset = preset_in(arguments)
    given = first_look(arguments, "--preset", "--config")
    if arguments[:1] not in (["train"], ["checks"]) or preset is None or (given.preset, given.config) != (None, None):
        return arguments
    return [arguments[0], "--preset", preset, *arguments[1:]]


def written(arguments: list[str]) -> dict[str, object]:
    """Returns source, target and labelled set as the command line has them, or a configuration file that it names."""
    content: dict[str, object] = {}
    for file in configurations_in(arguments):
        content |= content_of(Path(file))
    typed = vars(first_look(arguments, "--source", "--target", "--evaluate"))
    return content | {name: value for name, value in typed.items() if value is not None}
