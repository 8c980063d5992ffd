"""Files become the same rows in memory, in the cache and on access; what cannot be read is listed or refused."""

from pathlib import Path
from typing import get_args

import pytest
import torch

from dalib.core.errors import UserError
from dalib.data.file_rows import read_folder
from dalib.data.preprocessing import Preprocessing
from dalib.data.reading_options import CachePolicy
from dalib.data.sources import open_labelled, open_source, open_target
from small_folders import draw, empty, truncated, two_classes, values

GREY = Preprocessing(size=4, channels=1)
LABELLED = {
    "source": lambda where: open_source(where, GREY),
    "data": lambda where: open_labelled(where, GREY, ("cat", "dog")),
}


@pytest.mark.parametrize("spoil", [empty, truncated])
def test_a_target_of_which_nothing_can_be_read_is_refused(tmp_path, spoil):
    spoil(tmp_path / "a.png")
    spoil(tmp_path / "b.png")
    with pytest.raises(UserError, match=r"^target=.*none of its 2 images can be read .*a\.png: \w"):
        open_target(str(tmp_path), GREY)


def test_a_list_of_files_that_are_not_there_is_told_what_its_paths_are_relative_to(tmp_path):
    (tmp_path / "list.csv").write_text("path\nstreet/1.png\nstreet/2.png\n")
    with pytest.raises(UserError, match=r"none of its 2 images can be read .*street/1\.png: ") as told:
        open_target(str(tmp_path / "list.csv"), GREY)
    assert str(told.value).endswith(f"; paths are relative to the list's folder, {tmp_path}")


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
    with pytest.raises(UserError, match=rf"^{argument}=.*1 image cannot be read: .*broken\.png: \w.*strict"):
        opener(str(tmp_path))


def test_strict_accepts_what_is_whole(tmp_path):
    assert len(open_source(str(two_classes(tmp_path)), GREY, strict=True).images) == 3


@pytest.mark.parametrize("argument", LABELLED)
def test_a_class_of_which_nothing_can_be_read_is_named(tmp_path, argument):
    two_classes(tmp_path)
    empty(tmp_path / "bird" / "broken.png")
    with pytest.raises(UserError, match=rf"^{argument}=.*'bird' can be read.*broken\.png"):
        LABELLED[argument](str(tmp_path))


def test_what_could_not_be_looked_into_is_listed_beside_what_could_not_be_decoded(tmp_path):
    draw(tmp_path / "a.png")
    empty(tmp_path / "b.png")
    (tmp_path / "c").symlink_to(tmp_path / "gone")
    target = open_target(str(tmp_path), GREY)
    assert [Path(each.path).name for each in target.unreadable] == ["b.png", "c"]


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
    with pytest.raises(UserError, match=r"^target=.*1 image cannot be read"):
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
