"""Labels of some target images that are given in Python, kept as a table."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dalib.core.errors import Setting, UserError
from dalib.core.files import expanded
from dalib.core.places import is_place
from dalib.data.given import names_of_items, unlabelled_items
from dalib.data.objects import numbered
from dalib.data.spelling import is_missing
from dalib.run.others.hints import csv_table, kept_table
from dalib.run.others.table_objects import cells_of, index_of, is_frame

if TYPE_CHECKING:
    from collections.abc import Iterable


def labels_file(labels: Any, target: Any, argument: str = "target_labels") -> str:
    """Returns the file of labels of target images, which is written to the cache unless it is one already.

    Args:
        labels: a path; a dictionary of images' names and classes; a data frame of pandas with the columns path and
            label, or label alone and the names as index; a series with the names as index; or a label for each image of
            a target that is objects, in their order: a list, an array, a tensor, or a series without names. Images
            without a label have None, NaN, empty text, or -1 among whole numbers.
        target: as :func:`dalib.run.adapt.adapt` takes it.
        argument: name of the argument that the labels were given as.

    Raises:
        UserError: none of these, no label for each image, or labels in an order where the images have none.
    """
    if isinstance(labels, str | Path):
        return expanded(labels)
    if isinstance(labels, Mapping):
        return _kept(labels.items(), argument)
    if is_frame(labels):
        columns = {str(name).strip().lower(): str(name) for name in labels.columns}
        if "label" not in columns:
            raise UserError(Setting(argument), f": expected the columns path and label, got {', '.join(columns)}")
        if "path" in columns:
            return _kept_frame(labels, argument)
        labels = labels[columns["label"]]
    if hasattr(labels, "index") and hasattr(labels, "to_numpy"):  # a series of pandas
        index, cells = index_of(labels), labels.to_numpy(dtype=object).tolist()
        names = _names_of(target, len(cells), argument) if index is None else index
        return _kept(zip(names, cells, strict=True), argument)
    values = labels.detach().cpu().numpy() if isinstance(labels, torch.Tensor) else labels
    cells = values.tolist() if isinstance(values, np.ndarray) else values
    if not isinstance(cells, Sequence):
        raise UserError(
            Setting(argument),
            ": expected a file with the columns path and label, a dictionary of images and classes, a data frame, or a "
            f"label for each image of the target; got {type(labels).__name__}",
        )
    return _kept(zip(_names_of(target, len(cells), argument), cells, strict=True), argument)


def _names_of(target: Any, count: int, argument: str) -> list[str]:
    """Returns the names of images that are objects, in their order: paths of files, numbers of others.

    Raises:
        UserError: not ``count`` of them, or images that have no order of their own.
    """
    if isinstance(target, Mapping):
        raise UserError(Setting(argument), ": expected one target, as these are labels of one target's images")
    if is_place(target):
        raise UserError(
            Setting(argument),
            f": labels in the order of the images are for a target that is a list, an array or a data set, which "
            f"{str(target)!r} is not; give a dictionary of images' names and classes",
        )
    items = unlabelled_items(target, "target")
    if items.count != count:
        raise UserError(
            Setting(argument),
            f": expected one label for each of {items.count} images of the target, got {count}; images without a label "
            "have None, or give a dictionary of some images and their classes",
        )
    names, numbers = names_of_items(items)[0], numbered(items.name, items.count)
    return [
        number.rpartition("/")[2] if name == number else os.path.abspath(name)  # noqa: PTH100 - of text
        for name, number in zip(names, numbers, strict=True)
    ]


def _kept(rows: Iterable[tuple[Any, Any]], argument: str) -> str:
    listed = [(os.fspath(name) if is_place(name) else str(name), _cell(label)) for name, label in rows]
    return kept_table(csv_table(argument, ["path", "label"], listed), ".csv")


def _kept_frame(frame: Any, argument: str) -> str:
    """Keeps all columns: with those of ``dalib query``, the labels are a sample."""
    columns = [str(name).strip() for name in frame.columns]
    lowered = [name.lower() for name in columns]
    place = lowered.index("label")
    rows = cells_of(frame)
    return kept_table(
        csv_table(argument, columns, [[*row[:place], _cell(row[place]), *row[place + 1 :]] for row in rows]), ".csv"
    )


def _cell(label: Any) -> str:
    """Returns a label as text; pandas makes whole numbers floats where some are missing.

    >>> [_cell(each) for each in ("cup", 3, 3.0, None, float("nan"), -1)]
    ['cup', '3', '3', '', '', '']
    """
    if isinstance(label, str):  # also "None", which may be a class
        return label
    if is_missing(label):
        return ""
    number = label.item() if isinstance(label, np.generic | torch.Tensor) else label
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    return "" if number == -1 else str(number)
