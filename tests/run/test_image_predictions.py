"""Predictions for files and objects: a row for each image, a reason for each that cannot be read, and how they look."""

import sys

import numpy as np
import pytest
from PIL import Image

from dalib.core.errors import UserError
from dalib.core.files import Unreadable
from dalib.run.image_predictions import SHOWN_ROWS, ImagePrediction, Predictions, predict_images
from dalib.run.load import Prediction


def predictor(images):
    """Answers by the first pixel, one image or several, as a predictor does; refuses what is no image."""
    if isinstance(images, list):
        return [predictor(each) for each in images]
    try:
        pixels = np.asarray(images if isinstance(images, np.ndarray | Image.Image) else Image.open(images))
    except OSError:
        raise UserError("not an image") from None
    if pixels.ndim != 3:
        raise UserError("expected an image of three channels")
    dark = 1 - float(pixels[0, 0, 0]) / 255
    label, sure = ("dark", dark) if dark > 0.5 else ("bright", 1 - dark)
    return Prediction(label, sure, {label: sure, "dark" if label == "bright" else "bright": 1 - sure})


def draw(path, shade):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (shade, 0, 0)).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    for number in range(5):
        draw(tmp_path / "new" / f"{number}.png", 51 * number)
    (tmp_path / "new" / "broken.png").write_bytes(b"no image")
    return tmp_path / "new"


def predicted(images):
    calls = []
    found = predict_images(images, predictor, lambda *call: calls.append(call))
    assert calls[-1][0] == calls[-1][1]
    return found


@pytest.mark.parametrize("kind", ["folder", "list of files", "iterator"])
def test_files_have_rows_in_order_and_the_others_a_reason(kind, folder):
    files = sorted(folder.iterdir())
    found = predicted({"folder": folder, "list of files": files, "iterator": iter(files)}[kind])
    assert [row.path for row in found] == [str(folder / f"{number}.png") for number in range(5)]
    assert [row.label for row in found] == ["dark"] * 3 + ["bright"] * 2
    assert found[0].confidence == found[0].probabilities["dark"] == 1
    assert found.unreadable == (Unreadable(str(folder / "broken.png"), "not an image"),)


def test_one_file_and_a_list_with_a_missing_file_are_predicted(folder):
    assert [row.label for row in predicted(folder / "4.png")] == ["bright"]
    (folder / "list.csv").write_text("path\n0.png\ngone.png\n")
    found = predicted(folder / "list.csv")
    assert [row.label for row in found] == ["dark"]
    assert [each.path for each in found.unreadable] == [str(folder / "gone.png")]


def test_a_place_that_is_not_there_is_no_image_that_cannot_be_read(folder):
    with pytest.raises(UserError, match=r"images='.*gone/': no such file or folder"):
        predicted(f"{folder}/gone/")
    assert [each.path for each in predicted([folder / "0.png", folder / "gone.png"]).unreadable] == [
        str(folder / "gone.png")
    ]


@pytest.mark.parametrize("together", [2, 64])
def test_objects_are_named_by_their_number_and_a_wrong_one_costs_no_other(together, monkeypatch):
    monkeypatch.setattr("dalib.run.image_predictions._PREDICTED_TOGETHER", together)
    images = np.full((11, 4, 4, 3), 200, np.uint8)
    assert [row.path for row in predicted(images)][-2:] == ["array/09", "array/10"]
    found = predicted([*(Image.fromarray(each) for each in images[:3]), np.zeros((4, 4), np.uint8)])
    assert [row.path for row in found] == ["list/0", "list/1", "list/2"]
    assert [(each.path, bool(each.reason)) for each in found.unreadable] == [("list/3", True)]


ROWS = tuple(
    ImagePrediction(f"<{number}>.png", ("cup", "pen")[number % 2], 0.75, {"pen": 0.25, "cup": 0.75})
    for number in range(12)
)


def test_predictions_are_a_sequence():
    found = Predictions(ROWS)
    assert len(found) == 12
    assert (found[0], found[1:3]) == (ROWS[0], ROWS[1:3])


def test_predictions_become_a_data_frame_where_pandas_is_installed(monkeypatch):
    pytest.importorskip("pandas")
    frame = Predictions(ROWS).to_pandas()
    assert list(frame.columns) == ["path", "label", "confidence", "cup", "pen"]
    assert len(frame) == 12
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UserError, match="to_pandas: the package pandas is not installed; pip install pandas"):
        Predictions(ROWS).to_pandas()


def test_predictions_show_their_number_and_in_a_notebook_the_first_rows():
    found = Predictions(ROWS, (Unreadable("b.png", "not an image"),))
    assert repr(found) == "<Predictions: 12 images, 1 unreadable; cup 6, pen 6>"
    page = found._repr_html_()
    assert page.count("<tr>") == 1 + SHOWN_ROWS
    assert "and 2 more" in page
    assert "&lt;0&gt;.png" in page
    assert "<0>.png" not in page
    assert repr(ROWS[0]).startswith("ImagePrediction(path='<0>.png', label='cup', confidence=0.750, probabilities={'")
