"""Images of whole numbers beyond 8 bits: the values of black and white, and the scaling to 8 bits.

A file of 16 or 32 bits a sample rarely fills them: scanners give 12 bits, tomographs -1000 to 3000, and tools write 0
to 255 into 16 bits. What the file has room for is therefore no scale. The range of a set is

* what the files state, where that is not the room itself: a TIFF of 12 bits a sample, the greatest
  value of a PGM (which PIL scales to 16 bits by it);
* else what the values need: from 0, as many whole bits as the greatest value of the set takes, at least 8; or, where
  some are negative, from the least to the greatest value.

Source and target have one range, so that equal values stay equal, unless their ranges differ by two bits or more or
only one of them has negative values: these are of different devices, and each has its own (:func:`ranges_of`).
"""

from __future__ import annotations

import sys
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dalib.core.errors import Call, Setting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image

Range = tuple[int, int]
"""The values that become black and white."""

FULL: Range = (0, 2**16 - 1)
LIMIT = 2**32
"""Bound of the absolute values in a file."""

_NEEDS_16_BITS = 2**12  # an image with such a value fills more than the 12 bits that are usual in a file of 16
_MIN_RANGE_RATIO = 4  # two ranges differ if one is so many times as wide: two bits
_MIN_BRIGHTEST = 16  # of 255: an image without a pixel above it is all but black
_MIN_RANGE_SHARE = 8  # an image that has its values in an eighth of the range shows little
_MIN_SHARE_OF_SET = 4  # a quarter of a set's images are many
_SAMPLED_PIXELS = 4096  # pixels of an image that its range is found from
_MIN_VALUES = 32  # fewer values have no range
_TIFF_BITS, _TIFF_FORMAT, _SIGNED = 258, 339, 2


class WholeNumbers(NamedTuple):
    """The values in one file that holds whole numbers beyond 8 bits."""

    path: str
    low: int
    high: int
    dark: int
    light: int
    """Nine tenths of the different values lie between these, as near to each other as they do anywhere."""
    said: Range | None = None
    """The range that the file states, if any."""


def scaled(values: np.ndarray, black_white: Range) -> np.ndarray:
    """Scales whole numbers from a range to uint8; values beyond it become 0 or 255.

    >>> scaled(np.array([-5, 0, 15, 16, 4095, 5000]), (0, 4095)).tolist()
    [0, 0, 0, 1, 255, 255]
    """
    low, high = black_white
    # rounded down: of a whole number of bits, the highest 8, as PIL and every other reader of 16 bits takes them
    steps = (values.astype(np.int64) - low) * 256 // (high - low + 1)
    eight: np.ndarray = steps.clip(0, 255).astype(np.uint8)
    return eight


def own_range(low: int, high: int, said: Range | None = None) -> Range:
    """Returns the range for a single image with values from ``low`` to ``high``, if the range of its set is unknown.

    16 bits count from 0 to 65535 if more than 12 of them are used.

    Raises:
        ValueError: it is unknown which values are black and white.
    """
    if said is not None:
        return said
    if low >= 0 and (high == 0 or _NEEDS_16_BITS <= high <= FULL[1]):
        return FULL
    raise ValueError(
        f"whole numbers from {low} to {high}, and nothing tells which are black and white; expected 8 bits, or a model "
        f"that was trained on such images (their range is {Setting('data.range')} of {Call('dalib.adapt')})"
    )


