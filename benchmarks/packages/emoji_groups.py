"""Coarse groups of emoji: three-dimensional renders, outlines and silhouettes.

render: Fluent 3D; line: OpenMoji's black outlines; silhouette: EmojiOne monotone. Variants of skin tone are left out.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from pictures import Writer, drawn_svg, shuffled, square
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

PACKAGES = ("iconify-json", "lobehub-fluent-emoji-3d", "openmoji")

GROUPS = {
    "animals": "animal-",
    "food": "food-",
    "faces": "face-",
    "people": "person person-role person-activity person-sport person-gesture person-fantasy family",
    "buildings": "place-building place-religious hotel place-other",
    "transport": "transport-ground transport-air transport-water",
    "weather": "sky-weather",
    "games": "game sport award-medal",
    "music": "musical-instrument music sound light-video",
    "office": "office writing book-paper mail",
}
"""The classes, and the subgroups of Unicode; one that ends with a hyphen stands for all that begin like it."""

MOST_OF_CLASS = 100


def _class_of(subgroup: str) -> str:
    for label, groups in GROUPS.items():
        for group in groups.split():
            if subgroup == group or (group.endswith("-") and subgroup.startswith(group)):
                return label
    return ""


def svg_of(icon: dict[str, Any], icon_set: dict[str, Any], colour: str) -> str:
    """Returns an icon of Iconify's as an SVG file."""
    sides = (icon.get(key, icon_set.get(key, default)) for key, default in _BOX.items())
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{" ".join(map(str, sides))}" color="{colour}">{icon["body"]}</svg>'
    )


_BOX = {"left": 0, "top": 0, "width": 16, "height": 16}
"""The box of an icon, and its defaults."""

Found = dict[tuple[str, str], list[tuple[str, Any]]]
"""For each domain and class, the code points of its emoji and what to draw: a file, or the text of one."""


def _found(source: Path) -> Found:
    openmoji = source / "openmoji/package"
    fluent = source / "lobehub-fluent-emoji-3d/package/assets"
    monotone = json.loads((source / "iconify-json/package/json/emojione-monotone.json").read_text())
    found: Found = {}
    for emoji in json.loads((openmoji / "data/openmoji.json").read_text()):
        label = _class_of(emoji["subgroups"])
        if emoji["skintone"] or emoji["group"].startswith("extras") or not label:
            continue
        if emoji["annotation"] == "cricket":  # a bat in one of the sets
            continue
        code = emoji["hexcode"].lower()
        for spelling in (code, code.replace("-fe0f", ""), f"{code}-fe0f"):
            if (fluent / f"{spelling}.webp").exists():
                found.setdefault(("render", label), []).append((code, fluent / f"{spelling}.webp"))
                break
        outline = openmoji / f"black/svg/{emoji['hexcode']}.svg"
        if outline.exists():
            found.setdefault(("line", label), []).append((code, outline.read_text()))
        name = re.sub(r"[^a-z0-9]+", "-", emoji["annotation"].lower()).strip("-")
        parent = monotone.get("aliases", {}).get(name, {}).get("parent", "")
        icon = monotone["icons"].get(name) or monotone["icons"].get(parent)
        if icon:
            found.setdefault(("silhouette", label), []).append((code, svg_of(icon, monotone, "#111")))
    return found


def build(source: Path, out: Path) -> None:
    """Writes the family."""
    writer = Writer(out, "emoji-groups")
    found = _found(source)
    for domain in ("render", "line", "silhouette"):
        for label in GROUPS:
            written = 0
            for code, what in shuffled(found[domain, label], 3):
                if written < MOST_OF_CLASS:
                    image = drawn_svg(what) if isinstance(what, str) else Image.open(what)
                    written += writer.add(domain, label, code, square(image))
