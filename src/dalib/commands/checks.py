"""``dalib checks``: the installation, the data, and how long training would take."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from dalib.commands.given_settings import settings_in
from dalib.commands.settings import add_settings
from dalib.commands.subcommand import add_loudness
from dalib.core.errors import UserError
from dalib.run.settings.config import TrainConfig

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from dalib.commands.subcommand import CommandLine

HELP = "check installation and data, and estimate how long training will take"
DESCRIPTION = (
    "Check the installation and the files of --source and --target, and estimate how long training will take. It takes "
    "the settings of train and writes nothing. Where --classes is auto, it also estimates which classes the target "
    "has, with small models that it trains and does not keep, if that takes at most about 20 seconds."
)
USAGE = "dalib checks --source SOURCE --target TARGET [--target TARGET] [options]"
"""Replaces argparse's usage, which lists eighty options."""


def add_arguments(parser: ArgumentParser) -> None:
    add_settings(parser)
    # what configurations of train have and checks has no use for
    for setting in ("--overwrite", "--allow_changes"):
        parser.add_argument(setting, action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--resume", default=None, help=argparse.SUPPRESS)
    add_loudness(parser)


def run(call: CommandLine) -> None:
    call.given.pop("allow_changes")
    if call.given.pop("resume") is not None:
        raise UserError("checks: --resume is of train; expected the settings of a run that is not begun")
    call.given.pop("config")
    named = settings_in(call.arguments)
    config = TrainConfig(**call.given)
    from dalib.run.checks import checks

    checks(config, source="source" in named, target="target" in named)
