"""Whole numbers beyond 8 bits: what is read of a file, which range is decided for a set, and how it becomes 8 bits."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dalib.data.cache import ImageCache, cache_key
from dalib.data.decoding import decode, read_picture, read_pixels, whole_numbers
from dalib.data.depth import FULL, WholeNumbers, outside_range, own_range, range_of, ranges_of, scaled
from dalib.data.listing import list_images
from dalib.data.preprocessing import Preprocessing

SIDE = 16


def eight_bits(seed: int = 0, channels: int = 0) -> np.ndarray:
    shape = (SIDE, SIDE, channels) if channels else (SIDE, SIDE)
    values = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    values[0, :2] = np.array([0, 255], np.uint8)[:, None] if channels else [0, 255]
    return values


def read_with(black_white, *, channels: int = 1) -> Preprocessing:
    return Preprocessing(SIDE, channels, range=black_white)


def write_tiff(path: Path, values: np.ndarray, *, signed: bool, order: str = "<") -> None:
    """An uncompressed TIFF; PIL writes none of unsigned 32 bits, of signed 8 or 16 bits, or of colours of 16 bits."""
    count = 1 if values.ndim == 2 else values.shape[2]
    bits = [8 * values.dtype.itemsize] * count
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    tags = {256: [SIDE], 257: [SIDE], 258: bits, 259: [1], 262: [1 if count == 1 else 2], 273: [0], 277: [count]}
    tags |= {278: [SIDE], 279: [len(data)], 339: [2 if signed else 1] * count}
    first = 8 + 2 + 12 * len(tags) + 4
    entries, more = b"", b""
    tags[273] = [first + sum(2 * len(each) for each in tags.values() if len(each) > 2)]
    for tag, numbers in tags.items():
        short = len(numbers) > 2 or numbers[0] < 2**16
        content = struct.pack(order + ("H" if short else "I") * len(numbers), *numbers)
        if len(content) > 4:
            content, more = struct.pack(order + "I", first + len(more)), more + content
        entries += struct.pack(order + "HHI", tag, 3 if short else 4, len(numbers)) + content.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(tags))
    path.write_bytes(head + entries + bytes(4) + more + data)


def write_png_of_16_bits(path: Path, values: np.ndarray) -> None:
    """PIL writes no colours of 16 bits."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    kind = {2: 4, 3: 2, 4: 6}[values.shape[2]]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, kind, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def write_pgm(path: Path, values: np.ndarray, greatest: int) -> None:
    path.write_bytes(b"P5 %d %d %d\n" % (*values.shape[::-1], greatest) + values.astype(">u2").tobytes())


GREY = {  # how values of 8 bits are written as others, the range that is decided, and the file
    "16 bits, 0 to 255, png": (lambda v: v.astype(np.uint16), (0, 255), "a.png", None),
    "12 bits, png": (lambda v: v.astype(np.uint16) * 16 + 15, (0, 4095), "a.png", None),
    "16 bits, png": (lambda v: v.astype(np.uint16) * 257, FULL, "a.png", None),
    "16 bits, tiff": (lambda v: v.astype(np.uint16) * 16, (0, 4095), "a.tif", None),
    "16 bits, other order": (
        lambda v: v.astype(np.uint16) * 16,
        (0, 4095),
        "a.tif",
        lambda path, values: write_tiff(path, values, signed=False, order=">"),
    ),
    "int32": (lambda v: v.astype(np.int32), (0, 255), "a.tif", None),
    "uint32": (
        lambda v: v.astype(np.uint32) << 24,
        (0, 2**32 - 1),
        "a.tif",
        lambda path, values: write_tiff(path, values, signed=False),
    ),
    "int16": (
        lambda v: (v.astype(np.int16) - 100) * 8,
        (-800, 1240),
        "a.tif",
        lambda path, values: write_tiff(path, values, signed=True),
    ),
    "int8": (
        lambda v: (v.astype(np.int16) - 128).astype(np.int8),
        (-128, 127),
        "a.tif",
        lambda path, values: write_tiff(path, values, signed=True),
    ),
    "pgm, 12 bits": (lambda v: v.astype(np.uint16) * 16 + 15, FULL, "a.pgm", lambda p, v: write_pgm(p, v, 4095)),
    "pgm, 12 of 16 bits": (
        lambda v: v.astype(np.uint16) * 16,
        (0, 4095),
        "a.pgm",
        lambda p, v: write_pgm(p, v, 65535),
    ),
}


