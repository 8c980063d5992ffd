"""From folders and built-in names to rows of images."""

import os
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from dalib.core.errors import UserError
from dalib.data import sources
from dalib.data.decoding import decode
from dalib.data.listing import list_images
from dalib.data.preprocessing import Fit, Preprocessing
from dalib.data.sources import (
    CachePolicy,
    listing_of,
    open_labelled,
    open_source,
    open_target,
    read_folder,
    rows_of_arrays,
)

GREY = Preprocessing(size=4, channels=1)
TEN = tuple("0123456789")


def draw(path: Path, value: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4), value).save(path)
    return path


def empty(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def truncated(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def two_classes(root: Path) -> Path:
    draw(root / "dog" / "a.png", 10)
    draw(root / "cat" / "b.png", 20)
    draw(root / "cat" / "deep" / "c.png", 30)
    return root


def values(images: torch.Tensor) -> list[int]:
    return images[:, 0, 0, 0].tolist()


def test_class_folders_become_sorted_classes_with_their_images(tmp_path):
    labelled = open_source(str(two_classes(tmp_path)), GREY)
    assert labelled.classes == ("cat", "dog")
    assert values(labelled.images) == [20, 30, 10]
    assert labelled.labels.tolist() == [0, 0, 1]
    assert labelled.labels.dtype == torch.int64
    assert labelled.images.shape == (3, 1, 4, 4)
    assert labelled.images.dtype == torch.uint8
    assert labelled.names == tuple(str(tmp_path / name) for name in ("cat/b.png", "cat/deep/c.png", "dog/a.png"))


def test_files_beside_the_class_folders_and_hidden_folders_are_no_classes(tmp_path):
    two_classes(tmp_path)
    draw(tmp_path / "loose.png")
    draw(tmp_path / ".thumbnails" / "x.png")
    assert len(open_source(str(tmp_path), GREY).images) == 3


def test_a_target_is_a_heap_of_images_flat_or_nested(tmp_path):
    draw(tmp_path / "b.png", 1)
    draw(tmp_path / "a.png", 2)
    draw(tmp_path / "some" / "folder" / "c.png", 3)
    target = open_target(str(tmp_path), GREY)
    assert values(target.images) == [2, 1, 3]
    assert [Path(name).name for name in target.names] == ["a.png", "b.png", "c.png"]


def test_a_target_sorted_into_classes_gives_no_labels(tmp_path):
    target = open_target(str(two_classes(tmp_path)), GREY)
    assert sorted(values(target.images)) == [10, 20, 30]
    assert target.outside is None
    assert set(vars(target)) == {"images", "names", "unreadable", "left_out", "outside"}


@pytest.mark.parametrize("name", ["a.PNG", "a.Jpg", "a.JPEG", "a.webp", "a.bmp", "a.gif", "a.TIF", "a.tiff", "a.pgm"])
def test_every_ending_is_read_in_upper_and_lower_case(tmp_path, name):
    draw(tmp_path / name, 80)
    assert values(open_target(str(tmp_path), GREY).images) == [pytest.approx(80, abs=2)]


def test_hidden_files_and_folders_and_other_files_are_skipped(tmp_path):
    draw(tmp_path / "a.png")
    draw(tmp_path / "._a.png")
    draw(tmp_path / ".cache" / "b.png")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "png").write_text("no image")
    assert [Path(name).name for name in open_target(str(tmp_path), GREY).names] == ["a.png"]


def test_a_loop_of_links_ends_and_linked_folders_are_read(tmp_path):
    draw(tmp_path / "set" / "a.png")
    draw(tmp_path / "elsewhere" / "b.png")
    (tmp_path / "set" / "again").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "elsewhere")
    assert sorted(path.name for path in list_images(tmp_path / "set", argument="target").paths) == ["a.png", "b.png"]


