"""Small noisy images about a shade of grey, which is what tells their classes apart."""

import numpy as np
from PIL import Image


def write_shades(root, shades, count, size):
    """Writes so many square images of ``size`` pixels into each folder below ``root``, about the shade of each."""
    rng = np.random.default_rng(0)
    for number in range(count):
        for place, shade in shades.items():
            path = root / place / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.clip(rng.normal(shade, 30, (size, size, 3)), 0, 255).astype(np.uint8)).save(path)
