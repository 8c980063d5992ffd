"""Images that are given as objects are kept once, without loss, and never with a target's labels."""

import csv
import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from dalib.commands.main import run as command
from dalib.core.errors import UserError
from dalib.core.places import is_given
from dalib.data.given import (
    MOST_IN_VAIN,
    keep_labelled,
    keep_unlabelled,
    may_leave_its_folder,
    several_sources,
)
from dalib.data.preprocessing import Preprocessing
from dalib.data.sources import open_labelled, open_source, open_target

COLOUR = Preprocessing(8, 3)
GREY = Preprocessing(8, 1)
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
LABELS = ["cat", "dog", "cat", "ant", "ant", "dog"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Columns:
    """Stands for a data set of Hugging Face: columns by name, and a class of its own for each kind of them."""

    def __init__(self, images, labels=None, names=None) -> None:
        self.columns = {"image": list(images)}
        self.features = {"image": type("Image", (), {})()}
        if labels is not None:
            self.columns["label"] = list(labels)
            self.features["label"] = type("ClassLabel", (), {"names": names})()
        self.column_names = list(self.columns)
        self.read = 0

    def __len__(self):
        return len(self.columns["image"])

    def __getitem__(self, position):
        self.read += 1
        return {name: column[position] for name, column in self.columns.items()}


class Pairs(torch.utils.data.Dataset):
    """A map-style data set of torch."""

    classes = ("ant", "cat", "dog")

    def __init__(self, images, labels) -> None:
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.images)

    def __getitem__(self, position):
        return self.images[position], self.labels[position]


def pictures() -> list[Image.Image]:
    return [Image.fromarray(each) for each in PIXELS]


NUMBERS = [Pairs.classes.index(label) for label in LABELS]

LABELLED = {
    "array": (PIXELS, LABELS),
    "channels first": (np.ascontiguousarray(PIXELS.transpose(0, 3, 1, 2)), LABELS),
    "tensor": (torch.from_numpy(PIXELS).permute(0, 3, 1, 2), np.array(LABELS)),
    "floats": (PIXELS / 255, LABELS),
    "half": (torch.from_numpy(PIXELS / 255).to(torch.float32), LABELS),
    "pictures and labels": (pictures(), LABELS),
    "pairs": list(zip(pictures(), LABELS, strict=True)),
    "pairs of arrays": list(zip(PIXELS, LABELS, strict=True)),
    "torch": Pairs(pictures(), NUMBERS),
    "torch, of tensors": Pairs([torch.from_numpy(each).permute(2, 0, 1) / 255 for each in PIXELS], NUMBERS),
    "torch, a part": torch.utils.data.Subset(Pairs(pictures(), NUMBERS), range(6)),
    "columns": Columns(pictures(), NUMBERS, list(Pairs.classes)),
    "dictionaries": Pairs([], NUMBERS),
}


class Dictionaries(Pairs):
    def __len__(self):
        return 6

    def __getitem__(self, position):
        return {"image": PIXELS[position], "label": torch.tensor(NUMBERS[position])}


LABELLED["dictionaries"] = Dictionaries([], [])


@pytest.mark.parametrize("kind", LABELLED)
def test_a_source_of_any_kind_is_read_with_its_pixels_and_labels(kind):
    given = keep_labelled(LABELLED[kind])
    assert is_given(given.list)
    opened = open_source(str(given.list), COLOUR)
    assert torch.equal(opened.images, torch.from_numpy(PIXELS).permute(0, 3, 1, 2))
    assert [opened.classes[number] for number in opened.labels.tolist()] == LABELS
    assert len(given.files) == 6


@pytest.mark.parametrize("kind", LABELLED)
def test_a_target_of_any_kind_is_read_and_none_of_its_labels_is_kept(kind):
    given = keep_unlabelled(LABELLED[kind])
    assert torch.equal(open_target(str(given.list), COLOUR).images, torch.from_numpy(PIXELS).permute(0, 3, 1, 2))
    kept = b"".join(each.read_bytes() for each in given.list.parent.iterdir() if each.suffix != ".png")
    assert not any(label.encode() in kept for label in ("ant", "cat", "dog"))
    with given.list.open(newline="") as file:
        assert next(csv.reader(file)) == ["path"]


def test_labels_of_a_target_decide_nothing_not_even_the_key():
    one, other = (keep_unlabelled((PIXELS, labels)) for labels in (LABELS, LABELS[::-1]))
    assert one.list == other.list == keep_unlabelled(PIXELS).list


