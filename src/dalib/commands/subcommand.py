"""The interface of a subcommand's module, the call that it gets, and the arguments that several of them share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

RUN_HELP = "a run's folder, as `dalib train` printed it"
DOWNLOAD_HELP = "download a missing named data set, if torchvision can"
STRICT_HELP = "refuse unreadable images instead of skipping them"
GROUPS_HELP = (
    "images that belong together, such as bursts or patients: a column of the list of images, or a regular expression "
    "with one group, such as 'patient_([0-9]+)', that is searched in their paths. By default: the groups of the run"
)
QUIET_HELP = "print only results and errors"
VERBOSE_HELP = "also print choices, measurements and every line of the metrics"


@dataclass(frozen=True)
class CommandLine:
    """A command line that was parsed.

    Attributes:
        given: the values of the subcommand's arguments.
        arguments: the command line itself, which separates what was typed from defaults.
        parser: the whole parser.
    """

    given: dict[str, Any]
    arguments: list[str]
    parser: ArgumentParser


class Subcommand(Protocol):
    """A module of this room with the subcommand's name."""

    HELP: str
    """One line in the list of subcommands."""
    DESCRIPTION: str
    """Text above the subcommand's own help."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Adds the subcommand's arguments; imports no torch, which takes seconds."""

    def run(self, call: CommandLine) -> None:
        """Does what the subcommand is for."""


def add_run(parser: ArgumentParser, more: str = "") -> None:
    """Adds the run's folder, the first argument."""
    parser.add_argument("run", help=f"{RUN_HELP}{more}")


def add_model(parser: ArgumentParser) -> None:
    """Adds the choice of one of a run's models."""
    parser.add_argument(
        "--model",
        default=None,
        help="model to use: adapted, aligned or source-only. By default: the run's selected model",
    )


def add_table_of_images(parser: ArgumentParser, out: str) -> None:
    """Adds all that ``predict`` and ``features`` take beside the network: images, how they are read, and the table.

    Args:
        parser: of the subcommand.
        out: help of ``--out``.
    """
    parser.add_argument(
        "--images",
        required=True,
        help="images: a folder, flat or nested, a list of images, shards (.tar), or one image",
    )
    parser.add_argument("--out", required=True, help=out)
    add_model(parser)
    add_reading(parser, cache="off")
    add_loudness(parser)


def add_reading(parser: ArgumentParser, cache: str) -> None:
    """Adds where and how images are read; ``cache`` is the default."""
    parser.add_argument("--device", default="auto", help="device to compute on: auto, cpu, cuda or mps")
    parser.add_argument(
        "--cache",
        default=cache,
        choices=["disk", "ram", "off"],
        help="where decoded images are stored: disk keeps them for later commands, ram until this one ends; off "
        "decodes them when they are used",
    )
    add_strict(parser)


def add_groups(parser: ArgumentParser) -> None:
    """Adds which images belong together."""
    parser.add_argument("--groups", default=None, help=GROUPS_HELP)


def add_strict(parser: ArgumentParser) -> None:
    parser.add_argument("--strict", action="store_true", help=STRICT_HELP)


def add_loudness(parser: ArgumentParser) -> None:
    """Adds how much is printed, which :func:`dalib.commands.arguments.loudness_in` reads before the parser does."""
    parser.add_argument("--quiet", action="store_true", help=QUIET_HELP)
    parser.add_argument("--verbose", action="store_true", help=VERBOSE_HELP)


def add_download(parser: ArgumentParser) -> None:
    parser.add_argument("--download", action="store_true", help=DOWNLOAD_HELP)
