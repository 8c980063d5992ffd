"""From one file, whatever is in it, to pixels."""

import io
import os
import socket
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dalib.core.files import Unreadable
from dalib.data import decoding
from dalib.data.decoding import (
    ImageHeader,
    decode,
    free_memory,
    is_constant,
    pillow_warnings_as_errors,
    read_header,
    read_headers,
    read_pixels,
)
from dalib.data.formats import has_image_signature
from dalib.data.preprocessing import Preprocessing

GREY = Preprocessing(size=8, channels=1)
COLOUR = Preprocessing(size=8, channels=3)


def quarters() -> np.ndarray:
    """(16, 16, 3) with a colour of its own in each quarter, so that every turn shows."""
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:8, :8], pixels[:8, 8:] = (200, 40, 40), (40, 200, 40)
    pixels[8:, :8], pixels[8:, 8:] = (40, 40, 200), (200, 200, 40)
    return pixels


def corners(pixels: np.ndarray) -> list[list[int]]:
    """The colours of the four quarters of (C, 8, 8)."""
    return [pixels[:, y, x].tolist() for y, x in ((1, 1), (1, 6), (6, 1), (6, 6))]


def reason_for(path: Path) -> str:
    images, kept, unreadable = decode([path], GREY)
    assert len(images) == len(kept) == 0
    assert [each.path for each in unreadable] == [str(path)]
    return unreadable[0].reason


def test_a_cmyk_jpeg_keeps_its_colours(tmp_path):
    Image.fromarray(quarters()).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    np.testing.assert_allclose(corners(read_pixels(tmp_path / "a.jpg", COLOUR)), corners(even()), atol=12)
    assert read_pixels(tmp_path / "a.jpg", GREY).shape == (1, 8, 8)


def even() -> np.ndarray:
    return quarters()[::2, ::2].transpose(2, 0, 1)


def test_a_grey_jpeg_has_three_equal_channels(tmp_path):
    Image.new("L", (16, 16), 90).save(tmp_path / "a.jpg")
    assert set(read_pixels(tmp_path / "a.jpg", COLOUR).ravel().tolist()) == {90}


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_upright_once(tmp_path, ending, orientation):
    image = Image.fromarray(quarters())
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / f"a.{ending}", exif=exif, **({} if ending in ("png", "tif") else {"quality": 95}))
    # how a viewer shows it, from the definition: where the stored first row and first column are seen
    upright = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, 1),
    }[orientation](quarters())
    expected = corners(upright[::2, ::2].transpose(2, 0, 1))
    np.testing.assert_allclose(corners(read_pixels(tmp_path / f"a.{ending}", COLOUR)), expected, atol=12)


def test_damaged_exif_data_are_ignored(tmp_path, monkeypatch):
    Image.fromarray(quarters()).save(tmp_path / "a.png")

    def broken(image, *, in_place):
        raise SyntaxError("not a TIFF file (header b'' not valid)")

    monkeypatch.setattr(decoding.ImageOps, "exif_transpose", broken)
    with Image.open(tmp_path / "a.png") as image:
        image.info["exif"] = b"Exif\0\0rubbish"
        assert "exif" not in decoding._upright(image).info


def test_rubbish_for_exif_data_does_not_cost_the_image(tmp_path):
    Image.fromarray(quarters()).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\0\0\0\xffrubbish", quality=95)
    images, _, unreadable = decode([tmp_path / "a.jpg"], COLOUR)
    assert not unreadable
    np.testing.assert_allclose(corners(images[0].numpy()), corners(even()), atol=12)


def test_16_bits_are_scaled_to_8(tmp_path):
    Image.fromarray(np.full((8, 8), 0x8000, np.uint16)).save(tmp_path / "a.png")
    assert set(read_pixels(tmp_path / "a.png", COLOUR).ravel().tolist()) == {0x80}


