"""``dalib compare``: which of several runs on one target is best."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dalib.commands.subcommand import add_loudness

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from dalib.commands.subcommand import CommandLine

HELP = "rank several runs on the same target"
DESCRIPTION = (
    "Rank runs on the same target, the best first. The order is by measured accuracy if all were measured on the same "
    "labels; otherwise it uses no target labels, but label-free scores and each run's agreement with the mean of the "
    "runs. All models of each run are shown."
)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders, at least two")
    add_loudness(parser)


def run(call: CommandLine) -> None:
    from dalib.run.finished.compare import compare_runs

    compare_runs(call.given["runs"])
