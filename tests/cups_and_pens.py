"""Small images of two classes, cups and pens, and the settings of a run on them that takes a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

QUICK = {
    "data": {"size": 16},
    "steps": 4,
    "batch": 4,
    "every": {"log": 2, "evaluate": 2, "checkpoint": 2},
}


def write_cups_and_pens(root: Path) -> None:
    """Writes studio/{cup,pen}, 12 images each, street, 10 images, and labelled/{cup,pen}, 4 images each."""
    rng = np.random.default_rng(0)
    for folder, count in (
        ("studio/cup", 12),
        ("studio/pen", 12),
        ("street", 10),
        ("labelled/cup", 4),
        ("labelled/pen", 4),
    ):
        (root / folder).mkdir(parents=True)
        for number in range(count):
            shade = 60 if folder.endswith("cup") else 200
            pixels = np.clip(rng.normal(shade, 30, (16, 16, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{number:02}.png")
