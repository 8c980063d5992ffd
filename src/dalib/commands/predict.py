"""``dalib predict``: a table of predictions for images."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dalib.commands.subcommand import add_run, add_table_of_images
from dalib.core.console import say_result

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from dalib.commands.subcommand import CommandLine

HELP = "predict images"
DESCRIPTION = (
    "Predict the class of each image, and write a table: path, class, confidence, runner-up and the runner-up's "
    "confidence. A model that recognises unknown images adds the probability that the image is known, and its most "
    "probable known class. To resume a command that was stopped, give it again. Under torchrun, the images are "
    "divided over the processes; the table is the same."
)


def add_arguments(parser: ArgumentParser) -> None:
    add_run(parser, "; or a file or folder that dalib export wrote")
    add_table_of_images(
        parser,
        "file to write: CSV, or Parquet if it ends in .parquet. An earlier table of predictions is replaced, any other "
        "file is refused",
    )


def run(call: CommandLine) -> None:
    from dalib.engine.distributed import world_of
    from dalib.run.finished.predict import predict

    given = call.given
    named = ("model", "device", "strict", "cache")
    count = predict(given["run"], given["images"], given["out"], **{name: given[name] for name in named})
    if world_of(os.environ).first:
        say_result(f"{count} prediction{'' if count == 1 else 's'} in {given['out']}")
