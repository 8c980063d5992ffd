"""Dataclasses of settings that refuse values of another kind where they are made."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from functools import cache, wraps
from numbers import Integral, Real
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from dalib.core.errors import UserError
from dalib.core.words import meant

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Checked:
    """Settings that are refused where they are made if they are of another kind.

    They take paths for strings, and NumPy's numbers and strings for Python's.
    """

    def __post_init__(self) -> None:
        check_kinds(self)


def setting_of(default: Any, expected: str) -> Any:
    """Returns the field of a setting whose values a type does not describe; ``expected`` does, in errors."""
    return field(default=default, metadata={"expected": expected})


def expected_values(settings: Any, name: str) -> str | None:
    """Returns what :func:`setting_of` says of a field of a dataclass, in words; None where it says nothing.

    Args:
        settings: the dataclass, or one of its objects.
        name: of the field.
    """
    return next((each.metadata.get("expected") for each in fields(settings) if each.name == name), None)


LONGEST_SHOWN = 200
"""Characters of a value in an error."""

_PLAIN = (bool, int, float, str, type(None))  # types of values that stay as they are
Settings = TypeVar("Settings", bound=Checked)


def with_known_names(made: type[Settings]) -> type[Settings]:
    """Makes a dataclass of settings refuse a setting that it does not have by its name, as the command line does.

    Raises:
        UserError: when it is made with such a setting; it names the nearest one.
    """
    changed: Any = made
    make: Callable[..., None] = changed.__init__
    names = [each.name for each in fields(made)]

    @wraps(make)
    def checked(self: Settings, *values: Any, **settings: Any) -> None:
        for name in settings.keys() - set(names):
            near = meant(name, names) or f"; {made.__name__} has {', '.join(names)}"
            raise UserError(f"{name}: no such setting{near}")
        make(self, *values, **settings)

    changed.__init__ = checked
    return made


def check_kinds(settings: Any) -> None:
    """Makes the values of a frozen dataclass plain, and checks each field against its annotation.

    Paths become strings, and numbers and strings of NumPy, as a search draws them, Python's: files of settings hold
    no others.

    Raises:
        UserError: a value of another kind; the message names its field.
    """
    made: Any = type(settings)
    for name, kind in kinds_of(made).items():
        value = getattr(settings, name)
        if type(value) not in _PLAIN:
            value = _plain(value)
            object.__setattr__(settings, name, value)
        if not _test_of(kind)(value):
            raise UserError(_unlike(name, value, expected_values(made, name) or described(kind)))


def _unlike(setting: str, value: Any, expected: str) -> str:
    """Returns the error of a value of another kind; an array or a data frame is named and not printed."""
    shown = repr(value)
    if len(shown) > LONGEST_SHOWN or "\n" in shown:
        return f"{setting}: expected {expected}, got {type(value).__name__}"
    return f"{setting}={shown}: expected {expected}"


@cache
def kinds_of(settings: Any) -> dict[str, Any]:
    """Returns the annotation of each field of a dataclass."""
    hints = get_type_hints(settings)
    return {each.name: hints[each.name] for each in fields(settings)}


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value))
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:  # importing NumPy takes time
        return value.item()
    return os.fspath(value) if isinstance(value, os.PathLike) else value


@cache
def _test_of(kind: Any) -> Callable[[Any], bool]:
    """Returns a test of whether a value is of a kind; a search makes settings thousands of times."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return lambda value: value in parts
    tests = [_test_of(each) for each in parts]
    if origin in (Union, UnionType):
        return lambda value: any(test(value) for test in tests)
    if origin is list:
        return lambda value: isinstance(value, (list, tuple)) and all(map(tests[0], value))
    if origin is dict:
        of_name, of_value = tests
        return lambda value: isinstance(value, dict) and all(of_name(key) and of_value(value[key]) for key in value)
    if kind in (int, float):
        number = Integral if kind is int else Real
        return lambda value: isinstance(value, number) and not isinstance(value, bool)
    return lambda value: isinstance(value, kind)


def described(kind: Any) -> str:
    """Returns an annotation in words.

    >>> described(int | None), described(Literal["last", "judged"])
    ('a whole number or None', "'last' or 'judged'")
    """
    if get_origin(kind) is Literal:
        names = list(map(repr, get_args(kind)))
        return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(map(described, get_args(kind)))
    if get_origin(kind) is list:
        return "a list of these"
    if get_origin(kind) is dict:
        return "a dictionary of names and these"
    named = {int: "a whole number", float: "a number", str: "a string", bool: "True or False", type(None): "None"}
    article = "an" if kind.__name__[0] in "AEIOU" else "a"
    return named.get(kind, f"{article} {kind.__name__}")
