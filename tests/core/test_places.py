"""Places: whether two are the same, and images that were given as objects by what they are."""

import pytest

from dalib.core.places import in_short, is_given, same_place, where_it_lies

KEPT = "/home/me/.cache/dalib/given/0123456789abcdef0123456789abcdef/array-of-30-images.csv"


@pytest.mark.parametrize(
    ("places", "short"),
    [
        ("studio/", "studio/"),
        ("studio/given/", "studio/given/"),
        (KEPT, "array-of-30-images"),
        (f"studio/ + {KEPT}", "studio/ + array-of-30-images"),
        (KEPT.replace("array-of-30-images.csv", "07.png"), "07"),
        ("given/short/array.csv", "given/short/array.csv"),
    ],
)
def test_only_what_was_kept_is_shortened(places, short):
    assert in_short(places) == short


def test_a_list_is_known_by_where_it_is_kept():
    assert is_given(KEPT)
    assert not any(map(is_given, ("studio/", "given/short/array.csv", "given", KEPT.replace(".csv", ".png"))))


def test_a_place_is_the_same_however_it_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "street").mkdir()
    (tmp_path / "linked").symlink_to("street", target_is_directory=True)
    ways = ("street", "./street/", "night/../street", tmp_path / "street", "linked", tmp_path / "linked")
    assert {where_it_lies(each) for each in ways} == {str((tmp_path / "street").resolve())}
    assert not any(same_place("street", other) for other in ("", ".", "Street2", "street/cup"))


def test_what_is_not_there_is_the_same_by_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert same_place("shards/night-{000..012}.tar", tmp_path / "shards" / "night-{000..012}.tar")
    assert same_place("usps-test", "usps-test")
    assert same_place("a\0b", "a\0b")
    assert not same_place("usps-test", "usps-train")
