from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from dalib.core.checked import Checked, described
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


@pytest.mark.parametrize(
    "values",
    [{"count": 2}, {"share": 1}, {"share": None}, {"kind": "b"}, {"on": True}, {"names": ["a", "b"]}],
)
def test_values_of_their_kind_are_taken(values):
    ((name, value),) = values.items()
    assert getattr(Some(**values), name) == value


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"count": 1.5}, "count=1.5: expected a whole number"),
        ({"count": True}, "count=True: expected a whole number"),
        ({"share": "1"}, "share='1': expected a number or None"),
        ({"kind": "c"}, "kind='c': expected 'a' or 'b'"),
        ({"on": 1}, "on=1: expected True or False"),
        ({"names": [1]}, r"names=\[1\]: expected a string or a list of these"),
    ],
)
def test_values_of_another_kind_are_refused_by_name(values, expected):
    with pytest.raises(UserError, match=expected):
        Some(**values)


def test_paths_become_strings():
    assert Some(names=[Path("a"), "b"]).names == ["a", "b"]


def test_kinds_are_in_words():
    assert described(Literal["a", "b", "c"]) == "'a', 'b' or 'c'"
    assert described(Some) == "a Some"
    assert described(Other) == "an Other"
