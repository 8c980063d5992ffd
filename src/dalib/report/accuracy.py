"""The accuracy of each model as a bar with its interval: measured where there are labels, else estimated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dalib.core.words import counted
from dalib.records.candidates import ordered
from dalib.report.comparison import Cell, estimate_cell, estimated_on
from dalib.report.figures import interval, percent, short

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dalib.records.candidates import Candidate
    from dalib.records.estimate import Estimate
    from dalib.records.folder import RunRecords
    from dalib.records.labelled import LabelledValue

TICKS = (0, 25, 50, 75, 100)
"""Percentages on the axis, which starts at 0: a bar is as long as its accuracy is high."""


@dataclass(frozen=True)
class AccuracyBar:
    """One model: its accuracy in words, and percentages to draw it by.

    Attributes:
        cell: the accuracy, its interval and a warning.
        width: of the bar; None where nothing is known.
        low, high: ends of the interval; None without one.
        chosen: what to add where these labels selected the model.
    """

    model: Candidate
    cell: Cell
    width: float | None = None
    low: float | None = None
    high: float | None = None
    chosen: str = ""


@dataclass(frozen=True)
class AccuracyBars:
    """The bars of all models on the same images, from the baseline to the adapted model.

    Attributes:
        title: what they are of.
        what: accuracy or estimate.
        note: where the numbers are from.
    """

    title: str
    what: str
    note: str
    bars: list[AccuracyBar]


def accuracy_bars(records: RunRecords) -> AccuracyBars | None:
    """Returns the bars of the labels that give the verdict, else of estimates; None without any."""
    if records.evaluations and not records.few_labels_first:
        return _measured(records)
    if labelled := records.labelled:
        note = f"From the labels of {counted(labelled.count, 'target image')}; lines are 95% intervals."
        return _bars("Accuracy on the target", "accuracy", note, labelled.models, records, labelled.labels)
    judged = records.judgement.models if records.judgement else {}
    note = "Estimated without labels; lines are 90% intervals, which do not cover every way to be wrong."
    estimates = {name: each.estimate for name, each in judged.items()}
    return _bars(f"Estimated accuracy on {estimated_on(records)}", "estimate", note, estimates, records, "")


def _measured(records: RunRecords) -> AccuracyBars | None:
    evaluation = records.evaluations[0]
    bars = []
    for model in ordered(evaluation.models):
        each = evaluation.models[model.name]
        chosen = _chosen(records, model, "evaluation", evaluation.data)
        cell = Cell(percent(each.accuracy), interval(each.interval))
        low, high = map(_drawn, each.interval)
        bars.append(AccuracyBar(model, cell, _drawn(each.accuracy), low, high, chosen))
    note = f"Measured on {counted(evaluation.count, 'labelled image')}; lines are 95% intervals."
    return AccuracyBars(f"Accuracy on {short(evaluation.data, 36)}", "accuracy", note, bars) if bars else None


def _bars(
    title: str,
    what: str,
    note: str,
    values: Mapping[str, Estimate | LabelledValue | None],
    records: RunRecords,
    labels: str,
) -> AccuracyBars | None:
    bars = []
    for model in ordered(values):
        value, chosen = values[model.name], _chosen(records, model, "labelled", labels)
        known = value is not None and value.value is not None
        width, low, high = (_drawn(getattr(value, each) if known else None) for each in ("value", "low", "high"))
        bars.append(AccuracyBar(model, estimate_cell(value), width, low, high, chosen))
    return AccuracyBars(title, what, note, bars) if any(bar.width is not None for bar in bars) else None


def _drawn(share: float | None) -> float | None:
    return None if share is None else round(100 * min(max(share, 0.0), 1.0), 1)


def _chosen(records: RunRecords, model: Candidate, labels: str, data: str) -> str:
    selection = records.selection
    chosen = selection is not None and selection.model == model.name and selection.chosen_on(labels, data)
    return "selected by these labels" if chosen else ""
