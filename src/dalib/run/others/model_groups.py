"""Groups of images that belong together, for the judgement of models of other origin."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dalib.core.errors import Setting, UserError
from dalib.core.words import some_of
from dalib.data.groups import (
    AUTO,
    EXAMPLE,
    Groups,
    ImagesToGroup,
    column_names,
    find_groups,
    groups_of_keys,
    lists_among,
)
from dalib.data.rows import Selected

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dalib.run.others.model_features import TargetImages
    from dalib.run.others.model_tables import ProbabilityTable


@dataclass(frozen=True)
class FoundGroups:
    """Groups of the target's images and of the images of each validation table; None where each counts for itself."""

    target: Groups | None
    validation: Mapping[str, Groups]

    @property
    def in_words(self) -> str:
        """How many groups of target images there are; empty without groups."""
        return "" if self.target is None else self.target.in_words("Images that belong together")


def find_model_groups(
    given: Any,
    models: Mapping[str, ProbabilityTable],
    validation: Mapping[str, ProbabilityTable],
    opened: TargetImages | None = None,
) -> FoundGroups:
    """Groups the images that several models are judged by.

    Args:
        given: (M,) numbers or texts, equal for target images that belong together; or the name of a column of the
            models' tables or of the list of images, a regular expression with one group that is searched in the names
            of the images, or ``auto``, which compares the images; None groups nothing.
        models: tables of the target's M images in one order.
        validation: tables of labelled source images, which a column or an expression groups as well; the groups that
            one has of its own count whatever ``given`` is.
        opened: the target's images, if they were given.

    Raises:
        UserError: not one for each image, a column that no table has, tables that contradict each other, or an
            expression that is none or is found in no name.
    """
    how = "the values given" if given is None or not isinstance(given, str) else f"the column {given}"
    own = {name: groups_of_keys(each.groups, how) for name, each in validation.items() if each.groups is not None}
    if given is None:
        return FoundGroups(None, own)
    names = next((each.names for each in models.values() if each.names is not None), None)
    count = len(next(iter(models.values())).probabilities)
    if not isinstance(given, str):
        return FoundGroups(_of_array(given, count), own)
    if any(each.groups is not None for each in models.values()):
        return FoundGroups(groups_of_keys(_agreed(given, models), how), own)
    if given == AUTO:
        return FoundGroups(_by_likeness(opened, names), own)
    if names is None:
        raise UserError(
            Setting("groups", given),
            ": the models' tables have no names of images to search in; give ",
            Setting("names"),
            ", or what each image belongs to, in the order of the rows",
        )
    named = {name: each for name, each in validation.items() if each.names is not None and name not in own}
    domains = [
        _target(given, names, opened),
        *(ImagesToGroup(f"validation {name}", (), each.names or ()) for name, each in named.items()),
    ]
    found = find_groups(given, domains)
    return FoundGroups(found[0], {**own, **dict(zip(named, found[1:], strict=True))})


def _of_array(given: Any, count: int) -> Groups:
    cells = checked_groups(
        given, count, Setting("groups"), f"one value for each of {count} images, a column, an expression or {AUTO}"
    )
    return groups_of_keys(cells, "the values given")


def checked_groups(given: Any, count: int, where: Setting, expected: str) -> tuple[Any, ...]:
    """Returns groups that are given as an array, a value for each image.

    Args:
        given: (M,) numbers or texts.
        count: M.
        where: the argument that errors name.
        expected: what that takes, in words.

    Raises:
        UserError: another shape.
    """
    try:
        cells = np.asarray(given.detach().cpu() if isinstance(given, torch.Tensor) else given)
    except (TypeError, ValueError) as error:
        raise UserError(where, f": expected one value for each of {count} images ({error})") from None
    if cells.shape != (count,):
        raise UserError(where, f": expected {expected}; got the shape {cells.shape}")
    return tuple(cells.tolist())


def _agreed(column: str, models: Mapping[str, ProbabilityTable]) -> Sequence[Any]:
    """Returns the cells of the first table that has the column; the others have to agree, where they have it too.

    Raises:
        UserError: a table with another cell for an image.
    """
    found = {name: each for name, each in models.items() if each.groups is not None}
    first, *others = found
    cells = found[first].groups or ()
    for other in others:
        for row, (one, another) in enumerate(zip(cells, found[other].groups or (), strict=True)):
            if str(one).strip() != str(another).strip():
                names = found[first].names
                image = f"row {row + 1}" if names is None else names[row]
                raise UserError(
                    Setting("groups", column),
                    f": the tables contradict each other: of {image} {first} has {str(one)!r} and {other} "
                    f"{str(another)!r}; correct one, or leave the column out of it",
                )
    return cells


def _by_likeness(opened: TargetImages | None, names: Sequence[str] | None) -> Groups:
    if opened is None:
        raise UserError(
            Setting("groups", AUTO),
            ": it compares the images themselves; give ",
            Setting("images"),
            ", or a column or a regular expression in its place",
        )
    images = Selected(opened.images, opened.rows)
    (found,) = find_groups(AUTO, [ImagesToGroup("target", (opened.place,), names or (), images)])
    return found


def _target(definition: str, names: Sequence[str], opened: TargetImages | None) -> ImagesToGroup:
    """Returns the target's images with the names that a column of their list, or an expression, is looked up by.

    Raises:
        UserError: no list has a column of this name, and the expression has no group.
    """
    lists = [] if opened is None else lists_among([opened.place])
    columns = [name for file in lists for name in column_names(file)]
    if opened is not None and definition in columns:
        return ImagesToGroup("target", (opened.place,), [opened.names[row] for row in opened.rows.tolist()])
    try:
        without_group = re.compile(definition).groups == 0
    except re.error:
        without_group = False  # which find_groups explains
    if not without_group:
        return ImagesToGroup("target", (), names)
    has = f", nor has the list of images, whose columns are {some_of(columns, 10)}" if lists else ""
    raise UserError(
        Setting("groups", definition),
        f": no table of a model has a column of this name{has}; expected a column, {AUTO}, or a regular expression "
        f"with the part in parentheses that names of images of a group share, such as {EXAMPLE}",
    )


def rows_of_groups(found: Groups | None, rows: torch.Tensor | None = None) -> torch.Tensor | None:
    """Returns the numbers of the groups (M,) of chosen rows, by default of all; None where each counts for itself."""
    if found is None or not found.how:
        return None
    return found.numbers if rows is None else found.numbers[rows]
