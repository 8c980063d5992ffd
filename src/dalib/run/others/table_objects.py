"""Probabilities of a model that are given in Python: arrays, data frames, and the predictions of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dalib.run.finished.image_predictions import Predictions
from dalib.run.others.model_tables import (
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
        given: (M, C) array or tensor, a data frame of pandas, or
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
    if hasattr(given, "columns") and hasattr(given, "index") and hasattr(given, "to_numpy"):
        return _of_frame(given, where, tuple(classes), groups)
    return ProbabilityTable(checked_probabilities(given, where), None if names is None else tuple(names))


def _of_frame(frame: Any, where: Setting, classes: tuple[str, ...], groups: str | None) -> ProbabilityTable:
    columns, rows, together = without_groups(
        [str(name) for name in frame.columns], frame.to_numpy(dtype=object).tolist(), groups
    )
    named = any(name.strip().lower() in NAME_COLUMNS for name in columns)
    named = named or (bool(rows) and isinstance(rows[0][0], str))
    counted = list(frame.index) == list(range(len(rows)))
    if not named and counted:
        numbered = columns == [str(number) for number in range(len(columns))]
        values = checked_probabilities(rows, where)
        return ProbabilityTable(values, None, None if numbered else tuple(columns), groups=together)
    if not named:
        columns, rows = ["", *columns], [[str(name), *row] for name, row in zip(frame.index, rows, strict=True)]
    return with_groups(table_of_columns(columns, rows, where, classes), together)
