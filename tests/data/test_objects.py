"""Images and labels that are objects in memory: which kinds there are, and what is refused with a remedy."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Subset

from dalib.core.errors import UserError
from dalib.data.decoding import opaque
from dalib.data.objects import (
    as_bytes,
    channels_first,
    items_of,
    kind_of,
    labels_of,
    names_of_labels,
    numbered,
    picture_of,
)


class Pairs(list):
    """A data set of pairs that names its classes, as torchvision's do."""

    classes = ("cat", "dog")


def test_a_data_set_of_pairs_of_dictionaries_and_of_images_alone():
    for dataset, label in ((Pairs([("image", 1)]), 1), (Pairs([{"img": "image", "label": 1}]), 1), (["image"], None)):
        items = items_of(dataset, "source")
        assert items.count == 1
        assert items.image(0) == "image"
        assert items.label(0) == label


def test_the_classes_of_a_subset_are_those_of_the_whole():
    assert items_of(Subset(Pairs([("image", 1), ("other", 0)]), [1]), "source").classes == ("cat", "dog")


def test_the_classes_may_be_an_array_of_names():
    pairs = Pairs([("image", 1)])
    pairs.classes = np.array(["cat", "dog"])
    assert items_of(pairs, "source").classes == ("cat", "dog")
    assert items_of(ConcatDataset([pairs, Pairs(pairs)]), "source").classes == ("cat", "dog")
    pairs.classes = np.array([3, 7])
    assert items_of(pairs, "source").classes is None


def test_the_classes_of_joined_data_sets_are_those_of_each():
    pairs = Pairs([("image", 1)])
    assert items_of(ConcatDataset([pairs, Subset(pairs, [0])]), "source").classes == ("cat", "dog")
    assert items_of(ConcatDataset([pairs, ["image"]]), "source").classes is None
    others = Pairs([("image", 1)])
    others.classes = ("dog", "cat")
    joined = ConcatDataset([pairs, others])
    with pytest.raises(
        UserError, match="different classes, 'cat', 'dog' and 'dog', 'cat', so that one number means two"
    ):
        items_of(joined, "source")
    assert items_of(joined, "target", labelled=False).count == 2


def test_a_dictionary_without_an_image_or_a_label_is_told_by_its_entries():
    with pytest.raises(ValueError, match="expected an entry image or img or pixel_values, got 'x', 'y'"):
        items_of(Pairs([{"x": "image", "y": 1}]), "source").image(0)
    items = items_of(Pairs([{"img": "image", "target": 1}]), "source")
    items.image(0)
    message = "images alone; its items hold 'img', 'target', and a label is called label"
    assert message in str(items.no_labels("source"))


def test_without_labels_none_is_read():
    items = items_of(Pairs([("image", 1)]), "target", labelled=False)
    items.image(0)
    assert items.label(0) is None


class Columns:
    """A data set of Hugging Face, as far as it is asked."""

    def __init__(self, **kinds):
        self.column_names = list(kinds)
        self.features = {name: type(kind, (), {"names": ["cat", "dog"]})() for name, kind in kinds.items()}

    def __len__(self):
        return 1

    def __getitem__(self, number):
        return {name: f"{name} {number}" for name in self.column_names}


def test_columns_are_found_by_their_kinds():
    items = items_of(Columns(photo="Image", kind="ClassLabel", text="Value"), "source")
    assert (items.image(0), items.label(0), items.classes) == ("photo 0", "kind 0", ("cat", "dog"))


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Columns(one="Image", two="Image"), "expected one column of images, found 2 in 'one', 'two'"),
        (Columns(one="Image", a="ClassLabel", b="ClassLabel"), "expected one column of labels, found 'a', 'b'"),
        (
            type("Splits", (dict,), {"column_names": {}})(train=[]),
            r"got the splits 'train'; .* such as data\['train'\]",
        ),
        (3, "expected a folder, a list, .* got int"),
        ({}, "got dict"),
        (iter(["a.png"]), r"got list_iterator; give it as a list: list\(...\)"),
        (Image.new("RGB", (8, 8)), r"got Image; give a single image in a list: \[image\]"),
        (b"the bytes of a file", r"got bytes; give a single image in a list: \[image\]"),
        (DataLoader(["image"]), "got DataLoader; give its data set: loader.dataset"),
    ],
)
def test_other_things_are_refused(dataset, message):
    with pytest.raises(UserError, match=f"source.*{message}"):
        items_of(dataset, "source")


