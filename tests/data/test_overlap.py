"""Data that are given twice are refused or told, by whatever path or link."""

import os
from pathlib import Path

import pytest
from PIL import Image

from dalib.core.errors import UserError
from dalib.data.overlap import (
    copied_files,
    copy_warnings,
    overlap_warnings,
    require_apart,
    require_targets_apart,
    shared_files,
)


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """src/{cat,dog}, tgt, link -> src; the current directory."""
    for name in ("src/cat/a.png", "src/dog/a.png", "tgt/a.png", "tgt/in/b.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(tmp_path / name)
    (tmp_path / "link").symlink_to(tmp_path / "src")
    (tmp_path / "src.csv").write_text("path,label\nsrc/cat/a.png,cat\nsrc/dog/a.png,dog\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("other", ["src", "./src", "src/", "tgt/../src", "link", "{}/src"])
def test_the_same_folder_is_neither_two_sources_nor_both_domains(folders, other):
    other = other.format(folders)
    with pytest.raises(UserError, match=r"^source=.*: it is there twice.*; give it once$"):
        require_apart(["src", other], "tgt")
    with pytest.raises(UserError, match=r"^target=.*: it is the source, too.*; expected unlabelled images"):
        require_apart(["src"], other)


@pytest.mark.parametrize("name", ["mnist", "fonts"])
def test_a_set_of_a_name_is_no_source_twice_but_may_be_both_domains(folders, name):
    with pytest.raises(UserError, match="it is there twice"):
        require_apart([name, name], "tgt")
    require_apart([name], name)
    (told,) = overlap_warnings(["a/1", "a/2"], [0, 1], ["a/2", "a/1"])
    assert "2 of 2 images of the target are images of the source" in told


def test_a_folder_of_the_name_of_a_set_is_another(folders):
    (folders / "mnist").mkdir()
    require_apart(["mnist", "./mnist"], "tgt")


def test_a_list_is_the_same_list(folders):
    with pytest.raises(UserError, match="it is the source, too"):
        require_apart(["src.csv"], "./src.csv")


def test_a_target_within_the_source_is_refused_and_a_source_within_the_target_is_not(folders):
    for target in ("src/cat", "link/dog"):
        with pytest.raises(UserError, match=r"^target=.*: it lies in source='src', where its images are labelled"):
            require_apart(["src"], target)
    require_apart(["src"], ".")
    require_apart(["src.csv"], "src")
    with pytest.raises(UserError, match=r"^source='src/cat': it lies in source='link'"):
        require_apart(["link", "src/cat"], "tgt")
    with pytest.raises(UserError, match=r"^source='src/cat': it lies in source='link'"):
        require_apart(["src/cat", "link"], "tgt")


def test_what_is_not_there_is_left_to_the_reading(folders):
    require_apart(["nowhere", "src"], "nowhere/else")
    require_apart([], None)


def test_files_of_both_domains_are_told_by_whatever_path(folders):
    os.link("src/cat/a.png", "tgt/hard.png")
    (folders / "tgt/soft.png").symlink_to(folders / "src/dog/a.png")
    source = ["src/cat/a.png", str(folders / "src/dog/a.png")]
    target = ["tgt/a.png", "tgt/hard.png", "tgt/soft.png", "digits/0001"]
    assert shared_files(source, target) == ("tgt/hard.png", "tgt/soft.png")
    assert shared_files(["fonts/0"], ["digits/0001"]) == shared_files([], target) == ()
    (told,) = overlap_warnings(source, [0, 1], target)
    assert told.startswith("warning: 2 of 4 images of the target are images of the source, too, for instance tgt/hard")
    assert not overlap_warnings(source, [0, 1], ["tgt/a.png"])


@pytest.mark.parametrize(
    ("labels", "expected"), [([0, 0], "there twice, for"), ([0, 1], "1 of them under two classes")]
)
def test_files_that_are_twice_in_the_source_are_told(folders, labels, expected):
    (told,) = overlap_warnings(["src/cat/a.png", str(Path("link/cat/a.png"))], labels, ["tgt/a.png"])
    assert "warning: 1 image of the source is there twice" in told
    assert expected in told


def test_copies_under_another_name_are_told_with_their_twin(tmp_path):
    for name, content in (("s/a.png", b"one"), ("s/b.png", b"two"), ("s/c.png", b"longer"), ("s/empty.png", b"")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    for name, content in (("t/1.png", b"two"), ("t/2.png", b"six"), ("t/3.png", b"longest"), ("t/4.png", b"")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    source, target = (sorted(map(str, (tmp_path / each).iterdir())) for each in "st")
    assert copied_files(source, target) == {str(tmp_path / "t/1.png"): str(tmp_path / "s/b.png")}
    assert copied_files(["number 1"], ["number 1"]) == {}
    (told,) = copy_warnings(source, target)
    assert told.startswith("warning: 1 of 4 images of the target is a copy of the source's, for instance ")
    assert "b.png = " in told
    (tmp_path / "t/5.png").symlink_to(tmp_path / "s/a.png")  # that it is of the source is told elsewhere
    assert copy_warnings(source, [*target, str(tmp_path / "t/5.png")]) == (told.replace(" of 4", " of 5"),)
    assert copy_warnings(source, target[1:]) == ()


def test_copies_among_images_that_were_given_as_objects_have_no_path_of_the_cache(tmp_path):
    places = []
    for digit in "01":
        folder = tmp_path / "given" / (digit * 32)
        folder.mkdir(parents=True)
        (folder / "000.png").write_bytes(b"same")
        places.append(str(folder / "000.png"))
    (told,) = copy_warnings(places[:1], places[1:])
    assert "for instance 000 = 000; an accuracy" in told


def test_many_files_of_one_size_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("dalib.data.overlap.MOST_READ", 3)
    for name in ("a", "b", "c", "d"):
        (tmp_path / name).write_bytes(b"same")
    names = [str(tmp_path / name) for name in ("a", "b", "c", "d")]
    assert copied_files(names[:2], names[2:]) == {}
    assert list(copied_files(names[:2], names[2:3])) == names[2:3]


def test_several_targets_are_apart(tmp_path):
    for place in ("street/north", "night"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "night")
    street, north, night, link = (str(tmp_path / each) for each in ("street", "street/north", "night", "link"))
    require_targets_apart([street, night, "mnist"])
    with pytest.raises(UserError, match=r"night'? \(as|it is there twice \(as"):
        require_targets_apart([night, link])
    with pytest.raises(UserError, match="its images would be of both targets"):
        require_targets_apart([north, street])
    with pytest.raises(UserError, match="it is there twice"):
        require_targets_apart(["mnist", "mnist"])
