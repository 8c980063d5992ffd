"""Runs a command line and returns its exit code."""

from __future__ import annotations

import sys
from typing import Any

from jsonargparse import ArgumentError

from dalib.commands.arguments import loudness_in, names_of, prepared, say_of_several, written
from dalib.commands.complaints import without_breaks
from dalib.commands.flags import SWITCHES, FlagSpelling
from dalib.commands.older_settings import with_older_meanings
from dalib.commands.parser import SUBCOMMANDS, make_parser
from dalib.commands.subcommand import CommandLine
from dalib.core.console import Loudness, loudness, prints_for_all, say, standard_streams
from dalib.core.errors import (
    OutputClosedError,
    RanksLostError,
    ReportedByRankZeroError,
    RunStoppedError,
    Setting,
    TrainingDivergedError,
    UserError,
    spelled,
)
from dalib.core.refusals import refusal
from dalib.run.settings.config_file import with_places_as_written

WORKING = ("train", "eval", "query", "predict", "features", "export", "keep", "report")
"""Commands whose result is a file, and which therefore continue when their output is closed.

``judge`` does so where it writes a page."""


def run(arguments: list[str]) -> int:
    """Runs a command line and returns its exit code.

    0, 1 where training diverged or a process of several was lost, 2 for bad input, 128 and the signal's number after
    one: 130 after Ctrl-C, 141 where a command that only prints lost its reader.
    """
    with standard_streams(lists=_lists(arguments)), spelled(FlagSpelling()):
        try:
            return _run_and_flush(arguments)
        except OutputClosedError:
            return 141  # as other programs end, which SIGPIPE kills
        except ReportedByRankZeroError:
            return 2
        except (UserError, ArgumentError) as error:
            say(f"dalib: error: {error}", sys.stderr)
            return 2
        except OSError as error:
            if (said := refusal(error, "give the same command again")) is None:
                raise  # a fault of this program, which its traceback tells
            say(f"dalib: error: {said}", sys.stderr)
            return 2
        except TrainingDivergedError as error:
            say_of_several(f"dalib: training diverged: {error}")
            return 1
        except RanksLostError as error:
            say(f"dalib: {error}", sys.stderr)
            return 1
        except RunStoppedError as error:
            say_of_several(f"dalib: {error}")
            return error.code
        except KeyboardInterrupt:
            say("dalib: stopped", sys.stderr)
            return 130


def _run_and_flush(arguments: list[str]) -> int:
    try:
        level = loudness_in(arguments)
        with loudness(level):
            _run(arguments, level)
        return 0
    finally:  # also after --help, which leaves by SystemExit
        sys.stdout.flush()


def _lists(arguments: list[str]) -> bool:
    """Returns whether a command line asks for something to be printed, and for nothing else."""
    asked = ("-h", "--help", "--version", "--print_config", "--print-config")
    works = arguments[:1] in [[name] for name in WORKING] or (
        arguments[:1] == ["judge"] and "out" in names_of(arguments)
    )
    return not works or any(each.startswith(asked) for each in arguments)


def _run(arguments: list[str], level: Loudness) -> None:
    command_line = prepared(arguments)
    arguments, taken = with_older_meanings(command_line.arguments)
    for own, old in taken.items() if level > Loudness.QUIET else ():
        say_of_several(f"dalib: note: --{old} sets {own}, as it used to; write --{own}")
    parser = make_parser(arguments)
    try:
        parsed = parser.parse_args(arguments)
    except UserError:
        raise
    except ValueError as error:  # such as a file name with a null byte in it
        raise UserError(f"{arguments[0] if arguments else 'dalib'}: {without_breaks(error)}") from None
    name: str = parsed["subcommand"]
    try:
        given = dict(vars(parser.instantiate(parsed)[name]))
    except TypeError as error:  # a group of settings, such as data, that is no mapping
        raise UserError(f"{name}: expected settings in each group ({without_breaks(error)})") from None
    _check_switches(given)
    with loudness(_loudness_of(given, level)):
        if command_line.note and prints_for_all():  # not before: a mistake in the arguments would stand below it
            say(f"note: {command_line.note}")
        SUBCOMMANDS[name].run(CommandLine(with_places_as_written(given, written(arguments)), arguments, parser))


def _check_switches(given: dict[str, Any]) -> None:
    """Refuses a value of a flag that takes none: a configuration file may have another one than true and false.

    Raises:
        UserError: such as the text "no", which would count as true.
    """
    for name in SWITCHES:
        value = given.get(name, False)
        if not isinstance(value, bool):
            shown = "nothing" if value is None else repr(value) if isinstance(value, str) else value
            raise UserError(Setting(name), f": expected true or false, got {shown}")


def _loudness_of(given: dict[str, Any], typed: Loudness) -> Loudness:
    """Takes from the settings how much is printed: as it was typed, or else as a configuration file has it.

    Raises:
        UserError: a file that asks for less and more at once.
    """
    quiet, verbose = given.pop("quiet", False), given.pop("verbose", False)
    if typed != Loudness.USUAL:
        return typed
    return loudness_in([*(["--quiet"] if quiet else []), *(["--verbose"] if verbose else [])])
