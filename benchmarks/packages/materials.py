"""Surfaces by material: photographs, dark painted surfaces of shooters, and surfaces of race tracks.

The material comes from the name of a texture. photo: UFO: Alien Invasion and Red Eclipse; shooter: Nexuiz and
OpenArena; racer: SuperTuxKart.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from pictures import SIZE, Writer, shuffled
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

PACKAGES = ("nexuiz-textures", "openarena-081-textures", "redeclipse-data", "supertuxkart-data", "ufoai-textures")

DOMAINS = {"photo": ("ufo", "redeclipse-data"), "shooter": ("nx", "oa"), "racer": ("supertuxkart-data",)}
"""The domains, and the folders of their packages or archives."""

CLASSES = {
    "brick": "brick",
    "wood": "wood",
    "metal": "metal|steel",
    "stone": "rock|stone|cliff|cobble",
    "dirt": "dirt|mud|soil",
}
NOT_COLOURS = (
    r"(_|-|\d|^)(nm|gm|norm|n|spec|s|d|z|local|glow|bump|normal|sm|rm|g|pbr|gloss|luma|blend|h|l|i|mask|height|pbrdata"
    r"|reflect|shirt|pants|alpha|ao|death)$"
)
"""Endings of textures that hold normals, gloss and the like."""
NOT_SURFACES = "sign|door|window|light|glass|lava|fence|panel|trim|switch|normal|dirty|bump|gear|box|chair|logo"
"""Names of things that are made of a material."""
NOT_FOLDERS = "/editor/|/gui|/models?/|karts|icons"

MOST_OF_CLASS = 100
LEAST_OF_CLASS = 30


def _textures(source: Path, roots: tuple[str, ...]) -> dict[str, list[str]]:
    """Returns the textures of each class, as paths below the folder of all sources."""
    found: dict[str, list[str]] = {label: [] for label in CLASSES}
    for root in roots:
        for path in (source / root).rglob("*"):
            stem, folder = path.stem.lower(), f"/x/{path.parent.relative_to(source).as_posix()}"
            if path.suffix.lower() not in (".jpg", ".png", ".tga") or re.search(NOT_FOLDERS, folder):
                continue
            if re.search(NOT_COLOURS, stem) or re.search(NOT_SURFACES, stem):
                continue
            hits = [label for label, words in CLASSES.items() if re.search(words, stem)]
            if len(hits) == 1:
                found[hits[0]].append(path.relative_to(source).as_posix())
    return found


def _is_normal_map(image: Image.Image) -> bool:
    red, green, blue = np.asarray(image.resize((16, 16)), dtype=float).reshape(-1, 3).mean(0)
    bluish = blue > 170 and blue - max(red, green) > 60
    return bool(bluish and abs(red - 128) < 50 and abs(green - 128) < 50)


def _surface(path: Path, domain: str) -> Image.Image | None:
    """Returns a texture; None where it is too small, too long, partly transparent, no picture, or holds normals."""
    try:
        image = Image.open(path)
        image.load()
    except OSError:
        return None
    if min(image.size) < 128 or max(image.size) > 3 * min(image.size):
        return None
    transparent = "A" in image.getbands() and np.asarray(image.getchannel("A")).mean() < 250
    if domain == "racer" and transparent:
        return None
    colours = image.convert("RGB")
    return None if _is_normal_map(colours) else colours


def _corners(image: Image.Image) -> list[Image.Image]:
    """Returns the four corners of a texture, opposite ones first; of a small one only the first, as a square."""
    width, height = image.size
    short = min(width, height)
    if short < 256:
        return [image.crop((0, 0, short, short))]
    side = max(SIZE, short // 2)
    starts = ((0, 0), (width - side, height - side), (width - side, 0), (0, height - side))
    return [image.crop((left, top, left + side, top + side)) for left, top in starts]


def build(source: Path, out: Path) -> None:
    """Writes the family."""
    writer = Writer(out, "materials")
    for domain, roots in DOMAINS.items():
        for label, paths in _textures(source, roots).items():
            written = 0
            more: list[tuple[str, Image.Image]] = []
            for path in shuffled(paths, 11):
                image = _surface(source / path, domain) if written < MOST_OF_CLASS else None
                if image is None:
                    continue
                name = re.sub(r"[^a-z0-9]+", "_", path.lower())[-70:]
                corners = [(f"{name}_{number}", corner) for number, corner in enumerate(_corners(image))]
                more += corners[2:]
                for corner_name, corner in corners[:2]:
                    written += writer.add(domain, label, corner_name, _resized(corner))
            for name, corner in more:
                if written < LEAST_OF_CLASS:
                    written += writer.add(domain, label, name, _resized(corner))


def _resized(image: Image.Image) -> Image.Image:
    return image.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
