"""The settings of a training, which ``train`` and ``checks`` take: their flags, and a preset's defaults."""

from __future__ import annotations

import argparse
import textwrap
from types import SimpleNamespace
from typing import TYPE_CHECKING

from dalib.commands.arguments import first_look, preset_in
from dalib.commands.complaints import Parser
from dalib.commands.flags import SHORT
from dalib.commands.given_settings import settings_in
from dalib.commands.help import MAIN, HelpAll, sections, terms_text
from dalib.commands.subcommand import add_download, add_strict
from dalib.run.settings.config import TrainConfig
from dalib.run.settings.image_defaults import network_of_preset
from dalib.run.settings.presets import PRESETS, defaults_of

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


PRINT_CONFIG_HELP = (
    "print all settings that this command line gives, as a file for --config, and exit; --print_config=skip_default "
    "prints only those that differ from the defaults"
)


class SettingsParser(Parser):
    """Parser of the many settings of a training: its help shows those that most people need.

    Attributes:
        preset: the preset that gives the defaults; None where they are those without one.
    """

    preset: str | None = None

    def format_help(self, formatter: argparse.HelpFormatter | None = None, *, everything: bool = False) -> str:
        before = self._action_groups
        _, own, *groups = before
        shown = sections(own._group_actions, {str(each.title): each._group_actions for each in groups})
        self._action_groups = [
            SimpleNamespace(title=heading, description=None, _group_actions=actions)  # type: ignore[misc]
            for heading, actions, main in shown
            if main or everything
        ]
        try:
            usage, heading, options = super().format_help(formatter).partition(f"\n{next(iter(MAIN))}:\n")
        finally:
            self._action_groups = before
        return f"{usage}\n{textwrap.fill(self._about_defaults(), 78)}\n{heading}{options}\n{terms_text()}\n"

    def format_all(self) -> str:
        """Returns the help of all options."""
        return self.format_help(everything=True)

    def _about_defaults(self) -> str:
        if self.preset is not None:
            return f"The defaults below are those of the preset {self.preset}."
        return (
            "The defaults below are those without a preset, which the built-in example has. Folders of photographs "
            f"get the preset photo-features; to see its defaults: {self.prog} --preset photo-features --help."
        )


def add_settings(parser: ArgumentParser) -> None:
    """Adds a flag for each field of :class:`dalib.run.settings.config.TrainConfig`, and the file that may hold them."""
    parser.add_argument(
        "--help_all",
        "--help-all",
        action=HelpAll,
        nargs=0,
        default=argparse.SUPPRESS,
        help="show all options and exit",
    )
    parser.add_argument("--config", action="config", help="a YAML file with any of these settings")
    parser.add_class_arguments(TrainConfig, as_group=False, skip={"strict", "overwrite", "download"})
    for action in [each for each in parser._actions if each.dest in SHORT]:  # for help and completion
        action.option_strings = [*action.option_strings, f"--{SHORT[action.dest]}"]
        parser._option_string_actions[action.option_strings[-1]] = action
    printing = next(each for each in parser._actions if each.dest == "print_config")
    printing.help = PRINT_CONFIG_HELP
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
    if isinstance(parser, SettingsParser):
        parser.preset = preset
    given = {name: value for name, value in settings_in(arguments).items() if value != "null"}
    network = network_of_preset({"preset": preset})
    if any(given.get(name) != value for name, value in network.items()):  # another one is named
        network = {}
    parser.set_defaults({**implied, **network, **defaults_of(preset, given)})