@pytest.mark.parametrize("kind", GREY)
def test_grey_images_of_any_depth_are_what_they_are_in_8_bits(kind, tmp_path):
    change, black_white, name, write = GREY[kind]
    values, path = eight_bits(), tmp_path / name
    (write or (lambda path, values: Image.fromarray(values).save(path)))(path, change(values))
    found = whole_numbers([path])
    assert range_of(found) == black_white
    pixels = read_pixels(path, read_with(range_of(found)))[0]
    if kind == "int16":  # 0 to 255 of 256 times 8 is no whole number of steps
        np.testing.assert_allclose(pixels, values, atol=1)
        assert (pixels.min(), pixels.max()) == (0, 255)
    else:
        np.testing.assert_array_equal(pixels, values)


@pytest.mark.parametrize("kind", ["png", "tiff", "tiff, other order", "ppm", "png with alpha"])
def test_colours_of_16_bits_are_read_with_their_low_bytes(kind, tmp_path):
    values = eight_bits(channels=3)
    deep = values.astype(np.uint16) * 16 + 5
    path = tmp_path / f"a.{kind[:3]}"
    if kind.startswith("tiff"):
        write_tiff(path, deep, signed=False, order=">" if "other" in kind else "<")
    elif kind == "ppm":
        path.write_bytes(b"P6 %d %d 65535\n" % (SIDE, SIDE) + deep.astype(">u2").tobytes())
    else:
        alpha = np.full((SIDE, SIDE, 1), 65535, np.uint16)
        write_png_of_16_bits(path, deep if kind == "png" else np.concatenate([deep, alpha], axis=2))
    found = whole_numbers([path])
    assert (found[0].low, found[0].high) == (5, 255 * 16 + 5)
    assert range_of(found) == (0, 4095)
    np.testing.assert_array_equal(read_pixels(path, read_with((0, 4095), channels=3)).transpose(1, 2, 0), values)
    with pytest.raises(ValueError, match="whole numbers from 5 to 4085, and nothing tells which are black and white"):
        read_pixels(path, read_with(None, channels=3))


def test_grey_of_16_bits_with_transparency_is_refused_where_its_low_bytes_are_wanted(tmp_path):
    path = tmp_path / "a.png"
    write_png_of_16_bits(path, np.full((SIDE, SIDE, 2), 4000, np.uint16))
    with pytest.raises(ValueError, match="save it as a PNG or TIFF without transparency"):
        read_pixels(path, read_with((0, 4095), channels=3))


def test_what_is_of_8_bits_is_not_looked_into(tmp_path, monkeypatch):
    for name in ("a.png", "b.jpg", "c.bmp", "d.gif", "e.webp"):
        Image.fromarray(eight_bits(channels=3)).save(tmp_path / name)
    monkeypatch.setattr("dalib.data.decoding.opened", lambda path: pytest.fail("opened"))
    assert whole_numbers(sorted(tmp_path.iterdir())) == ()


