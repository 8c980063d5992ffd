"""Decoding: one image file -> pixels, of whatever format; many files -> rows, with a list of unreadable ones.

What decides how a file becomes pixels:

* JPEG, PNG, WebP, GIF, BMP, TIFF, PPM and PGM are read, by content and not by ending; AVIF, HEIC and JPEG XL where
  what they need is installed (:mod:`dalib.data.formats`); of several frames or pages, the first. No other decoder of
  PIL is tried: some start programs.
* An image is turned upright according to its EXIF data. EXIF data that are damaged are ignored.
* What is transparent is put on white, the colour of the page that such pictures are drawn for.
* Whole numbers beyond 8 bits are scaled to 8 from the range of their set (:mod:`dalib.data.depth`). Floating-point
  pixels count on the scale [0, 1] if all are in it, else on [0, 255].
* A JPEG of at least twice the wanted size is decoded at a half, a quarter or an eighth of its size
  (:func:`read_pixels`), which is several times as fast.
* A truncated file, and one of more pixels than ``PIL.Image.MAX_IMAGE_PIXELS`` (89 million), is unreadable.
"""

from __future__ import annotations

import os
import re
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from dalib.core.errors import Setting, UserError
from dalib.core.files import Unreadable
from dalib.data.depth import (
    FULL,
    WholeNumbers,
    grey_values,
    high_and_low_bytes,
    is_grey_beyond_8_bits,
    may_exceed_8_bits,
    own_range,
    range_in_header,
    scaled,
    whole_numbers_of,
)
from dalib.data.formats import formats, remedy_for_content
from dalib.data.shards import open_image, shard_of, state_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from dalib.data.depth import Range
    from dalib.data.preprocessing import Preprocessing


@dataclass(frozen=True)
class ImageHeader:
    """The header of an image file: size as stored, before EXIF data turn it, and PIL's mode."""

    width: int
    height: int
    mode: str