def test_a_target_may_yield_images_alone():
    class Alone(Pairs):
        def __getitem__(self, position):
            return self.images[position]

    for target in (PIXELS, PIXELS[..., 0], pictures(), list(PIXELS), Alone(PIXELS, None), Columns(pictures())):
        assert len(keep_unlabelled(target).files) == 6


def test_labels_may_be_identifiers_whose_numbers_name_few_classes():
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8), np.uint8)
    identifiers = [9_000_000_000_000, 17, 17, 9_000_000_000_000]  # a name for each number below takes all memory
    for data in ((images, identifiers), [*zip(images, identifiers, strict=True)]):
        kept = keep_labelled(data)
        assert [row.split(",")[1] for row in kept.list.read_text().split()] == ["label", *map(str, identifiers)]


def test_the_same_images_are_kept_once_and_others_beside_them(cache):
    first = keep_labelled((PIXELS, LABELS))
    before = first.files[0].stat().st_mtime_ns
    assert keep_labelled((PIXELS.copy(), list(LABELS))) == first
    assert keep_labelled((torch.from_numpy(PIXELS), LABELS)) == first
    assert first.files[0].stat().st_mtime_ns == before
    changed = PIXELS.copy()
    changed[5, 7, 7, 2] ^= 1
    assert keep_labelled((changed, LABELS)).list.parent != first.list.parent
    assert keep_labelled((PIXELS, LABELS[::-1])).list.parent != first.list.parent
    assert len(list((cache / "given").iterdir())) == 3, "and nothing else is left there"


@pytest.mark.parametrize("lost", ["*.csv", "index.json", "3.png", "*"])
@pytest.mark.parametrize("data", [PIXELS, pictures()], ids=["array", "pictures"])
def test_what_lost_files_is_kept_anew(data, lost):
    kept = keep_unlabelled(data)
    for each in [*kept.list.parent.glob(lost)]:
        each.unlink()
    again = keep_unlabelled(data)
    assert again == kept
    assert torch.equal(open_target(str(again.list), COLOUR).images, torch.from_numpy(PIXELS).permute(0, 3, 1, 2))


def test_a_path_that_holds_no_image_is_told_when_it_is_read():
    given = keep_labelled(Pairs([*pictures()[:5], "no image.png"], NUMBERS))
    assert given.unreadable == ()
    (missing,) = open_source(str(given.list), COLOUR).unreadable
    assert Path(missing.path) == Path("no image.png").absolute()


def test_an_item_that_raises_is_told_with_its_number_and_refused_if_strict():
    class Broken(Pairs):
        def __getitem__(self, position):
            if position == 2:
                raise OSError("disk error")
            return super().__getitem__(position)

    given = keep_labelled(Broken(pictures(), NUMBERS))
    assert [(each.path, each.reason) for each in given.unreadable] == [("Broken/2", "disk error")]
    assert json.loads((given.list.parent / "index.json").read_text())["unreadable"] == [["Broken/2", "disk error"]]
    with pytest.raises(UserError, match=r"source='Broken': 1 image cannot be read: .*Broken/2: disk error"):
        keep_labelled(Broken(pictures(), NUMBERS), strict=True)


def test_a_masked_label_in_a_pair_is_a_missing_one():
    labels = np.ma.masked_array([0, 1, 0], mask=[False, True, False])
    with pytest.raises(UserError, match=r"^source: row 1 has no label"):
        keep_labelled([*zip(PIXELS[:3], labels, strict=True)])


def test_a_missing_label_is_told_with_the_number_of_its_item_though_others_cannot_be_read():
    first, second = pictures()[:2]
    with pytest.raises(UserError, match="row 2 has no label"):
        keep_labelled([(b"no image", "cat"), (first, "cat"), (second, None)])


def test_a_class_of_a_data_set_may_be_called_like_a_missing_label():
    data = Columns(pictures()[:4], [0, 1, 2, 0], ["None", "N/A", "cat"])
    found = open_source(str(keep_labelled(data).list), COLOUR)
    assert [found.classes[label] for label in found.labels] == ["None", "N/A", "cat", "None"]


