"""Places of images as they are named in what is printed."""

from __future__ import annotations

import os
import re
from pathlib import Path

GIVEN = "given"
"""Folder in the cache, of images that were given as objects; see :mod:`dalib.data.given`."""


TABLES = "hints"
"""Folder in the cache, of hints that were given as objects, each under the digest of its content."""


def is_place(value: object) -> bool:
    """Returns whether a value is a path or a name, and no object to be kept."""
    return isinstance(value, str | os.PathLike)


def where_it_lies(place: str | Path) -> str:
    """Returns a place as it compares with others: its whole path, with no link in it, however it was written.

    A name of a data set, a pattern of shards and what was removed are paths, too: they compare as they are written.
    """
    try:
        return os.path.realpath(place)
    except (OSError, ValueError):  # what is no path of this system, such as one with a null byte
        return os.fspath(place)


def same_place(first: str | Path, second: str | Path) -> bool:
    """Returns whether two places are the same one, in whatever way each of them is written.

    >>> same_place("runs/first", "runs/../runs/first/"), same_place("runs/first", "runs/second")
    (True, False)
    """
    return where_it_lies(first) == where_it_lies(second)


def is_given(path: str | Path) -> bool:
    """Returns whether a path names a list of images that were given as objects, whether or not it still exists."""
    return _lies_in_given(str(path)) and Path(path).suffix == ".csv"


def is_given_table(path: str | Path) -> bool:
    """Returns whether a path names a table in the cache that was given as an object, such as a data frame of hints.

    >>> is_given_table("/cache/hints/0123456789abcdef0123456789abcdef.csv"), is_given_table("clip/hints/first.csv")
    (True, False)
    """
    return Path(path).parent.name == TABLES and re.fullmatch("[0-9a-f]{32}", Path(path).stem) is not None


def behind(word: str, table: str) -> str:
    """Returns a word and the file of a table behind it; empty for a table that was given as an object.

    >>> behind(" of ", "few.csv"), behind(" of ", "/cache/hints/0123456789abcdef0123456789abcdef.csv")
    (' of few.csv', '')
    """
    return "" if is_given_table(table) else f"{word}{table}"


def in_short(places: str) -> str:
    """Returns sources or a target with images that were given as objects named by what they are, not where they lie.

    Such an image by itself is named by its number.

    >>> in_short("studio/ + /cache/given/0123456789abcdef0123456789abcdef/array-of-30-images.csv")
    'studio/ + array-of-30-images'
    >>> in_short("/cache/given/0123456789abcdef0123456789abcdef/07.png")
    '07'
    """
    if GIVEN not in places:
        return places
    return " + ".join(Path(each).stem if _lies_in_given(each) else each for each in places.split(" + "))


def _lies_in_given(path: str) -> bool:
    parts = Path(path).parts[-3:]
    return len(parts) == 3 and parts[0] == GIVEN and len(parts[1]) == 32
