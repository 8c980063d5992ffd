"""Names that are equal for a person are equal here, and what stands for no label is no class."""

import os
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from dalib.data.spelling import Classes, FilesAsSpelled, is_missing, key_of, spelled_alike, united

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def test_a_name_is_compared_composed_and_without_spaces_at_its_ends():
    assert key_of(COMPOSED) == key_of(DECOMPOSED) == key_of(f" {DECOMPOSED}\t") == COMPOSED
    assert key_of("two  words ") == "two  words"


def test_names_that_differ_in_case_punctuation_or_a_plural_are_alike():
    names = ["Disc", "Alarm-Clock", "cones", "pen", "a", "C++", "1.50", "glass", "C++ code", "\N{DOG FACE} toy"]
    others = ["disc", "alarm clocks", "cone", "pen", "A", "C", "150", "gloss", "C code", "\N{CAT FACE} toy"]
    assert spelled_alike(names, others) == [("Disc", "disc"), ("Alarm-Clock", "alarm clocks"), ("cones", "cone")]
    assert spelled_alike(["Disc", "box", "disc", "DISCS"], ["Disc", "box", "disc", "DISCS"]) == [
        ("disc", "Disc"),
        ("DISCS", "Disc"),
    ]


@pytest.mark.skipif(os.sep != "/", reason="there a backslash separates folders anyway")
def test_a_file_is_found_by_a_path_of_windows(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.png").touch()
    (tmp_path / r"cat\2.png").touch()
    files = FilesAsSpelled()
    assert files.find(tmp_path / r"cat\1.png") == tmp_path / "cat" / "1.png"
    assert files.find(tmp_path / r"cat\2.png") == tmp_path / r"cat\2.png"
    assert files.find(tmp_path / r"cat\3.png") == tmp_path / r"cat\3.png"


@pytest.mark.skipif(os.sep != "/", reason="there a backslash separates folders anyway")
def test_a_backslash_alone_means_no_folder(tmp_path):
    (tmp_path / "cat").mkdir()
    for missing in (tmp_path / "\\", tmp_path / "cat\\", tmp_path / "\\cat"):
        assert FilesAsSpelled().find(missing) == missing


AS_TEXT = ("nan", "NaN", "NAN", "None", "N/A", "n/a", "NA", "null", "NULL", "<NA>", "#N/A", "", " ", " nan ")
AS_VALUES = (None, float("nan"), np.float32("nan"), np.datetime64("NaT"))


@pytest.mark.parametrize("label", AS_TEXT + AS_VALUES)
def test_what_programs_write_for_no_label_is_missing(label):
    assert is_missing(label)


@pytest.mark.parametrize("label", ["none", "na", "Nan Province", "nano", "no", "0", 0, False, 1.5, "cat"])
def test_anything_else_is_a_label(label):
    assert not is_missing(label)


def test_a_class_is_found_in_any_spelling_and_the_exact_one_first():
    classes = Classes([DECOMPOSED, "None", COMPOSED])
    assert (classes.find(COMPOSED), classes.find(DECOMPOSED), classes.find(" None ")) == (2, 0, 1)
    assert classes.find(f"{COMPOSED} ") == 0
    assert classes.find("none") is None


def test_names_are_united_in_the_spelling_that_comes_first():
    classes, positions = united([["b", DECOMPOSED], [f"{COMPOSED} ", "a"]])
    assert classes == ("a", "b", DECOMPOSED)
    assert positions == [[1, 2], [2, 0]]


@pytest.mark.parametrize("on_disk", [COMPOSED, DECOMPOSED, f"{DECOMPOSED} "])
@pytest.mark.parametrize("given", [COMPOSED, DECOMPOSED, f" {COMPOSED}"])
def test_a_file_is_found_in_whatever_spelling_its_folders_have(tmp_path, on_disk, given):
    there = tmp_path / on_disk / f"{on_disk}.png"
    there.parent.mkdir()
    there.touch()
    assert FilesAsSpelled().find(tmp_path / given / f"{given}.png") == (
        there if key_of(f"{given}.png") == key_of(there.name) else tmp_path / given / f"{given}.png"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_file_whose_name_is_no_text_is_found_as_text_files_write_it(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9\xff") / os.fsdecode(b"\xe9.png")
    path.parent.mkdir()
    path.touch()
    written = str(path).encode(errors="backslashreplace").decode()
    assert written.endswith(r"caf\udce9\udcff/\udce9.png")
    assert FilesAsSpelled().find(Path(written)) == path
    assert FilesAsSpelled().find(Path(f"{written}x")) == Path(f"{written}x")


def test_a_file_that_is_nowhere_keeps_its_name(tmp_path):
    assert FilesAsSpelled().find(tmp_path / "é" / "b ") == tmp_path / "é" / "b "


def test_the_missing_value_of_pandas_is_missing():
    pandas = pytest.importorskip("pandas")
    assert is_missing(pandas.NA)
    assert is_missing(pandas.NaT)