def test_a_transform_that_spoils_all_images_is_told_after_some(cache):
    tried = []

    class Normalised(Pairs):
        def __getitem__(self, position):
            tried.append(position)
            return torch.zeros(3, 8, 8) - 2, 0

    with pytest.raises(UserError, match=r"none of the first 32 of its 1000 images.*floats on the scale \[0, 1\]"):
        keep_labelled(Normalised(range(1000), None))
    assert len(tried) == MOST_IN_VAIN
    assert list((cache / "given").iterdir()) == []


def test_files_stay_where_they_are(tmp_path):
    paths = []
    for number, each in enumerate(pictures()):
        paths.append(tmp_path / "anywhere" / f"{number}.jpg")
        paths[-1].parent.mkdir(exist_ok=True)
        each.save(paths[-1])
    given = keep_labelled(list(zip(map(str, paths), LABELS, strict=True)))
    assert given.files == tuple(paths)
    opened = open_source(str(given.list), COLOUR)
    assert opened.names == tuple(map(str, paths))
    assert [opened.classes[number] for number in opened.labels.tolist()] == LABELS
    assert keep_labelled((paths, LABELS)).list == given.list
    assert keep_unlabelled([tmp_path / "anywhere"]).files == keep_unlabelled(paths).files == tuple(paths)
    assert open_labelled(str(given.list), COLOUR, ("ant", "cat", "dog")).names == opened.names


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_file_whose_name_is_no_text_is_read_from_a_list(tmp_path):
    names = [os.fsdecode(b"caf\xe9.png"), "b.png"]
    for name, image in zip(names, pictures(), strict=False):
        image.save(tmp_path / name)
    files = [tmp_path / name for name in names]
    assert keep_unlabelled(files).files == tuple(files)
    given = keep_labelled([(str(each), label) for each, label in zip(files, LABELS, strict=False)])
    found = open_source(str(given.list), COLOUR)
    assert found.names == tuple(map(str, files))
    assert torch.equal(found.images, torch.from_numpy(PIXELS[:2]).permute(0, 3, 1, 2))


def test_frames_and_series_are_read_by_their_rows_whatever_their_index_is(tmp_path):
    paths = [str(tmp_path / f"{name}.png") for name in "abcd"]
    for path, pixels in zip(paths, PIXELS, strict=False):
        Image.fromarray(pixels).save(path)
    frame = pd.DataFrame({"path": paths, "label": LABELS[:4], "site": 1}).sort_values("path", ascending=False)[:3]
    expected = [Path(path) for path in paths[:0:-1]]
    for labelled in (frame, (frame["path"], frame["label"]), (frame["path"].to_numpy(), frame["label"])):
        given = keep_labelled(labelled)
        assert list(given.files) == expected
        rows = list(csv.DictReader(given.list.read_text(encoding="utf-8").splitlines()))
        assert [row["label"] for row in rows] == ["ant", "cat", "dog"]
    for unlabelled in (frame, frame["path"], frame["path"].to_numpy()):
        assert list(keep_unlabelled(unlabelled).files) == expected


def test_a_file_of_two_labels_is_told_without_a_line_that_nobody_has_seen(tmp_path):
    for number, image in enumerate(pictures()):
        image.save(tmp_path / f"{number}.png")
    file = str(tmp_path / "0.png")
    given = keep_labelled([(file, "cat"), (str(tmp_path / "1.png"), "dog"), (file, "dog")])
    with pytest.raises(
        UserError, match=r"^source \(list-of-3-labelled-images\): .*0.png' is there as 'cat' and as 'dog'"
    ):
        open_source(str(given.list), COLOUR)


def test_a_frame_with_other_columns_is_refused_by_their_names():
    frame = pd.DataFrame({"file": ["a.png"], "class": ["cat"]})
    message = "source='DataFrame': expected the columns 'path', 'label', once each, got 'file', 'class'; rename"
    with pytest.raises(UserError, match=message):
        keep_labelled(frame)
    with pytest.raises(UserError, match=r"target='DataFrame': .* or give the column of paths"):
        keep_unlabelled(frame)


def test_only_lists_that_were_written_here_may_leave_their_folder(tmp_path, monkeypatch):
    path = tmp_path / "image.png"
    pictures()[0].save(path)
    given = keep_unlabelled([path])
    assert may_leave_its_folder(given.list)
    copied = tmp_path / "elsewhere" / "given" / given.list.parent.name / given.list.name
    copied.parent.mkdir(parents=True)
    copied.write_bytes(given.list.read_bytes())
    assert is_given(copied)
    assert not may_leave_its_folder(copied)
    with pytest.raises(UserError, match="leaves the folder of the list"):
        open_target(str(copied), COLOUR)


