"""Kinds of ground: photographed from near, seen from the air, and drawn as the hexagons of a map.

ground: textures of 0 A.D., made of photographs; aerial: textures of FlightGear, made of aerial photographs;
map: patches of maps of The Battle for Wesnoth, put together as the game does.
"""

from __future__ import annotations

import io
import random
import re
import zipfile
from functools import partial
from typing import TYPE_CHECKING

from pictures import SIZE, Writer, plain_name, shuffled
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

PACKAGES = ("0ad-data", "flightgear-data-base", "wesnoth-1.16-data")

MOST_OF_CLASS = 60

GROUND = {
    "forest": r"forr?estfloor",
    "grass": r"grass",
    "rock": r"cliff|rock",
    "sand": r"sand|dune|sahara",
    "snow": r"snow|(?<![a-z])ice|icy",
    "town": r"city|paving|pavement",
}
"""The classes, by words of the names of 0 A.D.'s textures. A name of two classes is left out."""

AERIAL = {
    "forest": r"forest|evergreen|deciduous",
    "grass": r"grass|pasture",
    "rock": r"rock|cliff|gravel",
    "sand": r"sand|dune",
    "snow": r"snow|glacier|packice",
    "town": r"city|town|suburb|commercial|slum|industr",
}
NOT_GROUND = r"_norm|_spec|farmland|furrows"
NOT_AERIAL = r"crop|rice|mask|relief|overlay|colors|airport|winter|lava|golf|grain"

HEXAGONS = {
    "forest": "forest/(?!.*(snow|dead|sparse|small|tile|hills|mushrooms|fungus)).*",
    "grass": "grass/(green|dry|semi-dry)[0-9]*",
    "rock": "(hills/(regular|dry)|cave/(hills-variation|floor|earthy-floor)|mountains/(basic|dry))[0-9]*",
    "sand": "sand/(desert|beach)[0-9]*",
    "snow": "(frozen/(snow|ice)|hills/snow)[0-9]*",
    "town": "village/(?!.*(tile|night|-A[0-9]|coast|swamp|ruin|igloo|snow|camp)).*",
}
Texture = tuple[str, str, "Callable[[], Image.Image]"]
"""The name and the class of a texture, and what opens it."""
UNDERGROUND = "grass/(green|dry|semi-dry)[0-9]*"
"""What lies below the forests, mountains and villages of a map."""


def _class_of(name: str, words: dict[str, str]) -> str:
    hits = [label for label, word in words.items() if re.search(word, name)]
    return hits[0] if len(hits) == 1 else ""


def _corners(image: Image.Image) -> list[Image.Image]:
    """Returns the four quarters of a texture and its middle; small textures are returned whole."""
    width, height = image.size
    if min(width, height) < 256:
        return [image.crop((0, 0, min(width, height), min(width, height)))]
    side = min(width, height) // 2
    starts = [(0, 0), (width - side, height - side), (width - side, 0), (0, height - side)]
    starts += [((width - side) // 2, (height - side) // 2)]
    return [image.crop((left, top, left + side, top + side)) for left, top in starts]


def _write_textures(writer: Writer, domain: str, textures: Iterable[Texture]) -> None:
    """Writes a quarter of each texture, then second quarters, and so on until a class is full."""
    by_class: dict[str, list[tuple[str, list[Image.Image]]]] = {}
    for name, label, opened in textures:
        by_class.setdefault(label, []).append((name, _corners(opened().convert("RGB"))))
    for label, found in sorted(by_class.items()):
        written = 0
        order = shuffled(found, 1)
        for quarter in range(5):
            for name, quarters in order:
                if written < MOST_OF_CLASS and quarter < len(quarters):
                    image = quarters[quarter].resize((SIZE, SIZE), Image.Resampling.LANCZOS)
                    written += writer.add(domain, label, f"{name}_{quarter}", image)


def _opened(archive: zipfile.ZipFile, path: str) -> Image.Image:
    return Image.open(io.BytesIO(archive.read(path)))


def _ground(archive: zipfile.ZipFile) -> Iterator[Texture]:
    folder = "art/textures/terrain/types/"
    for path in sorted(archive.namelist()):
        name = path.removeprefix(folder).removesuffix(".cached.dds")
        stem = name.rsplit(".", 1)[0]
        if not path.startswith(folder) or not path.endswith(".cached.dds") or re.search(NOT_GROUND, stem):
            continue
        label = _class_of(stem.lower(), GROUND)
        if label:
            yield plain_name(stem), label, partial(_opened, archive, path)


def _aerial(folder: Path) -> Iterator[Texture]:
    for path in sorted(folder.glob("*.png")):
        label = "" if re.search(NOT_AERIAL, path.stem) else _class_of(path.stem.lower(), AERIAL)
        if label:
            yield plain_name(path.stem), label, partial(Image.open, path)


def _kinds(folder: Path, pattern: str) -> list[list[Image.Image]]:
    """Returns the hexagons of each kind: those whose names differ in their last number alone."""
    kinds: dict[str, list[Image.Image]] = {}
    for path in sorted(folder.rglob("*.png")):
        name = path.relative_to(folder).as_posix().removesuffix(".png")
        if re.fullmatch(pattern, name):
            kinds.setdefault(re.sub(r"[0-9]+$", "", name), []).append(Image.open(path).convert("RGBA"))
    return [kinds[kind] for kind in sorted(kinds)]


def _patch(above: list[Image.Image], below: list[Image.Image], draw: random.Random) -> Image.Image:
    """Returns part of a map of one terrain: hexagons of 72 pixels, columns 54 pixels apart, every second one lower."""
    patch = Image.new("RGBA", (SIZE + 288, SIZE + 288))
    for layer in (below, above):
        for row in range(7):
            for column in range(9):
                tile = draw.choice(layer)
                left, top = 54 * column, 72 * row + 36 * (column % 2)
                patch.alpha_composite(tile, (max(0, left + 36 - tile.width // 2), max(0, top + 36 - tile.height // 2)))
    left, top = draw.randrange(100, 180), draw.randrange(100, 180)
    return patch.crop((left, top, left + SIZE, top + SIZE)).convert("RGB")


def build(source: Path, out: Path) -> None:
    """Writes the family."""
    writer = Writer(out, "terrain")
    with zipfile.ZipFile(source / "0ad-data/usr/share/games/0ad/mods/public/public.zip") as archive:
        _write_textures(writer, "ground", _ground(archive))
    textures = source / "flightgear-data-base/usr/share/games/flightgear/Textures"
    _write_textures(writer, "aerial", _aerial(textures / "Terrain"))
    images = source / "wesnoth-1.16-data/usr/share/games/wesnoth/1.16/data/core/images/terrain"
    below = _kinds(images, UNDERGROUND)
    for label, pattern in HEXAGONS.items():
        draw = random.Random(label)
        kinds = _kinds(images, pattern)
        for number in range(MOST_OF_CLASS):
            writer.add("map", label, f"{number:02d}", _patch(draw.choice(kinds), draw.choice(below), draw))