def read_pixels(path: Path | bytes, preprocessing: Preprocessing) -> np.ndarray:
    """Reads (C, size, size) uint8 from one file, or from the bytes of one.

    A JPEG of at least twice ``size`` on both sides is decoded at the smallest of 1/8, 1/4 and 1/2 that leaves ``size``
    on both and moves no edge by more than half a final pixel. Photographs of 1600x1200 took 4 to 7 ms so and
    20 to 32 ms whole, for sizes from 32 to 256, and the pixels differed by less than 1 of 255 on average.
    ``fit='ink'`` looks for something small in the picture and sees all of it.

    Raises:
        Exception: whatever PIL's decoders raise; :func:`reason` words it.
    """
    with opened(path) as image:
        if preprocessing.fit != "ink" and image.format in ("JPEG", "MPO"):
            divisor = _divisor(image.size, preprocessing.size)
            if divisor > 1:
                mode = "L" if preprocessing.channels == 1 else None
                image.draft(mode, (image.width // divisor, image.height // divisor))
        return preprocessing.pixels(_to_eight_bits(image, path, preprocessing.range))


def read_picture(path: Path, side: int, black_white: Range | None = None) -> Image.Image:
    """Reads the whole picture in a file for display: L or RGB, upright, its longer side at most ``side`` pixels.

    ``black_white`` is the range of whole numbers beyond 8 bits, as of :class:`dalib.data.preprocessing.Preprocessing`.

    Raises:
        Exception: whatever PIL's decoders raise; :func:`reason` words it.
    """
    with opened(path) as image:
        image.draft(None, (side, side))  # of a JPEG, at least so many pixels
        seen = _to_eight_bits(image, path, black_white)
        seen.thumbnail((side, side))
        return seen


def read_header(path: Path) -> ImageHeader | Unreadable:
    """Reads size and mode without decoding; detects what is no image, but no truncation."""
    try:
        with pillow_warnings_as_errors(), opened(path) as image:
            return ImageHeader(image.width, image.height, image.mode)
    except Exception as error:
        return Unreadable(str(path), reason(error))


def read_headers(
    paths: Sequence[Path],
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[ImageHeader | Unreadable]:
    """Calls :func:`read_header` for each, in order; ``on_progress`` is called with (done, total)."""
    headers = []
    with pillow_warnings_as_errors():
        for path in paths:  # threads gain little: PIL reads headers in Python
            headers.append(read_header(path))
            if on_progress is not None:
                on_progress(len(headers), len(paths))
    return headers


def whole_numbers(
    paths: Sequence[Path],
    *,
    on_progress: Callable[[int, int], None] | None = None,
    threads: int | None = None,
) -> tuple[WholeNumbers, ...]:
    """Finds the files that hold whole numbers beyond 8 bits, in order; it decodes these and no others.

    A file that cannot be read is left out.

    Args:
        on_progress: called with (done, total) from the first such file on; not at all where there is none.
        threads: threads that decode; None is one for each core.
    """
    found: list[WholeNumbers] = []
    with pillow_warnings_as_errors(), ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        for first in range(0, len(paths), _CHUNK):  # what waits in a pool takes memory
            for number, each in enumerate(pool.map(_whole_numbers_in, paths[first : first + _CHUNK]), start=first + 1):
                if each is not None:
                    found.append(each)
                if found and on_progress is not None:
                    on_progress(number, len(paths))
    return tuple(found)


_CHUNK = 1024


def _whole_numbers_in(path: Path) -> WholeNumbers | None:
    try:
        if not state_of(path).is_regular:
            return None
        with open_image(path) as file:
            if not may_exceed_8_bits(file.read(32)):
                return None
        with opened(path) as image:
            if is_grey_beyond_8_bits(image):
                said = range_in_header(image)
                return whole_numbers_of(str(path), grey_values(image), said)
            if high_and_low_bytes(image)[0]:
                return whole_numbers_of(str(path), _colours(image, path)[0], None)
    except Exception:  # that it cannot be read is told where it is to be read
        return None
    return None


def _to_eight_bits(image: Image.Image, path: Path | bytes, black_white: Range | None) -> Image.Image:
    """Converts an image, whose header is read, to 8 bits: upright and opaque, in a mode that becomes L or RGB
    losslessly.

    Raises:
        ValueError: values whose black and white are unknown.
    """
    if is_grey_beyond_8_bits(image):
        said, image = range_in_header(image), _upright(image)
        values = grey_values(image)
        if black_white is None:
            black_white = own_range(int(values.min()), int(values.max()), said)
        return Image.fromarray(scaled(values, black_white))
    if not high_and_low_bytes(image)[0]:
        return opaque(_upright(image))
    values, exact = _colours(image, path)
    if black_white is None:
        black_white = own_range(int(values.min()), int(values.max()))
    if black_white == FULL:
        return opaque(_upright(image))
    if not exact or "transparency" in image.info:
        raise ValueError(
            f"colours of 16 bits that count from {black_white[0]} to {black_white[1]}, of which these are read to 8 "
            "bits alone; save it as a PNG or TIFF without transparency"
        )
    eight = Image.fromarray(scaled(values, black_white))
    if image.mode == "RGBA":
        eight.putalpha(image.getchannel("A"))
    return opaque(_turned_like(eight, image))


def _colours(image: Image.Image, path: Path | bytes) -> tuple[np.ndarray, bool]:
    """Reads (H, W, 1 or 3) 16-bit numbers, not turned, and whether they are exact: PIL reads the high byte alone.

    The low byte is what PIL reads of a file that is opened again as one of the other order of bytes.
    """
    tiles, offset = high_and_low_bytes(image)[1], image.tile[0][2] if image.format == "PPM" else 0  # type: ignore[attr-defined]
    raw = image.format == "PPM" and image.tile[0][0] == "ppm"  # type: ignore[attr-defined]
    high = np.asarray(image)[..., : 1 if image.mode == "LA" else 3].astype(np.uint16)
    if raw:
        with open_image(path) as file:
            file.seek(offset)
            return np.frombuffer(file.read(2 * high.size), ">u2").reshape(high.shape), True
    if tiles is None:
        return np.stack([high * 256, high * 256 + 255]), False
    with opened(path) as again:
        again.tile = tiles  # type: ignore[attr-defined]
        low = np.asarray(again)[..., :3]
    return high * 256 + low, True


def _turned_like(image: Image.Image, like: Image.Image) -> Image.Image:
    """Turns an image by the EXIF data of another."""
    orientation = like.getexif().get(_ORIENTATION)
    if orientation:
        image.getexif()[_ORIENTATION] = orientation
    return _upright(image)


_ORIENTATION = 0x0112


def is_constant(path: Path) -> bool:
    """Returns whether the pixels of a file are all equal, as they are read; False if it cannot be read.

    What is transparent is white, whatever colours are below.
    """
    try:
        with pillow_warnings_as_errors(), opened(path) as image:
            extremes = opaque(image).getextrema()
    except Exception:
        return False
    pairs = extremes if isinstance(extremes[0], tuple) else [extremes]
    return all(low == high for low, high in pairs)


def reason(error: Exception) -> str:
    """Describes an error of reading an image, for a list of files."""
    if isinstance(error, UnidentifiedImageError):
        return f"not an image of a format that is read ({', '.join(formats())})"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        count = re.search(r"\d+", str(error))
        pixels = f"{int(count[0]):,} pixels" if count else "its pixels"
        return f"{pixels} are more than the {Image.MAX_IMAGE_PIXELS:,} that are decoded; scale it down, or cut it"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror  # without the path, which stands beside it
    return " ".join(str(error).split()) or type(error).__name__


def decode(
    paths: Sequence[Path],
    preprocessing: Preprocessing,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    threads: int | None = None,
) -> tuple[Tensor, Tensor, tuple[Unreadable, ...]]:
    """Decodes image files with a pool of threads (PIL releases the GIL while it decodes).

    Args:
        on_progress: called with (done, total) after each file, in the calling thread.
        threads: None is one for each core.

    Returns:
        (K, C, size, size) uint8 images, (K,) int64 positions in ``paths`` of those that could be read, in order, and
        the others with the reason. A truncated file counts as unreadable.

    Raises:
        UserError: the decoded images would not fit the free memory.
    """
    shape = (len(paths), preprocessing.channels, preprocessing.size, preprocessing.size)
    require_memory(int(np.prod(shape)))
    pixels = np.empty(shape, dtype=np.uint8)

    def read(position: int) -> Unreadable | None:
        try:
            pixels[position] = read_pixels(paths[position], preprocessing)
        except Exception as error:  # decoders raise whatever they like: every failure is listed, none stops the run
            return Unreadable(str(paths[position]), reason(error))
        return None

    failures: list[Unreadable | None] = []
    with pillow_warnings_as_errors(), ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        for failure in pool.map(read, range(len(paths))):
            failures.append(failure)
            if on_progress is not None:
                on_progress(len(failures), len(paths))
    kept = torch.tensor([index for index, failure in enumerate(failures) if failure is None], dtype=torch.int64)
    unreadable = tuple(failure for failure in failures if failure is not None)
    images = torch.from_numpy(pixels)
    return (images[kept] if unreadable else images), kept, unreadable


def require_memory(needed: int) -> None:
    """Raises UserError if ``needed`` bytes of decoded images do not fit the free memory, where the system
    reports it."""
    free = free_memory()
    if free is not None and needed > 0.9 * free:
        raise UserError(
            f"the decoded images need {needed / 2**30:.1f} GiB of memory and {free / 2**30:.1f} GiB are free; ",
            "use a smaller ",
            Setting("data.size"),
            " or fewer images",
        )


MEMORY = Path("/proc/meminfo")
"""Where Linux reports its memory."""


def free_memory() -> int | None:
    """Returns the bytes of memory that a process can still get; None where the system does not report them.

    On Linux that includes what the system keeps of files and gives back on demand, which is most of the memory of a
    machine that has run for a while.
    """
    with suppress(OSError, ValueError, StopIteration):
        lines = MEMORY.read_text(encoding="ascii").splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable:")))
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


_guard = threading.Lock()
_inside = 0
_added: list[object] = []


@contextmanager
def pillow_warnings_as_errors() -> Iterator[None]:
    """Makes PIL raise for pictures of too many pixels, where it would warn, and silences its other warnings.

    ``warnings.catch_warnings`` would not do: it restores the whole list of filters, and threads that leave it in
    another order than they came restore each other's.
    """
    global _inside
    with _guard:
        _inside += 1
        if _inside == 1:
            before = list(warnings.filters)
            warnings.filterwarnings("ignore", module=r"PIL\.")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            _added[:] = [each for each in warnings.filters[:2] if each not in before]
    try:
        yield
    finally:
        with _guard:
            _inside -= 1
            if _inside == 0:
                for each in _added:
                    with suppress(ValueError):  # somebody's catch_warnings removed it already
                        warnings.filters.remove(each)  # type: ignore[attr-defined]


@contextmanager
def opened(path: Path | bytes) -> Iterator[Image.Image]:
    """Opens an image and reads its header. It refuses a pipe or a device, because reading it could wait for ever."""
    state = state_of(path)
    if not state.is_regular:
        raise ValueError("not a regular file")
    if not state.size:
        raise ValueError("an empty file")
    with ExitStack() as held:
        # PIL maps a file that it opens itself, and does not close one that it is given
        alone = isinstance(path, Path) and shard_of(path) is None
        where = path if alone else held.enter_context(open_image(path))
        try:
            image = held.enter_context(Image.open(where, formats=formats()))
        except UnidentifiedImageError:
            with open_image(path) as file:
                remedy = remedy_for_content(file.read(16))
            if remedy:
                raise ValueError(f"an image in {remedy}") from None
            raise
        yield image


def _divisor(sides: tuple[int, int], size: int) -> int:
    """Returns the factor by which a JPEG can be reduced while it is decoded."""
    for divisor in (8, 4, 2):
        # the decoder rounds sides up, and what is then scaled is a little wider than the picture
        if min(sides) >= divisor * size and all(-side % divisor * size <= side / 2 for side in sides):
            return divisor
    return 1


def _upright(image: Image.Image) -> Image.Image:
    """Turns an image upright by its EXIF data."""
    image.load()  # here, so that what is caught below is about EXIF data alone
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception:
        return _without_exif(image)
    return image


def upright_copy(image: Image.Image) -> Image.Image:
    """Returns a copy of somebody's image that is upright by its EXIF data, which stays as it is; damaged ones are
    ignored."""
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        return _without_exif(image)


def _without_exif(image: Image.Image) -> Image.Image:
    image = image.copy()
    for key in ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"):
        image.info.pop(key, None)
    return image


def opaque(image: Image.Image) -> Image.Image:
    """Puts a transparent image on white, in a mode that PIL converts to L or RGB without loss or warning."""
    if image.mode == "F":
        return Image.fromarray(_bytes_of_floats(np.asarray(image)))
    if is_grey_beyond_8_bits(image):  # Preprocessing.pixels scales them
        return image
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBa").convert("RGBA") if image.mode in ("RGBa", "La") else image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _bytes_of_floats(values: np.ndarray) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 255):  # also where either is NaN
        raise ValueError(
            f"floating-point pixels from {low:g} to {high:g}; expected [0, 1] or [0, 255]; save them as "
            "whole numbers of 16 bits, for which a range of the data says what is black and white"
        )
    scaled: np.ndarray = np.rint(values * (255 if high <= 1 else 1)).astype(np.uint8)
    return scaled