@pytest.mark.parametrize("kind", ["RGBA", "LA", "palette", "colour key", "grey key"])
def test_what_is_transparent_becomes_white(tmp_path, kind):
    left = np.zeros((8, 8), bool)
    left[:, :4] = True
    if kind in ("RGBA", "LA"):
        alpha = Image.fromarray(np.where(left, 0, 255).astype(np.uint8))
        image = Image.new("RGB" if kind == "RGBA" else "L", (8, 8), 0)
        image.putalpha(alpha)
        image.save(tmp_path / "a.png")
    elif kind == "palette":
        image = Image.fromarray(np.where(left, 0, 1).astype(np.uint8)).convert("P")
        image.putpalette([255, 0, 0, 0, 0, 0])
        image.save(tmp_path / "a.png", transparency=0)
    elif kind == "colour key":
        pixels = np.where(left[..., None], (255, 0, 0), (0, 0, 0)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "a.png", transparency=(255, 0, 0))
    else:
        Image.fromarray(np.where(left, 77, 0).astype(np.uint8)).save(tmp_path / "a.png", transparency=77)
    for preprocessing in (GREY, COLOUR):
        pixels = read_pixels(tmp_path / "a.png", preprocessing)
        assert set(pixels[:, left].ravel().tolist()) == {255}
        assert set(pixels[:, ~left].ravel().tolist()) == {0}


def test_half_transparent_black_on_white_is_grey(tmp_path):
    Image.new("RGBA", (8, 8), (0, 0, 0, 127)).save(tmp_path / "a.png")
    assert set(read_pixels(tmp_path / "a.png", GREY).ravel().tolist()) == {128}


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "gif", "webp"])
def test_every_format_gives_the_same_pixels(tmp_path, ending):
    Image.fromarray(quarters()).save(tmp_path / f"a.{ending}", **({"lossless": True} if ending == "webp" else {}))
    np.testing.assert_allclose(corners(read_pixels(tmp_path / f"a.{ending}", COLOUR)), corners(even()), atol=1)


@pytest.mark.parametrize("ending", ["gif", "webp", "tif"])
def test_of_several_frames_the_first_is_read(tmp_path, ending):
    first, second = Image.new("L", (8, 8), 0), Image.new("L", (8, 8), 255)
    first.save(tmp_path / f"a.{ending}", save_all=True, append_images=[second])
    assert read_pixels(tmp_path / f"a.{ending}", GREY).max() <= 1


@pytest.mark.parametrize(("value", "expected"), [(0.5, 128), (1.0, 255), (200.0, 200), (0.0, 0)])
def test_floats_are_on_the_scale_of_their_values(tmp_path, value, expected):
    Image.fromarray(np.full((8, 8), value, np.float32)).save(tmp_path / "a.tif")
    assert set(read_pixels(tmp_path / "a.tif", GREY).ravel().tolist()) == {expected}


@pytest.mark.parametrize("value", [-1.0, 1e6, np.nan])
def test_floats_on_no_known_scale_are_unreadable(tmp_path, value):
    Image.fromarray(np.full((8, 8), value, np.float32)).save(tmp_path / "a.tif")
    assert "floating-point pixels" in reason_for(tmp_path / "a.tif")


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "gif", "bmp", "tif"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_file_is_listed(tmp_path, ending, share):
    path = tmp_path / f"a.{ending}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert reason_for(path)


