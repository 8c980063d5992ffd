"""Damaged image files of every format are read or listed: nothing is raised, nothing hangs, memory stays bounded."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from mutations import bounded, bounded_memory, mutated
from PIL import Image

from dalib.core.files import Unreadable
from dalib.data.decoding import ImageHeader, decode, read_header
from dalib.data.preprocessing import Preprocessing

LONG = pytest.param(3000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])


def picture(mode: str, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (13, 17, 4), dtype=np.uint8)
    if mode == "I;16":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    if mode == "F":
        return Image.fromarray(pixels[..., 0].astype(np.float32))
    return Image.fromarray(pixels).convert(mode)


def file_of(kind: str, mode: str, **settings: object) -> bytes:
    content = io.BytesIO()
    picture(mode).save(content, kind, **settings)
    return content.getvalue()


def with_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


FILES = {
    "jpeg": lambda: file_of("JPEG", "RGB", exif=with_exif()),
    "jpeg cmyk": lambda: file_of("JPEG", "CMYK"),
    "jpeg progressive": lambda: file_of("JPEG", "L", progressive=True),
    "png": lambda: file_of("PNG", "RGBA", exif=with_exif()),
    "png 16 bit": lambda: file_of("PNG", "I;16"),
    "png palette": lambda: file_of("PNG", "P", transparency=3),
    "png 1 bit": lambda: file_of("PNG", "1"),
    "gif": lambda: file_of("GIF", "P", save_all=True, append_images=[picture("P", 1)]),
    "webp": lambda: file_of("WEBP", "RGBA", exif=with_exif()),
    "webp lossless": lambda: file_of("WEBP", "RGB", lossless=True),
    "bmp": lambda: file_of("BMP", "RGB"),
    "tiff": lambda: file_of("TIFF", "RGB"),
    "tiff lzw": lambda: file_of("TIFF", "L", compression="tiff_lzw"),
    "tiff jpeg": lambda: file_of("TIFF", "RGB", compression="jpeg"),
    "tiff float": lambda: file_of("TIFF", "F"),
    "ppm": lambda: file_of("PPM", "RGB"),
}


@pytest.mark.parametrize("count", [60, LONG])
@pytest.mark.parametrize("kind", FILES)
def test_a_damaged_image_is_read_or_listed(tmp_path, kind, count):
    valid = FILES[kind]()
    file = tmp_path / "image"
    file.write_bytes(valid)
    fits = [
        Preprocessing(8, 3),
        Preprocessing(9, 1, fit="stretch", interpolation="bicubic"),
        Preprocessing(8, 3, "ink"),
    ]
    for preprocessing in fits:
        assert decode([file], preprocessing, threads=1)[1].tolist() == [0], "valid before it is damaged"
    with bounded_memory():
        for number, content in enumerate(mutated(valid, f"image {kind}", count)):
            file.write_bytes(content)
            preprocessing = fits[number % len(fits)]
            with bounded(f"{kind} {number}"):
                images, kept, unreadable = decode([file], preprocessing, threads=1)
                header = read_header(file)
            assert len(images) == len(kept) == 1 - len(unreadable)
            assert images.dtype == torch.uint8
            assert images.shape[1:] == (preprocessing.channels, preprocessing.size, preprocessing.size)
            assert all(each.reason and "\n" not in each.reason for each in unreadable)
            assert isinstance(header, (ImageHeader, Unreadable))
