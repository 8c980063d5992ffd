"""One image file -> pixels, whatever is in the file; many files -> rows, with a list of what could not be read.

What decides how a file becomes pixels:

* JPEG, PNG, WebP, GIF, BMP, TIFF, PPM and PGM are read, by content and not by ending; AVIF, HEIC and JPEG XL where
  what they need is installed (:mod:`dalib.data.formats`); of several frames or pages, the first. No other decoder of
  PIL is tried: some start programs.
* An image is turned upright as its EXIF data say. EXIF data that are damaged are ignored.
* What is transparent is put on white, the colour of the page that such pictures are drawn for.
* 16 bits are scaled to 8. Floating-point pixels count on the scale [0, 1] if all are in it, else on [0, 255].
* A JPEG of at least twice the wanted size is decoded at a half, a quarter or an eighth of its size
  (:func:`read_pixels`), which is several times as fast.
* A truncated file, and one of more pixels than ``PIL.Image.MAX_IMAGE_PIXELS`` (89 million), is unreadable.
"""

from __future__ import annotations

import os
import stat
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from dalib.data.formats import formats, remedy_for_content
from dalib.data.preprocessing import in_eight_bits
from dalib.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from torch import Tensor

    from dalib.data.preprocessing import Preprocessing


@dataclass(frozen=True)
class Unreadable:
    """An image file that could not be decoded."""

    path: str
    reason: str


@dataclass(frozen=True)
class ImageHeader:
    """What the first bytes of an image file say: pixels as stored, before EXIF data turn them, and PIL's mode."""

    width: int
    height: int
    mode: str


def read_pixels(path: Path, preprocessing: Preprocessing) -> np.ndarray:
    """(C, size, size) uint8 of one file.

    A JPEG of at least twice ``size`` on both sides is decoded at the smallest of 1/8, 1/4 and 1/2 that leaves ``size``
    on both and moves no edge by more than half a final pixel. Photographs of 1600x1200 took 4 to 7 ms so and
    20 to 32 ms whole, for sizes from 32 to 256, and the pixels differed by less than 1 of 255 on average.
    ``fit='ink'`` looks for something small in the picture and sees all of it.

    Raises:
        Exception: whatever PIL's decoders raise; :func:`reason` words it.
    """
    with _opened(path) as image:
        if preprocessing.fit != "ink" and image.format in ("JPEG", "MPO"):
            divisor = _divisor(image.size, preprocessing.size)
            if divisor > 1:
                mode = "L" if preprocessing.channels == 1 else None
                image.draft(mode, (image.width // divisor, image.height // divisor))
        return preprocessing.pixels(opaque(_upright(image)))


def read_picture(path: Path, side: int) -> Image.Image:
    """The whole picture in a file to look at: L or RGB, upright, its longer side at most ``side`` pixels.

    Raises:
        Exception: whatever PIL's decoders raise; :func:`reason` words it.
    """
    with _opened(path) as image:
        image.draft(None, (side, side))  # of a JPEG, at least so many pixels
        seen = in_eight_bits(opaque(_upright(image)))
        seen.thumbnail((side, side))
        return seen


def read_header(path: Path) -> ImageHeader | Unreadable:
    """Size and mode without decoding: finds what is no image, not what is cut off."""
    try:
        with pillow_warnings_as_errors(), _opened(path) as image:
            return ImageHeader(image.width, image.height, image.mode)
    except Exception as error:
        return Unreadable(str(path), reason(error))


def read_headers(
    paths: Sequence[Path],
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[ImageHeader | Unreadable]:
    """:func:`read_header` of each, in order; ``on_progress`` is called with (done, total)."""
    headers = []
    with pillow_warnings_as_errors():
        for path in paths:  # threads gain little: PIL reads headers in Python
            headers.append(read_header(path))
            if on_progress is not None:
                on_progress(len(headers), len(paths))
    return headers


def reason(error: Exception) -> str:
    """An error of reading an image, in words for a list of files."""
    if isinstance(error, UnidentifiedImageError):
        return f"not an image of a format that is read ({', '.join(formats())})"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror  # without the path, which stands beside it
    return " ".join(str(error).split()) or type(error).__name__


def decode(
    paths: Sequence[Path],
    preprocessing: Preprocessing,
    on_decoded: Callable[[], None] | None = None,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    threads: int | None = None,
) -> tuple[Tensor, Tensor, tuple[Unreadable, ...]]:
    """Read image files with a pool of threads (PIL releases the GIL while it decodes).

    Args:
        on_decoded: called after each file, in the thread that read it.
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
        finally:
            if on_decoded is not None:
                on_decoded()
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
    """Raises UserError if ``needed`` bytes of decoded images do not fit the free memory, where the system tells it."""
    free = free_memory()
    if free is not None and needed > 0.9 * free:
        raise UserError(
            f"the decoded images need {needed / 2**30:.1f} GiB of memory and {free / 2**30:.1f} GiB are free; "
            "use a smaller --data.size or fewer images"
        )


def free_memory() -> int | None:
    """Bytes of memory that are free; None where the system does not tell."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


_guard = threading.Lock()
_inside = 0
_added: list[object] = []


@contextmanager
def pillow_warnings_as_errors() -> Iterator[None]:
    """Inside, PIL raises for a picture of too many pixels where it would warn, and its other warnings are silent.

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
def _opened(path: Path) -> Iterator[Image.Image]:
    """The image, its header read. A pipe or a device is refused unopened: reading it could wait for ever."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("not a regular file")
    if not status.st_size:
        raise ValueError("an empty file")
    try:
        opened = Image.open(path, formats=formats())
    except UnidentifiedImageError:
        with path.open("rb") as file:
            remedy = remedy_for_content(file.read(16))
        if remedy:
            raise ValueError(f"an image in {remedy}") from None
        raise
    with opened as image:
        yield image


def _divisor(sides: tuple[int, int], size: int) -> int:
    """By what a JPEG can be divided while it is decoded."""
    for divisor in (8, 4, 2):
        # the decoder rounds sides up, and what is then scaled is a little wider than the picture
        if min(sides) >= divisor * size and all(-side % divisor * size <= side / 2 for side in sides):
            return divisor
    return 1


def _upright(image: Image.Image) -> Image.Image:
    """The image as its EXIF data say it is seen."""
    image.load()  # here, so that what is caught below is about EXIF data alone
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception:
        image = image.copy()
        for key in ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"):
            image.info.pop(key, None)
    return image


def opaque(image: Image.Image) -> Image.Image:
    """The image on white where it is transparent, in a mode that PIL converts to L or RGB without a loss or warning."""
    if image.mode == "F":
        return Image.fromarray(_bytes_of_floats(np.asarray(image)))
    if image.mode.startswith("I"):  # 16 or 32 bits; Preprocessing.pixels scales them
        return image
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBa").convert("RGBA") if image.mode in ("RGBa", "La") else image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _bytes_of_floats(values: np.ndarray) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 255):  # also where either is NaN
        raise ValueError(f"floating-point pixels from {low:g} to {high:g}; expected [0, 1] or [0, 255]")
    scaled: np.ndarray = np.rint(values * (255 if high <= 1 else 1)).astype(np.uint8)
    return scaled
