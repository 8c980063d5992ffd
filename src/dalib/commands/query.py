"""``dalib query``: chooses the target images whose labels are worth most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dalib.commands.subcommand import add_groups, add_loudness, add_run

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from dalib.commands.subcommand import CommandLine

HELP = "choose target images to label"
DESCRIPTION = (
    "Choose target images to label, and write them to a CSV file to fill in, with a page beside it to do so in a "
    "browser. Thirty labels estimate how accurate the run's models are, and whether adaptation helped. The images are "
    "a random sample that prefers those on which the models differ or are unsure; a weight for each image corrects for "
    "that."
)


def add_arguments(parser: ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--n", type=int, default=50, help="number of images to choose")
    parser.add_argument("--out", default="to_label.csv", help="CSV file to write; it must not exist yet")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the sample")
    add_groups(parser)
    add_loudness(parser)


def run(call: CommandLine) -> None:
    from dalib.records.folder import RunFolder
    from dalib.run.finished.query import query

    given = call.given
    query(RunFolder.existing(given["run"]), given["n"], given["out"], seed=given["seed"], groups=given["groups"])
