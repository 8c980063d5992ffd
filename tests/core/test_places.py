"""Names of places: images that were given as objects by what they are."""

import pytest

from dalib.core.places import in_short, is_given

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
