"""Arrays and data sets in memory become the rows that files with the same pixels become."""

from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image

from dalib.core.errors import UserError
from dalib.data import decoding
from dalib.data.object_rows import rows_of_arrays
from dalib.data.preprocessing import Fit, Preprocessing
from dalib.data.sources import open_source, open_target
from small_folders import values

GREY = Preprocessing(size=4, channels=1)
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 5, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize("fit", get_args(Fit))
@pytest.mark.parametrize(("size", "channels"), [(16, 1), (16, 3), (28, 1), (8, 3)])
@pytest.mark.parametrize("own_channels", [1, 3])
def test_arrays_become_what_files_with_these_pixels_become(tmp_path, own_channels, size, channels, fit):
    pixels = np.random.default_rng(0).integers(0, 256, (5, own_channels, 16, 16), dtype=np.uint8)
    pixels[..., :4, :] = 0  # a margin, for a fit that looks for one
    for number, image in enumerate(pixels):
        Image.fromarray(image[0] if own_channels == 1 else image.transpose(1, 2, 0)).save(tmp_path / f"{number}.png")
    preprocessing = Preprocessing(size, channels, fit=fit)
    rows = rows_of_arrays(pixels, preprocessing)
    assert rows.dtype == torch.uint8
    assert rows.is_contiguous()
    assert torch.equal(rows, open_target(str(tmp_path), preprocessing).images)


def test_arrays_of_the_right_size_do_not_go_through_pil(monkeypatch):
    monkeypatch.setattr(Preprocessing, "pixels", lambda *args: pytest.fail("one image at a time"))
    grey = np.arange(32, dtype=np.uint8).reshape(2, 1, 4, 4)
    np.testing.assert_array_equal(rows_of_arrays(grey, GREY), grey)
    np.testing.assert_array_equal(rows_of_arrays(grey, Preprocessing(4, 3)), np.concatenate([grey] * 3, axis=1))


def test_a_read_only_array_of_the_right_size_raises_no_warning_and_stays_as_it_is():
    grey = np.zeros((2, 1, 4, 4), np.uint8)
    grey.flags.writeable = False
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)  # torch warns once a process otherwise
    try:
        rows_of_arrays(grey, GREY)[:] = 1
    finally:
        torch.set_warn_always(before)
    assert not grey.any()


def test_arrays_beyond_the_free_memory_are_refused(monkeypatch):
    monkeypatch.setattr(decoding, "free_memory", lambda: 100)
    with pytest.raises(UserError, match=r"free; use a smaller data\.size"):
        rows_of_arrays(np.zeros((100, 1, 4, 4), np.uint8), GREY)


LABELS = [0, 2, 1, 0, 2, 1]


@pytest.mark.parametrize("convert", [lambda array: array, torch.from_numpy], ids=["array", "tensor"])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW", "NHW", "NHW1", "N1HW"])
def test_arrays_and_tensors_are_read_in_every_layout(convert, layout):
    grey = PIXELS[..., 0]
    array, expected = {
        "NHWC": (PIXELS, PIXELS),
        "NCHW": (PIXELS.transpose(0, 3, 1, 2).copy(), PIXELS),
        "NHW": (grey.copy(), grey[..., None]),
        "NHW1": (grey[..., None].copy(), grey[..., None]),
        "N1HW": (grey[:, None].copy(), grey[..., None]),
    }[layout]
    preprocessing = Preprocessing(4, 3)
    rows = rows_of_arrays(expected.transpose(0, 3, 1, 2), preprocessing)
    labelled = open_source((convert(array), convert(np.array(LABELS))), preprocessing)
    assert torch.equal(labelled.images, rows)
    assert labelled.labels.tolist() == LABELS
    assert labelled.labels.dtype == torch.int64
    assert labelled.classes == ("0", "1", "2")
    assert len(set(labelled.names)) == 6
    assert torch.equal(open_target(convert(array), preprocessing).images, rows)
    target = open_target((convert(array), "labels that nobody looks at"), preprocessing)
    assert torch.equal(target.images, rows)
    assert set(vars(target)) == {"images", "names", "unreadable", "left_out", "outside"}


