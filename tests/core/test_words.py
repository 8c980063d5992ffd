"""The nearest name, offered for a mistyped one, and times as a person says them."""

import pytest

from dalib.core.words import meant, meant_setting, some_quoted, time_in_words


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


def test_a_setting_of_a_group_is_offered_by_its_own_name():
    names = ["--root", "--optimizer.lr", "--data.size", "--a.weight", "--b.weight", "--c.weight", "--d.weight"]
    assert meant_setting("--lr", names) == "; did you mean --optimizer.lr?"
    assert meant_setting("--learning_rate", names) == "; did you mean --optimizer.lr?"
    assert meant_setting("--weight", names) == "; did you mean --a.weight or --b.weight or --c.weight?"
    assert meant_setting("--rot", names) == "; did you mean --root?"
    assert meant_setting("--zebra", names) == ""


@pytest.mark.parametrize(
    ("seconds", "said"), [(10, "less than a minute"), (300, "about 5 minutes"), (7200, "about 2.0 hours")]
)
def test_a_time_is_said_as_a_person_would(seconds, said):
    assert time_in_words(seconds) == said


def test_some_of_many_names_are_listed_in_quotes():
    assert some_quoted(["a", "b", "c"], most=2) == "'a', 'b' and 1 more"
