"""``dalib features``: a vector of features for each image."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dalib.commands.subcommand import RUN_HELP, add_table_of_images
from dalib.core.console import say_result
from dalib.core.errors import Setting, UserError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from dalib.commands.subcommand import CommandLine

HELP = "compute features of images"
DESCRIPTION = (
    "Compute a vector of float32 features for each image, and write them with the images' names. For a model that was "
    "trained on features of a frozen backbone, these are the output of the backbone; for any other model, the input of "
    "its last layer; for --backbone, a pretrained network without a run, its output. `dalib judge --features` takes "
    "the file. To resume a command that was stopped, give it again. Under torchrun, the images are divided over the "
    "processes; the file is the same."
)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "run", nargs="?", default=None, help=f"{RUN_HELP}; or a folder that dalib export wrote; or give --backbone"
    )
    parser.add_argument(
        "--backbone",
        default=None,
        help="in place of a run: lite0, lite1, lite2, any network of timm's, or hf_hub:OWNER/NAME",
    )
    parser.add_argument(
        "--weights",
        default=None,
        help="pretrained weights of the backbone: a file, hub for those that timm names, or hf_hub:OWNER/NAME. lite0, "
        "lite1 and lite2 have their own",
    )
    parser.add_argument(
        "--weights_order",
        default="name",
        choices=["name", "position"],
        help="how the tensors of a file of weights are matched: by name, or by position for torch.save's files with "
        "other names",
    )
    add_table_of_images(
        parser,
        "what to write: NPZ (.npz), Parquet (.parquet), or, without an ending, a folder of features.npy and names.npy. "
        "Earlier features are replaced, anything else is refused",
    )


def run(call: CommandLine) -> None:
    given = call.given
    _check(given)

    from dalib.engine.distributed import world_of
    from dalib.run.finished.features import features, features_of_backbone

    reading = {name: given[name] for name in ("device", "strict", "cache")}
    if given["backbone"] is None:
        count = features(given["run"], given["images"], given["out"], model=given["model"], **reading)
    else:
        named = {name: given[name] for name in ("weights", "weights_order")}
        count = features_of_backbone(given["backbone"], given["images"], given["out"], **named, **reading)
    if world_of(os.environ).first:
        say_result(f"features of {count} image{'' if count == 1 else 's'} in {given['out']}")


def _check(given: dict[str, object]) -> None:
    """Raises UserError: no network, or two, or settings of the one that is not given."""
    if (given["run"] is None) == (given["backbone"] is None):
        got = "neither" if given["run"] is None else "both"
        raise UserError(Setting("run"), ": expected a run or a model, or ", Setting("backbone"), f"; got {got}")
    needless = "weights" if given["backbone"] is None else "model"
    if given[needless] is not None:
        belongs = Setting("backbone") if needless == "weights" else Setting("run")
        raise UserError(Setting(needless, given[needless]), ": belongs to ", belongs, ", which is not given")
    if given["backbone"] is None and (order := given["weights_order"]) != "name":
        raise UserError(Setting("weights_order", order), ": belongs to ", Setting("backbone"), ", which is not given")