OPENERS = {
    "source": lambda where: open_source(where, GREY),
    "target": lambda where: open_target(where, GREY),
    "data": lambda where: open_labelled(where, GREY, ("cat", "dog")),
}
every_argument = pytest.mark.parametrize(("argument", "opener"), OPENERS.items(), ids=OPENERS)
every_labelled = pytest.mark.parametrize("argument", ["source", "data"])


@every_argument
def test_a_missing_folder_is_named(tmp_path, argument, opener):
    with pytest.raises(UserError, match=rf"^{argument}=.*/nowhere': no such folder"):
        opener(str(tmp_path / "nowhere"))


@every_argument
def test_a_file_in_place_of_a_folder_is_named(tmp_path, argument, opener):
    with pytest.raises(UserError, match=rf"^{argument}=.*a\.png': expected a folder, this is a file"):
        opener(str(draw(tmp_path / "a.png")))


@every_labelled
def test_a_labelled_set_needs_class_folders(tmp_path, argument):
    draw(tmp_path / "a.png")
    with pytest.raises(UserError, match=rf"^{argument}=.*one folder of images for each class"):
        OPENERS[argument](str(tmp_path))


@every_labelled
def test_an_empty_class_folder_is_named(tmp_path, argument):
    two_classes(tmp_path)
    (tmp_path / "bird").mkdir()
    with pytest.raises(UserError, match=rf"^{argument}=.*'bird' holds no image"):
        OPENERS[argument](str(tmp_path))


@every_labelled
def test_a_class_of_which_nothing_can_be_read_is_named(tmp_path, argument):
    two_classes(tmp_path)
    empty(tmp_path / "bird" / "broken.png")
    with pytest.raises(UserError, match=rf"^{argument}=.*'bird' can be read.*broken\.png"):
        OPENERS[argument](str(tmp_path))


def test_a_source_of_one_class_is_refused(tmp_path):
    draw(tmp_path / "cat" / "a.png")
    with pytest.raises(UserError, match=r"^source=.*at least two class folders, found one \(cat\)"):
        open_source(str(tmp_path), GREY)


def test_a_target_without_images_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(UserError, match=r"^target=.*found none"):
        open_target(str(tmp_path), GREY)


@pytest.mark.parametrize("spoil", [empty, truncated])
def test_a_target_of_which_nothing_can_be_read_is_refused(tmp_path, spoil):
    spoil(tmp_path / "a.png")
    spoil(tmp_path / "b.png")
    with pytest.raises(UserError, match=r"^target=.*none of its 2 images can be read .*a\.png: \w"):
        open_target(str(tmp_path), GREY)


@pytest.mark.parametrize("spoil", [empty, truncated])
def test_a_damaged_image_is_listed_with_the_reason_and_skipped(tmp_path, spoil):
    two_classes(tmp_path)
    broken = spoil(tmp_path / "cat" / "broken.png")
    labelled = open_source(str(tmp_path), GREY)
    target = open_target(str(tmp_path), GREY)
    assert values(labelled.images) == [20, 30, 10]
    assert labelled.labels.tolist() == [0, 0, 1]
    assert len(labelled.names) == 3
    for opened in (labelled, target):
        assert [each.path for each in opened.unreadable] == [str(broken)]
        assert opened.unreadable[0].reason
        assert str(broken) not in opened.names


@pytest.mark.parametrize("spoil", [empty, truncated])
@pytest.mark.parametrize(
    ("argument", "opener"),
    {
        "source": lambda where: open_source(where, GREY, strict=True),
        "target": lambda where: open_target(where, GREY, strict=True),
        "data": lambda where: open_labelled(where, GREY, ("cat", "dog"), strict=True),
    }.items(),
)
def test_strict_refuses_a_damaged_image_by_name(tmp_path, argument, opener, spoil):
    two_classes(tmp_path)
    spoil(tmp_path / "cat" / "broken.png")
    with pytest.raises(UserError, match=rf"^{argument}=.*1 images cannot be read: .*broken\.png: \w.*strict"):
        opener(str(tmp_path))


