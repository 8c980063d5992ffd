"""The parser's error messages in plain words: the argument, what was expected, what came, and the nearest name."""

from __future__ import annotations

import re
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Union, get_args, get_origin

from jsonargparse import ArgumentParser

from dalib.commands.flags import POSITIONAL
from dalib.commands.help import HelpFormatter
from dalib.core.errors import UserError
from dalib.core.words import meant, meant_setting
from dalib.run.settings.config import expected_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

LONGEST = 1000
"""Characters of a message."""

MOST_FILES = 3
"""Files that are named in a message."""

_OF_FOLDERS = frozenset(("--images", "--source", "--target", "--data"))
_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_KEY = 'Parser key "'
_UNKNOWN = "unrecognized arguments: "
_REQUIRED = "the following arguments are required: "
_VALUE = re.compile(
    r"argument (?P<flags>--\S+): (?:expected (?:one|at least one) argument|ignored explicit argument '(?P<given>.*)')"
)
"""Error of argparse about a value that is missing, or too many."""
_KEY_OF_FILE = re.compile(
    r"(?:Group '([^']+)' does not accept option '([^']+)'|Option '([^']+)' is not accepted)", re.DOTALL
)
"""Error about a key of a file that --print_config was to print, which has no parser of the subcommand."""
_NO_SUBCOMMAND = 'expected "subcommand" to be one of '


class Parser(ArgumentParser):
    """A parser whose errors are one line, without the usage of fifty options in front of it.

    jsonargparse's errors have attributes for some of what a message needs: the parser of a subcommand, the chain of
    causes, the argument. The name of a setting and the value that came are in its text alone.
    """

    def __init__(self, **settings: Any) -> None:
        # --epoch would mean --epochs, or another setting one day
        super().__init__(**settings, allow_abbrev=False, formatter_class=HelpFormatter)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        about = self._subcommand_of(message, ex)
        raise UserError(f"{shortened(complaint(message, ex, about))} (see {about.prog} --help)")

    def _check_value(self, action: argparse.Action, value: object) -> None:
        """Refuses a value that is not among an argument's choices; argparse's own error is text alone."""
        if action.choices is not None and value not in action.choices:
            name = "/".join(action.option_strings) or action.metavar or action.dest
            about = getattr(action, "about_choices", "")  # which one is for what, where the names do not say it
            raise UserError(f"{name}: {_one_of(list(action.choices), str(value))}{about} (see {self.prog} --help)")

    def _subcommand_of(self, message: str, error: Exception | None) -> ArgumentParser:
        """Returns the parser of the subcommand that a message is about, or this one."""
        found: ArgumentParser | None = getattr(error, "subcommand_parser", None)
        if found is None and message.startswith(_REQUIRED):  # as COMMAND.NAME, where the whole command line is parsed
            commands = self._subcommands_action
            name = message.removeprefix(_REQUIRED).split(".")[0]
            found = None if commands is None else commands._name_parser_map.get(name)
        if found is None and _KEY_OF_FILE.fullmatch(message):
            commands = self._subcommands_action
            every = [] if commands is None else commands._name_parser_map.values()
            found = next((each for each in every if "--config" in each._option_string_actions), None)
        return self if found is None else found


