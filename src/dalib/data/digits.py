"""Two small digit data sets that need no download: printed (labelled) and handwritten (unlabelled).

* :func:`render_digits`: labels for free. Digits of 22 fonts, redrawn by a random pen along the centre line of the
  printed stroke, bent and slanted; some in shapes that hands write and fonts do not have.
* :func:`handwritten_digits`: scikit-learn's ``load_digits``, 1797 real digits (UCI "optical recognition of handwritten
  digits"), split once and for all into 1200 to train on, without labels, and 597 held out, with labels.

Both end as 8x8 counts of ink. The handwritten ones were made by the preprocessing of NIST's form-based handprint
recognition system (NISTIR 5469): the bounding box is stretched to 20x32 inside a 32x32 bitmap, strokes far too thick
or too thin are eroded or dilated, the slant is sheared away, and ink is counted in 4x4 blocks.
:func:`normalise_bitmaps` repeats these steps, so that the two domains differ in who drew the digits and not in how
they were scanned.
"""

from __future__ import annotations

import functools
import importlib.resources

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Labels = NDArray[np.int64]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

CLASSES = 10
HEIGHT, WIDTH = 32, 20  # the box, in pixels, that NIST's preprocessing stretches every digit to
BLOCK = 4  # ink is counted in BLOCK x BLOCK pixels
POINTS = 96  # on a centre line

# Shapes that hands write and fonts lack, as polylines in units of the digit's height (x to the right, y down), and the
# share of a class that is drawn so: a 1 without serifs, an open 4, a 7 with a bar.
WRITTEN: dict[int, tuple[float, list[list[list[tuple[float, float]]]]]] = {
    1: (
        0.65,
        [
            [[(0, -0.5), (0, 0.5)]],
            [[(0.12, -0.5), (0.12, 0.5)], [(-0.2, -0.2), (0.12, -0.5)]],
            [[(0.1, -0.5), (0, 0.5)], [(-0.15, -0.3), (0.1, -0.5)]],
        ],
    ),
    4: (
        0.5,
        [
            [[(-0.1, -0.5), (-0.3, 0.1), (0.35, 0.1)], [(0.15, -0.25), (0.1, 0.5)]],
            [[(-0.25, -0.5), (-0.28, 0), (0.25, 0)], [(0.25, -0.5), (0.22, 0.5)]],
        ],
    ),
    7: (
        0.6,
        [
            [[(-0.28, -0.5), (0.28, -0.5), (-0.05, 0.5)], [(-0.2, 0.02), (0.3, 0.02)]],
            [[(-0.28, -0.35), (-0.28, -0.5), (0.28, -0.5), (0, 0.05), (-0.08, 0.5)], [(-0.2, 0.02), (0.3, -0.02)]],
        ],
    ),
}


def render_digits(count: int, seed: int) -> tuple[Bytes, Labels]:
    """Draws ``count`` digits with a random pen: images (N, 8, 8) uint8 and labels (N,) int64, the same for one seed.

    Classes are balanced to within one image, and fonts within a class as well; the order is random.
    """
    rng = np.random.default_rng(seed)
    printed = printed_strokes()
    order = rng.permutation(count)
    labels = (order % CLASSES).astype(np.int64)
    lines = printed[order // CLASSES % len(printed), labels]
    for digit, (share, shapes) in WRITTEN.items():
        written = np.stack([polyline_points(shape) for shape in shapes])
        members = np.flatnonzero(labels == digit)
        chosen = members[rng.random(len(members)) < share]
        lines[chosen] = written[rng.integers(len(written), size=len(chosen))]
    images = np.empty((count, HEIGHT // BLOCK, HEIGHT // BLOCK), np.uint8)
    for start in range(0, count, 500):
        line = lines[start : start + 500]
        # The pen is between a plain round one and the printed stroke itself, made thinner or thicker.
        pen, thickness, plain = rng.random((3, len(line), 1), dtype=np.float32)
        printedness = plain**2
        half_width = (1 - printedness) * (0.05 + 0.06 * pen) + printedness * line[..., 2] * (0.8 + 0.5 * thickness)
        images[start : start + 500] = normalise_bitmaps(draw(bend(line[..., :2], rng), np.maximum(half_width, 0.03)))
    return images, labels


def handwritten_digits() -> tuple[Bytes, Bytes, Labels]:
    """Returns (1200, 8, 8) uint8 to train on, (597, 8, 8) uint8 held out, and the (597,) int64 labels of the latter."""
    from sklearn.datasets import load_digits  # takes a second to import, and few runs have these digits

    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.images))
    images = np.rint(data.images * (255 / 16)).astype(np.uint8)
    train, held_out = order[:1200], order[1200:]
    return images[train], images[held_out], data.target[held_out].astype(np.int64)


@functools.cache
def printed_strokes() -> Floats:
    """Returns the centre lines of printed digits, (fonts, CLASSES, POINTS, 3) rows of x, y, half-width.

    They are in units of a digit's height, which is centred at the origin; y grows downwards from -0.5 to 0.5. On short
    lines points repeat. ``benchmarks/trace_fonts.py`` traced them, so that nobody needs the fonts.
    """
    with importlib.resources.files("dalib.data").joinpath("strokes.npz").open("rb") as file:
        strokes: Floats = np.load(file)["strokes"]
    return strokes


def polyline_points(lines: list[list[tuple[float, float]]]) -> Floats:
    """Samples polylines: (POINTS, 3) rows of x, y, half-width, evenly spaced along their whole length."""
    starts = np.concatenate([np.asarray(line, np.float64)[:-1] for line in lines])
    ends = np.concatenate([np.asarray(line, np.float64)[1:] for line in lines])
    until = np.cumsum(np.hypot(*(ends - starts).T))
    along = np.linspace(0, until[-1], POINTS)
    segment = np.searchsorted(until, along).clip(max=len(until) - 1)
    since = np.concatenate([[0], until[:-1]])[segment]
    share = ((along - since) / (until[segment] - since))[:, None]
    points = starts[segment] * (1 - share) + ends[segment] * share
    return np.concatenate([points, np.full((POINTS, 1), 0.06)], axis=1).astype(np.float32)


def bend(xy: Floats, rng: np.random.Generator) -> Floats:
    """Bends strokes as by hand, (N, P, 2) -> (N, P, 2), each by a smooth random map of its own."""
    count = len(xy)

    def normal(scale: float, *shape: int) -> Floats:
        return rng.normal(0.0, scale, (count, *shape)).astype(np.float32)

    # Smooth waves first: displacements that are sums of three plane waves of about one period per height.
    frequency, phase = normal(0.8, 3, 2), rng.uniform(0, 2 * np.pi, (count, 1, 3)).astype(np.float32)
    wave = np.sin(2 * np.pi * xy @ frequency.transpose(0, 2, 1) + phase)
    xy = (xy + wave @ normal(0.05, 3, 2)).astype(np.float32)
    # Then taper (the top wider than the bottom, or the reverse), slant, rotation and aspect.
    x, y = xy[..., 0], xy[..., 1]
    x = x * np.exp(normal(0.25, 1).clip(-1.2, 1.2) * y * 2) * np.exp(normal(0.15, 1)) + normal(0.25, 1) * y
    angle = normal(0.12, 1)
    bent: Floats = np.stack([x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)], axis=-1)
    return bent