@pytest.mark.parametrize(("low", "high"), [(-1000, 3000), (0, 200_000)])
def test_pictures_of_whole_numbers_of_32_bits_are_kept_as_they_are(low, high):
    values = np.random.default_rng(0).integers(low, high, (4, 16, 16)).astype(np.int32)
    given = keep_unlabelled([Image.fromarray(each) for each in values])
    for file, each in zip(given.files, values, strict=True):
        with Image.open(file) as image:
            assert np.array_equal(np.asarray(image), each)
    found = open_target(str(given.list), Preprocessing(16, 1, range=(low, high)))
    assert len(found.images) == 4
    assert found.images.float().std() > 50


def test_pictures_are_kept_upright_and_opaque():
    turned = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    turned.getexif()[0x0112] = 6
    clear = Image.new("RGBA", (4, 3), (0, 0, 0, 0))
    palette = pictures()[0].convert("P")
    deep = Image.fromarray(np.array([[0, 40_000], [65_535, 3]], np.uint16))
    files = keep_unlabelled([turned, clear, palette, deep]).files
    opened = []
    for each in files:
        with Image.open(each) as image:
            opened.append(image.copy())
    assert opened[0].size == (3, 4)
    assert opened[1].getpixel((0, 0)) == (255, 255, 255)
    assert opened[2].mode == "RGB"
    assert np.asarray(opened[3]).tolist() == [[0, 40_000], [65_535, 3]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (PIXELS, "source: images without labels; give a pair"),
        (pictures(), r"source: expected pairs \(image, label\), item 0 is none \(Image\)"),
        ([(pictures()[0], "cat"), pictures()[1]], r"item 1 is none \(Image\)"),
        ([], "source: expected at least one image, got none"),
        (([], []), "source: expected at least one image, got none"),
        ((PIXELS, LABELS[:4]), r"source: expected one label for each of the 6 images, got \(4,\)"),
        ((pictures(), LABELS[:4]), r"source: expected one label for each of the 6 images, got \(4,\)"),
        ((PIXELS, [0.5] * 6), "whole numbers or names, got float64"),
        ((PIXELS, [*LABELS[:5], None]), "row 5 has no label"),
        ((PIXELS.astype(np.int16), LABELS), "expected images as uint8, 0 to 255, or as floats, 0 to 1, got int16"),
        ((PIXELS.astype(np.float32), LABELS), r"expected floats on the scale \[0, 1\], image 0 has \d+ to 2\d\d"),
        ((PIXELS / 255 * np.nan, LABELS), r"image 0 has nan to nan"),
        ((PIXELS[0], LABELS), r"source: .*\(8, 8, 3\) may be one image with channels"),
        ((np.zeros((0, 8, 8), np.uint8), []), r"got \(0, 8, 8\)"),
        ((np.array([PIXELS[0], PIXELS[1][:4], None], dtype=object), LABELS[:3]), "images of different sizes come in a"),
        ((7, LABELS), "expected images as an array, a tensor or a list, got int$"),
        ((iter(pictures()), LABELS), "got list_iterator; images are read several times, and a stream is not"),
        (7, "expected a folder, a list, a named set, arrays or a data set .*got int"),
        (None, "got NoneType"),
        (Columns(pictures()), "expected pairs"),
        (Columns(pictures(), [0, 1, 2, 3, 0, 1], ["a", "b", "c"]), r"expected labels from 0 to 2 .*got 0 to 3"),
        (Pairs([], []), "source='Pairs': expected at least one image, got none"),
    ],
)
def test_what_is_no_labelled_source_is_refused_by_name(data, message, cache):
    with pytest.raises(UserError, match=message):
        keep_labelled(data)
    assert not list((cache / "given").iterdir() if cache.is_dir() else ())


def test_splits_are_refused_by_their_names():
    class Splits(dict):
        column_names = ()

    with pytest.raises(UserError, match=r"the splits 'train', 'test'; give one of them, such as data\['train'\]"):
        keep_labelled(Splits(train=1, test=2))


def test_images_of_different_sizes_come_in_a_list():
    given = keep_unlabelled([PIXELS[0], PIXELS[1][:4], Image.new("L", (30, 10))])
    assert open_target(str(given.list), GREY).images.shape == (3, 1, 8, 8)