def test_strict_accepts_what_is_whole(tmp_path):
    assert len(open_source(str(two_classes(tmp_path)), GREY, strict=True).images) == 3


def test_decode_keeps_the_order_and_reports_each_file(tmp_path):
    paths = [draw(tmp_path / f"{number}.png", number) for number in range(30)]
    empty(paths[4])
    calls = []
    images, kept, unreadable = decode(paths, GREY, on_decoded=lambda: calls.append(1))
    expected = [number for number in range(30) if number != 4]
    assert values(images) == expected
    assert kept.tolist() == expected
    assert [each.path for each in unreadable] == [str(paths[4])]
    assert len(calls) == 30


def test_images_beyond_the_free_memory_are_refused_before_reading(monkeypatch):
    monkeypatch.setattr(os, "sysconf", lambda name: 10)
    with pytest.raises(UserError, match=r"free; use a smaller data\.size"):
        decode([Path("never-read.png")] * 100, GREY)


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


def test_arrays_beyond_the_free_memory_are_refused(monkeypatch):
    monkeypatch.setattr(os, "sysconf", lambda name: 10)
    with pytest.raises(UserError, match=r"free; use a smaller data\.size"):
        rows_of_arrays(np.zeros((100, 1, 4, 4), np.uint8), GREY)


def test_evaluation_labels_are_positions_in_the_models_classes(tmp_path):
    labelled = open_labelled(str(two_classes(tmp_path)), GREY, ("dog", "bird", "cat"))
    assert labelled.classes == ("dog", "bird", "cat")
    assert values(labelled.images) == [20, 30, 10]
    assert labelled.labels.tolist() == [2, 2, 0]


def test_evaluation_needs_no_more_than_one_of_the_models_classes(tmp_path):
    draw(tmp_path / "cat" / "a.png")
    assert open_labelled(str(tmp_path), GREY, ("bird", "cat")).labels.tolist() == [1]


def test_a_class_that_the_model_does_not_know_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"^data=.*does not know the class folders 'dog'; .*'bird', 'cat'"):
        open_labelled(str(two_classes(tmp_path)), GREY, ("bird", "cat"))


def test_a_class_that_is_spelled_otherwise_is_refused_with_the_nearest_name(tmp_path):
    with pytest.raises(UserError, match=r"Rename or remove them \('dog'; did you mean Dog\?\)$"):
        open_labelled(str(two_classes(tmp_path)), GREY, ("Dog", "cat"))


def test_held_out_digits_are_refused_for_a_model_of_other_classes():
    with pytest.raises(UserError, match=r"^data='digits-held-out': .*'cat', 'dog'"):
        open_labelled("digits-held-out", GREY, ("cat", "dog"))


def test_the_built_in_source_is_rendered_digits_with_labels(monkeypatch):
    asked = []

    def few(count: int, seed: int):
        asked.append((count, seed))
        return np.full((20, 8, 8), 7, dtype=np.uint8), np.arange(20) % 10

    monkeypatch.setattr(sources, "render_digits", few)  # the whole set takes seconds
    fonts = open_source("fonts", Preprocessing(16, 1), seed=6)
    assert fonts.classes == TEN
    assert fonts.images.shape == (20, 1, 16, 16)
    assert fonts.labels.tolist() == [*range(10), *range(10)]
    assert len(set(fonts.names)) == 20
    ((count, seed),) = asked
    assert count >= 10_000
    assert seed == 6


def test_the_built_in_target_and_its_held_out_part_share_no_image():
    """By position in scikit-learn's data, drawn again here: a few images look alike, none is the same."""
    exact = Preprocessing(8, 1)
    target = open_target("digits", exact)
    held_out = open_labelled("digits-held-out", exact, TEN)
    assert target.images.shape == (1200, 1, 8, 8)
    assert held_out.images.shape == (597, 1, 8, 8)
    assert held_out.labels.bincount().min() > 40
    everything = np.rint(load_digits().images * (255 / 16)).astype(np.uint8)
    both = torch.cat([target.images, held_out.images]).numpy()
    assert sorted(image.tobytes() for image in both) == sorted(image.tobytes() for image in everything)
    assert not {*target.names} & {*held_out.names}


