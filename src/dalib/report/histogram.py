"""Predicted classes of the target's training images: bars for each class, and classes that no image is predicted as."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dalib.core.words import UNKNOWN
from dalib.records.candidates import in_order

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dalib.records.folder import RunRecords
    from dalib.records.judgement import Prior

MOST_BARS = 40
MOST_NAMED = 10
"""Classes without a prediction that are named."""


@dataclass(frozen=True)
class Bar:
    """A bar for a number of images; ``width`` is a percentage."""

    name: str
    look: str
    count: int
    width: str


@dataclass(frozen=True)
class ClassBars:
    """The bars of one class, in the order of the legend."""

    name: str
    bars: list[Bar]


@dataclass(frozen=True)
class Key:
    """An entry of the legend."""

    name: str
    look: str


@dataclass(frozen=True)
class Histogram:
    """Bars for each class, with their legend.

    Attributes:
        shown: number of classes with bars.
        priors: whether some of the bars are what a prior expects.
        classes: and at last, of models that name such images, those that are predicted as unknown.
        left_out: classes without bars, where there are many.
        model: of the run's own method; ``vanished`` are names of classes that it predicts nowhere, the first ones of
            ``vanished_count``.
    """

    legend: list[Key]
    priors: bool
    classes: list[ClassBars]
    left_out: int
    model: str
    vanished: list[str]
    vanished_count: int
    shown: int


def histogram(records: RunRecords) -> Histogram | None:
    """Returns how many images each model predicts as each class; None where no model is known.

    Beside them how many images a prior expects: the one that training used and the one estimated from the predictions.
    """
    classes, models = records.summary.classes, in_order(records.summary.models)
    counts = {name: model.target_histogram for name, model in models.items() if model.target_histogram}
    if not counts or not classes:
        return None
    last = list(counts)[-1]
    prior = records.judgement.prior if records.judgement else None
    priors = {} if prior is None else _expected(prior, sum(counts[last]), len(classes))
    looks = {**{name: name for name in counts}, "prior used": "prior", "prior estimated": "prior estimate"}
    shown = {**counts, **priors}
    unknown = {name: count for name, count in records.summary.unknown.items() if name in counts}
    rows = _rows(classes, shown, looks, unknown)
    vanished = [name for name, count in zip(classes, counts[last], strict=True) if not count]
    kind = f" ({prior.kind})" if prior and prior.kind else ""
    return Histogram(
        legend=[Key(f"{name}{kind if name == 'prior used' else ''}", looks[name]) for name in shown],
        priors=bool(priors),
        classes=rows,
        left_out=max(0, len(classes) - MOST_BARS),
        model=last,
        vanished=vanished[:MOST_NAMED],
        vanished_count=len(vanished),
        shown=min(len(classes), MOST_BARS),
    )


def _expected(prior: Prior, total: int, classes: int) -> dict[str, tuple[int, ...]]:
    """Images of each class that the priors expect, by what they are called."""
    found = {"prior used": prior.shares, "prior estimated": prior.estimate}
    return {
        name: tuple(round(share * total) for share in shares)
        for name, shares in found.items()
        if shares and len(shares) == classes
    }


def _rows(
    classes: Sequence[str],
    shown: Mapping[str, Sequence[int]],
    looks: Mapping[str, str],
    unknown: Mapping[str, int],
) -> list[ClassBars]:
    """Returns the bars of the classes, and at last of the images that the models predict as unknown, if any may be."""
    most = max(*(max(each) for each in shown.values()), *unknown.values(), 1)
    rows = [
        ClassBars(
            name,
            [
                Bar(each, looks[each], values[index], f"{100 * values[index] / most:.1f}")
                for each, values in shown.items()
            ],
        )
        for index, name in enumerate(classes)
    ]
    if len(rows) > MOST_BARS:
        rows = sorted(rows, key=lambda row: -max(bar.count for bar in row.bars))[:MOST_BARS]
    if unknown:
        bars = [Bar(name, looks[name], count, f"{100 * count / most:.1f}") for name, count in unknown.items()]
        rows.append(ClassBars(UNKNOWN, sorted(bars, key=lambda bar: list(shown).index(bar.name))))
    return rows