def test_several_sources_are_told_from_one():
    arrays = (PIXELS, LABELS)
    assert several_sources(["studio/", Path("office/")]) == ["studio/", Path("office/")]
    assert several_sources([arrays, "studio/"]) == [arrays, "studio/"]
    assert len(several_sources([Pairs(pictures(), NUMBERS), arrays])) == 2
    for one in (arrays, list(zip(PIXELS, LABELS, strict=True)), (pictures(), LABELS), Pairs([], []), PIXELS):
        assert several_sources(one) is None


def test_a_list_that_is_gone_says_how_to_put_it_back():
    given = keep_labelled((PIXELS, LABELS))
    for each in given.list.parent.iterdir():
        each.unlink()
    with pytest.raises(
        UserError,
        match=r"kept in the cache, and are gone; .* dalib\.adapt\(source=\.\.\., resume=",
    ):
        open_source(str(given.list), COLOUR)


def test_what_is_kept_is_listed_and_removed_with_the_cache(capsys):
    given = keep_labelled((PIXELS, LABELS))
    key = given.list.parent.name
    assert command(["cache", "ls"]) == 0
    assert re.search(rf"  {key} +\S+ \S+  given images of array of 6 images\n", capsys.readouterr().out)
    assert command(["cache", "rm", key]) == 0
    assert not given.list.exists()
    keep_labelled((PIXELS, LABELS))
    assert command(["cache", "rm", "all"]) == 0
    assert not given.list.exists()


def test_a_cache_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"source='array': its images are kept in .*name a folder elsewhere with DALIB"):
        keep_labelled((PIXELS, LABELS))


def test_real_data_sets_of_hugging_face_do_as_well():
    datasets = pytest.importorskip("datasets")
    kinds = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(Pairs.classes))})
    real = datasets.Dataset.from_dict({"image": pictures(), "label": NUMBERS}, features=kinds)
    opened = open_source(str(keep_labelled(real).list), COLOUR)
    assert [opened.classes[number] for number in opened.labels.tolist()] == LABELS
    assert torch.equal(opened.images, torch.from_numpy(PIXELS).permute(0, 3, 1, 2))
    assert len(keep_unlabelled(real).files) == 6
    with pytest.raises(UserError, match=r"give one of them, such as data\['train'\]"):
        keep_labelled(datasets.DatasetDict(train=real))


def test_one_further_column_of_a_frame_is_kept_beside_its_files_and_no_other(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path in paths:
        Image.new("L", (4, 4)).save(path)
    frame = pd.DataFrame({"path": paths, "label": list("aba"), "patient": ["x", None, 7], "secret": 1}, index=[5, 9, 2])
    for keep, head in ((keep_labelled, "path,label,patient"), (keep_unlabelled, "path,patient")):
        lines = keep(frame, column="patient").list.read_text().splitlines()
        assert lines[0] == head
        assert [line.rpartition(",")[2] for line in lines[1:]] == ["x", "", "7"]
        other = keep(frame.assign(patient="y"), column="patient")
        assert other.list.parent != keep(frame, column="patient").list.parent
    for column in ("label", "path", "none", None):
        assert keep_unlabelled(frame, column=column).list.read_text().splitlines()[0] == "path"


def test_a_path_that_no_file_can_have_is_listed_as_unreadable(tmp_path):
    pictures()[0].save(tmp_path / "b.png")
    given = keep_unlabelled([tmp_path / "a\0.png", tmp_path / "b.png"])
    assert given.files == (tmp_path / "b.png",)
    assert [each.path for each in given.unreadable] == ["list/0"]
    with pytest.raises(UserError, match=r"^target='list': 1 image cannot be read: list/0: a path with a null byte"):
        keep_unlabelled([tmp_path / "a\0.png", tmp_path / "b.png"], strict=True)


@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_path_is_not_the_folder_one_is_in(empty, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, picture in zip("abc", pictures()[:3], strict=True):
        picture.save(tmp_path / f"{name}.png")
    of_target = keep_unlabelled([empty, "b.png"])
    of_source = keep_labelled((["a.png", empty, "b.png"], ["cat", "cat", "dog"]))
    assert of_target.files == (tmp_path / "b.png",)
    assert of_source.files == (tmp_path / "a.png", tmp_path / "b.png")
    for given in (of_target, of_source):
        assert [each.reason for each in given.unreadable] == ["expected the path of an image, got an empty text"]
