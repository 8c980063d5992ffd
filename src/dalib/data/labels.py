"""A person's labels of some target images, matched to rows of the target by name.

A CSV file with the columns ``path`` and ``label``; rows without a label, or with what stands for none, such as NaN,
are not labelled yet. ``dalib query`` adds the columns ``stratum`` and ``population``, which record how the images
were chosen; other columns are ignored.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dalib.core.errors import Call, Setting, UserError
from dalib.core.places import in_short, is_given_table
from dalib.core.seeds import derive_seed
from dalib.core.words import UNKNOWN, meant, with_unknown
from dalib.data.shards import are_shards
from dalib.data.spelling import Classes, is_missing, key_of
from dalib.data.split import split_by_groups
from dalib.data.stream import drawn
from dalib.data.tables import LIST_ENDINGS, fields_of, label_in, rows_of, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dalib.data.tables import Refuse

SAMPLING_COLUMNS = {"stratum", "population"}
"""The columns that record how the images of a list were chosen."""

HOLD_OUT_ONE_IN = 5
"""One of so many labels is held out from training, for evaluation."""

MIN_LABELS_TO_HOLD_OUT = 50
"""Training uses all labels if there are fewer: fewer than 10 held-out images measure next to nothing."""

MAX_LISTED_MISTAKES = 3
"""Mistakes in one error."""


@dataclass(frozen=True)
class TargetLabels:
    """Labels of some rows of the target."""

    rows: Tensor
    """(n,) int64, each row once."""
    labels: Tensor
    """(n,) int64, positions in the classes."""
    listed: int
    """Images in the file, labelled or not."""
    strata: Tensor | None = None
    """(n,) int64, the stratum that each image was chosen from; None for a list without this column."""
    population: Mapping[int, int] | None = None
    """The size of each stratum in the file, also of those without a label."""

    def taken(self, chosen: Tensor) -> TargetLabels:
        """Returns a part of the labels, as if the file had no others; ``chosen`` are positions (m,) or (n,) bool."""
        strata = None if self.strata is None else self.strata[chosen]
        rows = self.rows[chosen]
        return replace(self, rows=rows, labels=self.labels[chosen], listed=len(rows), strata=strata)


def hold_out(given: TargetLabels, seed: int, groups: Tensor | None = None) -> tuple[TargetLabels, TargetLabels | None]:
    """Splits labels into those to learn from and those to evaluate on, which training must not see.

    Every fifth label is held out, of each stratum and class alike, where there are at least 50; else none. Equal seeds
    hold out the same images.

    Args:
        groups: (N,) of all target images, equal for images of one group, which is then held out as a whole or not at
            all. The share of labels is the same, nearly.
    """
    count = len(given.rows)
    if count < MIN_LABELS_TO_HOLD_OUT:
        return given, None
    if groups is not None:
        own = derive_seed(seed, "held-out target labels")
        learnt, held_rows = split_by_groups(given.labels, groups[given.rows], 1 / HOLD_OUT_ONE_IN, own)
        return (given.taken(learnt), given.taken(held_rows)) if len(held_rows) else (given, None)
    order = drawn(count, count, derive_seed(seed, "held-out target labels"))
    strata = torch.zeros_like(given.labels) if given.strata is None else given.strata
    keys = list(zip(strata.tolist(), given.labels.tolist(), strict=True))
    chosen = sorted(order.tolist(), key=lambda position: keys[position])[HOLD_OUT_ONE_IN - 1 :: HOLD_OUT_ONE_IN]
    held = torch.zeros(count, dtype=torch.bool)
    held[chosen] = True
    return given.taken(~held), given.taken(held)


def read_target_labels(
    file: str | Path, names: Sequence[str], classes: Sequence[str], target: str, *, argument: str
) -> TargetLabels:
    """Reads the labels in a CSV file, by row of the target.

    Args:
        names: names of the target's images, by row; the file's paths are these, or relative to the target's folder.
        classes: possible labels; beside them ``unknown``, which counts as their number C, for images of none of them.
        target: path or name of the target.
        argument: name in errors, such as ``labels``.

    Raises:
        UserError: no such file, not CSV, no label in it; a label that is no class, a path that is none of the target's
            images, an image with two labels, strata that contradict each other; with the number of the line.
    """

    def refuse(line: int, what: str) -> UserError:
        return UserError(Setting(argument, file), f", {_line_in(file, line)}: {what}")

    found, known = rows_by_name(names, target), Classes(with_unknown(classes))
    given: dict[int, tuple[int, str, int | None]] = {}  # row -> the line that it was on, its label, the class
    stratum_of: dict[int, int] = {}
    population: dict[int, int] = {}
    unknown: list[tuple[int, str]] = []
    table = list(rows_of(Path(file), text_of(Path(file), argument), refuse, ("path", "label")))
    designed = bool(table) and all(fields.keys() >= SAMPLING_COLUMNS for _, fields in table)
    for line, fields in table:
        path, (label, position) = fields["path"], _label_and_class(fields, line, refuse, known, classes)
        if (row := row_of(path, found)) is None:
            raise refuse(
                line,
                f"{path!r} is none of the {len(names)} images of the target {in_short(target)}; expected "
                + name_such_as(names),
            )
        if label and position is None:
            unknown.append((line, label))
        line_before, label_before, position_before = given.get(row, (line, label, position))
        if position_before != position:
            raise refuse(line, f"{path!r} is {label!r} here and {label_before!r} on {_line_in(file, line_before)}")
        given[row] = line, label, position
        if designed:
            stratum = _stratum(fields, line, refuse, population, len(names))
            if stratum_of.setdefault(row, stratum) != stratum:
                raise refuse(line, f"{path!r} is of stratum {stratum} here and of {stratum_of[row]} before")
    if unknown:
        lines = [(_line_in(file, line), label) for line, label in unknown]
        raise _unknown_classes(lines, Setting(argument, file), classes)
    labelled = {row: position for row, (_, _, position) in given.items() if position is not None}
    if not labelled:
        raise UserError(
            Setting(argument, file), ": no label in it; write the class of each image into the column label"
        )
    return TargetLabels(
        torch.tensor(list(labelled)),
        torch.tensor(list(labelled.values())),
        len(given),
        torch.tensor([stratum_of[row] for row in labelled]) if designed else None,
        population if designed else None,
    )


def _stratum(
    fields: Mapping[str, Any],
    line: int,
    refuse: Refuse,
    population: dict[int, int],
    images: int,
) -> int:
    """Returns the stratum of a row, and enters its size into ``population``."""
    stratum, size = (_whole(str(fields[name]), name, line, refuse) for name in ("stratum", "population"))
    if stratum >= images:  # strata are counted in an array
        raise refuse(line, f"stratum: expected a number below {images}, got {fields['stratum']!r}")
    if population.setdefault(stratum, size) != size:
        raise refuse(line, f"stratum {stratum} has {size} images here and {population[stratum]} before")
    return stratum


def _line_in(file: str | Path, line: int) -> str:
    """Returns the line of a list in words; of a table that was given as an object, which has no header, the row."""
    return f"row {line - 1}" if is_given_table(file) else f"line {line}"


def _unknown_classes(unknown: Sequence[tuple[str, str]], where: Setting, classes: Sequence[str]) -> UserError:
    """Returns the error about labels, by line, that are no class."""
    nearest = {
        label: meant(label, with_unknown(classes)).removeprefix("; ") for _, label in unknown[:MAX_LISTED_MISTAKES]
    }
    mistakes = "; ".join(
        f"{line}: {label!r}{f' ({nearest[label]})' if nearest[label] else ''}"
        for line, label in unknown[:MAX_LISTED_MISTAKES]
    )
    more = f" and {len(unknown) - MAX_LISTED_MISTAKES} more" if len(unknown) > MAX_LISTED_MISTAKES else ""
    return UserError(
        where,
        f", {mistakes}{more}: no class; expected one of {', '.join(map(repr, classes))}, "
        f"{UNKNOWN!r} for an image of none of them, or nothing for an image without a label",
    )


def row_of(path: str, found: Mapping[str, int]) -> int | None:
    r"""Returns the row of a listed path, as it is spelled, or without spaces at its ends, ./ and the like.

    A path that means no image so is tried with / for its backslashes, as in a list that was written on Windows.

    >>> row_of("cat\\1.png", {"cat/1.png": 0})
    0
    """
    for name in (path, key_of(path), key_of(path).replace("\\", "/")):
        for each in (name, os.path.normpath(name)):
            if (row := found.get(each)) is not None:
                return row
    return None


def _label_and_class(
    fields: Mapping[str, Any], line: int, refuse: Refuse, known: Classes, classes: Sequence[str]
) -> tuple[str, int | None]:
    """Returns a row's label, empty for an unlabelled image, and the position of its class, if any."""
    label = label_in(fields, line, refuse)
    position = known.find(label) if isinstance(label, str) else None
    # a text such as None may be a class in another case; a line of JSON without a label has no text
    is_text = isinstance(label, str)
    if position is None and is_missing(label) and not (is_text and label.lower() in map(str.lower, classes)):
        return "", None
    return str(label), position


