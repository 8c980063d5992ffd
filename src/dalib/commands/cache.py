"""``dalib cache``: what is kept of decoded images and of features, listed or removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dalib.core.console import say
from dalib.core.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jsonargparse import ArgumentParser

    from dalib.commands.subcommand import Call
    from dalib.data.cache import CacheEntry, ImageCache
    from dalib.engine.features import FeatureEntry, FeatureStore

HELP = "list or remove cached images and features"
DESCRIPTION = (
    "List or remove cached images and features, which make later runs faster. They are in ~/.cache/dalib, in a "
    "temporary folder where that cannot be written, or in the folder that DALIB_CACHE names."
)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("action", choices=["ls", "rm"], help="ls lists, rm removes")
    # not "keys": the parser's namespace has a method of that name
    parser.add_argument("key", nargs="*", default=[], help="of rm: what to remove, by its key as ls prints it, or all")


def run(call: Call) -> None:
    from dalib.data.cache import ImageCache
    from dalib.engine.features import FeatureStore
    from dalib.run.feature_space import features_folder

    folder = features_folder()
    images, features = ImageCache(folder.parent), FeatureStore(folder)
    if call.given["action"] == "ls":
        _list(images, features)
    else:
        _remove(images, features, call.given["key"])


def _list(images: ImageCache, features: FeatureStore) -> None:
    from rich.filesize import decimal

    entries: list[tuple[str, CacheEntry | FeatureEntry]] = [("images", entry) for entry in images.entries()]
    entries += [("features", entry) for entry in features.entries()]
    count = f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}"
    say(f"{images.folder}: {decimal(sum(entry.bytes for _, entry in entries))} in {count}")
    for what, entry in entries:
        state = "" if entry.complete else ", not complete"
        say(f"  {entry.key}  {decimal(entry.bytes):>9}  {what} of {entry.source}{state}")


def _remove(images: ImageCache, features: FeatureStore, keys: Sequence[str]) -> None:
    """Removes the entries of these keys, or ``all``; nothing where one of them is not there."""
    from rich.filesize import decimal

    of_images = [entry.key for entry in images.entries()]
    known = [*of_images, *(entry.key for entry in features.entries())]
    unknown = [key for key in keys if key != "all" and key not in known]
    if unknown or not keys:
        what = f"{unknown[0]}: not in the cache" if unknown else "nothing to remove was named"
        raise UserError(f"cache rm: {what}; give keys as `dalib cache ls` prints them, or all")
    chosen = known if "all" in keys else keys
    freed = images.remove([key for key in chosen if key in of_images])
    freed += features.remove([key for key in chosen if key not in of_images])
    say(f"removed {decimal(freed)}")
