"""Drawings of parts on a conveyor belt, a family of images that no data set has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from pathlib import Path

PARTS = ("nut", "screw", "spring", "washer", "pin", "gear")
SIDE = 112


def drawn_parts(folder: Path, count: int) -> dict[str, list[Path]]:
    """Writes so many images of each part, once; returns the files of each."""
    if not folder.is_dir():
        for position, part in enumerate(PARTS):
            (folder / part).mkdir(parents=True)
            for number in range(count):
                rng = np.random.default_rng((position, number))
                _on_belt(part, rng).save(folder / part / f"{number:03}.png")
    return {part: list((folder / part).glob("*.png")) for part in PARTS}


def _on_belt(part: str, rng: np.random.Generator) -> Image.Image:
    """Returns a part as it lies on the belt: turned, shifted, of some shade of metal."""
    grain = rng.normal(85, 8, (SIDE, SIDE, 1)) + np.zeros(3)
    picture = Image.fromarray(grain.clip(0, 255).astype(np.uint8))
    shade = int(rng.integers(140, 235))
    metal = (shade, shade, int(0.85 * shade) if rng.random() < 0.4 else shade)
    drawn = (
        _drawn(part, metal)
        .resize([int(SIDE * rng.uniform(0.6, 0.95))] * 2)
        .rotate(rng.uniform(0, 360), Image.Resampling.BICUBIC)
    )
    left, top = (SIDE - drawn.width) // 2 + rng.integers(-10, 11, 2)
    picture.paste(drawn, (int(left), int(top)), drawn)
    return picture


def _drawn(part: str, metal: tuple[int, ...]) -> Image.Image:
    picture = Image.new("RGBA", (SIDE, SIDE))
    pen, dark, nothing = ImageDraw.Draw(picture), tuple(int(0.7 * channel) for channel in metal), (0, 0, 0, 0)
    if part == "nut":
        pen.regular_polygon((56, 56, 34), 6, fill=metal, outline=dark)
        pen.ellipse([40, 40, 72, 72], fill=nothing, outline=dark, width=3)
    elif part == "washer":
        pen.ellipse([22, 22, 90, 90], fill=metal, outline=dark)
        pen.ellipse([36, 36, 76, 76], fill=nothing, outline=dark, width=2)
    elif part == "screw":
        pen.rectangle([48, 34, 64, 102], fill=metal)
        pen.rounded_rectangle([36, 16, 76, 36], 6, fill=metal, outline=dark)
    elif part == "pin":
        pen.rounded_rectangle([49, 12, 63, 100], 6, fill=metal, outline=dark)
    elif part == "gear":
        pen.regular_polygon((56, 56, 40), 12, fill=dark)
        pen.ellipse([24, 24, 88, 88], fill=metal, outline=dark)
        pen.ellipse([46, 46, 66, 66], fill=nothing, outline=dark, width=2)
    else:
        turns = [(38 + 36 * (number % 2), 14 + 7 * number) for number in range(13)]
        pen.line(turns, fill=metal, width=6, joint="curve")
    return picture