def test_labels_may_be_names():
    labelled = open_source((PIXELS, ["cat", "dog", "cat", "ant", "ant", "dog"]), GREY)
    assert labelled.classes == ("ant", "cat", "dog")
    assert labelled.labels.tolist() == [1, 2, 1, 0, 0, 2]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 3, 4, 3), np.uint8), r"\(2, 3, 4, 3\) may be \(N, C, H, W\) or \(N, H, W, C\)"),
        (np.zeros((2, 4, 3), np.uint8), r"\(2, 4, 3\) may be one image with channels or 2 grey images 3 wide"),
        (np.zeros((2, 4, 4, 4), np.uint8), r"\(2, 4, 4, 4\) may be \(N, C, H, W\) or \(N, H, W, C\)"),
        (np.zeros((2, 5, 5, 5), np.uint8), r"expected images \(N, H, W\), .* got \(2, 5, 5, 5\)"),
        (np.zeros((4, 4), np.uint8), r".*got \(4, 4\)"),
        (np.zeros((0, 4, 4), np.uint8), r".*got \(0, 4, 4\)"),
        (np.zeros((2, 4, 4), np.float32), r"expected images as uint8, 0 to 255, got float32"),
        (torch.zeros(2, 4, 4), r"expected images as uint8, 0 to 255, got float32"),
    ],
)
def test_arrays_that_are_no_images_are_refused(images, message):
    with pytest.raises(UserError, match=rf"^target: {message}"):
        open_target(images, GREY)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], r"one label for each of the 6 images, got \(2,\)"),
        ([0.5] * 6, "whole numbers or names, got float64"),
        ([0, 2, 0, 2, 0, 2], "no image, or none that can be read, of the classes '1'"),
        ([-1, 0, 1, 0, 1, 0], "expected labels from 0, got -1 to 1"),
        (np.zeros((6, 2), int), r"got \(6, 2\)"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, message):
    with pytest.raises(UserError, match=rf"^source:? .*{message}"):
        open_source((PIXELS, labels), GREY)


def test_a_source_of_arrays_needs_labels():
    with pytest.raises(UserError, match=r"^source: images without labels; give a pair"):
        open_source(PIXELS, GREY)


@pytest.mark.parametrize("thing", [None, 7, {"a": 1}, iter([])])
def test_what_is_nothing_of_that_is_refused(thing):
    with pytest.raises(UserError, match=r"^target: expected a folder, a list, a named set, arrays or a data set"):
        open_target(thing, GREY)


class MapStyle(torch.utils.data.Dataset):
    def __init__(self, items, classes=None) -> None:
        self.items = items
        if classes is not None:
            self.classes = classes

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index):
        if isinstance(self.items[index], Exception):
            raise self.items[index]
        return self.items[index]


IMAGE_KINDS = {
    "PIL": Image.fromarray,
    "array": lambda pixels: pixels,
    "tensor": lambda pixels: torch.from_numpy(pixels).permute(2, 0, 1),
    "floats": lambda pixels: torch.from_numpy(pixels).permute(2, 0, 1) / 255,
}


@pytest.mark.parametrize("kind", IMAGE_KINDS)
@pytest.mark.parametrize("classes", [None, ["ant", "bee", "cat"]])
def test_a_data_set_of_torch_is_a_source_and_a_target(kind, classes):
    items = [(IMAGE_KINDS[kind](pixels), label) for pixels, label in zip(PIXELS, LABELS, strict=True)]
    preprocessing = Preprocessing(4, 3)
    expected = rows_of_arrays(PIXELS.transpose(0, 3, 1, 2), preprocessing)
    labelled = open_source(MapStyle(items, classes), preprocessing)
    assert torch.equal(labelled.images, expected)
    assert labelled.labels.tolist() == LABELS
    assert labelled.classes == (tuple(classes) if classes else ("0", "1", "2"))
    target = open_target(MapStyle(items, classes), preprocessing)
    assert torch.equal(target.images, expected)
    assert torch.equal(open_target(MapStyle([image for image, _ in items]), preprocessing).images, expected)


