"""Things: cut-out photographs, coloured clip art and flat emoji.

photo: Tux Paint's stamps, without its cartoons; clipart: Open Clip Art, without the half of the family `clipart`;
flat: OpenMoji.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from clipart import Drawing, drawings, half, write
from pictures import Writer, drawn_svg, plain_name
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

PACKAGES = ("openclipart-png", "openmoji", "tuxpaint-stamps-default")

STAMPS = {"animals": "animals", "food": "food", "plants": "plants", "household": "household"}
"""The classes, and their folders of Tux Paint."""

GROUPS = {
    "animals": ("animal-",),
    "food": ("food-",),
    "plants": ("plant-",),
    "household": ("tool", "household", "dishware"),
}
"""The classes, and the subgroups of Unicode; one that ends with a hyphen stands for all that begin like it."""

NOT_PHOTOGRAPHS = "cartoon|roadsigns|flags|/dinosaur|toys|plastic|mirror"


def _photographs(source: Path, folder: str) -> list[Drawing]:
    root = source / "tuxpaint-stamps-default/usr/share/tuxpaint/stamps"
    paths = [path for path in sorted((root / folder).rglob("*.png")) if "flip" not in path.name]
    names = [(path.relative_to(root).as_posix(), path) for path in paths]
    return [
        (plain_name(name.removesuffix(".png")), Image.open(path))
        for name, path in names
        if not re.search(NOT_PHOTOGRAPHS, f"/{name}")
    ]


def _clipart(source: Path, label: str) -> list[Drawing]:
    if label == "plants":
        return drawings(source, "plants")["colour"]
    if label != "household":
        return [each for each in drawings(source, label)["colour"] if half(each)]
    tools = [each for each in drawings(source, "tools")["colour"] if half(each)]
    return tools + [
        each for folder in ("containers", "buildings/furniture") for each in drawings(source, folder)["colour"]
    ]


def _emoji(source: Path, groups: tuple[str, ...]) -> list[Drawing]:
    root = source / "openmoji/package"
    found = []
    for each in json.loads((root / "data/openmoji.json").read_text()):
        subgroup = each["subgroups"]
        if not each["skintone"] and any(subgroup == g or (g[-1] == "-" and subgroup.startswith(g)) for g in groups):
            text = (root / f"color/svg/{each['hexcode']}.svg").read_text()
            found.append((each["hexcode"], drawn_svg(text)))
    return found


def build(source: Path, out: Path) -> None:
    """Writes the family."""
    writer = Writer(out, "things")
    for label, folder in STAMPS.items():
        write(writer, "photo", label, _photographs(source, folder))
        write(writer, "clipart", label, _clipart(source, label))
        write(writer, "flat", label, _emoji(source, GROUPS[label]))
