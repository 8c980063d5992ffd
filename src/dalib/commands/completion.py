"""``dalib completion``: a script that lets a shell complete our command line."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from dalib.core.console import output
from dalib.core.errors import UserError
from dalib.run.settings.config import PATHS as PATHS_OF_TRAIN

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from dalib.commands.subcommand import CommandLine

HELP = "print a completion script for a shell"
DESCRIPTION = (
    "Print a script that lets the shell complete commands, settings and their values. For bash: dalib completion "
    "bash > ~/.local/share/bash-completion/completions/dalib, which new shells read. For zsh: into a file _dalib "
    "in a folder of $fpath. For tcsh: into a file that ~/.tcshrc sources."
)
SHELLS = ("bash", "zsh", "tcsh")
PATHS = frozenset((*PATHS_OF_TRAIN, "resume", "run", "runs", "data", "labels", "images"))
"""Arguments that shells complete by files; ``data`` is also a group of settings, which takes one."""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="shell to complete in")


def run(call: CommandLine) -> None:
    output().write(f"{completion(call.parser, call.given['shell'])}\n")


def completion(parser: ArgumentParser, shell: str) -> str:
    """Returns the script that completes the parser's command line in one of SHELLS.

    Raises:
        UserError: shtab, which writes it, is not installed.
    """
    if find_spec("shtab") is None:
        raise UserError(f"completion {shell}: the package shtab is not installed; pip install shtab")
    import shtab

    for command in parser._subcommands_action._name_parser_map.values():  # type: ignore[union-attr]
        for action in command._actions:
            if action.dest in PATHS:
                action.complete = shtab.FILE
    return parser.get_completion_script(f"shtab-{shell}")
