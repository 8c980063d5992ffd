"""Predictions for files and objects: a row for each image, a reason for each that cannot be read, and how they look."""

import sys
import tarfile
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from dalib.core.errors import UserError
from dalib.core.files import Unreadable
from dalib.data.preprocessing import Preprocessing
from dalib.models.architecture import Architecture
from dalib.models.exported import OpenedModel
from dalib.models.known import KnownRule
from dalib.models.saved import ModelDescription
from dalib.run.finished.image_predictions import SHOWN_ROWS, ImagePrediction, Predictions, predict_images
from dalib.run.finished.load import Predictor


def dark_or_bright(rows):
    """Probabilities by the first pixel: bright, dark."""
    bright = rows[:, 0, 0, 0].float() / 255
    return torch.stack([bright, 1 - bright], dim=1)


def predictor():
    architecture = Architecture(backbones=("small",), bottleneck_dim=8, channels=3, size=4)
    description = ModelDescription(architecture, ("bright", "dark"), Preprocessing(4, 3))
    return Predictor(OpenedModel(description, dark_or_bright))


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
    found = predict_images(images, predictor(), lambda *call: calls.append(call))
    assert calls[-1][0] == calls[-1][1]
    return found


@pytest.mark.parametrize("kind", ["folder", "list of files", "iterator"])
def test_files_have_rows_in_order_and_the_others_a_reason(kind, folder):
    files = sorted(folder.iterdir())
    found = predicted({"folder": folder, "list of files": files, "iterator": iter(files)}[kind])
    assert [row.path for row in found] == [str(folder / f"{number}.png") for number in range(5)]
    assert [row.label for row in found] == ["dark"] * 3 + ["bright"] * 2
    assert found[0].confidence == found[0].probabilities["dark"] == 1
    (broken,) = found.unreadable
    assert broken.path == str(folder / "broken.png")
    assert broken.reason.startswith("not an image")


def test_one_file_and_a_list_with_a_missing_file_are_predicted(folder):
    assert [row.label for row in predicted(folder / "4.png")] == ["bright"]
    (folder / "list.csv").write_text("path\n0.png\ngone.png\n")
    found = predicted(folder / "list.csv")
    assert [row.label for row in found] == ["dark"]
    assert [each.path for each in found.unreadable] == [str(folder / "gone.png")]


def test_an_empty_path_is_not_the_working_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for images in ("", ["0.png", " "]):
        with pytest.raises(UserError, match="expected a path, got an empty text"):
            predicted(images)


def test_a_pattern_of_shards_is_a_place(folder):
    for number in range(2):
        with tarfile.open(folder.parent / f"new-{number}.tar", "w") as shard:
            shard.add(folder / f"{number}.png", f"{number}.png")
    pattern = str(folder.parent / "new-{0..1}.tar")
    assert [row.path.rsplit("/", 1)[-1] for row in predicted(pattern)] == ["0", "1"]
    with pytest.raises(UserError, match="1 of its 3 shards are missing"):
        predicted(str(folder.parent / "new-{0..2}.tar"))


def test_a_place_that_is_not_there_is_no_image_that_cannot_be_read(folder):
    with pytest.raises(UserError, match=r"images='.*gone/': no such file or folder"):
        predicted(f"{folder}/gone/")
    assert [each.path for each in predicted([folder / "0.png", folder / "gone.png"]).unreadable] == [
        str(folder / "gone.png")
    ]


@pytest.mark.parametrize("together", [2, 64])
def test_objects_are_named_by_their_number_and_a_wrong_one_costs_no_other(together, monkeypatch):
    monkeypatch.setattr("dalib.run.finished.image_predictions.BATCH", together)
    images = np.full((11, 4, 4, 3), 200, np.uint8)
    assert [row.path for row in predicted(images)][-2:] == ["array/09", "array/10"]
    found = predicted([*(Image.fromarray(each) for each in images[:3]), np.zeros((4, 4, 7), np.uint8)])
    assert [row.path for row in found] == ["list/0", "list/1", "list/2"]
    assert [(each.path, bool(each.reason)) for each in found.unreadable] == [("list/3", True)]


@pytest.mark.parametrize("kind", ["frame", "series", "array", "paths and labels", "pairs"])
def test_files_keep_their_paths_in_whatever_they_come(kind, folder):
    files = [str(folder / f"{number}.png") for number in (3, 0, 4)]
    given = {
        "frame": pd.DataFrame({"path": files, "label": 7}, index=[9, 2, 5]),
        "series": pd.Series(files, index=[9, 2, 5]),
        "array": np.array(files),
        "paths and labels": (files, [7, 7, 7]),
        "pairs": [(file, 7) for file in files],
    }
    assert [row.path for row in predicted(given[kind])] == files


