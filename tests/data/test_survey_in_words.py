"""What of a survey is printed, and what is warned of."""

from dataclasses import replace
from pathlib import Path

import pytest

from dalib.core.files import Unreadable
from dalib.data.decoding import ImageHeader
from dalib.data.depth import WholeNumbers
from dalib.data.survey import DomainSurvey, Survey
from dalib.data.survey_in_words import MOST, say_both, say_files

FILES = DomainSurvey(
    where="studio",
    headers=(*(ImageHeader(width, 16, "RGB") for width in (10, 20, 30)), ImageHeader(20, 16, "L")),
    class_counts={"cat": 2, "dog": 2},
    folders=(),
    unreadable=(),
    ignored={},
    notes=(),
    duplicates=(),
    bytes_each=500_000,
)


def told(capsys):
    """What was printed, and the warnings."""
    out, warnings = capsys.readouterr()
    return out.splitlines(), warnings.splitlines()


def test_what_is_no_file_has_nothing_to_say(capsys):
    say_files(None)
    assert told(capsys) == ([], [])


def test_sizes_and_kinds_are_printed(capsys):
    say_files(FILES)
    line = "  width 10 to 30 (median 20), height 16 pixels; kinds of pixels: RGB 3, L 1"
    assert told(capsys) == ([line], [])


def test_of_many_kinds_some_are_named(capsys):
    say_files(replace(FILES, headers=tuple(ImageHeader(8, 8, f"kind{number}") for number in range(MOST + 5))))
    (line,), _ = told(capsys)
    assert line.count("kind") == MOST + 1, "and the word kinds itself"


@pytest.mark.parametrize(
    ("classes", "printed", "warnings"),
    [
        ({}, "  1 image is a copy of another, for instance a.png = b.png", []),
        ({"a.png": "cat", "b.png": "cat"}, "  1 image is a copy of another, for instance a.png = b.png", []),
        (
            {"a.png": "cat", "b.png": "dog"},
            None,
            ["warning: studio: 1 image is a copy of another, under two classes, for instance a.png = b.png"],
        ),
    ],
)
def test_copies_are_a_warning_where_one_label_must_be_wrong(classes, printed, warnings, capsys):
    say_files(replace(FILES, duplicates=(("a.png", "b.png"),), class_of_duplicate=classes))
    lines, warned = told(capsys)
    assert lines[1:] == ([] if printed is None else [printed])
    assert warned == warnings


def test_images_of_one_colour_deep_ones_notes_and_damage_are_told(capsys):
    say_files(
        replace(
            FILES,
            constant=("empty.png",),
            whole_numbers=(WholeNumbers("scan.png", 0, 4095, 0, 4000), WholeNumbers("other.png", 7, 65_535, 9, 60_000)),
            notes=("2 files are left out", "warning: the list has two headers"),
            unreadable=(Unreadable("broken.png", "no image"),),
        )
    )
    lines, warned = told(capsys)
    assert "  more than 8 bits in 2 images: minimum 0, maximum 65535" in lines
    assert "  2 files are left out" in lines
    assert any("broken.png" in line for line in lines + warned)
    assert warned[0] == "warning: studio: 1 image is of one colour and shows nothing, for instance empty.png"
    assert "warning: the list has two headers" in warned


BOTH = Survey(
    source=FILES,
    target=None,
    only_in_source=(),
    only_in_target=(),
    shared_images=(),
    cache_folder=Path("cache"),
    free_disk=3_000_000,
    free_memory=None,
)


def test_the_room_that_images_take_is_printed_as_far_as_it_is_known(capsys):
    say_both(BOTH)
    (line,), warned = told(capsys)
    assert line.startswith("decoded, the images take 2.0 MB: on the disk in cache, 3.0 MB free (")
    assert ", in memory (" in line
    assert not warned


def test_nothing_is_said_of_domains_that_have_nothing_in_common_and_no_files(capsys):
    say_both(replace(BOTH, source=None))
    assert told(capsys) == ([], [])


def test_classes_of_one_domain_spellings_and_shared_images_are_warnings(capsys):
    say_both(
        replace(
            BOTH,
            source=None,
            only_in_source=("Foxes", "gnu"),
            only_in_target=("foxes", "yak"),
            shared_images=(("a.png", "b.png"), ("c.png", "d.png")),
        )
    )
    lines, (spelled, source, target, shared) = told(capsys)
    assert not lines
    assert spelled.startswith("warning: 'Foxes' of the source is 'foxes' in the target")
    assert "only the source has the classes gnu, not the target" in source
    assert "only the target has the classes yak, not the source" in target
    assert "2 images are in source and target, for instance a.png = b.png" in shared