def rows_by_name(names: Sequence[str], target: str) -> dict[str, int]:
    r"""Maps the names that a list may use to rows: as it is, as a text file spells it, relative to the target or to the
    working folder, or absolute. Images that were given as objects have their numbers, too.

    Each of them also as :func:`dalib.data.spelling.key_of` has it, where that means one row alone.

    >>> rows_by_name(["data/images/a.png", "data/images/b.png"], "data/images")["b.png"]
    1
    """
    found = {name: row for row, name in enumerate(names)}
    for row, name in enumerate(names):  # names need not be text
        found.setdefault(name.encode(errors="backslashreplace").decode(), row)
        found.setdefault(name.replace(os.sep, "/"), row)  # as lists are written everywhere
    is_file = target.lower().endswith(LIST_ENDINGS) or ("{" in target and are_shards(target))
    folder = os.path.dirname(target) if is_file else target  # noqa: PTH120 - of text
    for row, name in enumerate(names):
        relative = _below(name, folder) if folder else name
        if relative:
            found.setdefault(relative, row)
            found.setdefault(relative.replace(os.sep, "/"), row)
    for row, name in enumerate(names):  # last, as they depend on where the command is given
        found.setdefault(os.path.abspath(name), row)  # noqa: PTH100 - of text
        if here := _below(name, os.curdir):
            found.setdefault(here, row)
    for row, name in enumerate(names):
        if (number := in_short(name)) != name:  # of an image that was given as an object, whose file nobody has seen
            found.setdefault(number, row)
            if number.isdecimal():
                found.setdefault(str(int(number)), row)
    by_key: dict[str, int | None] = {}
    for name, row in found.items():
        if (key := key_of(name)) != name:
            by_key[key] = row if by_key.get(key, row) == row else None  # two files may differ in their spelling alone
    return {**{key: row for key, row in by_key.items() if row is not None}, **found}


