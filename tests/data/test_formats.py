"""Which image files are read here, and what is said of the others."""

import io
import sys
import types

import pytest
from PIL import Image

from dalib.data import formats as module
from dalib.data.formats import (
    IMAGE_ENDINGS,
    OPTIONAL,
    formats,
    has_image_signature,
    image_endings,
    remedy_for,
    remedy_for_content,
)

HEIC = b"\0\0\0\x18ftypheic" + bytes(8)
JXL = b"\xff\x0a" + bytes(14)


@pytest.fixture
def fresh():
    """What is installed is looked up anew, before and after."""
    module._available.cache_clear()
    yield
    module._available.cache_clear()


@pytest.fixture
def bare(fresh, monkeypatch):
    """An installation without the packages that are optional."""
    for name in ("pillow_heif", "pillow_jxl"):
        monkeypatch.setitem(sys.modules, name, None)  # which is how Python notes that a module cannot be imported


def test_the_other_endings_of_jpeg_are_read(fresh):
    assert {".jfif", ".jpe", ".mpo", ".apng", ".pbm"} <= set(IMAGE_ENDINGS)
    assert not {".txt", ".csv", ".pdf", ".eps"} & set(image_endings())


def test_without_a_package_its_files_are_not_read_and_it_is_named(bare):
    assert "HEIF" not in formats()
    assert ".heic" not in image_endings()
    assert remedy_for(".heic") == "pip install pillow-heif"
    assert remedy_for(".jxl") == "pip install pillow-jxl-plugin"
    assert remedy_for(".txt") == remedy_for(".jpg") == ""
    assert "pip install pillow-heif" in remedy_for_content(HEIC)
    assert "pip install pillow-jxl-plugin" in remedy_for_content(JXL)
    assert not has_image_signature(HEIC)


def test_a_package_that_is_installed_is_used(fresh, monkeypatch):
    calls = []
    fake = types.SimpleNamespace(register_heif_opener=lambda: calls.append(1))
    monkeypatch.setitem(sys.modules, "pillow_heif", fake)
    assert "HEIF" in formats()
    assert {".heic", ".heif", ".hif"} <= set(image_endings())
    assert calls == [1]
    assert remedy_for(".heic") == remedy_for_content(HEIC) == ""
    assert has_image_signature(HEIC)


@pytest.mark.parametrize("optional", OPTIONAL, ids=lambda each: each.format)
def test_what_can_be_written_here_is_known_by_its_first_bytes_and_read(tmp_path, fresh, optional):
    if optional.format not in formats():
        pytest.skip(f"{optional.format} needs: {optional.remedy}")
    content = io.BytesIO()
    Image.new("RGB", (16, 16), (200, 30, 30)).save(content, optional.format)
    assert optional.begins(content.getvalue()[:16])
    from dalib.data.decoding import read_pixels
    from dalib.data.preprocessing import Preprocessing

    path = tmp_path / f"a{optional.endings[0]}"
    path.write_bytes(content.getvalue())
    red = read_pixels(path, Preprocessing(size=8, channels=3))[:, 4, 4]
    assert abs(int(red[0]) - 200) < 12


def test_an_image_under_another_name_says_what_to_install(tmp_path, bare):
    from dalib.core.files import Unreadable
    from dalib.data.decoding import read_header

    path = tmp_path / "phone.jpg"
    path.write_bytes(HEIC + bytes(100))
    found = read_header(path)
    assert isinstance(found, Unreadable)
    assert found.reason == "an image in HEIF, to read it: pip install pillow-heif"
