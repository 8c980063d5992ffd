"""Files with a header and half a picture are unreadable in a survey, once they are decoded."""

import numpy as np
import pytest
from PIL import Image

from dalib.data import damaged
from dalib.data.damaged import without_damaged
from dalib.data.listing import list_images, list_labelled
from dalib.data.preprocessing import Preprocessing
from dalib.data.survey import Spread, survey

COLOUR = Preprocessing(size=8, channels=3)
PIXELS = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Eight images of two classes; the first of each is cut off."""
    for number in range(8):
        path = tmp_path / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(PIXELS).save(path)
        if number < 2:
            path.write_bytes(path.read_bytes()[:-2000])
    return tmp_path


def decoded(listing, whole=False):
    found, notes, calls = survey(listing, None, COLOUR).source, [], []
    after = without_damaged(
        listing, found, COLOUR, whole, on_note=notes.append, on_progress=lambda *call: calls.append(call)
    )
    return found, after, notes, calls


@pytest.mark.parametrize("together", [3, 64])
def test_what_decoding_finds_is_no_longer_counted(together, folder, monkeypatch):
    monkeypatch.setattr(damaged, "_TOGETHER", together)
    before, after, notes, calls = decoded(list_labelled(folder, argument="source"))
    assert (before.images, dict(before.class_counts), before.unreadable) == (8, {"cat": 4, "dog": 4}, ())
    assert (after.images, dict(after.class_counts)) == (6, {"cat": 3, "dog": 3})
    assert (before.modes, after.modes) == ({"RGB": 8}, {"RGB": 6})
    assert (before.row_bytes, after.row_bytes) == (8 * 8 * 8 * 3, 6 * 8 * 8 * 3)
    assert [each.path for each in after.unreadable] == [str(folder / "cat/0.png"), str(folder / "dog/1.png")]
    assert all("truncated" in each.reason for each in after.unreadable)
    assert notes == []
    assert calls[-1] == (8, 8)


def test_sizes_are_those_of_whole_pictures(folder):
    large = folder / "cat" / "0.png"
    Image.fromarray(PIXELS.repeat(2, axis=0)).save(large)
    large.write_bytes(large.read_bytes()[:-2000])
    before, after, _, _ = decoded(list_images(folder, argument="target"))
    assert (before.height, after.height) == (Spread(64, 64.0, 128), Spread(64, 64.0, 64))


def test_without_labels_there_are_no_counts(folder):
    _, after, _, _ = decoded(list_images(folder, argument="target"))
    assert (after.images, after.class_counts) == (6, None)


def test_files_that_are_known_to_be_unreadable_are_not_decoded_again(folder):
    (folder / "cat" / "0.png").write_bytes(b"no image")
    before, after, _, calls = decoded(list_images(folder, argument="target"))
    assert (before.images, after.images) == (7, 6)
    assert calls[-1] == (7, 7)


def test_of_many_files_some_are_decoded_evenly_spread_unless_all_are_asked_for(folder, monkeypatch):
    monkeypatch.setattr(damaged, "MOST_DECODED", 4)
    listing = list_images(folder, argument="target")
    _, after, notes, calls = decoded(listing)
    assert notes == [f"{folder}: 4 of 8 files are decoded; strict=True decodes all"]
    assert calls[-1] == (4, 4)
    assert [each.path for each in after.unreadable] == [str(folder / "cat/0.png"), str(folder / "dog/1.png")]
    _, after, notes, calls = decoded(listing, whole=True)
    assert (notes, calls[-1], after.images) == ([], (8, 8), 6)


def test_where_there_are_no_files_nothing_changes():
    assert without_damaged(None, None, COLOUR, True, on_note=print, on_progress=print) is None