@pytest.mark.parametrize(
    "image",
    [
        Image.new("RGB", (4, 4), (255, 0, 0)),
        np.array([[[255, 0, 0]] * 4] * 4, dtype=np.uint8),
        torch.tensor([1.0, 0.0, 0.0])[:, None, None].expand(3, 4, 4),
        torch.tensor([1.0, 0.0, 0.0], dtype=torch.bfloat16)[:, None, None].expand(3, 4, 4),
    ],
    ids=["PIL", "array", "tensor", "bfloat16"],
)
def test_pictures_of_all_kinds_are_the_same(image):
    picture = picture_of(image)
    assert (picture.mode, picture.size) == ("RGB", (4, 4))
    assert picture.getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("a.png", "got str"),
        ({"bytes": b"", "path": None}, r"got dict; decode it, .* by cast_column\(NAME, Image\(\)\)"),
        (np.zeros((2, 5, 5), np.uint8), r"1, 3 or 4 channels, got \(2, 5, 5\)"),
        (np.full((4, 4), 2.0), "got 2 to 2; leave normalisation out"),
        (np.zeros((4, 4), np.int32), "expected uint8 or floats, got int32"),
    ],
)
def test_what_is_no_picture_is_refused(image, message):
    with pytest.raises(ValueError, match=message):
        picture_of(image)


def test_floats_become_bytes():
    assert as_bytes(np.array([[[0.0, 0.5, 1.0]]]), "source").tolist() == [[[0, 128, 255]]]
    assert as_bytes(torch.ones(1, 1, 1, dtype=torch.bfloat16), "source").tolist() == [[[255]]]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.array([[[np.nan]]]), "image 0 has nan to nan"),
        (np.array([[[0.0]], [[2.0]]]), "image 1 has 2 to 2"),
        (np.zeros((1, 1, 1), np.int64), "got int64"),
        (np.array([None]), "images of different sizes come in a list"),
    ],
)
def test_other_numbers_are_refused(images, message):
    with pytest.raises(UserError, match=f"source: .*{message}"):
        as_bytes(images, "source")


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 8, 8), (5, 1, 8, 8)),
        ((5, 8, 8, 3), (5, 3, 8, 8)),
        ((5, 1, 8, 8), (5, 1, 8, 8)),
        ((5, 8, 8, 4), (5, 3, 8, 8)),
        ((5, 4, 8, 8), (5, 3, 8, 8)),
        ((5, 4, 4, 3), (5, 3, 4, 4)),
    ],
)
def test_layouts(shape, expected):
    assert channels_first(np.zeros(shape, np.uint8), "source").shape == expected


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((8, 8, 3), "may be one image with channels"),
        ((8, 8, 4), "may be one image with channels or 8 grey images 4 wide"),
        ((5, 3, 8, 3), "both have 1, 3 or 4 channels"),
        ((5, 4, 8, 4), "both have 1, 3 or 4 channels"),
        ((5, 8, 8, 5), "expected images"),
        ((8, 8), "expected images"),
    ],
)
def test_layouts_that_may_be_two_or_none_are_refused(shape, message):
    with pytest.raises(UserError, match=message):
        channels_first(np.zeros(shape, np.uint8), "source")


def test_arrays_with_opacity_are_what_pil_makes_of_them():
    rgba = np.random.default_rng(0).integers(0, 256, (3, 6, 5, 4), dtype=np.uint8)
    expected = np.stack([np.asarray(opaque(Image.fromarray(each))) for each in rgba])
    assert (expected[rgba[..., 3] == 255] == rgba[rgba[..., 3] == 255][:, :3]).all()
    for layout in (rgba, rgba.transpose(0, 3, 1, 2), torch.from_numpy(rgba)):
        assert (channels_first(layout, "source") == expected.transpose(0, 3, 1, 2)).all()
    assert (channels_first(as_bytes(rgba / 255, "source"), "source") == expected.transpose(0, 3, 1, 2)).all()
    clear = np.zeros((2, 2, 4), np.uint8)
    for one in (rgba[0], torch.from_numpy(rgba[0]).permute(2, 0, 1), rgba[0] / 255):
        assert (np.asarray(picture_of(one)) == expected[0]).all()
    assert picture_of(clear).getpixel((0, 0)) == (255, 255, 255)


def test_bool_and_whole_numbers_of_a_clear_scale_become_bytes():
    flags = np.array([[[True, False]]])
    assert as_bytes(flags, "source").tolist() == [[[255, 0]]]
    assert as_bytes(torch.from_numpy(flags), "source").tolist() == [[[255, 0]]]
    assert picture_of(flags[0]).tobytes() == bytes([255, 0])
    for dtype in (np.int32, np.int64):
        assert as_bytes(np.array([[[0, 200]]], dtype), "source").tolist() == [[[0, 200]]]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.array([[[0, 1]]]), r"int64 from 0 to 1; where 1 is white, give images\.astype\(bool\), else"),
        (np.array([[[0, 256]]]), r"int64 from 0 to 256; scale them to 0 to 255"),
        (np.array([[[-1, 9]]]), r"int64 from -1 to 9; scale them"),
        (np.array([[[0, 200]]], np.uint16), r"uint16 from 0 to 200; scale them"),  # may be dark ones of 16 bits
        (np.array([[["a"]]]), "got <U1"),
    ],
)
def test_numbers_of_an_unclear_scale_are_refused_with_the_remedy(images, message):
    with pytest.raises(UserError, match=f"source: .*{message}"):
        as_bytes(images, "source")


