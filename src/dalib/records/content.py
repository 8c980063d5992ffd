"""Records to JSON and back, by the type hints of their dataclasses: the only place that checks what a file holds.

A record is a frozen dataclass whose fields are numbers, texts, booleans, tuples, dictionaries and further dataclasses.
Reading refuses a value of another kind with an error that names the file, the place in it and the remedy. Keys that a
record does not have are passed over, so that a file of a later version of the same number still opens.

Every file that holds a JSON object has a ``version``; files of before it was written count as version 0.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar, Union, get_args, get_origin, get_type_hints

from dalib.core.errors import Part, UserError
from dalib.core.files import read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T")

ABSENT = {"absent": True}
"""Metadata of a field that is left out of the file where it is None; others are null there."""

LONGEST_SHOWN = 60
"""Characters of a wrong value that an error shows."""


class UnexpectedError(ValueError):
    """A value of another kind than its record has; the message has the place, what was expected and what came."""


@dataclass(frozen=True)
class Record:
    """Holds what is common to the records that have a file of their own.

    Attributes:
        VERSION: of what is written; the record's ``version`` is that of the file it was read from.
        REMEDY: what to do about a damaged file, a sentence.
    """

    VERSION: ClassVar[int] = 1
    REMEDY: ClassVar[str | Part] = "Restore it from a copy, or train the run again."

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads the record in a file.

        Raises:
            UserError: no such file, a damaged one, or one of a newer version of dalib.
        """
        return cls.from_json(read_json(path), path)

    @classmethod
    def from_json(cls, content: Any, path: Path | str) -> Self:
        """Makes the record of a file's content.

        Args:
            content: the parsed JSON.
            path: the file, for errors.

        Raises:
            UserError: content of another kind, or of a newer version.
        """
        version = content.get("version", 0) if isinstance(content, Mapping) else 0
        if isinstance(version, int) and version > cls.VERSION:
            raise UserError(
                f"{path}: written as version {str(version)[:LONGEST_SHOWN]}; this version of dalib reads up to "
                f"{cls.VERSION}: update dalib"
            )
        found: Self = decoded_or_refused(
            cls, {"version": 0, **content} if isinstance(content, Mapping) else content, path
        )
        return found

    def to_json(self) -> dict[str, Any]:
        """Returns the content of the file, with the version that this code writes."""
        return {**encoded(self), "version": self.VERSION}

    def write(self, path: Path) -> None:
        """Writes the file, whole or not at all."""
        write_json(path, self.to_json())


