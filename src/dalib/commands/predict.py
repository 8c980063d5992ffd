"""``dalib predict``: a table of predictions for a folder of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dalib.commands.subcommand import add_model, add_reading, add_run
from dalib.core.console import say

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from dalib.commands.subcommand import Call

HELP = "predict a folder of images"
DESCRIPTION = (
    "Write a table: path, class, confidence, runner-up and its confidence for each image. The same command again "
    "goes on where one was stopped."
)


def add_arguments(parser: ArgumentParser) -> None:
    add_run(parser, "; or a file or folder that dalib export wrote")
    parser.add_argument("--images", required=True, help="a folder of images, flat or nested, or a list of them")
    parser.add_argument("--out", required=True, help="the file to write: CSV, or Parquet if it ends in .parquet")
    add_model(parser)
    add_reading(parser, cache="off")


def run(call: Call) -> None:
    from dalib.run.predict import predict

    given = call.given
    named = ("model", "device", "strict", "cache")
    count = predict(given["run"], given["images"], given["out"], **{name: given[name] for name in named})
    say(f"{count} predictions in {given['out']}")