def test_grey_and_transparent_images_of_a_data_set_are_read_as_files_are():
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    target = open_target(
        MapStyle([Image.new("L", (4, 4), 9), torch.full((1, 4, 4), 9, dtype=torch.uint8), clear]), GREY
    )
    assert values(target.images) == [9, 9, 255]


def test_labels_of_a_data_set_may_be_tensors():
    items = [(pixels, torch.tensor(label)) for pixels, label in zip(PIXELS, LABELS, strict=True)]
    assert open_source(MapStyle(items), GREY).labels.tolist() == LABELS


def test_what_a_data_set_cannot_give_is_listed():
    good = Image.new("L", (4, 4), 9)
    items = [(good, 0), OSError("the archive is damaged"), (good, 1), (torch.randn(3, 4, 4) * 9, 1), ("text", 0)]
    calls = []
    labelled = open_source(MapStyle(items), GREY, on_progress=lambda *call: calls.append(call))
    assert labelled.labels.tolist() == [0, 1]
    assert [each.path for each in labelled.unreadable] == ["MapStyle/1", "MapStyle/3", "MapStyle/4"]
    reasons = [each.reason for each in labelled.unreadable]
    assert reasons[0] == "the archive is damaged"
    assert "leave normalisation out" in reasons[1]
    assert "got str" in reasons[2]
    assert calls[-1] == (5, 5)
    with pytest.raises(UserError, match=r"^source='MapStyle': 3 images cannot be read"):
        open_source(MapStyle(items), GREY, strict=True)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (MapStyle([]), "'MapStyle': none of its 0 images can be read"),
        (MapStyle([PIXELS[0]]), r"expected pairs \(image, label\), got images alone"),
        (
            MapStyle([(PIXELS[0], 0)] * 2, ["ant", "bee"]),
            "no image, or none that can be read, of the classes 'bee'",
        ),
        (MapStyle([(PIXELS[0], 2)] * 2, ["ant", "bee"]), r"expected labels from 0 to 1 \('ant', 'bee'\), got 2 to 2"),
    ],
)
def test_a_data_set_that_is_no_source_is_refused(dataset, message):
    with pytest.raises(UserError, match=rf"^source.*{message}"):
        open_source(dataset, GREY)


@pytest.mark.parametrize("missing", [None, float("nan"), "nan", "None", "N/A"])
def test_a_missing_label_is_no_class_from_python_either(missing):
    labels = np.array(["ant", "bee", missing, "ant"], dtype=object)
    images = np.zeros((4, 5, 5), np.uint8)
    with pytest.raises(UserError, match=r"^source: row 2 has no label: .*; leave the row out"):
        open_source((images, labels), GREY)
    with pytest.raises(UserError, match=r"^source: row 2 has no label"):
        open_source(MapStyle(list(zip(images, labels, strict=True))), GREY)


def test_the_name_of_a_known_class_is_that_class_even_if_it_is_none():
    images = [(PIXELS[0], "None"), (PIXELS[0], "ant"), (PIXELS[0], "None ")]
    assert open_source(MapStyle(images, ["ant", "None"]), GREY).labels.tolist() == [1, 0, 1]


class HuggingFace:
    """What ``datasets.Dataset`` shows of itself."""

    def __init__(self, columns: dict, features: dict) -> None:
        self.columns, self.features, self.column_names = columns, features, list(columns)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, index: int) -> dict:
        return {name: column[index] for name, column in self.columns.items()}


class ClassLabel:
    def __init__(self, names) -> None:
        self.names = names


Feature = type("Image", (), {})


Value = type("Value", (), {})


PICTURES = [Image.fromarray(pixels) for pixels in PIXELS]


