"""A list of labels that a person gave to some of the target's images, matched to rows of the target by name.

A CSV file with the columns ``path`` and ``label``; rows without a label are not labelled yet. ``dalib query`` adds the
columns ``stratum`` and ``population``, which say how the images were chosen; other columns are ignored.
"""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dalib.complaints import meant
from dalib.data.listing import LIST_ENDINGS, text_of
from dalib.data.stream import permuted
from dalib.errors import UserError
from dalib.randomness import derive_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Refuse = Callable[[int, str], UserError]

DESIGN = {"stratum", "population"}
"""The columns that say how the images of a list were chosen."""

HELD_OUT = 5
"""Of so many labels one is held out from training, to judge by."""

FEWEST_TO_HOLD_OUT = 50
"""Labels; of fewer all are learnt from, as fewer than 10 images would judge next to nothing."""

MOST_MISTAKES = 3
"""As many are told at once."""


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
    """(n,) int64, the stratum that each image was chosen from; None for a list that does not say."""
    population: Mapping[int, int] | None = None
    """The size of each stratum in the file, also of those without a label."""

    def taken(self, chosen: Tensor) -> TargetLabels:
        """Returns a part of them, as if the others were not in the file; ``chosen`` are positions (m,) or (n,) bool."""
        strata = None if self.strata is None else self.strata[chosen]
        rows = self.rows[chosen]
        return replace(self, rows=rows, labels=self.labels[chosen], listed=len(rows), strata=strata)


def hold_out(given: TargetLabels, seed: int) -> tuple[TargetLabels, TargetLabels | None]:
    """Returns the labels to learn from, and those to judge by, which training must not see.

    Every fifth label is held out, of each stratum and class alike, where there are at least 50; else none. Equal seeds
    hold out the same images.
    """
    count = len(given.rows)
    if count < FEWEST_TO_HOLD_OUT:
        return given, None
    order = permuted(torch.arange(count).numpy(), count, derive_seed(seed, "held-out target labels"))
    strata = torch.zeros_like(given.labels) if given.strata is None else given.strata
    keys = list(zip(strata.tolist(), given.labels.tolist(), strict=True))
    chosen = sorted(order.tolist(), key=lambda position: keys[position])[HELD_OUT - 1 :: HELD_OUT]
    held = torch.zeros(count, dtype=torch.bool)
    held[chosen] = True
    return given.taken(~held), given.taken(held)


def read_target_labels(
    file: str | Path, names: Sequence[str], classes: Sequence[str], target: str, *, argument: str
) -> TargetLabels:
    """The labels in a CSV file, by row of the target.

    Args:
        names: of the target's images, by row; the file's paths are these, or relative to the target's folder.
        classes: what a label may be.
        target: what the target was opened from.
        argument: what errors name, such as ``--labels``.

    Raises:
        UserError: no such file, not CSV, no label in it; a label that is no class, a path that is none of the target's
            images, an image with two labels, strata that contradict each other; with the number of the line.
    """

    def refuse(line: int, what: str) -> UserError:
        return UserError(f"{argument} {file}, line {line}: {what}")

    found = rows_by_name(names, target)
    positions = {name: position for position, name in enumerate(classes)}
    given: dict[int, tuple[int, str]] = {}  # row -> the line that it was on, its label
    stratum_of: dict[int, int] = {}
    population: dict[int, int] = {}
    unknown: list[tuple[int, str]] = []
    table = _table(text_of(Path(file), argument), refuse)
    designed = bool(table) and table[0][1].keys() >= DESIGN
    for line, fields in table:
        path, label = fields["path"], fields["label"].strip()
        row = found.get(path)
        if row is None:
            raise refuse(
                line,
                f"{path!r} is none of the {len(names)} images of the target {target}; "
                f"expected a path such as {names[0]!r}",
            )
        if label and label not in positions:
            unknown.append((line, label))
        line_before, label_before = given.get(row, (line, label))
        if label_before != label:
            raise refuse(line, f"{path!r} is {label!r} here and {label_before!r} on line {line_before}")
        given[row] = line, label
        if designed:
            stratum, size = (_whole(fields[name], name, line, refuse) for name in ("stratum", "population"))
            if stratum >= len(names):  # strata are counted in an array
                raise refuse(line, f"stratum: expected a number below {len(names)}, got {fields['stratum']!r}")
            if population.setdefault(stratum, size) != size:
                raise refuse(line, f"stratum {stratum} has {size} images here and {population[stratum]} before")
            stratum_of[row] = stratum
    if unknown:
        mistakes = "; ".join(
            f"line {line}: {label!r}{meant(label, classes)}" for line, label in unknown[:MOST_MISTAKES]
        )
        more = f" and {len(unknown) - MOST_MISTAKES} more" if len(unknown) > MOST_MISTAKES else ""
        raise UserError(
            f"{argument} {file}, {mistakes}{more}: no class; expected one of {', '.join(map(repr, classes))}, "
            "or nothing for an image without a label"
        )
    labelled = {row: label for row, (_, label) in given.items() if label}
    if not labelled:
        raise UserError(f"{argument} {file}: no label in it; write the class of each image into the column label")
    return TargetLabels(
        torch.tensor(list(labelled)),
        torch.tensor([positions[label] for label in labelled.values()]),
        len(given),
        torch.tensor([stratum_of[row] for row in labelled]) if designed else None,
        population if designed else None,
    )