def complaint(message: str, error: Exception | None, parser: ArgumentParser) -> str:
    """Returns a complaint of the parser's in one line: the setting, what was expected, what came, what may be meant.

    Args:
        message: what jsonargparse would print.
        error: what it was raised for.
        parser: that of the command, which knows the settings and what they take.

    >>> parser = Parser(prog="dalib train")
    >>> _ = parser.add_argument("--batch", type=int), parser.add_argument("--backbone")
    >>> complaint("unrecognized arguments: --bakbone x", None, parser)
    'unrecognized arguments: --bakbone x; did you mean --backbone?'
    >>> complaint("the following arguments are required: predict.run, predict.batch", None, parser)
    'expected RUN and --batch, which are missing'
    >>> complaint("", TypeError('Parser key "batch": Expected a whole number. Got value: many'), parser)
    '--batch: expected a whole number, got many'
    """
    options = list(parser._option_string_actions)
    if message.startswith(_UNKNOWN):
        words = message.removeprefix(_UNKNOWN).split()
        if words[0].startswith("-"):
            return without_breaks(message) + meant_setting(words[0].split("=")[0], options)
        if not _OF_FOLDERS.isdisjoint(options) and Path(words[0]).suffix:
            return _about_files(words)
        domains = "; expected --source FOLDER --target FOLDER" if {"--source", "--target"} <= {*options} else ""
        return without_breaks(message) + domains
    if message.startswith(_NO_SUBCOMMAND):
        action = parser._subcommands_action
        return f"subcommand: {_one_of([] if action is None else list(action.choices), 'nothing')}"
    if message.startswith(_REQUIRED):
        missing = [each.split(".", 1)[-1] for each in message.removeprefix(_REQUIRED).split(", ")]
        missing = [f"--{each}" if f"--{each}" in options else POSITIONAL.get(each, each.upper()) for each in missing]
        names = " and ".join(filter(None, (", ".join(missing[:-1]), missing[-1])))
        return f"expected {names}, which {'is' if len(missing) == 1 else 'are'} missing"
    if (valued := _VALUE.fullmatch(message)) is not None:
        flag = [each for each in valued["flags"].split("/") if not each.endswith("+")][-1]
        if valued["given"] is not None:
            return f"{flag}: expected no value, got {valued['given']}; give {flag} alone, or leave it out"
        return f"{flag}: expected a value, got none; give one that begins with - as {flag}=VALUE"
    of_file = _KEY_OF_FILE.fullmatch(message)
    if of_file is not None or hasattr(error, "subcommand_parser"):  # a key in a file
        name = ".".join(filter(None, of_file.groups())) if of_file is not None else message.rsplit("'", 2)[1]
        return f"{name}: no such setting{meant_setting(name, [option.lstrip('-') for option in options])}"
    about_keys = [each for each in _with_causes(error) if str(each).startswith(_KEY)]
    if about_keys:
        return _about_key(str(about_keys[-1]), parser)
    return without_breaks(message)


def _about_files(names: list[str]) -> str:
    """Returns the complaint about files, such as those that a shell puts in the place of a pattern.

    >>> _about_files(["b-1.tar", "b-2.tar"])
    'unrecognized arguments: b-1.tar b-2.tar; a pattern of shards stands in quotes, or the shell spells it out'
    """
    shown = " ".join(names[:MOST_FILES]) + (" ..." if len(names) > MOST_FILES else "")
    remedy = "expected one folder, or a list of images (.csv); a shell makes many names of a pattern such as *.png"
    if names[0].endswith(".tar"):
        remedy = "a pattern of shards stands in quotes, or the shell spells it out"
    return f"{_UNKNOWN}{shown}; {remedy}"


def shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."


def without_breaks(message: object) -> str:
    return " ".join(str(message).split())


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _about_key(text: str, parser: ArgumentParser) -> str:
    """Returns the complaint about a value that does not fit: the parser knows what fits, the text has the value."""
    key, _, rest = text.removeprefix(_KEY).partition('"')
    said = without_breaks(rest.lstrip(":"))
    own = [each for each in parser._option_string_actions if each.startswith(f"--{key}.")]
    if own and "Unable to load config" in said:  # jsonargparse takes a file here
        return f"--{key}: a group of settings, expected one of them, such as {' or '.join(own[:2])}"
    for before in ("Given value:", "Got value:"):
        _, found, value = said.partition(before)
        kind = next(
            (each._typehint for each in parser._actions if each.dest == key and hasattr(each, "_typehint")), None
        )
        if found and kind is not None:
            described = expected_of(key)
            return f"--{key}: {_expected(kind, value.strip(), described)}"
    return f"--{key}: {said}"


def _expected(kind: Any, value: str, described: str | None = None) -> str:
    """Returns which values a type takes, and the value that came instead; ``described`` replaces the type in words.

    >>> _expected(float | Literal["auto"], "much")
    'expected a number or auto, got much'
    >>> _expected(int | None, "many"), _expected(Literal["mcc", "fixmatch"], "fixmtach")
    ('expected a whole number, got many', 'expected one of mcc, fixmatch, got fixmtach; did you mean fixmatch?')
    """
    if described is not None:
        return f"expected {described}, got {value or 'nothing'}"
    if get_origin(kind) in (Union, UnionType):  # None is what is there where nothing is given
        kind, *others = [each for each in get_args(kind) if each is not type(None)]
        if kind in _KINDS and others and get_origin(others[0]) is Literal:
            words = " or ".join(map(str, get_args(others[0])))
            return f"expected {_KINDS[kind]} or {words}, got {value or 'nothing'}"
    if get_origin(kind) is Literal:
        return _one_of(get_args(kind), value)
    return f"expected {_KINDS.get(kind, kind)}, got {value or 'nothing'}"


def _one_of(choices: Any, value: str) -> str:
    names = list(map(str, choices))
    return f"expected one of {', '.join(names)}, got {value or 'nothing'}{meant(value, names)}"
