"""``dalib cache``: what is kept of decoded images and of features, listed or removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dalib.commands.subcommand import add_loudness
from dalib.core.console import say_result
from dalib.core.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from jsonargparse import ArgumentParser

    from dalib.commands.subcommand import CommandLine
    from dalib.data.cache import ImageCache
    from dalib.engine.features import FeatureStore

HELP = "list or remove cached images and features"
DESCRIPTION = (
    "List or remove cached images and features, which make later runs faster, and images that were given to "
    "dalib.adapt as objects, without which their runs do not resume. They are in ~/.cache/dalib, in a temporary "
    "folder where that cannot be written, or in the folder that DALIB_CACHE names."
)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("action", choices=["ls", "rm"], help="ls lists, rm removes")
    # not "keys": the parser's namespace has a method of that name
    parser.add_argument("key", nargs="*", default=[], help="with rm: keys to remove, as ls prints them, or all")
    add_loudness(parser)


def run(call: CommandLine) -> None:
    from dalib.core.places import GIVEN
    from dalib.data.cache import ImageCache
    from dalib.engine.features import FeatureStore
    from dalib.run.features.fastest import features_folder

    folder = features_folder()
    stores: dict[str, ImageCache | FeatureStore]
    stores = {"images": ImageCache(folder.parent), "given": ImageCache(folder.parent / GIVEN)}
    stores["features"] = FeatureStore(folder)
    if call.given["action"] == "ls":
        _list(folder.parent, stores)
    else:
        _remove(stores, call.given["key"])


def _list(folder: Path, stores: Mapping[str, ImageCache | FeatureStore]) -> None:
    from rich.filesize import decimal

    from dalib.core.places import in_short

    entries = [(what, entry) for what, store in stores.items() for entry in store.entries()]
    count = f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}"
    say_result(f"{folder}: {decimal(sum(entry.bytes for _, entry in entries))} in {count}")
    for what, entry in entries:
        state = "" if entry.complete else ", not complete"
        held = "given images" if what == "given" else what
        say_result(f"  {entry.key}  {decimal(entry.bytes):>9}  {held} of {in_short(entry.source)}{state}")


def _remove(stores: Mapping[str, ImageCache | FeatureStore], keys: Sequence[str]) -> None:
    """Removes the entries of these keys, or ``all``; nothing where one of them is not there."""
    from rich.filesize import decimal

    known = {entry.key: store for store in stores.values() for entry in store.entries()}
    unknown = [key for key in keys if key != "all" and key not in known]
    if unknown or not keys:
        what = f"{unknown[0]}: not in the cache" if unknown else "nothing to remove was named"
        raise UserError(f"cache rm: {what}; give keys as `dalib cache ls` prints them, or all")
    chosen = list(known) if "all" in keys else keys
    freed = sum(store.remove([key for key in chosen if known[key] is store]) for store in stores.values())
    say_result(f"removed {decimal(freed)}")
