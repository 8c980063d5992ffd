"""``dalib query``: target images to label, so that few labels tell most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dalib.commands.subcommand import add_run

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from dalib.commands.subcommand import Call

HELP = "choose target images to label"
DESCRIPTION = (
    "Choose target images to label, so that a few labels tell how accurate the run's models are and whether "
    "adaptation helped; write them to a CSV file to fill in. It is a random sample, with more images where the "
    "models differ or are unsure, and each image's weight makes up for that."
)


def add_arguments(parser: ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--n", type=int, default=50, help="how many images")
    parser.add_argument("--out", default="to_label.csv", help="the CSV file to write; it must not be there yet")
    parser.add_argument("--seed", type=int, default=0, help="another seed chooses other images")


def run(call: Call) -> None:
    from dalib.records.folder import RunFolder
    from dalib.run.query import query

    query(RunFolder.existing(call.given["run"]), call.given["n"], call.given["out"], seed=call.given["seed"])
