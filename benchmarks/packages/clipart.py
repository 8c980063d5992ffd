"""Clip art by subject: coloured drawings against black-and-white ones.

The folders of Open Clip Art are the classes; a drawing without saturation is black-and-white.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import numpy as np
from pictures import Writer, plain_name, shuffled, square
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

PACKAGES = ("openclipart-png",)

FOLDERS = {
    "animals": "animals",
    "food": "food",
    "people": "people",
    "transport": "transportation",
    "tools": "tools",
    "office": "office",
    "music": "recreation/music",
}
"""The classes, and their folders."""

SHARED = ("animals", "food", "tools")
"""Classes whose coloured drawings go to this family by one half and to `things` by the other."""

MOST_OF_CLASS = 120
LEAST_SATURATION = 4
"""Mean difference of the channels of the ink, of 255: below is black-and-white."""

Drawing = tuple[str, "Image.Image"]
"""The name of a drawing, and the drawing."""


def drawings(source: Path, folder: str) -> dict[str, list[Drawing]]:
    """Returns the drawings of a folder of Open Clip Art, by domain."""
    root = source / "openclipart-png/usr/share/openclipart/png"
    found: dict[str, list[Drawing]] = {"colour": [], "line": []}
    for path in sorted(map(str, (root / folder).rglob("*.png"))):
        if re.search("roadsigns|aiga", path):  # signs, not vehicles
            continue
        try:
            image = Image.open(path).convert("RGBA")
        except OSError:  # a few files of the package are damaged
            continue
        image.thumbnail((384, 384))
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        white.alpha_composite(image)
        values = np.asarray(white.convert("RGB")).astype(float)
        ink = values.mean(2) < 245
        saturation = (values.max(2) - values.min(2))[ink].mean() if ink.any() else 0
        name = plain_name(path[len(str(root)) + 1 : -4])[-60:]
        found["line" if saturation < LEAST_SATURATION else "colour"].append((name, image))
    return found


def half(drawing: Drawing) -> int:
    """Returns 0 or 1, by the name of a drawing: which of two families it belongs to."""
    return int(hashlib.sha1(drawing[0].encode()).hexdigest(), 16) % 2


def write(writer: Writer, domain: str, label: str, found: list[Drawing]) -> None:
    """Writes the drawings of a class until it is full, but for those that stand for a missing image."""
    written = 0
    for name, image in shuffled(found, 5):
        if written >= MOST_OF_CLASS:
            break
        if writer.add(domain, label, name, square(image)):
            written += 1
            path = writer.folder / domain / label / f"{name}.png"
            if is_missing_image(Image.open(path)):
                path.unlink()


def is_missing_image(image: Image.Image) -> bool:
    """Returns whether a picture only says "Linked Image Not Found": a white square with a red frame."""
    values = np.asarray(image).astype(int)
    red = (values[..., 0] > 200) & (values[..., 1] < 60) & (values[..., 2] < 60)
    rows, columns = np.where(red)
    if len(rows) <= 300 or np.ptp(rows) <= 150:
        return False
    first, last = columns.min(), columns.max()
    framed = red[:, first : first + 3].mean() > 0.55 and red[:, last - 2 : last + 1].mean() > 0.55
    return bool(framed and (values.min(2) > 230).mean() > 0.4)


def build(source: Path, out: Path) -> None:
    """Writes the family."""
    writer = Writer(out, "clipart")
    for label, folder in FOLDERS.items():
        found = drawings(source, folder)
        if label in SHARED:
            found["colour"] = [each for each in found["colour"] if not half(each)]
        for domain in ("colour", "line"):
            write(writer, domain, label, found[domain])
