"""``dalib compare``: which of several runs on one target is best."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from dalib.commands.subcommand import Call

HELP = "which of several runs is best"
DESCRIPTION = (
    "Rank runs on the same target, the best first: by measured accuracy where all of them were measured on the "
    "same labels; else without a target label, by label-free scores and by how often each agrees with all of them "
    "together. Both models of each run are shown."
)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="the runs' folders, at least two")


def run(call: Call) -> None:
    from dalib.run.compare import compare_runs

    compare_runs(call.given["runs"])