def rows_by_name(names: Sequence[str], target: str) -> dict[str, int]:
    r"""Rows by what a list may call them: the name, as it is or as a file of text has it, or relative to the target.

    >>> rows_by_name(["data/images/a.png", "data/images/b.png"], "data/images")["b.png"]
    1
    """
    found = {name: row for row, name in enumerate(names)}
    for row, name in enumerate(names):  # names need not be text
        found.setdefault(name.encode(errors="backslashreplace").decode(), row)
    folder = os.path.dirname(target) if target.lower().endswith(LIST_ENDINGS) else target  # noqa: PTH120 - of text
    for row, name in enumerate(names):
        relative = os.path.relpath(name, folder or ".") if folder else name
        if not relative.startswith(os.pardir):
            found.setdefault(relative, row)
    return found


def is_query(data: str) -> bool:
    """Whether this is a list that ``dalib query`` wrote, by its columns."""
    if not data.lower().endswith(".csv") or not Path(data).is_file():
        return False
    with Path(data).open("rb") as file:
        header = file.readline(1000).decode("utf-8", errors="replace")
    return {name.strip() for name in header.split(delimiter_of(header))} >= DESIGN


def delimiter_of(text: str) -> str:
    """What parts the columns of a table: a comma, or a semicolon, as some spreadsheets write it; by its first line."""
    first = text.split("\n", 1)[0]
    return ";" if ";" in first and "," not in first.partition(";")[0] else ","


def _table(text: str, refuse: Refuse) -> list[tuple[int, dict[str, str]]]:
    """(line, field by column) of each row; columns may be parted by semicolons, as some spreadsheets do."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter_of(text))
    columns: list[str] | None = None
    table: list[tuple[int, dict[str, str]]] = []
    before = 0
    try:
        for row in reader:
            line, before = before + 1, reader.line_num  # where the row begins; a quoted name may go over several
            if not any(field.strip() for field in row):
                continue
            if columns is None:
                columns = [name.strip() for name in row]
                if any(columns.count(name) != 1 for name in ("path", "label")):
                    raise refuse(
                        line, f"expected a header with the columns path,label, once each; got {','.join(row)!r}"
                    )
            elif len(row) != len(columns):
                raise refuse(
                    line,
                    f"expected {len(columns)} fields ({','.join(columns)}), got {len(row)}; "
                    "a name with a comma in it stands in double quotes",
                )
            else:
                table.append((line, dict(zip(columns, row, strict=True))))
    except csv.Error as error:
        raise refuse(reader.line_num, f"not CSV ({error})") from error
    if columns is None:
        raise refuse(1, "the file is empty; expected a header with the columns path,label")
    return table


def _whole(text: str, column: str, line: int, refuse: Refuse) -> int:
    try:
        number = int(text)
    except ValueError:
        number = -1
    if number < (column == "population"):
        raise refuse(line, f"{column}: expected a whole number as `dalib query` wrote it, got {text!r}")
    return number
