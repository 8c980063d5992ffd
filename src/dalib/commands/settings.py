"""The settings of a training, which ``train`` and ``checks`` take: their flags, and a preset's defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dalib.commands.arguments import first_look, names_of, preset_in
from dalib.commands.subcommand import add_download, add_strict
from dalib.run.config import TrainConfig
from dalib.run.presets import PRESETS, settings_of

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


def add_settings(parser: ArgumentParser) -> None:
    """Adds a flag for each field of :class:`dalib.run.config.TrainConfig`, and the file that may hold them."""
    parser.add_argument("--config", action="config", help="a YAML file with any of these settings")
    parser.add_class_arguments(TrainConfig, as_group=False, skip={"strict", "overwrite", "download"})
    add_download(parser)
    add_strict(parser)


def set_defaults_of_preset(parser: ArgumentParser, arguments: list[str]) -> None:
    """Gives the settings the defaults of the preset that the arguments ask for, wherever it stands among them."""
    preset = preset_in(arguments)
    if preset is None or preset not in PRESETS:  # what is no preset is refused with the other arguments
        return
    named = first_look(arguments, "--preset", "--config")
    # one that is named stays a setting of its own, which --print_config=skip_default keeps
    implied = {"preset": preset} if named.preset is None and named.config is None else {}
    parser.set_defaults({**implied, **settings_of(preset, names_of(arguments))})
