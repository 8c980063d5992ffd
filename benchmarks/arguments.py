"""What command lines of benchmarks share: directions, counts, and folders below the data root."""

from __future__ import annotations

import argparse
from pathlib import Path

from dalib.data.named import NAMED


def direction(text: str) -> tuple[str, str]:
    """Returns the two ends of SOURCE:TARGET, for argparse."""
    source, colon, target = text.partition(":")
    if not (source and colon and target) or ":" in target:
        raise argparse.ArgumentTypeError(f"expected SOURCE:TARGET, got {text!r}")
    return source, target


def at_least_one(text: str) -> int:
    """Returns a count, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number, at least 1, got {text!r}")
    return int(text)


def place_in(root: str | Path, name: str) -> str:
    """Returns the folder of this name below the data root; the name where there is none, and of a named data set."""
    folder = Path(root, name)
    return str(folder) if name not in NAMED and folder.is_dir() else name


def in_short(place: str | Path) -> str:
    """Returns the end of a place, for a table."""
    return "/".join(Path(place).parts[-2:])
