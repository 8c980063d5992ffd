"""Folders that are no classes, and the line about what is not used."""

import re
from pathlib import Path

import pytest
from PIL import Image

from dalib.core.errors import UserError
from dalib.data.folders import describe_unused
from dalib.data.listing import list_images, list_labelled, list_names
from dalib.data.preprocessing import Preprocessing
from dalib.data.sources import open_labelled, open_source, open_target

GREY = Preprocessing(size=4, channels=1)


def draw(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), 100).save(root / name)
    return root


def nested(root: Path, *parts: str) -> Path:
    return draw(root, *(f"{part}/{name}/a.png" for part in parts for name in ("cat", "dog")))


def refused(root: Path, argument: str = "source", **options) -> str:
    with pytest.raises(UserError) as error:
        list_labelled(root, argument=argument, **options)
    return str(error.value)


@pytest.mark.parametrize(
    ("parts", "source", "data"),
    [
        (["train", "val"], "train", "val"),
        (["Training", "test", "valid"], "Training", "test"),
        (["train"], "train", "train"),
        (["dev", "eval"], "dev", "dev"),
    ],
)
def test_the_parts_of_a_data_set_are_no_classes(tmp_path, parts, source, data):
    nested(tmp_path, *parts)
    message = refused(tmp_path)
    assert "with the folders cat, dog: these are the parts of a data set and not its classes" in message
    assert message.endswith(f"give source={str(tmp_path / source)!r}")
    assert refused(tmp_path, "data").endswith(f"give data={str(tmp_path / data)!r}")


def test_parts_beside_something_else_are_found_too(tmp_path):
    nested(tmp_path, "train", "val")
    draw(tmp_path, "docs/a.png")
    assert "give source=" in refused(tmp_path)


def test_a_part_among_the_classes_that_it_holds_is_to_be_moved_out(tmp_path):
    draw(nested(tmp_path, "test"), "cat/a.png", "dog/a.png")
    assert "test is a part of a data set and not a class; move it out" in refused(tmp_path)


def test_flat_parts_are_refused_with_the_way_to_insist(tmp_path):
    draw(tmp_path, "train/a.png", "test/b.png")
    assert "name them in a list" in refused(tmp_path)


def test_a_class_may_be_called_train(tmp_path):
    draw(tmp_path, "train/a.png", "car/b.png", "bus/red/c.png")
    assert list_labelled(tmp_path, argument="source").classes == ("bus", "car", "train")
    draw(tmp_path / "one", "train/a.png")
    assert list_labelled(tmp_path / "one", argument="data").classes == ("train",)
    draw(tmp_path / "two", "train/a.png", "test/a.png")
    assert list_labelled(tmp_path / "two", argument="data", known=("test", "train")).classes == ("test", "train")


def test_class_folders_with_the_same_folders_in_them_are_doubted(tmp_path):
    nested(tmp_path, "day", "night")
    listing = list_labelled(tmp_path, argument="source")
    assert listing.classes == ("day", "night")
    assert listing.notes == (
        f"warning: {tmp_path}: the class folders day, night all hold the folders cat, dog; if these are the classes, "
        f"give {tmp_path / 'day'}",
    )
    draw(tmp_path, "noon/cat/a.png")
    assert not list_labelled(tmp_path, argument="source").notes


def test_a_folder_around_the_classes_is_named(tmp_path):
    draw(tmp_path, "photos/cat/a.png", "photos/dog/a.png", "__MACOSX/photos/._a.png")
    with pytest.raises(UserError, match=re.escape(f"it holds the folders cat, dog: give {tmp_path / 'photos'}")):
        open_source(str(tmp_path), GREY)


JUNK = ("@eaDir", "#recycle", "__MACOSX", ".ipynb_checkpoints", "$RECYCLE.BIN", "@EADIR", ".git")


@pytest.mark.parametrize("name", JUNK)
def test_what_programs_leave_behind_is_neither_a_class_nor_images(tmp_path, name):
    draw(tmp_path, "cat/a.png", "dog/a.png", f"{name}/b.png", f"cat/deep/{name}/c.png")
    listing = list_labelled(tmp_path, argument="source")
    assert listing.classes == ("cat", "dog")
    assert len(listing.paths) == 2
    assert {each.path for each in listing.left_out} == {str(tmp_path / name), str(tmp_path / "cat/deep" / name)}
    unlabelled = list_images(tmp_path, argument="target")
    assert len(unlabelled.paths) == 2
    for notes in (listing.notes, unlabelled.notes, list_names(tmp_path, argument="images")[2]):
        assert len(notes) == 1
        assert f"{tmp_path}: not used, folders: {name} 2 (" in notes[0]


def test_a_folder_that_is_asked_for_is_read_whatever_its_name(tmp_path):
    draw(tmp_path, "@eaDir/a.png")
    assert len(list_images(tmp_path / "@eaDir", argument="target").paths) == 1


def test_everything_that_is_not_used_is_counted_in_one_line_and_listed(tmp_path, monkeypatch):
    monkeypatch.setattr("dalib.data.folders.remedy_for", {".heic": "pip install pillow-heif"}.get)
    draw(tmp_path, "cat/a.png", "dog/a.png", "loose.png", "cat/.b.png")
    for name in ("cat/1.HEIC", "cat/2.heic", "dog/a.txt", "dog/README", "notes.md", ".DS_Store", "dog/.DS_Store"):
        (tmp_path / name).write_text("x")
    monkeypatch.setattr("dalib.data.listing.image_endings", lambda: (".png",))
    listing = list_labelled(tmp_path, argument="source")
    loose, line = listing.notes
    assert "1 image beside the class folders" in loose
    assert line == (
        f"{tmp_path}: not used, by their endings: .heic 2 (to read them: pip install pillow-heif), none 1, .md 1, "
        ".txt 1; 1 hidden"
    )
    every = {str(path) for path in tmp_path.rglob("*") if path.is_file()}
    assert every == {str(path) for path in listing.paths} | {each.path for each in listing.left_out}
    assert all(each.reason for each in listing.left_out)


def test_a_class_and_a_target_of_nothing_that_is_read_say_so(tmp_path):
    for name in ("cat/1.xyz", "cat/2.xyz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    draw(tmp_path, "dog/a.png")
    assert f"{tmp_path / 'cat'}: not used, by their endings: .xyz 2" in refused(tmp_path)
    for where in (list_images, list_names):
        with pytest.raises(UserError, match=r"found none.*not used, by their endings: \.xyz 2"):
            where(tmp_path / "cat", argument="images")


def test_nothing_is_told_where_all_is_used(tmp_path):
    draw(tmp_path, "cat/a.png", "dog/a.png")
    (tmp_path / ".DS_Store").write_text("x")
    assert list_labelled(tmp_path, argument="source").notes == ()
    assert describe_unused("x", ()) == ""


def test_what_is_left_out_comes_with_the_images(tmp_path):
    draw(tmp_path, "one/cat/a.png", "one/dog/a.png", "two/cat/a.png", "two/dog/@eaDir/a.png", "two/dog/b.png")
    (tmp_path / "one/cat/b.txt").write_text("x")
    notes: list[str] = []
    both = [str(tmp_path / "one"), str(tmp_path / "two")]
    source = open_source(both, GREY, on_note=notes.append)
    target = open_target(both, GREY, on_note=notes.append)
    for opened in (source, target):
        assert [Path(each.path).name for each in opened.left_out] == ["b.txt", "@eaDir"]
    assert len(notes) == 4
    assert len(open_labelled(both[0], GREY, source.classes).left_out) == 1