def test_files_keep_their_paths_beside_what_has_none(folder):
    found = predicted(pd.DataFrame({"path": [str(folder / "3.png"), None, str(folder / "0.png")]}))
    assert [row.path for row in found] == [str(folder / "3.png"), str(folder / "0.png")]
    assert [each.path for each in found.unreadable] == ["list/1"]


def test_an_image_that_its_data_set_cannot_give_costs_no_other():
    class Broken:
        def __len__(self):
            return 3

        def __getitem__(self, number):
            if number == 1:
                raise OSError("lost")
            return np.full((4, 4, 3), 200, np.uint8)

    found = predicted(Broken())
    assert len(found) == 2
    assert [each.reason for each in found.unreadable] == ["lost"]


NAMES = tuple(f"<{number}>.png" for number in range(12))


def made(known=None):
    """Predictions of cups and pens, which take turns."""
    architecture = Architecture(backbones=("small",), bottleneck_dim=8, channels=3, size=4)
    description = ModelDescription(architecture, ("pen", "cup"), Preprocessing(4, 3), known)
    shares = torch.tensor([[0.25, 0.75], [0.625, 0.375]]).repeat(6, 1)
    return Predictions(NAMES, shares, description, (Unreadable("b.png", "not an image"),))


def test_predictions_are_a_sequence():
    found = made()
    assert len(found) == len(found.rows) == 12
    first = ImagePrediction("<0>.png", "cup", 0.75, {"cup": 0.75, "pen": 0.25})
    assert found[0] == found.rows[0] == first
    assert [*found[0:3]] == [*found.rows[:3]]
    assert found[-1].label == "pen"
    with pytest.raises(IndexError):
        found[12]


def test_predictions_become_a_data_frame_where_pandas_is_installed(monkeypatch):
    pytest.importorskip("pandas")
    frame = made().to_pandas()
    assert list(frame.columns) == ["path", "label", "confidence", "cup", "pen"]
    assert frame.loc[1].tolist() == ["<1>.png", "pen", 0.625, 0.375, 0.625]
    assert len(frame) == 12
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UserError, match="to_pandas: the package pandas is not installed; pip install pandas"):
        made().to_pandas()


def test_a_class_of_the_name_of_another_column_takes_none_of_it():
    found = made()
    found = replace(found, description=replace(found.description, classes=("label", "cup")))
    frame = found.to_pandas()
    assert list(frame.columns) == ["path", "label", "confidence", "cup", "class label"]
    assert list(frame["label"][:2]) == found.labels[:2]
    assert list(frame["class label"][:2]) == [0.25, 0.625]


def test_unknown_images_are_named_so_in_rows_labels_and_frames():
    pytest.importorskip("pandas")
    found = made(KnownRule(threshold=0.1, scale=0.1))
    assert found.labels == [row.label for row in found] == ["cup", "unknown"] * 6
    frame = found.to_pandas()
    assert frame.columns[3] == "known"
    assert frame["known"].tolist() == pytest.approx([row.known for row in found])


def of_classes(classes):
    """One image of each class, in the order of the columns."""
    description = replace(made().description, classes=classes)
    return Predictions(tuple(map(str, range(len(classes)))), torch.eye(len(classes)), description)


def test_labels_that_were_numbers_are_had_as_such_whatever_the_columns_order():
    found = of_classes(("0", "1", "10", "2"))
    assert found.labels == ["0", "1", "10", "2"]
    assert found.numbers().tolist() == [0, 1, 10, 2]
    assert found.numbers().dtype == torch.int64
    assert of_classes(("cup", "pen")).numbers(["pen", "bag", "cup"]).tolist() == [2, 0]
    assert found[:0].numbers().shape == (0,)
    unknown = made(KnownRule(threshold=0.1, scale=0.1))
    assert unknown.numbers(["cup", "pen"]).tolist() == [0, -1] * 6


def test_a_class_without_a_number_is_refused():
    with pytest.raises(UserError, match=r"numbers: the class 'pen' is no number; give .*numbers\(dataset\.classes\)"):
        made().numbers()
    with pytest.raises(UserError, match="numbers: the class 'pen' is none of those given"):
        made().numbers(["cup", "bag"])


def test_predictions_show_their_number_and_in_a_notebook_the_first_rows():
    found = made()
    assert repr(found) == "<Predictions: 12 images, 1 unreadable; cup 6, pen 6>"
    assert (
        repr(replace(found, paths=(), probabilities=found.probabilities[:0])) == "<Predictions: 0 images, 1 unreadable>"
    )
    page = found._repr_html_()
    assert page.count("<tr>") == 1 + SHOWN_ROWS
    assert "and 2 more" in page
    assert "&lt;0&gt;.png" in page
    assert "<0>.png" not in page
    assert repr(found[0]).startswith("ImagePrediction(path='<0>.png', label='cup', confidence=0.750, probabilities={'")
