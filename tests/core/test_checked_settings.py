import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import yaml

from dalib.core.checked_settings import Checked, described, expected_values, setting_of, with_known_names
from dalib.core.errors import UserError


class Other:
    """A kind whose name begins with a vowel."""


@dataclass(frozen=True)
class Some(Checked):
    count: int = 1
    share: float | None = None
    kind: Literal["a", "b"] = "a"
    on: bool = False
    names: str | list[str] = "x"
    places: str | dict[str, str] = "x"


@pytest.mark.parametrize(
    "values",
    [
        {"count": 2},
        {"share": 1},
        {"share": None},
        {"kind": "b"},
        {"on": True},
        {"names": ["a", "b"]},
        {"places": {"a": "b"}},
    ],
)
def test_values_of_their_kind_are_taken(values):
    ((name, value),) = values.items()
    assert getattr(Some(**values), name) == value


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ({"count": np.int64(2)}, 2),
        ({"share": np.float32(0.5)}, 0.5),
        ({"kind": np.str_("b")}, "b"),
        ({"on": np.True_}, True),
        ({"names": [np.str_("a")]}, ["a"]),
    ],
)
def test_values_of_numpy_become_those_of_python_which_files_can_hold(given, plain):
    ((name, value),) = given.items()
    found = getattr(Some(**{name: value}), name)
    assert found == plain
    assert type(found) is type(plain)
    assert yaml.safe_load(yaml.safe_dump(found)) == plain


def test_a_value_that_takes_many_characters_is_named_by_its_type():
    with pytest.raises(UserError, match=r"^share: expected a number or None, got ndarray$"):
        Some(share=np.zeros(500))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"count": 1.5}, "count=1.5: expected a whole number"),
        ({"count": True}, "count=True: expected a whole number"),
        ({"share": "1"}, "share='1': expected a number or None"),
        ({"kind": "c"}, "kind='c': expected 'a' or 'b'"),
        ({"places": {"a": 1}}, "places={'a': 1}: expected a string or a dictionary of names and these"),
        ({"on": 1}, "on=1: expected True or False"),
        ({"names": [1]}, r"names=\[1\]: expected a string or a list of these"),
    ],
)
def test_values_of_another_kind_are_refused_by_name(values, expected):
    with pytest.raises(UserError, match=expected):
        Some(**values)


def test_a_setting_may_name_the_values_that_its_type_does_not_describe():
    @dataclass(frozen=True)
    class Shares(Checked):
        share: float | Literal["auto"] = setting_of(0.5, "a number from 0 to 1, or auto")
        other: int = 1

    assert (Shares().share, Shares(share="auto").share) == (0.5, "auto")
    assert expected_values(Shares, "share") == "a number from 0 to 1, or auto"
    assert expected_values(Shares(), "other") is None
    with pytest.raises(UserError, match="share='off': expected a number from 0 to 1, or auto"):
        Shares(share="off")


def test_paths_become_strings():
    assert Some(places={"a": Path("b")}).places == {"a": "b"}
    assert Some(names=[Path("a"), "b"]).names == ["a", "b"]


def test_kinds_are_in_words():
    assert described(Literal["a", "b", "c"]) == "'a', 'b' or 'c'"
    assert described(Some) == "a Some"
    assert described(Other) == "an Other"


def test_a_setting_that_is_not_there_is_told_with_the_nearest_name():
    @with_known_names
    @dataclass(frozen=True)
    class Length(Checked):
        steps: int = 1

    assert Length(steps=3).steps == Length(3).steps == 3
    with pytest.raises(UserError, match=r"^stepz: no such setting; did you mean steps\?$"):
        Length(stepz=3)
    with pytest.raises(UserError, match=r"^colour: no such setting; Length has steps$"):
        Length(colour=3)
    assert list(inspect.signature(Length).parameters) == ["steps"]
