"""The whole parser, made of the subcommands' own, and its help; loads no torch."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from dalib.commands import (
    backbones,
    cache,
    checks,
    compare,
    completion,
    eval,
    export,
    features,
    judge,
    keep,
    predict,
    query,
    report,
    train,
)
from dalib.commands.complaints import Parser
from dalib.commands.settings import SettingsParser, set_defaults_of_preset
from dalib.core.console import say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jsonargparse import ArgumentParser

    from dalib.commands.subcommand import Subcommand

DESCRIPTION = """Train on labelled images of one domain and unlabelled images of another, and get a classifier for the
second. Without arguments, `dalib train` runs a built-in example: fonts to handwritten digits."""

SUBCOMMANDS: Mapping[str, Subcommand] = {
    "train": train,
    "eval": eval,
    "query": query,
    "compare": compare,
    "judge": judge,
    "predict": predict,
    "features": features,
    "export": export,
    "keep": keep,
    "report": report,
    "checks": checks,
    "backbones": backbones,
    "cache": cache,
    "completion": completion,
}
"""The subcommands in the order of the help."""


def make_parser(arguments: list[str] | None = None) -> ArgumentParser:
    """Returns the whole parser, with a subcommand for each thing to do.

    A preset that the arguments ask for gives the defaults of ``train``, wherever it stands among them. Where they name
    a subcommand, or ask for the help of all, the others have no arguments: to add them takes a tenth of a second.
    """
    first = arguments[0] if arguments else None
    needed = first if first in ("-h", "--help", "--version") or first in SUBCOMMANDS else None
    if needed == "completion":  # which is about all of them
        needed = None
    parser = Parser(description=DESCRIPTION, prog="dalib")
    parser.add_argument(
        "--version",
        action=_Version,
        nargs=0,
        default=argparse.SUPPRESS,
        help="print the versions of dalib and what it needs",
    )
    commands = parser.add_subcommands(required=True)
    for name, subcommand in SUBCOMMANDS.items():
        kind = SettingsParser if name in ("train", "checks") else Parser
        of_command = kind(description=subcommand.DESCRIPTION, usage=getattr(subcommand, "USAGE", None))
        of_command.prog = f"dalib {name}"
        if name == needed or needed is None:
            subcommand.add_arguments(of_command)
            if isinstance(of_command, SettingsParser):
                set_defaults_of_preset(of_command, arguments or [])
        commands.add_subcommand(name, of_command, help=subcommand.HELP)
        of_command.prog = f"dalib {name}"  # without the "[options]" of the parser above, which has none
    return parser


class _Version(argparse.Action):
    """Prints lines as they are; argparse's own fills them into a paragraph."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from dalib.core.versions import describe_versions

        say(describe_versions())
        parser.exit()
