"""The nearest name, offered for a mistyped one."""

import pytest

from dalib.core.words import meant


@pytest.mark.parametrize(
    ("value", "expected"),
    [("fixmtach", "fixmatch"), ("FIXMATCH", "fixmatch"), ("mean_teacher", "mean-teacher"), ("MCCs", "mcc")],
)
def test_the_nearest_name_is_offered(value, expected):
    assert meant(value, ["mcc", "fixmatch", "mean-teacher"]) == f"; did you mean {expected}?"


@pytest.mark.parametrize("value", ["", "zebra", "x" * 500])
def test_nothing_is_offered_where_none_is_near(value):
    assert meant(value, ["mcc", "fixmatch"]) == ""


def test_a_name_is_offered_as_it_is_written():
    assert meant("mug", ["Bottle", "MUG"]) == "; did you mean MUG?"
    assert meant("mug", iter(())) == ""
