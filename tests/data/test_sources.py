"""From folders and built-in names to rows of images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from dalib.core.errors import UserError
from dalib.data import decoding, sources
from dalib.data.decoding import decode
from dalib.data.file_rows import read_folder
from dalib.data.listing import list_images
from dalib.data.preprocessing import Preprocessing
from dalib.data.sources import listing_of, open_labelled, open_source, open_target
from small_folders import draw, empty, two_classes, values

GREY = Preprocessing(size=4, channels=1)
TEN = tuple("0123456789")


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


def test_a_source_of_one_class_is_refused(tmp_path):
    draw(tmp_path / "cat" / "a.png")
    with pytest.raises(UserError, match=r"^source=.*at least two class folders, found one \(cat\)"):
        open_source(str(tmp_path), GREY)


def test_a_target_without_images_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(UserError, match=r"^target=.*found none"):
        open_target(str(tmp_path), GREY)


def test_decode_keeps_the_order_and_reports_each_file(tmp_path):
    paths = [draw(tmp_path / f"{number}.png", number) for number in range(30)]
    empty(paths[4])
    calls = []
    images, kept, unreadable = decode(paths, GREY, on_progress=lambda *done: calls.append(done))
    expected = [number for number in range(30) if number != 4]
    assert values(images) == expected
    assert kept.tolist() == expected
    assert [each.path for each in unreadable] == [str(paths[4])]
    assert calls == [(number, 30) for number in range(1, 31)]


def test_images_beyond_the_free_memory_are_refused_before_reading(monkeypatch):
    monkeypatch.setattr(decoding, "free_memory", lambda: 100)
    with pytest.raises(UserError, match=r"free; use a smaller data\.size"):
        decode([Path("never-read.png")] * 100, GREY)


def test_evaluation_labels_are_positions_in_the_models_classes(tmp_path):
    labelled = open_labelled(str(two_classes(tmp_path)), GREY, ("dog", "bird", "cat"))
    assert labelled.classes == ("dog", "bird", "cat")
    assert values(labelled.images) == [20, 30, 10]
    assert labelled.labels.tolist() == [2, 2, 0]


def test_evaluation_needs_no_more_than_one_of_the_models_classes(tmp_path):
    draw(tmp_path / "cat" / "a.png")
    assert open_labelled(str(tmp_path), GREY, ("bird", "cat")).labels.tolist() == [1]


def test_a_list_is_told_of_classes_and_not_of_folders(tmp_path):
    two_classes(tmp_path)
    rows = "".join(f"{path.relative_to(tmp_path)},owl\n" for path in sorted(tmp_path.rglob("*.png")))
    (tmp_path / "list.csv").write_text(f"path,label\n{rows}")
    with pytest.raises(UserError, match=r"^data=.*does not know the class 'owl'; .*\. Give these images one of its"):
        open_labelled(str(tmp_path / "list.csv"), GREY, ("bird", "cat"))
    with pytest.raises(UserError, match=r"^source=.*expected images of at least two classes, found one \(owl\); add"):
        open_source(str(tmp_path / "list.csv"), GREY)


def test_a_class_that_the_model_does_not_know_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"^data=.*does not know the class folders 'dog'; .*'bird', 'cat'"):
        open_labelled(str(two_classes(tmp_path)), GREY, ("bird", "cat"))


def test_a_class_that_models_of_other_origin_do_not_know_is_refused_without_a_run(tmp_path):
    with pytest.raises(UserError, match=r"^source=.*: the models do not know .*'dog'; their .*them$") as refused:
        open_labelled(str(two_classes(tmp_path)), GREY, ("bird", "cat"), argument="source", of_run=False)
    assert "trained" not in str(refused.value)


def test_a_class_that_is_spelled_otherwise_is_refused_with_the_nearest_name(tmp_path):
    with pytest.raises(
        UserError,
        match=r"Rename or remove them \('dog'; did you mean Dog\?\)\. Images of none of them .* classes='other'$",
    ):
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


def test_files_are_listed_without_being_read_and_what_is_no_files_has_none(tmp_path):
    root = two_classes(tmp_path)
    assert listing_of(str(root), argument="source", labelled=True).labels == (0, 0, 1)
    assert listing_of(str(root), argument="target", labelled=False).labels is None
    for name in ("fonts", "digits", "mnist", "usps-test", "digits-held-out"):
        assert listing_of(name, argument="source", labelled=True) is None
    draw(tmp_path / "data" / "office31" / "dslr" / "images" / "mug" / "a.jpg")
    named = listing_of("office31/dslr", argument="source", labelled=True, root=tmp_path / "data")
    assert named.classes == ("mug",)


# Names of classes


def test_the_name_of_a_known_class_is_that_class_in_a_list_even_if_it_is_none(tmp_path):
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


def test_folders_and_data_sets_are_joined(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 7, 3), dtype=np.uint8)
    labelled = open_source([str(two_classes(tmp_path)), (pixels, ["cat"] * 5 + ["eel"])], GREY)
    assert labelled.classes == ("cat", "dog", "eel")
    assert labelled.labels.tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 2]