def test_held_out_labels_follow_the_order_of_the_models_classes():
    forwards = open_labelled("digits-held-out", GREY, TEN)
    backwards = open_labelled("digits-held-out", GREY, TEN[::-1])
    assert torch.equal(backwards.labels, 9 - forwards.labels)


# Several sources


def test_several_sources_follow_each_other_and_their_classes_are_united(tmp_path):
    two_classes(tmp_path / "one")
    draw(tmp_path / "two" / "bird" / "a.png", 40)
    draw(tmp_path / "two" / "dog" / "b.png", 50)
    (tmp_path / "list.csv").write_text("path,label\none/cat/b.png,ant\n")
    where = [str(tmp_path / "one"), str(tmp_path / "two"), str(tmp_path / "list.csv")]
    labelled = open_source(where, GREY)
    assert labelled.classes == ("ant", "bird", "cat", "dog")
    assert values(labelled.images) == [20, 30, 10, 40, 50, 20]
    assert [labelled.classes[label] for label in labelled.labels] == ["cat", "cat", "dog", "bird", "dog", "ant"]
    assert len(labelled.names) == 6
    assert isinstance(labelled.images, torch.Tensor)
    assert open_source(tuple(where), GREY).names == labelled.names


def test_two_sources_may_have_one_class_each_and_not_one_together(tmp_path):
    draw(tmp_path / "one" / "cat" / "a.png")
    draw(tmp_path / "two" / "dog" / "a.png")
    draw(tmp_path / "three" / "cat" / "a.png")
    assert open_source([str(tmp_path / "one"), str(tmp_path / "two")], GREY).classes == ("cat", "dog")
    with pytest.raises(UserError, match=r"^source=.*one, .*three': expected at least two class folders, found one"):
        open_source([str(tmp_path / "one"), str(tmp_path / "three")], GREY)


def test_folders_and_what_is_no_files_are_joined(tmp_path, monkeypatch):
    monkeypatch.setattr(
        sources, "render_digits", lambda count, seed: (np.full((20, 8, 8), 7, np.uint8), np.arange(20) % 10)
    )
    labelled = open_source(["fonts", str(two_classes(tmp_path))], GREY)
    assert labelled.classes == (*TEN, "cat", "dog")
    assert labelled.labels.tolist() == [*range(10), *range(10), 10, 10, 11]


def test_no_source_at_all_is_refused():
    with pytest.raises(UserError, match=r"^source: expected at least one"):
        open_source([], GREY)


def test_several_targets_follow_each_other(tmp_path):
    draw(tmp_path / "b" / "a.png", 1)
    draw(tmp_path / "a" / "b.png", 2)
    empty(tmp_path / "a" / "c.png")
    target = open_target([tmp_path / "b", tmp_path / "a"], GREY)
    assert values(target.images) == [1, 2]
    assert [each.path for each in target.unreadable] == [str(tmp_path / "a" / "c.png")]


# Lists


def test_a_list_is_read_as_a_folder_is(tmp_path):
    two_classes(tmp_path)
    (tmp_path / "list.csv").write_text("path,label\ndog/a.png,hound\ncat/b.png,cat\ngone.png,cat\n")
    labelled = open_source(str(tmp_path / "list.csv"), GREY)
    assert labelled.classes == ("cat", "hound")
    assert values(labelled.images) == [10, 20]
    assert labelled.labels.tolist() == [1, 0]
    assert [(Path(each.path).name, each.reason) for each in labelled.unreadable] == [
        ("gone.png", "No such file or directory")
    ]
    assert values(open_target(str(tmp_path / "list.csv"), GREY).images) == [10, 20]
    assert open_labelled(str(tmp_path / "list.csv"), GREY, ("hound", "cat")).labels.tolist() == [0, 1]
    assert values(read_folder(tmp_path / "list.csv", GREY, argument="images").images) == [10, 20]


