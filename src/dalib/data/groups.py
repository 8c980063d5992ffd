"""Groups of images that belong together: bursts, patients, cameras, by a column of a list, a part of the paths, or both
likeness and names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dalib.core.errors import Setting, UserError
from dalib.core.words import counted, some_of
from dalib.data.labels import row_of, rows_by_name
from dalib.data.similar import similar_groups
from dalib.data.spelling import is_missing
from dalib.data.tables import LIST_ENDINGS, fields_of, rows_of, text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dalib.data.rows import Rows
    from dalib.data.tables import Refuse

AUTO = "auto"

EXAMPLE = "(patient_[0-9]+)"
"""A regular expression for error messages."""


@dataclass(frozen=True)
class ImagesToGroup:
    """The images of a domain or of a labelled set.

    Attributes:
        what: what errors and notes call it, such as source.
        places: what the user gave: folders, lists, names of data sets.
        names: (N,) names of the images, paths where they are files.
        images: (N, C, S, S) uint8, which ``auto`` compares; None where they are not at hand.
    """

    what: str
    places: tuple[str, ...]
    names: Sequence[str]
    images: Rows | None = None


@dataclass(frozen=True)
class Groups:
    """The groups of a domain's images.

    Attributes:
        numbers: (N,) int64, equal for images of one group.
        how: what they were found by, in words; empty where nothing was found, and each image is a group of its own.
        without: number of images that nothing groups, each of which is a group of its own.
    """

    numbers: Tensor
    how: str = ""
    without: int = 0

    @property
    def count(self) -> int:
        return len(torch.unique(self.numbers))

    def in_words(self, what: str) -> str:
        """Returns how many groups there are, and how large they are.

        >>> Groups(torch.tensor([0, 0, 1]), "the column patient").in_words("source")
        'source: 3 images in 2 groups by the column patient, the largest of 2'
        """
        count = len(self.numbers)
        if not self.how:
            return f"{what}: {count} images, each a group of its own"
        largest = int(torch.bincount(self.numbers).max())
        belong = "belongs to none and counts as one" if self.without == 1 else "belong to none and count as one each"
        alone = f"; {counted(self.without, 'image')} {belong}" if self.without else ""
        groups = f"{counted(self.count, 'group')} by {self.how}"
        return f"{what}: {counted(count, 'image')} in {groups}, the largest of {largest}{alone}"


def each_alone(count: int) -> Groups:
    """Returns groups of one image each."""
    return Groups(torch.arange(count), without=count)


def groups_of_keys(keys: Sequence[object], how: str) -> Groups:
    """Groups images by what each of them has: equal keys belong together, and a missing one stands for itself.

    Args:
        keys: (N,) numbers or texts; None, NaN and empty text are missing.
        how: what these are, in words.

    >>> groups_of_keys(["ann", "bob", " ann", ""], "the column patient").numbers.tolist()
    [0, 1, 0, 2]
    """
    return _numbered([None if is_missing(each) else str(each).strip() for each in keys], how)


def find_groups(definition: str, domains: Sequence[ImagesToGroup]) -> list[Groups]:
    """Groups the images of each domain.

    Args:
        definition: ``auto`` (:func:`dalib.data.similar.similar_groups`); the name of a column of a list among the
            domains' places; or a regular expression with one group, which is searched in the paths of the images,
            written with /. Images of a domain with an equal cell, or with equal text in the group, belong together; one
            whose cell is empty, or in whose path nothing is found, is a group of its own.
        domains: at least one.

    Returns:
        Groups for each domain; one without a pattern has groups of one.

    Raises:
        UserError: ``auto`` without images; a column that no list has, or that puts an image into two groups; an
            expression that is none, that has no group or several, or that is found in no path.
    """
    if not isinstance(definition, str):
        raise UserError(
            Setting("groups", definition), f": expected a column, a pattern or auto, got {type(definition).__name__}"
        )
    if definition == AUTO:
        return [_by_likeness(each) for each in domains]
    lists = [(file, column_names(file)) for each in domains for file in lists_among(each.places)]
    if any(definition in columns for _, columns in lists):
        return [_by_column(definition, each) for each in domains]
    pattern = _expression(definition, lists)
    grouped = [_by_expression(pattern, definition, each) for each in domains]
    if not any(each.how for each in grouped):
        shown = [f"{each.names[0]} ({each.what})" for each in domains if len(each.names)]
        raise UserError(
            Setting("groups", definition),
            f": the regular expression is found in no path; paths are such as {' and '.join(shown)}. It is searched ",
            "anywhere in the path, written with /",
        )
    return grouped


def _by_likeness(domain: ImagesToGroup) -> Groups:
    if domain.images is None:
        raise UserError(
            Setting("groups", AUTO),
            f": it compares images, and those of {domain.what} are not read here; give a column or a regular ",
            "expression, or leave it out",
        )
    found = similar_groups(domain.names, domain.images)
    return Groups(found.numbers, found.how) if found.how else each_alone(len(found.numbers))


def lists_among(places: Sequence[str]) -> list[Path]:
    """Returns those of the places that are lists of images."""
    return [Path(each) for each in places if each.lower().endswith(LIST_ENDINGS) and Path(each).is_file()]


def column_names(file: Path) -> list[str]:
    """Returns the names of the columns of a list; of JSON lines those of all lines, of which each may lack some."""
    text = text_of(file, "groups")
    if file.suffix.lower() == ".jsonl":
        return list(dict.fromkeys(name for _, row in rows_of(file, text, _refusal(file), ("path",)) for name in row))
    _, header = next(fields_of(text, _refusal(file)), (0, []))
    return [name.strip() for name in header]


def _by_column(column: str, domain: ImagesToGroup) -> Groups:
    """Groups the images that the lists of a domain name by the cells of a column."""
    keys: list[str | None] = [None] * len(domain.names)
    told = False
    for file in lists_among(domain.places):
        if column not in column_names(file):
            continue
        told = True
        rows, refuse = rows_by_name(domain.names, str(file)), _refusal(file)
        lines: dict[int, int] = {}  # row -> the line that gave its cell
        for line, fields in rows_of(file, text_of(file, "groups"), refuse, ("path", column)):
            path = str(fields["path"])
            # as its own list means it, before what the name means in the folder one is in
            row = row_of(str(file.parent / path), rows)
            row = row_of(path, rows) if row is None else row
            cell = fields.get(column)
            if row is None or is_missing(cell):
                continue
            key = str(cell).strip()
            if key != keys[row] and row in lines:
                raise refuse(
                    line, f"{path!r} has the {column} {key!r} here and {keys[row]!r} on line {lines[row]}; give it one"
                )
            keys[row], lines[row] = key, line
    return _numbered(keys, f"the column {column}") if told else each_alone(len(keys))


def _by_expression(pattern: re.Pattern[str], definition: str, domain: ImagesToGroup) -> Groups:
    found = [pattern.search(name.replace("\\", "/")) for name in domain.names]
    keys = [None if each is None else each[1] or None for each in found]  # empty text is nothing in common
    return _numbered(keys, definition) if any(key is not None for key in keys) else each_alone(len(keys))


def _numbered(keys: Sequence[str | None], how: str) -> Groups:
    numbers: dict[str, int] = {}
    found = []
    without = 0
    for key in keys:
        if key is None:
            found.append(-1 - without)
            without += 1
        else:
            found.append(numbers.setdefault(key, len(numbers)))
    groups = torch.tensor(found, dtype=torch.int64)
    return Groups(torch.where(groups < 0, len(numbers) - 1 - groups, groups), how, without)


def _expression(definition: str, lists: Sequence[tuple[Path, Sequence[str]]]) -> re.Pattern[str]:
    """Returns the regular expression.

    Raises:
        UserError: it is none, or has no group or several.
    """
    where = Setting("groups", definition)
    try:
        pattern = re.compile(definition)
    except re.error as error:
        raise UserError(where, f": not a regular expression ({error}); expected one such as {EXAMPLE}") from None
    if pattern.groups == 1:
        return pattern
    if pattern.groups > 1:
        raise UserError(
            where, f": the regular expression has {pattern.groups} groups; expected one, others as in (?:a|b)"
        )
    columns = sorted({name for _, names in lists for name in names} - {"path", "label"})
    has = f"has the columns {some_of(columns, 10)}" if columns else "has no other column than path and label"
    listed = "none of the images are given by a list"
    if lists:
        listed = f"{lists[0][0]} {has}" if len(lists) == 1 else f"the lists have the columns {some_of(columns, 10)}"
    raise UserError(
        where,
        f": no column of this name ({listed}), and no regular expression with a group; expected auto, a column of ",
        f"a list of images, or an expression with the part in parentheses that images of a group share: {EXAMPLE}",
    )


def _refusal(file: Path) -> Refuse:
    return lambda line, what: UserError(Setting("groups", file), f", line {line}: {what}")
