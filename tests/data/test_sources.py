"""From folders and built-in names to rows of images."""

import os
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from dalib.data import sources
from dalib.data.preprocessing import Fit, Preprocessing
from dalib.data.sources import decode, image_files, open_labelled, open_source, open_target, rows_of_arrays
from dalib.errors import UserError

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
    assert set(vars(target)) == {"images", "names", "unreadable"}


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
    assert sorted(path.name for path in image_files(tmp_path / "set")) == ["a.png", "b.png"]


OPENERS = {
    "--source": lambda where: open_source(where, GREY),
    "--target": lambda where: open_target(where, GREY),
    "--data": lambda where: open_labelled(where, GREY, ("cat", "dog")),
}
every_argument = pytest.mark.parametrize(("argument", "opener"), OPENERS.items(), ids=OPENERS)
every_labelled = pytest.mark.parametrize("argument", ["--source", "--data"])


@every_argument
def test_a_missing_folder_is_named(tmp_path, argument, opener):
    with pytest.raises(UserError, match=rf"^{argument} .*/nowhere: no such folder"):
        opener(str(tmp_path / "nowhere"))


@every_argument
def test_a_file_in_place_of_a_folder_is_named(tmp_path, argument, opener):
    with pytest.raises(UserError, match=rf"^{argument} .*a\.png: expected a folder, this is a file"):
        opener(str(draw(tmp_path / "a.png")))


@every_labelled
def test_a_labelled_set_needs_class_folders(tmp_path, argument):
    draw(tmp_path / "a.png")
    with pytest.raises(UserError, match=rf"^{argument} .*one folder of images for each class"):
        OPENERS[argument](str(tmp_path))


@every_labelled
def test_an_empty_class_folder_is_named(tmp_path, argument):
    two_classes(tmp_path)
    (tmp_path / "bird").mkdir()
    with pytest.raises(UserError, match=rf"^{argument} .*'bird' holds no image"):
        OPENERS[argument](str(tmp_path))


@every_labelled
def test_a_class_of_which_nothing_can_be_read_is_named(tmp_path, argument):
    two_classes(tmp_path)
    empty(tmp_path / "bird" / "broken.png")
    with pytest.raises(UserError, match=rf"^{argument} .*'bird' can be read.*broken\.png"):
        OPENERS[argument](str(tmp_path))


def test_a_source_of_one_class_is_refused(tmp_path):
    draw(tmp_path / "cat" / "a.png")
    with pytest.raises(UserError, match=r"^--source .*at least two class folders, found one \(cat\)"):
        open_source(str(tmp_path), GREY)


def test_a_target_without_images_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(UserError, match=r"^--target .*found none"):
        open_target(str(tmp_path), GREY)


@pytest.mark.parametrize("spoil", [empty, truncated])
def test_a_target_of_which_nothing_can_be_read_is_refused(tmp_path, spoil):
    spoil(tmp_path / "a.png")
    spoil(tmp_path / "b.png")
    with pytest.raises(UserError, match=r"^--target .*none of its 2 images can be read .*a\.png: \w"):
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
        "--source": lambda where: open_source(where, GREY, strict=True),
        "--target": lambda where: open_target(where, GREY, strict=True),
        "--data": lambda where: open_labelled(where, GREY, ("cat", "dog"), strict=True),
    }.items(),
)
def test_strict_refuses_a_damaged_image_by_name(tmp_path, argument, opener, spoil):
    two_classes(tmp_path)
    spoil(tmp_path / "cat" / "broken.png")
    with pytest.raises(UserError, match=rf"^{argument} .*1 images cannot be read: .*broken\.png: \w.*--strict"):
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
    with pytest.raises(UserError, match=r"free; use a smaller --data\.size"):
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
    with pytest.raises(UserError, match=r"free; use a smaller --data\.size"):
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
    with pytest.raises(UserError, match=r"^--data .*does not know the class folders 'dog'; .*'bird', 'cat'"):
        open_labelled(str(two_classes(tmp_path)), GREY, ("bird", "cat"))


def test_held_out_digits_are_refused_for_a_model_of_other_classes():
    with pytest.raises(UserError, match=r"^--data digits-held-out: .*'cat', 'dog'"):
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