def test_a_list_leaves_its_folder_only_where_that_is_allowed(tmp_path):
    two_classes(tmp_path / "set")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "a.csv").write_text("path,label\n../set/dog/a.png,dog\n../set/cat/b.png,cat\n")
    where = str(tmp_path / "lists" / "a.csv")
    with pytest.raises(UserError, match=r"^source=.*a\.csv', line 2: .* leaves the folder"):
        open_source(where, GREY)
    assert values(open_source(where, GREY, allow_outside=True).images) == [10, 20]
    assert values(open_target(where, GREY, allow_outside=True).images) == [10, 20]


# Where decoded files are


@pytest.mark.parametrize("cache", get_args(CachePolicy))
def test_the_images_are_the_same_wherever_they_are(tmp_path, cache):
    root = two_classes(tmp_path / "set")
    empty(root / "cat" / "broken.png")
    draw(root / "IMG_1.png").rename(root / "cat" / "IMG_1")
    options = {"cache": cache, "cache_folder": tmp_path / "cache"}
    every = torch.arange(4)
    plain, labelled = open_source(str(root), GREY), open_source(str(root), GREY, **options)
    assert torch.equal(labelled.images[every], plain.images)
    assert torch.equal(labelled.labels, plain.labels)
    assert labelled.names == plain.names
    assert [each.path for each in labelled.unreadable] == [str(root / "cat" / "broken.png")]
    for opened in (
        open_target(str(root), GREY, **options),
        open_labelled(str(root), GREY, ("cat", "dog"), **options),
        read_folder(root, GREY, argument="images", **options),
    ):
        assert torch.equal(opened.images[every], plain.images)
        assert len(opened.images) == 4
    both = open_source([str(root), str(root)], GREY, **options)
    assert torch.equal(both.images[torch.arange(8)], torch.cat([plain.images, plain.images]))
    assert isinstance(both.images, torch.Tensor) == (cache == "ram")
    assert isinstance(labelled.images, torch.Tensor) == (cache != "off")


@pytest.mark.parametrize("cache", get_args(CachePolicy))
def test_strict_and_empty_sets_are_told_wherever_images_are(tmp_path, cache):
    options = {"cache": cache, "cache_folder": tmp_path / "cache"}
    empty(tmp_path / "set" / "cat" / "a.png")
    with pytest.raises(UserError, match=r"^target=.*none of its 1 images can be read .*a\.png: an empty file"):
        open_target(str(tmp_path / "set"), GREY, **options)
    draw(tmp_path / "set" / "dog" / "a.png")
    with pytest.raises(UserError, match=r"^source=.*no image of the class 'cat' can be read .*an empty file"):
        open_source(str(tmp_path / "set"), GREY, **options)
    with pytest.raises(UserError, match=r"^target=.*1 images cannot be read"):
        open_target(str(tmp_path / "set"), GREY, strict=True, **options)


def test_an_unknown_policy_is_refused(tmp_path):
    with pytest.raises(ValueError, match="cache: expected 'ram', 'disk' or 'off', got 'tape'"):
        open_target(str(two_classes(tmp_path)), GREY, cache="tape")


@pytest.mark.parametrize("cache", get_args(CachePolicy))
def test_progress_and_notes_are_told(tmp_path, cache):
    root = two_classes(tmp_path / "set")
    draw(root / "loose.png")
    calls, notes = [], []
    open_source(
        str(root),
        GREY,
        cache=cache,
        cache_folder=tmp_path / "cache",
        on_progress=lambda *call: calls.append(call),
        on_note=notes.append,
        threads=1,
    )
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert len(notes) == 1


