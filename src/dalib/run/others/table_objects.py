"""Probabilities of a model that are given in Python: arrays, data frames, and the predictions of a run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dalib.core.errors import UserError
from dalib.run.finished.image_predictions import Predictions
from dalib.run.others.model_tables import (
    LABEL_COLUMNS,
    NAME_COLUMNS,
    ProbabilityTable,
    checked_probabilities,
    table_of_columns,
    with_groups,
    without_groups,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dalib.core.errors import Setting


def table_of(
    given: Any,
    where: Setting,
    names: Sequence[str] | None = None,
    classes: Sequence[str] = (),
    groups: str | None = None,
) -> ProbabilityTable:
    """Returns the table of an object that is no file.

    A data frame is read as a file with its columns is. Names of images stand in a column, or are the index where that
    is not the count of rows; columns that are numbers from 0 on name no classes.

    Args:
        given: (M, C) array or tensor, a data frame of pandas or polars, or
            :class:`dalib.run.finished.image_predictions.Predictions`.
        where: the argument that errors name.
        names: of the images of an array, in its order.
        classes: all classes, for a frame of the two likeliest.
        groups: name of a column, if a frame has it, of what images that belong together have in common.

    Raises:
        UserError: NaN, or rows that do not sum to 1.
    """
    if isinstance(given, Predictions):
        return ProbabilityTable(
            checked_probabilities(given.probabilities, where, given.paths), given.paths, given.classes
        )
    if is_frame(given):
        return _of_frame(given, where, tuple(classes), groups)
    return ProbabilityTable(checked_probabilities(given, where), None if names is None else tuple(names))


def with_counted_classes(table: ProbabilityTable, given: Any, classes: Sequence[str]) -> ProbabilityTable:
    """Returns the table of a frame whose columns are counted, with these numbers as names where the classes are they.

    Beside a frame with the columns 2, 0, 1, those of another with the columns 0, 1, 2 are the same classes.
    """
    counted = tuple(str(number) for number in range(table.probabilities.shape[1]))
    if table.classes is None and is_frame(given) and sorted(classes) == sorted(counted):
        return replace(table, classes=counted)
    return table


def is_frame(given: Any) -> bool:
    """Returns whether an object is a data frame of pandas or polars."""
    return hasattr(given, "columns") and hasattr(given, "to_numpy")


def cells_of(frame: Any) -> list[list[Any]]:
    """Returns the rows of a data frame, in which each cell is of its column's type: numbers of images stay whole."""
    return frame.to_numpy(dtype=object).tolist() if hasattr(frame, "index") else list(map(list, frame.rows()))


def index_of(frame: Any) -> tuple[str, ...] | None:
    """Returns the index of a data frame as names of its rows; None where it counts them, and of polars."""
    if not hasattr(frame, "index"):
        return None
    listed = list(frame.index)
    return None if listed == list(range(len(listed))) else tuple(map(str, listed))


def require_known_order(frame: Any, names: Sequence[str] | None, where: Setting) -> None:
    """Refuses a data frame that counts its rows, where the images are named by the same numbers in another order.

    A frame that was shuffled and then sorted by its index looks like one that was never named.

    Raises:
        UserError: nobody knows which row is which image.
    """
    counted = [str(number) for number in range(len(frame))]
    if names is None or not hasattr(frame, "index") or index_of(frame) is not None:
        return
    if list(names) == counted or sorted(names) != sorted(counted):
        return
    raise UserError(
        where,
        f": its index counts the rows from 0 to {len(frame) - 1}, and another frame names its images by the same "
        "numbers in another order, so that nobody knows which row is which; give both the same index, or arrays of "
        "rows in one order",
    )


def _of_frame(frame: Any, where: Setting, classes: tuple[str, ...], groups: str | None) -> ProbabilityTable:
    columns, rows, together = without_groups([str(name) for name in frame.columns], cells_of(frame), groups)
    labelled = [place for place, name in enumerate(columns) if name.strip().lower() in LABEL_COLUMNS]
    named = any(name.strip().lower() in NAME_COLUMNS for name in columns)
    named = named or (bool(rows) and isinstance(rows[0][0], str) and 0 not in labelled)
    index = index_of(frame)
    if not named and index is None:
        of_classes = [place for place in range(len(columns)) if place not in labelled]
        known = tuple(columns[place] for place in of_classes)
        numbered = known == tuple(str(number) for number in range(len(known)))
        values = checked_probabilities([[row[place] for place in of_classes] for row in rows], where)
        labels = tuple(row[labelled[0]] for row in rows) if labelled else None
        return ProbabilityTable(values, None, None if numbered else known, labels, groups=together)
    if not named and index is not None:
        columns, rows = ["", *columns], [[name, *row] for name, row in zip(index, rows, strict=True)]
    return with_groups(table_of_columns(columns, rows, where, classes), together)