def utc_now() -> str:
    """Returns the time as records hold it: UTC in ISO's form, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def read_list(kind: type[T], path: Path) -> tuple[T, ...]:
    """Reads a file that holds a list of records, which has no version.

    Raises:
        UserError: no such file, or a damaged one.
    """
    found: tuple[T, ...] = decoded_or_refused(tuple[kind, ...], read_json(path), path, Record.REMEDY)  # type: ignore[valid-type]
    return found


def decoded_or_refused(kind: Any, content: Any, path: Path | str, remedy: str | Part = "") -> Any:
    """Returns the content of a file as a value of ``kind``.

    Raises:
        UserError: it is of another kind; the message has the remedy of the record.
    """
    try:
        return decoded(kind, content)
    except UnexpectedError as error:
        remedy = remedy or getattr(kind, "REMEDY", Record.REMEDY)
        raise UserError(f"{path}: {error}; the file is damaged. ", remedy) from None


def decoded(kind: Any, content: Any, where: str = "") -> Any:
    """Returns a value of JSON as ``kind``; ``where`` is its place in the file.

    Raises:
        UnexpectedError: the value is of another kind.

    >>> decoded(tuple[float, float], [0, 0.5])
    (0.0, 0.5)
    """
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return content
    if is_dataclass(kind):
        return _decoded_fields(kind, content, where)
    if origin in (Union, UnionType):
        return _decoded_optional(inner, content, where)
    if origin is Literal:
        if not isinstance(content, str) or content not in inner:
            raise _unexpected(where, " or ".join(map(repr, inner)), content)
        return content
    if origin is tuple:
        return _decoded_tuple(inner, content, where)
    if origin is dict:
        _require(isinstance(content, Mapping), where, "an object", content)
        if inner[1] is float:  # numbers that are not finite are null, see encoded: a dictionary has none of that name
            content = {
                key: value
                for key, value in content.items()
                if decoded(float | None, value, _at(where, key)) is not None
            }
        return {key: decoded(inner[1], value, _at(where, key)) for key, value in content.items()}
    return _decoded_plain(kind, content, where)


def encoded(value: Any) -> Any:
    """Returns a value of a record as JSON has it: numbers that are not finite are null.

    >>> encoded((1, float("nan")))
    [1, None]
    """
    if is_dataclass(value):
        return {
            _key_of(each): encoded(held)
            for each in fields(value)
            if (held := getattr(value, each.name)) is not None or "absent" not in each.metadata
        }
    if isinstance(value, Mapping):
        return {key: encoded(each) for key, each in value.items()}
    if isinstance(value, (tuple, list)):
        return [encoded(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _decoded_fields(kind: Any, content: Any, where: str) -> Any:
    _require(isinstance(content, Mapping), where, "an object", content)
    values, hints = {}, _hints(kind)
    for each in fields(kind):
        key = _key_of(each)
        if key in content:
            values[each.name] = decoded(hints[each.name], content[key], _at(where, key))
        elif each.default is MISSING and each.default_factory is MISSING:
            raise UnexpectedError(f"expected {_at(where, key)}, which is missing")
    try:
        return kind(**values)
    except ValueError as error:  # of a record that checks more than kinds
        raise UnexpectedError(f"{where}: {error}" if where else str(error)) from None


def _decoded_optional(kinds: tuple[Any, ...], content: Any, where: str) -> Any:
    """Returns a value or None: NaN, which older files have in places, is None where a number may be missing."""
    (kind,) = (each for each in kinds if each is not type(None))
    if content is None or (kind is float and isinstance(content, float) and not math.isfinite(content)):
        return None
    return decoded(kind, content, where)


def _decoded_tuple(kinds: tuple[Any, ...], content: Any, where: str) -> tuple[Any, ...]:
    _require(isinstance(content, list), where, "a list", content)
    if kinds[-1] is Ellipsis:
        return tuple(decoded(kinds[0], each, f"{where}[{index}]") for index, each in enumerate(content))
    _require(len(content) == len(kinds), where, f"a list of {len(kinds)}", content)
    return tuple(
        decoded(kind, each, f"{where}[{index}]") for index, (kind, each) in enumerate(zip(kinds, content, strict=True))
    )


def _decoded_plain(kind: Any, content: Any, where: str) -> Any:
    names = {int: "a whole number", float: "a finite number", str: "a text", bool: "true or false"}
    expected = names[kind]
    if kind is float:
        _require(isinstance(content, (int, float)) and not isinstance(content, bool), where, expected, content)
        try:
            number = float(content)
        except OverflowError:
            raise _unexpected(where, expected, content) from None
        _require(math.isfinite(number), where, expected, content)
        return number
    _require(isinstance(content, kind) and not (kind is int and isinstance(content, bool)), where, expected, content)
    return content


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _key_of(each: Field[Any]) -> str:
    """Returns a field's key in the file: its name, or its ``key`` where the name is a word of Python's."""
    return str(each.metadata.get("key", each.name))


def _at(where: str, key: str) -> str:
    return f"{where}.{key}" if where else str(key)


def _require(holds: bool, where: str, expected: str, content: Any) -> None:
    if not holds:
        raise _unexpected(where, expected, content)


def _unexpected(where: str, expected: str, content: Any) -> UnexpectedError:
    try:
        shown = repr(content)
    except ValueError:  # a number of more digits than Python writes
        shown = "a number of thousands of digits"
    shown = shown if len(shown) <= LONGEST_SHOWN else f"{shown[:LONGEST_SHOWN]}…"
    return UnexpectedError(f"expected {expected}{f' at {where}' if where else ''}, got {shown}")