def test_what_could_not_be_looked_into_is_listed_beside_what_could_not_be_decoded(tmp_path):
    draw(tmp_path / "a.png")
    empty(tmp_path / "b.png")
    (tmp_path / "c").symlink_to(tmp_path / "gone")
    target = open_target(str(tmp_path), GREY)
    assert [Path(each.path).name for each in target.unreadable] == ["b.png", "c"]


def test_files_are_listed_without_being_read_and_what_is_no_files_has_none(tmp_path):
    root = two_classes(tmp_path)
    assert listing_of(str(root), argument="source", labelled=True).labels == (0, 0, 1)
    assert listing_of(str(root), argument="target", labelled=False).labels is None
    for name in ("fonts", "digits", "mnist", "usps-test", "digits-held-out"):
        assert listing_of(name, argument="source", labelled=True) is None
    draw(tmp_path / "data" / "office31" / "dslr" / "images" / "mug" / "a.jpg")
    named = listing_of("office31/dslr", argument="source", labelled=True, root=tmp_path / "data")
    assert named.classes == ("mug",)


# Arrays and data sets

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 5, 7, 3), dtype=np.uint8)
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


def test_the_name_of_a_known_class_is_that_class_even_if_it_is_none(tmp_path):
    images = [(PIXELS[0], "None"), (PIXELS[0], "ant"), (PIXELS[0], "None ")]
    assert open_source(MapStyle(images, ["ant", "None"]), GREY).labels.tolist() == [1, 0, 1]
    draw(tmp_path / "a.png")
    (tmp_path / "list.csv").write_text("path,label\na.png,None\n")
    labelled = open_labelled(str(tmp_path / "list.csv"), GREY, ("ant", "None"))
    assert labelled.labels.tolist() == [1]


def test_classes_in_two_spellings_are_one(tmp_path):
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    for name in (f"one/{composed}/a.png", "one/tea/a.png", f"two/{decomposed}/a.png", "two/ant/a.png"):
        draw(tmp_path / name)
    source = open_source([str(tmp_path / "one"), str(tmp_path / "two")], GREY)
    assert source.classes == ("ant", composed, "tea")
    assert source.labels.tolist() == [1, 2, 0, 1]
    labelled = open_labelled(str(tmp_path / "two"), GREY, source.classes)
    assert (labelled.labels.tolist(), labelled.classes) == ([0, 1], source.classes)
    draw(tmp_path / "one" / decomposed / "b.png")
    notes = []
    both = open_source(str(tmp_path / "one"), GREY, on_note=notes.append)
    assert len(both.classes) == 2
    assert both.labels.tolist() == [0, 0, 1]
    assert "are one class" in notes[0]


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
    with pytest.raises(UserError, match="got DatasetDict"):
        open_source(datasets.DatasetDict(train=made), preprocessing)
    with pytest.raises(UserError, match="got IterableDataset"):
        open_target(made.to_iterable_dataset(), preprocessing)


def test_folders_and_data_sets_are_joined(tmp_path):
    labelled = open_source([str(two_classes(tmp_path)), (PIXELS, ["cat"] * 5 + ["eel"])], GREY)
    assert labelled.classes == ("cat", "dog", "eel")
    assert labelled.labels.tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 2]


def test_images_are_shown_in_short():
    labelled = open_source((PIXELS, ["cat", "dog", "cat", "ant", "ant", "dog"]), GREY)
    shape = tuple(labelled.images.shape[1:])
    assert repr(labelled) == f"LabelledImages(6 images of {shape}, 3 classes: ant 2, cat 2, dog 2)"
    assert repr(open_target(PIXELS, GREY)) == f"UnlabelledImages(6 images of {shape})"
    many = replace(labelled, labels=torch.arange(6) % 6, classes=tuple(map(str, range(20))))
    assert repr(many).endswith("20 classes: 0 1, 1 1, 2 1, 3 1, 4 1, 5 1, 6 0, 7 0, 8 0, 9 0 and 10 more)")
