"""Readable formats of image files, by ending and by first bytes, and packages to install for others.

Some need a package beside Pillow, which registers itself there: HEIC, as phones write it, and JPEG XL. AVIF needs a
Pillow that was built with it. A package that is installed is used; none is imported before a first image is looked for.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from PIL import features

if TYPE_CHECKING:
    from collections.abc import Callable

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""Formats that Pillow may open anywhere, in its own names."""

IMAGE_ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"),
    *(".pbm", ".pnm", ".mpo", ".apng"),
)
"""Endings that are read anywhere; :func:`image_endings` has those of this installation."""

_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")


@dataclass(frozen=True)
class OptionalFormat:
    """An image format that needs an optional package."""

    format: str
    """Pillow's name of it."""
    endings: tuple[str, ...]
    remedy: str
    available: Callable[[], bool]
    """Makes Pillow read it, if it can."""
    begins: Callable[[bytes], bool]
    """Returns whether a file of this format begins with these bytes, 16 of them or more."""


def _has_avif() -> bool:
    return "avif" in features.modules and bool(features.check("avif"))


def _has_heif() -> bool:
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError:
        return False
    return True


def _has_jxl() -> bool:
    try:
        importlib.import_module("pillow_jxl")  # which registers itself
    except ImportError:
        return False
    return True


OPTIONAL = (
    OptionalFormat(
        "AVIF",
        (".avif", ".avifs"),
        "pip install 'pillow>=11.3'",
        _has_avif,
        lambda head: head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis"),
    ),
    OptionalFormat(
        "HEIF",
        (".heic", ".heif", ".hif"),
        "pip install pillow-heif",
        _has_heif,
        lambda head: head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS,
    ),
    OptionalFormat(
        "JXL",
        (".jxl",),
        "pip install pillow-jxl-plugin",
        _has_jxl,
        lambda head: head[:2] == b"\xff\x0a" or head[:12] == b"\0\0\0\x0cJXL \r\n\x87\n",
    ),
)


@cache
def _available() -> tuple[OptionalFormat, ...]:
    return tuple(each for each in OPTIONAL if each.available())


def formats() -> tuple[str, ...]:
    """Returns the formats that Pillow may open here, in its own names."""
    return (*FORMATS, *(each.format for each in _available()))


def image_endings() -> tuple[str, ...]:
    """Returns the endings, in lower case, of readable files."""
    return (*IMAGE_ENDINGS, *(ending for each in _available() for ending in each.endings))


def remedy_for(ending: str) -> str:
    """Returns how to make files of this ending readable; empty if unknown or not needed."""
    missing = [each for each in OPTIONAL if ending in each.endings and each not in _available()]
    return missing[0].remedy if missing else ""


def remedy_for_content(head: bytes) -> str:
    """Returns how to make a file that begins with these bytes readable; empty if unknown."""
    missing = [each for each in OPTIONAL if each.begins(head) and each not in _available()]
    return f"{missing[0].format}, to read it: {missing[0].remedy}" if missing else ""


def has_image_signature(head: bytes) -> bool:
    """Returns whether a file with these first bytes, 16 or more, seems to be of a readable format.

    >>> has_image_signature(b"GIF89a" + bytes(10)), has_image_signature(b"path,label\\n")
    (True, False)
    """
    return (
        head.startswith(_SIGNATURES)
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or (head[:2] == b"BM" and head[6:10] == bytes(4))  # two letters alone begin many a text
        or (head[:2] in (b"P5", b"P6") and head[2:3].isspace())
        or any(each.begins(head) for each in _available())
    )