def draw(xy: Floats, radius: Floats) -> Mask:
    """Draws ink along points (N, P, 2) with pen radii (N, P), its bounding box stretched: (N, HEIGHT, WIDTH) bool."""
    low = (xy - radius[..., None]).min(axis=1)
    high = (xy + radius[..., None]).max(axis=1)
    size = high - low
    x = low[:, :1] + size[:, :1] * (np.arange(WIDTH, dtype=np.float32) + 0.5) / WIDTH
    y = low[:, 1:] + size[:, 1:] * (np.arange(HEIGHT, dtype=np.float32) + 0.5) / HEIGHT
    across = (x[:, :, None] - xy[:, None, :, 0]) ** 2
    down = (y[:, :, None] - xy[:, None, :, 1]) ** 2 - radius[:, None] ** 2
    ink = np.empty((len(xy), HEIGHT, WIDTH), np.bool_)
    for i in range(len(xy)):  # one image at a time: 100 kB of intermediate values stay in the processor's cache
        ink[i] = (down[i, :, None] + across[i, None]).min(axis=-1) <= 0
    return ink


def neighbours(ink: Mask, dilate: bool) -> Mask:
    """Dilates (or erodes) bitmaps (N, H, W) by the four neighbours; the outside counts as background (or as ink)."""
    padded = np.pad(ink, ((0, 0), (1, 1), (1, 1)), constant_values=not dilate)
    parts = [ink, padded[:, :-2, 1:-1], padded[:, 2:, 1:-1], padded[:, 1:-1, :-2], padded[:, 1:-1, 2:]]
    changed: Mask = np.logical_or.reduce(parts) if dilate else np.logical_and.reduce(parts)
    return changed


def normalise_bitmaps(ink: Mask) -> Bytes:
    """Normalises bitmaps (N, HEIGHT, WIDTH) as NIST does after the stretch, to (N, 8, 8) ink, 0 to 255.

    Erode above 412 pixels of ink (again above 560), dilate below 256 (again below 108), shear so that the leftmost ink
    near the top and near the bottom is in one column, count ink in blocks of 4x4 (0 to 16), scale the counts to 255.
    """
    side = HEIGHT
    ink = np.pad(ink, ((0, 0), (0, 0), ((side - WIDTH) // 2, (side - WIDTH) // 2)))
    amount = ink.sum(axis=(1, 2))
    for limit in (412, 560):
        ink = np.where((amount > limit)[:, None, None], neighbours(ink, dilate=False), ink)
    for limit in (256, 108):
        ink = np.where((amount < limit)[:, None, None], neighbours(ink, dilate=True), ink)
    # Two rows away from the edges, as NIST does: the edge itself is noisy.
    top, bottom = ink[:, 2], ink[:, side - 3]
    drift = (top.argmax(axis=1) - bottom.argmax(axis=1)) / (side - 5)
    drift = np.where(top.any(axis=1) & bottom.any(axis=1), drift, 0.0)
    shift = np.rint((np.arange(side) - side // 2) * drift[:, None]).astype(np.int64)  # (N, side), to the right
    source = np.arange(side) - shift[:, :, None]
    sheared = np.take_along_axis(ink, source.clip(0, side - 1), axis=2) & (source >= 0) & (source < side)
    blocks = side // BLOCK
    counts = sheared.reshape(-1, blocks, BLOCK, blocks, BLOCK).sum(axis=(2, 4))
    grey: Bytes = np.rint(counts * (255 / BLOCK**2)).astype(np.uint8)
    return grey
