"""Files that hold several images: animations, and stacks of pages as microscopes write them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from dalib.data.decoding import opened

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from PIL import Image

ENDINGS = (".tif", ".tiff", ".gif", ".webp", ".png", ".apng")
"""Endings of formats that may hold several images; a phone's .mpo has previews beside its one."""

LOOKED_AT = 8
"""Files that are opened, evenly among those with such an ending."""


def note_on_frames(paths: Sequence[Path]) -> str:
    """Returns a sentence if some files hold several images, of which the first one alone is read; else an empty text.

    Args:
        paths: of images; a few of them are opened, as far as their headers.
    """
    several = [path for path in paths if path.suffix.lower() in ENDINGS]
    for path in several[:: max(1, len(several) // LOOKED_AT)][:LOOKED_AT]:
        with suppress(Exception), opened(path) as image:  # what cannot be read is told where it is decoded
            if (count := _frames_of(image)) > 1:
                return f"note: {path} holds {count} images; of each file the first one alone is read"
    return ""


def _frames_of(image: Image.Image) -> int:
    return int(getattr(image, "n_frames", 1))