def test_a_data_set_of_hugging_face_is_a_source_and_a_target():
    columns = {"id": list(range(6)), "photo": PICTURES, "species": LABELS}
    features = {"id": Value(), "photo": Feature(), "species": ClassLabel(["ant", "bee", "cat"])}
    preprocessing = Preprocessing(4, 3)
    expected = rows_of_arrays(PIXELS.transpose(0, 3, 1, 2), preprocessing)
    labelled = open_source(HuggingFace(columns, features), preprocessing)
    assert torch.equal(labelled.images, expected)
    assert labelled.labels.tolist() == LABELS
    assert labelled.classes == ("ant", "bee", "cat")
    assert torch.equal(open_target(HuggingFace(columns, features), preprocessing).images, expected)
    assert len(open_target(HuggingFace({"photo": PICTURES}, {"photo": Feature()}), GREY).images) == 6


def test_its_columns_are_known_by_name_where_they_have_no_features():
    labelled = open_source(HuggingFace({"image": PICTURES, "label": LABELS}, {}), GREY)
    assert labelled.classes == ("0", "1", "2")


@pytest.mark.parametrize(
    ("columns", "features", "message"),
    [
        ({"a": PICTURES, "b": PICTURES}, {"a": Feature(), "b": Feature()}, "one column of images, found 2 in 'a', 'b'"),
        ({"text": ["x"] * 6}, {"text": Value()}, "one column of images, found 0 in 'text'"),
        (
            {"image": PICTURES, "a": LABELS, "b": LABELS},
            {"image": Feature(), "a": ClassLabel(["x"]), "b": ClassLabel(["y"])},
            "one column of labels, found 'a', 'b'",
        ),
        ({"image": PICTURES}, {"image": Feature()}, r"expected pairs \(image, label\)"),
        ({"image": PICTURES, "label": [-1] * 6}, {"label": ClassLabel(["x"])}, "got -1 to -1"),
    ],
)
def test_columns_that_do_not_say_what_they_are_are_refused(columns, features, message):
    with pytest.raises(UserError, match=rf"^source.*{message}"):
        open_source(HuggingFace(columns, features), GREY)


@pytest.mark.parametrize("item", [{"image": PICTURES[0]}, {"image": PICTURES[0], "fine": None, "coarse": object()}])
def test_no_label_of_a_target_is_looked_at(item):
    dataset = HuggingFace({"image": PICTURES}, {name: ClassLabel(["x"]) for name in ("fine", "coarse")})
    dataset.__class__ = type("Dataset", (HuggingFace,), {"__getitem__": lambda self, index: item})
    assert len(open_target(dataset, GREY).images) == 6


def test_a_stream_is_refused():
    stream = type("IterableDataset", (), {"features": {}, "column_names": ["image"]})()
    for open_any, argument in ((open_source, "source"), (open_target, "target")):
        with pytest.raises(UserError, match=f"{argument}: .*length and items by number, got IterableDataset"):
            open_any(stream, GREY)


def test_what_the_library_of_hugging_face_gives_is_read(tmp_path):
    """Runs where ``datasets`` is installed; nothing of ours needs it."""
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"photo": datasets.Image(), "kind": datasets.ClassLabel(names=["ant", "bee", "cat"])})
    made = datasets.Dataset.from_dict({"photo": PICTURES, "kind": LABELS}, features=features)
    made.to_parquet(tmp_path / "made.parquet")
    read = datasets.Dataset.from_parquet(str(tmp_path / "made.parquet"), cache_dir=str(tmp_path))
    preprocessing = Preprocessing(4, 3)
    expected = rows_of_arrays(PIXELS.transpose(0, 3, 1, 2), preprocessing)
    for dataset in (made, read, read.with_format("torch")):
        labelled = open_source(dataset, preprocessing)
        assert torch.equal(labelled.images, expected)
        assert labelled.labels.tolist() == LABELS
        assert labelled.classes == ("ant", "bee", "cat")
        assert torch.equal(open_target(dataset, preprocessing).images, expected)
    assert torch.equal(open_target(made.remove_columns("kind"), preprocessing).images, expected)
    with pytest.raises(UserError, match="expected one data set, got the splits 'train'"):
        open_source(datasets.DatasetDict(train=made), preprocessing)
    with pytest.raises(UserError, match="got IterableDataset"):
        open_target(made.to_iterable_dataset(), preprocessing)