def test_labels_are_numbers_or_names():
    assert labels_of([2, 0], None, 2, "labels")[1] == ("0", "1", "2")
    numbers, names = labels_of(["dog", "cat"], None, 2, "labels")
    assert [names[number] for number in numbers] == ["dog", "cat"]
    assert labels_of(["dog"], ("cat", "dog"), 1, "labels")[0].tolist() == [1]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0], r"one label for each of the 2 images, got \(1,\)"),
        ([[0], [1]], r"got \(2, 1\); give labels.ravel\(\)$"),
        ([[1, 0], [0, 1]], r"got \(2, 2\); of one column for each class, give labels.argmax\(1\)$"),
        ([0.5, 1.0], "whole numbers or names, got float64$"),
        ([0.0, 1.0], r"got float64; give labels.astype\(int\)$"),
        ([b"cat", b"dog"], r"got \|S3; give labels.astype\(str\)$"),
        ([False, True], r"got bool; give labels.astype\(int\)$"),
        (torch.tensor([0, 1], dtype=torch.bfloat16), r"got float32; give labels.long\(\)$"),
        (torch.tensor([False, True]), r"got bool; give labels.long\(\)$"),
        ([0, 2], r"from 0 to 1 \('cat', 'dog'\), got 0 to 2"),
        (["cat", "owl"], "the labels 'owl' are none of the classes 'cat', 'dog'"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, message):
    with pytest.raises(UserError, match=message):
        labels_of(labels, ("cat", "dog"), 2, "labels")


def test_words_of_messages():
    assert numbered("array", 2) == ("array/0", "array/1")
    assert kind_of((1, "a")) == "(int, str)"


@pytest.mark.parametrize("empty", [np.zeros((0, 0, 3), np.uint8), np.zeros((4, 0)), torch.zeros(3, 0, 5)])
def test_an_array_without_pixels_is_no_image(empty):
    with pytest.raises(ValueError, match="an array without pixels, of shape"):
        picture_of(empty)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "LA", "RGBA", "CMYK"])
def test_a_picture_is_turned_upright_before_it_is_put_on_white(mode):
    image = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3) * 40).convert(mode)
    exif = image.getexif()
    exif[0x0112] = 6  # orientation: a quarter turn
    image.info["exif"] = exif.tobytes()
    seen = picture_of(image)
    assert seen.size == (2, 3)
    assert np.asarray(seen.convert("L")).tolist() == [[120, 0], [160, 40], [200, 80]]
    assert image.size == (3, 2)  # somebody's image stays as it is


MASKED = np.ma.masked_array(np.full((3, 8, 8), 100, np.uint8), mask=False)
MASKED[0, 0, 0] = np.ma.masked


def test_masked_pixels_are_refused_and_a_mask_of_none_is_not():
    for convert in (channels_first, as_bytes, lambda images, argument: as_bytes(images / 255.0, argument)):
        with pytest.raises(UserError, match=r"^images: .*without a mask.*; give images\.filled\(VALUE\)$"):
            convert(MASKED, "images")
    with pytest.raises(ValueError, match="without a mask"):
        picture_of(MASKED[0])
    assert channels_first(MASKED[1:], "images").shape == (2, 1, 8, 8)
    assert picture_of(MASKED[1]).size == (8, 8)


@pytest.mark.parametrize("convert", [lambda labels: labels, list])
def test_a_masked_label_is_a_missing_one(convert):
    labels = np.ma.masked_array([0, 1, 0], mask=[False, True, False])
    with pytest.raises(UserError, match=r"^labels: row 1 has no label"):
        labels_of(convert(labels), None, 3, "labels")
    assert labels_of(convert(labels[::2]), None, 2, "labels")[0].tolist() == [0, 0]


def test_a_label_beyond_64_bits_with_a_sign_becomes_no_other_number():
    labels = np.array([2**63 + 5, 7], np.uint64)
    with pytest.raises(UserError, match=r"^labels: expected labels below 2\*\*63, got 9223372036854775813; give"):
        names_of_labels(labels, None, 2, "labels")
    assert names_of_labels(labels.astype(str), None, 2, "labels") == ["9223372036854775813", "7"]


def test_labels_that_are_identifiers_do_not_fill_the_memory_with_classes():
    with pytest.raises(UserError, match=r"^labels: a label of 2000000000 means 2000000001 classes, and there are 2 im"):
        labels_of([0, 2_000_000_000], None, 2, "labels")
    assert labels_of([1, 1], None, 2, "labels")[1] == ("0", "1")


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
def test_a_picture_that_was_cut_to_nothing_is_no_image(size):
    with pytest.raises(ValueError, match="without pixels, of size"):
        picture_of(Image.new("RGB", size))
