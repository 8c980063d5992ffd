"""Traces the digits of the fonts that matplotlib ships into src/dalib/data/strokes.npz, which the demo draws from.

::

    pip install matplotlib
    python benchmarks/trace_fonts.py

The file was made with matplotlib 3.11. Another version may ship other fonts, and the demo's images change with them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from dalib.data import digits
from dalib.data.digits import CLASSES, POINTS, Floats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(digits.__file__).with_name("strokes.npz"), help="another file")
    np.savez_compressed(parser.parse_args().out, strokes=traced_strokes())


def traced_strokes() -> Floats:
    """Returns the centre lines of all digits of all fonts: (fonts, CLASSES, POINTS, 3)."""
    return np.stack([[stroke_points(font, digit) for digit in range(CLASSES)] for font in digit_fonts()])


def digit_fonts() -> list[Path]:
    """Returns the fonts in matplotlib's data folder whose digits are digits, sorted: 22 with matplotlib 3.11.

    Raises:
        FileNotFoundError: matplotlib was installed without its fonts.
    """
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    names = ("DejaVuSans", "DejaVuSerif", "STIXGeneral", "cmb10", "cmmi10", "cmr10", "cmss10", "cmti10", "cmtt10")
    # the "Display" fonts hold no digits
    fonts = [
        path for path in sorted(folder.glob("*.ttf")) if path.name.startswith(names) and "Display" not in path.name
    ]
    if not fonts:
        raise FileNotFoundError(f"{folder}: no TrueType font with digits; install matplotlib with its fonts")
    return fonts


def stroke_points(font: Path, digit: int) -> Floats:
    """Returns the centre line of a printed digit: (POINTS, 3) rows of x, y, half-width, in units of its height.

    The digit is centred at the origin, y grows downwards and reaches from -0.5 to 0.5. On short lines points repeat.
    The centre line is where the distance to the paper has a crest.
    """
    size = 100
    canvas = Image.new("L", (2 * size, 2 * size))
    ImageDraw.Draw(canvas).text(
        (size, size), str(digit), font=ImageFont.truetype(str(font), size), fill=255, anchor="mm"
    )
    parts, count = ndimage.label(np.asarray(canvas) > 127, structure=np.ones((3, 3)))
    if count == 0:
        raise ValueError(f"{font.name} draws nothing for the digit {digit}")
    # Monospaced fonts mark the zero with a dot that nobody writes by hand: keep the largest part alone.
    ink = parts == 1 + np.argmax(ndimage.sum_labels(np.ones(parts.shape), parts, np.arange(1, count + 1)))
    depth = ndimage.distance_transform_edt(ink)
    slope = np.hypot(*np.gradient(ndimage.gaussian_filter(depth, 0.7)))
    ys, xs = np.nonzero(ink & (slope < 0.66))  # 1 on a flank, 0 on a level crest, 0.7 in a right-angled corner
    rows, columns = np.nonzero(ink)
    half = depth[ys, xs]
    top, height = rows.min(), rows.max() - rows.min()
    line = np.stack([xs - (columns.min() + columns.max()) / 2, ys - top - height / 2, half], axis=1) / height
    # One point per grid cell, on the finest grid that leaves few enough.
    for cell in np.linspace(0.01, 0.2, 96):
        _, first = np.unique(np.round(line[:, :2] / cell), axis=0, return_index=True)
        if len(first) <= POINTS:
            break
    return np.resize(line[np.sort(first)], (POINTS, 3)).astype(np.float32)


if __name__ == "__main__":
    main()