def range_of(found: Sequence[WholeNumbers]) -> Range:
    """Returns the range of a set of at least one file.

    Raises:
        ValueError: it is so wide that a quarter of the images or more would be black, or of a few shades: the files are
            on different scales, hold numbers that are no brightness, or a few values are far from all others.
    """
    low, high = min(each.low for each in found), max(each.high for each in found)
    untold = [each for each in found if each.said is None]
    decided: Range = (low, high) if low < 0 else (0, 2 ** max(8, high.bit_length()) - 1)
    if not untold:
        decided = found[0].said or decided
    for each in found:
        if each.said is not None:
            decided = (min(decided[0], each.said[0]), max(decided[1], each.said[1]))
    # an image of one value tells nothing
    telling = [each for each in untold if each.low < each.high]
    poor = [each for each in telling if _shows_little(each, decided)]
    if len(poor) > len(telling) / _MIN_SHARE_OF_SET:
        one = poor[0]
        far = max(found, key=lambda each: max(each.high - one.light, one.dark - each.low))
        raise ValueError(
            f"values from {low} to {high}, of which {len(poor)} of {len(found)} images use a small part: {one.path} "
            f"mostly {one.dark} to {one.light}, {far.path} {far.low} to {far.high}"
        )
    return decided


def ranges_of(source: Sequence[WholeNumbers], target: Sequence[WholeNumbers]) -> tuple[Range | None, Range | None]:
    """Returns the ranges of source and target; None for a domain without such images.

    Raises:
        ValueError: as :func:`range_of`.
    """
    if not source or not target:
        return (range_of(source) if source else None), (range_of(target) if target else None)
    first, second = range_of(source), range_of(target)
    both = (min(first[0], second[0]), max(first[1], second[1]))
    narrower = min(high - low + 1 for low, high in (first, second))
    one_kind = (first[0] < 0) == (second[0] < 0)
    return (both, both) if one_kind and both[1] - both[0] + 1 < _MIN_RANGE_RATIO * narrower else (first, second)


def describe_range(found: Sequence[WholeNumbers], count: int, black_white: Range) -> str:
    """Describes a set of ``count`` images, of which ``found`` hold whole numbers beyond 8 bits."""
    low, high = min(each.low for each in found), max(each.high for each in found)
    which = "all images are" if len(found) == count else f"{len(found)} of {count} images are"
    return (
        f"{which} of more than 8 bits, with values from {low} to {high}; {black_white[0]} is black, {black_white[1]} "
        "white"
    )


def likely_range(found: Sequence[WholeNumbers]) -> Range:
    """Returns the range of most images' values, in whole bits if they begin near 0."""
    low, high = (int(median(values)) for values in ([each.dark for each in found], [each.light for each in found]))
    offset = low < 0 or 2 * low > high
    return (low, max(high, low + 1)) if offset else (0, 2 ** max(1, high.bit_length()) - 1)


def outside_range(found: Sequence[WholeNumbers], black_white: Range) -> list[WholeNumbers]:
    """Returns the files with values outside of a range."""
    return [each for each in found if each.low < black_white[0] or each.high > black_white[1]]


def describe_outside_range(clipped: Sequence[WholeNumbers], black_white: Range, count: int | None = None) -> str:
    """Describes files with values outside of a range; ``count`` if ``clipped`` is a part of them."""
    first, count = clipped[0], len(clipped) if count is None else count
    return (
        f"{count} image{'s have' if count > 1 else ' has'} values below {black_white[0]} or above {black_white[1]}, "
        f"which become black or white, for instance {first.path}: {first.low} to {first.high}"
    )


def may_exceed_8_bits(head: bytes) -> bool:
    """Returns whether a file may hold whole numbers beyond 8 bits, by its first bytes; 32 rule out most files."""
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return head[24:25] == b"\x10"  # bits a sample
    return head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+") or head[:2] in (b"P2", b"P3", b"P5", b"P6")


def is_grey_beyond_8_bits(image: Image.Image) -> bool:
    """Returns whether an image, whose header is read, is grey with whole numbers outside of 0 to 255."""
    return image.mode.startswith("I") or (image.mode == "L" and _signed_byte(image))


def grey_values(image: Image.Image) -> np.ndarray:
    """Reads the whole numbers of such an image; PIL has no mode for some of them."""
    values = np.asarray(image)
    if _signed_byte(image):
        return values.view(np.int8)
    tags = _tags(image)
    if image.mode == "I" and tags.get(_TIFF_BITS) == (32,) and _SIGNED not in tags.get(_TIFF_FORMAT, ()):
        return values.view(np.uint32)
    return values