def _below(name: str, folder: str) -> str:
    """Returns a name from a folder on; empty where it lies elsewhere, as on another drive of Windows."""
    try:
        relative = os.path.relpath(name, folder)
    except ValueError:
        return ""
    return "" if relative.startswith(os.pardir) else relative


def name_such_as(names: Sequence[str]) -> str:
    """Returns which names a list may have, for an error: of images that were given as objects their numbers.

    >>> name_such_as(["/cache/given/0123456789abcdef0123456789abcdef/07.png"])
    "the number of an image, such as '07'"
    """
    if (number := in_short(names[0])) != names[0]:
        return f"the number of an image, such as {number!r}"
    return f"a path such as {names[0]!r}, or one from the target's folder on, or an absolute one"


def is_query(data: str) -> bool:
    """Returns whether ``dalib query`` wrote this list, by its columns."""
    if not data.lower().endswith(".csv") or not Path(data).is_file():
        return False
    with Path(data).open("rb") as file:  # spreadsheets put a line before the header
        beginning = (file.readline(1000) + file.readline(1000)).decode("utf-8-sig", errors="replace")
    try:
        _, header = next(fields_of(beginning, lambda line, what: UserError(what)), (0, []))
    except UserError:
        return False
    return {name.strip() for name in header} >= SAMPLING_COLUMNS


def _whole(text: str, column: str, line: int, refuse: Refuse) -> int:
    try:
        number = int(text)
    except ValueError:
        number = -1
    if number < (column == "population"):
        raise refuse(
            line,
            f"{column}: expected a whole number as `{Call('dalib.run.finished.query.query')}` wrote it, got {text!r}",
        )
    return number
