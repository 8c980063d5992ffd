"""``dalib export``: a run's model in a form that other programs open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dalib.commands.subcommand import add_loudness, add_model, add_run
from dalib.core.console import say_result

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from dalib.commands.subcommand import CommandLine

HELP = "export a model for other programs"
DESCRIPTION = (
    "Export a run's model, and check its predictions against PyTorch. onnx and torch-export write one file, which "
    "takes images (N, C, size, size) as uint8 and returns probabilities. hf writes a folder for timm, torch one for "
    "dalib.load. kit writes one file to adapt from without the source's images: dalib train --kit FILE --target "
    "TARGET."
)


def add_arguments(parser: ArgumentParser) -> None:
    add_run(parser)
    formats = parser.add_argument(
        "--format",
        required=True,
        choices=["onnx", "torch-export", "torch", "hf", "kit"],
        help="format of the exported model",
    )
    formats.about_choices = "; timm opens hf, dalib.load opens torch"
    parser.add_argument(
        "--out", required=True, help="file (.onnx, .pt2, or for a kit .dalib) or folder to write; it must not exist yet"
    )
    add_model(parser)
    add_loudness(parser)


def run(call: CommandLine) -> None:
    from dalib.records.folder import RunFolder
    from dalib.run.export import export

    given = call.given
    written = export(RunFolder.existing(given["run"]), given["format"], given["out"], model=given["model"])
    say_result(f"wrote {written}")
