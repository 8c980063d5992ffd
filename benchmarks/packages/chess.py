"""Chess pieces: drawn figures, glyphs of chess fonts, and renders of three-dimensional sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pictures import Writer, drawn_part, glyph, square

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from PIL import Image

PACKAGES = ("brutalchess", "dreamchess-data", "pychess")

PIECES = {"b": "bishop", "k": "king", "n": "knight", "p": "pawn", "q": "queen", "r": "rook"}
COLOURS = {"w": "white", "b": "black"}

OTHER_GAMES = ("makruk", "sittuyin", "ttf")
"""Folders of PyChess that hold no set of western chess."""

ALSO_FONTS = ("leipzig", "magnetic", "maya", "merida", "merida_new", "regular")
"""Sets whose figures are also those of a font."""

GLYPHS = {"white": dict(zip("pnbrqk", "pnbrqk", strict=True)), "black": dict(zip("pnbrqk", "omvtwl", strict=True))}
OLD_GLYPHS = {"white": dict(zip("pnbrqk", "phbrqk", strict=True)), "black": dict(zip("pnbrqk", "ojntwl", strict=True))}
"""The characters of the pieces in a chess font, and in the font cheq."""

VIEWS = ((20, 12), (-35, 24), (75, 18), (140, 30), (-100, 10), (-150, 36), (48, 42))
"""Azimuth and elevation of the camera, in degrees."""

Piece = tuple[str, str, "Image.Image"]
"""The name and the class of a picture, and the picture."""


def _drawn(source: Path) -> Iterator[Piece]:
    for folder in sorted((source / "pychess/usr/share/pychess/pieces").iterdir()):
        if folder.name in OTHER_GAMES + ALSO_FONTS or not folder.is_dir():
            continue
        whole = folder / f"{folder.name}.svg"
        for colour, long_colour in COLOURS.items():
            for sign, piece in PIECES.items():
                if whole.exists():
                    image = drawn_part(whole, 1200, f"{long_colour.title()}{piece.title()}")
                else:
                    image = drawn_part(folder / f"{colour}{sign}.svg", 384)
                yield f"{folder.name}_{long_colour}", piece, image


def _fonts(source: Path) -> Iterator[Piece]:
    for path in sorted((source / "pychess/usr/share/pychess/pieces/ttf").glob("*.ttf")):
        for colour, glyphs in (OLD_GLYPHS if path.stem == "cheq" else GLYPHS).items():
            for sign, character in glyphs.items():
                yield f"{path.stem}_{colour}", PIECES[sign], glyph(str(path), character)


def _dreamchess_mesh(path: Path) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int, int]]]:
    """Returns the points (N, 3), the texture coordinates (N, 2) and the triangles of a DCM file."""
    words = path.read_text().split()[2:]
    size = int(words[0])
    numbers = np.array(words[1 : 1 + 8 * size], dtype=float)
    points, coordinates = numbers[: 3 * size].reshape(-1, 3), numbers[6 * size :].reshape(-1, 2)
    triangles = []
    position = 2 + 8 * size
    for _ in range(int(words[1 + 8 * size])):
        kind, length = words[position], int(words[position + 1])
        index = [int(word) for word in words[position + 2 : position + 2 + length]]
        position += 2 + length
        if kind == "STRIP":
            triangles += [(index[k], index[k + 1], index[k + 2]) for k in range(length - 2)]
        elif kind == "FAN":
            triangles += [(index[0], index[k], index[k + 1]) for k in range(1, length - 1)]
        else:
            triangles += [(index[k], index[k + 1], index[k + 2]) for k in range(0, length - 2, 3)]
    return points, coordinates, triangles


def _renders(source: Path) -> Iterator[Piece]:
    """Yields views of three sets: two of DreamChess, which stand along z, and one of Brutal Chess, along y."""
    from renders import Scene, mesh_in, mesh_of  # needs VTK

    dreamchess = source / "dreamchess-data/usr/share/games/dreamchess/pieces"
    brutal = source / "brutalchess/usr/share/games/brutalchess"
    for kind, piece in enumerate(PIECES.values()):
        for colour_number, colour in enumerate(COLOURS.values()):
            models = [
                (folder.name, mesh_of(*_dreamchess_mesh(folder / f"{piece}.dcm")), folder / f"{colour}.png", (0, 0, 1))
                for folder in (dreamchess / "classic", dreamchess / "elements")
            ]
            marble = brutal / "art" / f"marblehuge{colour}.png"
            models.append(("brutal", mesh_in(brutal / "models" / f"{piece}.obj"), marble, (0, 1, 0)))
            for model_number, (name, mesh, texture, up) in enumerate(models):
                scene = Scene()
                scene.show(mesh, texture)
                for number, (azimuth, elevation) in enumerate(VIEWS):
                    turn = 11 * (kind + 3 * colour_number + 5 * model_number)  # so that no two sets share their views
                    scene.look(azimuth + turn, elevation, up)
                    yield f"{name}_{colour}_{number}", piece, scene.colours()


def build(source: Path, out: Path) -> None:
    """Writes the family."""
    writer = Writer(out, "chess")
    for domain, pieces in (("drawn", _drawn), ("font", _fonts), ("render", _renders)):
        for name, piece, image in pieces(source):
            writer.add(domain, piece, name, square(image))