def test_an_empty_file_is_called_empty(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    assert reason_for(tmp_path / "a.jpg") == "an empty file"


@pytest.mark.parametrize(
    "content", [b"<html></html>", b"\0" * 100, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"]
)
def test_what_is_no_image_says_so_and_runs_no_other_decoder(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    assert reason_for(tmp_path / "a.jpg").startswith("not an image of a format that is read (JPEG, PNG,")


def test_a_wrong_ending_does_not_matter(tmp_path):
    Image.new("L", (8, 8), 50).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert set(read_pixels(tmp_path / "a.jpg", GREY).ravel().tolist()) == {50}


@pytest.mark.parametrize("limit", [300, 100])  # PIL warns above the limit and raises above twice the limit
def test_a_picture_of_too_many_pixels_is_listed_and_nothing_is_warned(tmp_path, monkeypatch, limit):
    Image.new("L", (20, 20), 50).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        expected = f"400 pixels are more than the {limit} that are decoded; scale it down, or cut it"
        assert reason_for(tmp_path / "a.png") == expected
        assert "400 pixels" in read_header(tmp_path / "a.png").reason
    assert not caught
    assert warnings.filters == before


def test_the_filters_of_warnings_are_as_before_whatever_the_order_of_threads():
    before = list(warnings.filters)
    first, second = pillow_warnings_as_errors(), pillow_warnings_as_errors()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    with pytest.raises(Image.DecompressionBombWarning):
        warnings.warn("too many pixels", Image.DecompressionBombWarning, stacklevel=1)
    second.__exit__(None, None, None)
    assert warnings.filters == before


def test_a_filter_of_the_users_own_stays():
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        before = list(warnings.filters)
        with pillow_warnings_as_errors():
            pass
        assert ("error", None, Image.DecompressionBombWarning, None, 0) in warnings.filters
        assert sorted(map(str, warnings.filters)) == sorted(map(str, before))


def test_links_that_lead_nowhere_or_to_themselves_are_listed(tmp_path):
    (tmp_path / "a.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "b.png")
    assert reason_for(tmp_path / "a.png") == "No such file or directory"
    assert "symbolic links" in reason_for(tmp_path / "b.png")


def test_pipes_sockets_and_folders_are_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.png"))
        for name in ("pipe.png", "folder.png", "s.png"):
            assert reason_for(tmp_path / name) == "not a regular file"


def test_a_file_that_may_not_be_read_is_listed(tmp_path, monkeypatch):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")

    def refuse(*args, **kwargs):  # root may read everything, so that a mode of 0 would not do
        raise PermissionError(13, "Permission denied", str(tmp_path / "a.png"))

    monkeypatch.setattr(Image, "open", refuse)
    assert reason_for(tmp_path / "a.png") == "Permission denied"


@pytest.mark.parametrize(
    "name", ["grün 犬 🐕.png", "a" * 251 + ".png", "with\nnewline.png", os.fsdecode(b"\xff\xfe.png")]
)
def test_any_name_is_read(tmp_path, name):
    Image.new("L", (8, 8), 50).save(tmp_path / "plain.png")
    (tmp_path / "plain.png").rename(tmp_path / name)
    images, _, unreadable = decode([tmp_path / name], GREY)
    assert not unreadable
    assert images.unique().tolist() == [50]


def test_a_name_that_cannot_be_is_listed(tmp_path):
    assert reason_for(tmp_path / ("a" * 300 + ".png")) == "File name too long"


def test_what_a_decoder_raises_is_listed_whatever_it_is(tmp_path, monkeypatch):
    Image.new("L", (8, 8), 50).save(tmp_path / "a.png")
    monkeypatch.setattr(Preprocessing, "pixels", lambda *args: 1 / 0)
    assert reason_for(tmp_path / "a.png") == "division by zero"


def photograph(path: Path, size: int) -> Path:
    """A smooth picture, as photographs are."""
    x, y = np.meshgrid(np.linspace(0, 6, size), np.linspace(0, 6, size))
    pixels = np.stack([np.sin(x + y), np.cos(x), np.sin(y * 2)], axis=2) * 100 + 128
    Image.fromarray(pixels.astype(np.uint8)).save(path, quality=95)
    return path


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("side", "decoded"), [(304, 38), (300, 38), (297, 75), (511, 64), (64, 32)])
def test_a_large_jpeg_is_decoded_small_with_nearly_the_same_pixels(tmp_path, monkeypatch, channels, side, decoded):
    path = photograph(tmp_path / "a.jpg", side)
    preprocessing = Preprocessing(32, channels)
    seen, own = [], Preprocessing.pixels

    def watched(self: Preprocessing, image: Image.Image) -> np.ndarray:
        seen.append(image.size)
        return own(self, image)

    monkeypatch.setattr(Preprocessing, "pixels", watched)
    small = read_pixels(path, preprocessing).astype(int)
    assert seen == [(decoded, decoded)]
    with Image.open(path) as image:
        whole = own(preprocessing, image).astype(int)
    assert np.abs(small - whole).mean() < 5  # next to 17 from one pixel to the next


@pytest.mark.parametrize(("size", "fit"), [(160, "crop"), (32, "ink")])
def test_a_jpeg_is_decoded_whole_below_twice_the_size_and_where_ink_is_looked_for(tmp_path, size, fit):
    path = photograph(tmp_path / "a.jpg", 300)
    preprocessing = Preprocessing(size, 3, fit=fit)
    with Image.open(path) as image:
        np.testing.assert_array_equal(read_pixels(path, preprocessing), preprocessing.pixels(image))


def test_headers_say_size_and_mode_without_decoding(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) - 20])
    (tmp_path / "b.png").write_text("no image")
    calls = []
    paths = [tmp_path / name for name in ("a.png", "cut.png", "b.png")]
    first, cut, other = read_headers(paths, on_progress=lambda done, total: calls.append((done, total)))
    assert first == cut == ImageHeader(30, 20, "RGB")
    assert isinstance(other, Unreadable)
    assert calls == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_every_format_is_known_by_its_first_bytes(kind):
    content = io.BytesIO()
    Image.new("RGB", (8, 8)).save(content, kind)
    assert has_image_signature(content.getvalue()[:16])


@pytest.mark.parametrize(
    "text", [b"", b"BMW is a make of cars", b"P5 was a processor"[1:], b"#!/bin/sh\n", b"RIFFxxxxWAVE"]
)
def test_other_files_are_not_taken_for_images(text):
    assert not has_image_signature(text[:16])


def test_progress_is_told_in_the_calling_thread_and_in_order(tmp_path):
    for number in range(5):
        Image.new("L", (8, 8), number).save(tmp_path / f"{number}.png")
    calls = []

    def told(done: int, total: int) -> None:
        assert threading.current_thread() is threading.main_thread()
        calls.append((done, total))

    images, kept, _ = decode([tmp_path / f"{number}.png" for number in range(5)], GREY, on_progress=told, threads=2)
    assert calls == [(number, 5) for number in range(1, 6)]
    assert torch.equal(images[:, 0, 0, 0], torch.arange(5, dtype=torch.uint8))
    assert kept.tolist() == list(range(5))


def test_what_linux_keeps_of_files_is_memory_that_is_free(tmp_path, monkeypatch):
    report = tmp_path / "meminfo"
    report.write_text("MemTotal:  24000000 kB\nMemFree:  700000 kB\nMemAvailable:  20000000 kB\n")
    monkeypatch.setattr(decoding, "MEMORY", report)
    assert free_memory() == 20_000_000 * 1024


@pytest.mark.parametrize("content", [None, "", "MemFree: 700 kB\n", "MemAvailable: much\n"])
def test_without_such_a_report_the_free_pages_are_counted(content, tmp_path, monkeypatch):
    if content is not None:
        (tmp_path / "meminfo").write_text(content)
    monkeypatch.setattr(decoding, "MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(os, "sysconf", {"SC_AVPHYS_PAGES": 7, "SC_PAGE_SIZE": 4096}.__getitem__)
    assert free_memory() == 7 * 4096


def test_a_picture_without_anything_to_see_is_constant_whatever_its_hidden_colours_are(tmp_path):
    clear = np.random.default_rng(0).integers(0, 256, (8, 8, 4), dtype=np.uint8)
    clear[..., 3] = 0
    half_white = np.full((8, 8, 4), 255, np.uint8)
    half_white[:4, :, 3] = 128
    twice = Image.new("P", (8, 8))
    twice.putpixel((0, 0), 1)
    twice.putpalette([7, 7, 7] * 2)
    for name, image in (("clear", Image.fromarray(clear)), ("white", Image.fromarray(half_white)), ("palette", twice)):
        image.save(tmp_path / f"{name}.png")
        assert is_constant(tmp_path / f"{name}.png"), name
    clear[0, 0] = (0, 0, 0, 255)
    Image.fromarray(clear).save(tmp_path / "dot.png")
    assert not is_constant(tmp_path / "dot.png")
