"""Mistakes on labelled images: which classes are confused, and the accuracy of each before and after adaptation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dalib.records.candidates import ADAPTED, ordered
from dalib.report.figures import points_between, shade

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dalib.records.candidates import Candidate
    from dalib.records.evaluation import Evaluation, MeasuredModel

MOST_MATRIX_CLASSES = 20
"""More classes: the most confused pairs instead of a matrix."""
MOST_PAIRS = 10

Counts = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class MatrixCell:
    """Images of a true class that are predicted as one class, and how dark they are drawn."""

    count: int
    shade: str
    right: bool


@dataclass(frozen=True)
class MatrixRow:
    """A true class."""

    name: str
    cells: list[MatrixCell]


@dataclass(frozen=True)
class Pair:
    """A frequent mistake; ``share`` is of the images of the true class."""

    true: str
    predicted: str
    count: int
    share: float


@dataclass(frozen=True)
class Change:
    """The accuracy of a class before and after the adaptation, and their difference in percentage points."""

    name: str
    count: int
    before: float
    after: float
    points: float


@dataclass(frozen=True)
class ModelMistakes:
    """The mistakes of one model: a matrix where there are few classes, else the most confused pairs."""

    model: Candidate
    matrix: list[MatrixRow]
    pairs: list[Pair]


@dataclass(frozen=True)
class Mistakes:
    """The mistakes on one labelled set.

    Attributes:
        models: from the adapted one to the baseline.
        changes: of the classes; where there are many, of those that changed most.
        baseline: the model before adaptation in these changes; empty where there is none.
    """

    data: str
    classes: Sequence[str]
    models: list[ModelMistakes]
    changes: list[Change]
    baseline: str

    @property
    def few_classes(self) -> bool:
        """True if matrices are drawn."""
        return len(self.classes) <= MOST_MATRIX_CLASSES

    @property
    def long_names(self) -> bool:
        """True if the names of the classes stand upright over their columns."""
        return any(len(name) > 2 for name in self.classes)


def mistakes(evaluation: Evaluation) -> Mistakes:
    """Returns the mistakes of an evaluation."""
    classes, models = evaluation.classes, evaluation.models
    few = len(classes) <= MOST_MATRIX_CLASSES
    found = [
        ModelMistakes(
            each,
            _matrix(classes, models[each.name].confusion) if few else [],
            [] if few else _pairs(classes, models[each.name].confusion),
        )
        for each in reversed(ordered(models))
    ]
    return Mistakes(
        evaluation.data, classes, found, _changes(classes, models, evaluation.baseline), evaluation.baseline or ""
    )


def _matrix(classes: Sequence[str], confusion: Counts) -> list[MatrixRow]:
    return [
        MatrixRow(
            name,
            [MatrixCell(count, shade(count, sum(counts)), row == column) for column, count in enumerate(counts)],
        )
        for row, (name, counts) in enumerate(zip(classes, confusion, strict=True))
    ]


def _pairs(classes: Sequence[str], confusion: Counts) -> list[Pair]:
    """Returns the most frequent mistakes."""
    pairs = [
        Pair(classes[row], classes[column], count, count / sum(counts))
        for row, counts in enumerate(confusion)
        for column, count in enumerate(counts)
        if row != column and count
    ]
    return sorted(pairs, key=lambda pair: -pair.count)[:MOST_PAIRS]


def _changes(classes: Sequence[str], models: Mapping[str, MeasuredModel], baseline: str | None) -> list[Change]:
    """Returns the accuracy of each class without and with adaptation; of many, those that changed most."""
    if baseline is None:
        return []
    changes = []
    for index, name in enumerate(classes):
        rows = [models[model].confusion[index] for model in (baseline, ADAPTED)]
        if count := sum(rows[0]):
            before, after = (row[index] / count for row in rows)
            changes.append(Change(name, count, before, after, points_between(after, before)))
    if len(classes) > MOST_MATRIX_CLASSES:
        changes = sorted(changes, key=lambda change: -abs(change.points))[:MOST_PAIRS]
    return changes
