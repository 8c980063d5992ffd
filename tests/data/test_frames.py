import numpy as np
import pytest
from PIL import Image

from dalib.data.frames import note_on_frames


def pictures(count):
    return [Image.fromarray(np.full((8, 8), 20 * number, dtype=np.uint8)) for number in range(count)]


@pytest.fixture
def folder(tmp_path):
    for name, count in (("one.tif", 1), ("two.gif", 2), ("stack.tiff", 5)):
        first, *others = pictures(count)
        first.save(tmp_path / name, save_all=count > 1, append_images=others)
    (tmp_path / "damaged.tif").write_bytes(b"II*\0nothing")
    return tmp_path


@pytest.mark.parametrize(("name", "count"), [("stack.tiff", 5), ("two.gif", 2)])
def test_a_file_of_several_images_is_told(folder, name, count):
    note = note_on_frames([folder / "one.tif", folder / "damaged.tif", folder / name])
    assert note == f"note: {folder / name} holds {count} images; of each file the first one alone is read"


def test_other_files_are_not_told(folder):
    assert note_on_frames([folder / "one.tif", folder / "damaged.tif", folder / "none.gif", folder / "a.jpg"]) == ""


def test_few_of_many_files_are_opened(folder, monkeypatch):
    seen = []

    def refuse(path):
        seen.append(path)
        raise OSError

    monkeypatch.setattr("dalib.data.frames.opened", refuse)
    assert note_on_frames([folder / f"{number}.tif" for number in range(100)]) == ""
    assert len(seen) == 8