def test_a_file_that_cannot_be_read_is_left_out(tmp_path):
    Image.fromarray(eight_bits().astype(np.uint16)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "b.png").write_bytes(content[: len(content) // 2])
    found = whole_numbers([tmp_path / "b.png", tmp_path / "a.png", tmp_path / "absent.png"])
    assert [Path(each.path).name for each in found] == ["a.png"]


@pytest.mark.parametrize("values", [np.full((8, 8), 255, np.uint16), np.full((8, 8), -5, np.int32)])
def test_without_a_range_an_image_is_refused_that_does_not_tell_its_own(values, tmp_path):
    Image.fromarray(values).save(tmp_path / "a.tif")
    _, kept, unreadable = decode([tmp_path / "a.tif"], read_with(None))
    assert not len(kept)
    assert "nothing tells which are black and white" in unreadable[0].reason


def test_without_a_range_more_than_12_bits_count_as_16():
    assert own_range(0, 4096) == own_range(0, 0) == FULL
    assert own_range(0, 255, (0, 4095)) == (0, 4095)
    with pytest.raises(ValueError, match="whole numbers from 0 to 4095"):
        own_range(0, 4095)


def test_values_beyond_the_range_become_black_or_white_and_are_known():
    assert scaled(np.array([-2000, -1000, 500, 2000, 3000]), (-1000, 2000)).tolist() == [0, 0, 127, 255, 255]
    files = [spread("a", 0, 4095), spread("b", 0, 5000), spread("c", -1, 10)]
    assert [each.path for each in outside_range(files, (0, 4095))] == ["b", "c"]


def spread(path: str, low: int, high: int) -> WholeNumbers:
    return WholeNumbers(path, low, high, low, high)


def test_the_range_of_a_set_is_that_of_all_of_its_files():
    assert range_of([spread("a", 0, 900), spread("b", 3, 3000)]) == (0, 4095)
    assert range_of([spread("a", 0, 900), spread("b", -1000, 900)]) == (-1000, 900)
    assert range_of([WholeNumbers("a", 0, 9, 0, 9, (0, 4095)), spread("b", 0, 5000)]) == (0, 8191)
    assert range_of([WholeNumbers("a", 0, 9, 0, 9, (0, 4095))]) == (0, 4095)
    assert range_of([spread("black", 0, 0)]) == (0, 255)


def test_a_set_of_files_on_different_scales_and_one_that_shows_nothing_are_refused():
    twelve = [spread(f"{number}", 0, 4000) for number in range(3)]
    with pytest.raises(ValueError, match=r"values from 0 to 60000, of which 3 of 4 images use a small part: 0 mostly"):
        range_of([*twelve, spread("odd", 0, 60000)])
    with pytest.raises(ValueError, match="values from 0 to 3, of which 3 of 3"):
        range_of([spread(f"mask {number}", 0, 3) for number in range(3)])


def test_a_value_far_from_all_others_is_refused_as_a_scale(tmp_path):
    values = np.random.default_rng(0).integers(-1000, 2000, (64, 64)).astype(np.int32)
    values[:16] = -32768  # what tomographs put around their round picture
    Image.fromarray(values).save(tmp_path / "a.tif")
    found = whole_numbers([tmp_path / "a.tif"])
    assert found[0].dark >= -1000
    with pytest.raises(ValueError, match=r"values from -32768 to 1\d\d\d, of which 1 of 1 images use a small part"):
        range_of(found)


def test_domains_share_a_range_unless_they_are_of_different_devices():
    assert ranges_of([spread("a", 0, 1900)], [spread("b", 0, 2300)]) == ((0, 4095), (0, 4095))
    assert ranges_of([spread("a", 0, 4000)], [spread("b", 0, 65000)]) == ((0, 4095), FULL)
    assert ranges_of([spread("a", -1000, 2000)], [spread("b", -1024, 3071)]) == ((-1024, 3071), (-1024, 3071))
    assert ranges_of([spread("a", -1000, 2000)], [spread("b", 0, 4000)]) == ((-1000, 2000), (0, 4095))
    assert ranges_of([], [spread("b", 0, 4000)]) == (None, (0, 4095))
    assert ranges_of([], []) == (None, None)


def test_the_cache_of_images_of_8_bits_does_not_depend_on_a_range_and_that_of_others_does(tmp_path):
    Image.fromarray(eight_bits()).save(tmp_path / "a.png")
    listing, cache = list_images(tmp_path, argument="target"), ImageCache(tmp_path / "cache")
    first = cache.rows(listing, read_with(None))
    assert first.key == cache_key(listing, read_with(None))
    again = cache.rows(listing, read_with((0, 4095)))
    assert (again.key, again.built) == (first.key, False)
    Image.fromarray(eight_bits().astype(np.uint16) * 16).save(tmp_path / "a.png")
    rows = {bw: cache.rows(listing, read_with(bw)) for bw in ((0, 4095), (0, 8191), None)}
    assert len({each.key for each in rows.values()} | {first.key, cache_key(listing, read_with(None))}) == 5
    np.testing.assert_array_equal(rows[0, 4095].images[0, 0].numpy(), eight_bits())
    assert len(rows[None].unreadable) == 1


def test_what_files_hold_is_kept_beside_the_cache_and_damage_is_looked_at_anew(tmp_path, monkeypatch):
    Image.fromarray(eight_bits().astype(np.uint16)).save(tmp_path / "a.png")
    listing, cache = list_images(tmp_path, argument="target"), ImageCache(tmp_path / "cache")
    found = cache.whole_numbers(listing)
    (kept,) = (tmp_path / "cache" / "numbers").iterdir()
    for damage in ("", "[[7, 0, 1, 0, 1, null]]", '[[0, "a", 1, 0, 1, null]]', "[[]]", "{}x"):
        kept.write_text(damage)
        assert cache.whole_numbers(listing) == found
    monkeypatch.setattr("dalib.data.cache.whole_numbers", lambda *a, **b: pytest.fail("looked again"))
    assert cache.whole_numbers(listing) == found
    cache.remove()
    assert not kept.exists()


def test_a_picture_to_look_at_is_on_the_range_of_its_model(tmp_path):
    Image.fromarray(eight_bits().astype(np.uint16) * 16).save(tmp_path / "a.png")
    np.testing.assert_array_equal(np.asarray(read_picture(tmp_path / "a.png", 99, (0, 4095))), eight_bits())


@pytest.mark.parametrize("black_white", [(5, 5), (9, 3), (0, 2**40)])
def test_a_range_without_a_width_is_refused(black_white):
    with pytest.raises(ValueError, match="range: expected two whole numbers, the lower one first"):
        read_with(black_white)