def range_in_header(image: Image.Image) -> Range | None:
    """Returns the range in the header: significant bits fewer than the bits of a sample, or a PGM's greatest value."""
    bits = _tags(image).get(_TIFF_BITS, ())
    if image.mode.startswith("I;16") and len(bits) == 1 and 8 < bits[0] < 16:
        return 0, 2 ** bits[0] - 1
    codec, arguments = _decoder(image)
    if image.mode == "I" and codec.startswith("ppm") and arguments[-1] != FULL[1]:
        return FULL  # PIL has scaled it
    return None


def high_and_low_bytes(image: Image.Image) -> tuple[bool, list[Any] | None]:
    """Returns whether an image has 16-bit colours, of which PIL reads the high byte, and the tiles that give the low
    one.

    The tiles are None where PIL has no way to them.
    """
    codec, arguments = _decoder(image)
    deep = bool(arguments) and image.mode in ("LA", "RGB", "RGBA") and ";16" in str(arguments[0])
    if codec.startswith("ppm") and image.mode == "RGB" and arguments[-1] == FULL[1]:
        return True, None
    other = _OTHER_BYTE.get(arguments[0]) if deep else None
    if other is None:
        return deep, None
    return True, [_with_pixel_format(tile, other) for tile in image.tile]  # type: ignore[attr-defined] # of an image from a file


_OTHER_BYTE = {
    f"{mode};16{order}": f"{mode};16{other}"
    for mode in ("RGB", "RGBA")
    for order, other in (("B", "L"), ("L", "B"), ("N", "B" if sys.byteorder == "little" else "L"))
}


def whole_numbers_of(path: str, values: np.ndarray, said: Range | None) -> WholeNumbers:
    """Summarises the values of one image."""
    flat = values.reshape(-1)
    low, high = int(flat.min()), int(flat.max())
    different = np.unique(flat[:: max(1, len(flat) // _SAMPLED_PIXELS)]).astype(np.int64)
    if len(different) < _MIN_VALUES:
        return WholeNumbers(path, low, high, low, high, said)
    kept = len(different) * 9 // 10
    first = int((different[kept:] - different[: len(different) - kept]).argmin())
    return WholeNumbers(path, low, high, int(different[first]), int(different[first + kept]), said)


def _shows_little(image: WholeNumbers, black_white: Range) -> bool:
    """Returns whether an image would be almost black on a scale, or of few shades beside a few distant values."""
    share = (image.light - image.dark) * _MIN_RANGE_SHARE < black_white[1] - black_white[0] + 1
    return bool(scaled(np.array(image.high), black_white) < _MIN_BRIGHTEST) or share


def _with_pixel_format(tile: Any, kind: str) -> Any:
    """Returns the tile with another pixel format; PIL's tiles were plain tuples once."""
    arguments = kind if isinstance(tile[3], str) else (kind, *tile[3][1:])
    return tile._replace(args=arguments) if hasattr(tile, "_replace") else (*tile[:3], arguments)


def _signed_byte(image: Image.Image) -> bool:
    tags = _tags(image)
    return bool(tags.get(_TIFF_BITS) == (8,) and tags.get(_TIFF_FORMAT) == (_SIGNED,))


def _tags(image: Image.Image) -> Any:
    return getattr(image, "tag_v2", {})


def _decoder(image: Image.Image) -> tuple[str, Sequence[Any]]:
    """Returns the name and the arguments of PIL's decoder of an unloaded image, the pixel format first."""
    tiles = getattr(image, "tile", None)
    if not tiles:
        return "", ()
    arguments = tiles[0][3]
    return str(tiles[0][0]), (arguments,) if isinstance(arguments, str) else tuple(arguments or ())
