"""Comparison of names of classes and files, and markers of missing labels."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dalib.core.errors import Setting, UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Case matters for the words: "none" is a class in several published sets, "None" is how Python writes no value.
_MISSING_AS_WRITTEN = frozenset(("", "None", "NA", "NaT"))
_FEWEST_LETTERS = 3
_MISSING_IN_ANY_CASE = frozenset(("nan", "-nan", "n/a", "#n/a", "#na", "<na>", "null"))
_ESCAPED_BYTE = re.compile(r"\\u(dc[89a-f][0-9a-f])")  # of a name that is no text, as text files are written


def key_of(name: str) -> str:
    """Returns a name for comparison: composed as in Unicode's NFC, without spaces at its ends.

    macOS decomposes the names of files, other systems do not, and spreadsheets leave spaces behind.

    >>> key_of("cafe\\u0301 ") == "caf\\u00e9"
    True
    """
    return name.strip() if name.isascii() else unicodedata.normalize("NFC", name).strip()


def spelled_alike(names: Iterable[str], others: Iterable[str]) -> list[tuple[str, str]]:
    """Returns pairs of two names, one of each, that differ in case, punctuation, spaces or a plural alone.

    Names of fewer than three letters are never alike: ``a`` and ``A`` are two characters.

    >>> spelled_alike(["Disc", "alarm-clocks", "pen", "cup"], ["disc", "alarm clock", "cup"])
    [('Disc', 'disc'), ('alarm-clocks', 'alarm clock')]
    """
    by_letters: dict[str, str] = {}
    for other in others:
        by_letters.setdefault(_letters_of(other), other)
    pairs = [(name, by_letters.get(_letters_of(name), name)) for name in names]
    return [(name, other) for name, other in pairs if key_of(name) != key_of(other)]


def _letters_of(name: str) -> str:
    """Returns a name without what spelling alone adds; signs and marks stay: C++ is not C."""
    kept = "".join(each for each in key_of(name).casefold() if each.isalnum() or unicodedata.category(each)[0] in "SM")
    return kept.removesuffix("s") if sum(map(str.isalpha, kept)) >= _FEWEST_LETTERS else name


def is_missing(label: object) -> bool:
    """Returns whether a label marks a missing one, as pandas, R and spreadsheets write it.

    This rule is for labels that come without a list of classes. The name of a known class is that class, whatever it
    is: a folder may be called None.

    >>> [is_missing(label) for label in ("nan", "N/A", " ", None, float("nan"), "none", "cat", 0)]
    [True, True, True, True, True, False, False, False]
    """
    if isinstance(label, str):
        text = label.strip()
        return text in _MISSING_AS_WRITTEN or text.lower() in _MISSING_IN_ANY_CASE
    if label is np.ma.masked:
        return True
    try:
        return label is None or bool(label != label)  # NaN and NaT differ from themselves
    except TypeError:  # pandas.NA is neither equal nor unequal
        return True
    except ValueError:  # an array
        return False


def require_labels(
    labels: Sequence[object], argument: str, classes: Iterable[str] = (), numbers: Sequence[int] | None = None
) -> None:
    """Raises an error if a label is missing.

    Args:
        labels: of each row.
        argument: name in errors.
        classes: known ones, whatever their names are.
        numbers: of the rows in what was given, where some of it was left out.

    Raises:
        UserError: a missing label, with the number of its row, counted from 0.
    """
    known = Classes(classes)
    for row, label in enumerate(labels):
        if is_missing(label) and not (isinstance(label, str) and known.find(label) is not None):
            number = row if numbers is None else numbers[row]
            raise UserError(
                Setting(argument),
                f": row {number} has no label: {label!r} stands for a missing one; leave the row out or, if it is a ",
                "class, give it another name",
            )


class Classes:
    """Finds classes by name in any spelling; the exact one comes first.

    Args:
        names: the classes in their order.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._exact = {name: position for position, name in enumerate(names)}
        self._by_key: dict[str, int] = {}
        for name, position in self._exact.items():
            self._by_key.setdefault(key_of(name), position)

    def find(self, name: str) -> int | None:
        """Returns the position of a class; None if there is none of that name."""
        found = self._exact.get(name)
        return self._by_key.get(key_of(name)) if found is None else found


def united(parts: Sequence[Iterable[str]]) -> tuple[tuple[str, ...], list[list[int]]]:
    """Returns all names, sorted, in the first spelling of each, and for each part the positions of its names.

    >>> united([["dog", "cat"], ["dog ", "ant"]])
    (('ant', 'cat', 'dog'), [[2, 1], [2, 0]])
    """
    keys = [[(key_of(name), name) for name in part] for part in parts]
    shown: dict[str, str] = {}
    for part in keys:
        for key, name in part:
            shown.setdefault(key, name)
    order = sorted(shown, key=shown.__getitem__)
    positions = {key: position for position, key in enumerate(order)}
    return tuple(shown[key] for key in order), [[positions[key] for key, _ in part] for part in keys]


class FilesAsSpelled:
    """Finds files whose names are spelled differently in the folder; remembers the folders' contents."""

    def __init__(self) -> None:
        self._inside: dict[Path, dict[str, str]] = {}

    def find(self, path: Path) -> Path:
        """Returns the path as it is on the disk; unchanged if there is no such file, or if it is exact."""
        text = str(path)
        if "\\udc" in text and os.sep == "/" and not os.path.lexists(path):  # of a name whose bytes are not UTF-8
            unescaped = _ESCAPED_BYTE.sub(lambda found: chr(int(found[1], 16)), text)
            if os.path.lexists(unescaped):
                return Path(unescaped)
        if "\\" in text and os.sep == "/" and not os.path.lexists(path):  # of a list that was written on Windows
            found = self.find(Path(text.replace("\\", "/")))
            if found.is_file():
                return found
        if (text.isascii() and text == text.strip()) or os.path.lexists(path):
            return path
        found = Path(path.anchor)
        for part in path.parts[1:] if path.anchor else path.parts:
            if os.path.lexists(found / part):
                found /= part
                continue
            spelled = self._names_in(found).get(key_of(part))
            if spelled is None:
                return path
            found /= spelled
        return found

    def _names_in(self, folder: Path) -> dict[str, str]:
        if folder not in self._inside:
            names: dict[str, str] = {}
            try:
                for name in sorted(os.listdir(folder)):  # noqa: PTH208 - of text
                    names.setdefault(key_of(name), name)
            except OSError:
                pass
            self._inside[folder] = names
        return self._inside[folder]
