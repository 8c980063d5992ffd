"""Numbers that matter, in a row under the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dalib.records.candidates import ADAPTED, in_order, ordered
from dalib.report.comparison import estimate_cell
from dalib.report.figures import counted, duration, interval, likelihood, percent, points_between, signed
from dalib.report.verdict import probability_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dalib.records.candidates import Candidate
    from dalib.records.evaluation import Evaluation
    from dalib.records.folder import RunRecords


@dataclass(frozen=True)
class Tile:
    """A number that matters, what it is, and a remark."""

    name: str
    value: str
    note: str = ""


def tiles(records: RunRecords) -> list[Tile]:
    """Returns the numbers that there are: of the verdict, of each model's accuracy, and of the run's size."""
    found, probability = [], probability_of(records.judgement)
    if probability is not None:
        how = "as judged without labels" if records.evaluations or records.labelled else "estimated without labels"
        found.append(Tile("Probability that adaptation helped", likelihood(probability), how))
    found += _measured(records, records.evaluations[0]) if records.evaluations else _few_or_none(records)
    summary = records.summary
    if "target" in summary.counts:
        found.append(Tile("Target images", f"{summary.counts['target']:,}", "without labels"))
    seconds = in_order(summary.seconds)
    if seconds:
        parts = ", ".join(_unbroken(f"{name} {duration(each)}") for name, each in seconds.items())
        found.append(Tile("Training time", duration(sum(seconds.values())), parts if len(seconds) > 1 else ""))
    return found


def _measured(records: RunRecords, evaluation: Evaluation) -> list[Tile]:
    measured = evaluation.models
    found = []
    for each in _from_the_best(measured):
        remarks = (interval(measured[each.name].interval), _chosen_by(records, each, "evaluation", evaluation.data))
        found.append(
            Tile(f"{each.title} accuracy", percent(measured[each.name].accuracy), ", ".join(filter(None, remarks)))
        )
    if baseline := evaluation.baseline:
        points = points_between(measured[ADAPTED].accuracy, measured[baseline].accuracy)
        found.append(Tile(f"Gain over {baseline}", signed(points), "percentage points"))
    return found


def _few_or_none(records: RunRecords) -> list[Tile]:
    """Accuracies from labels of a few target images, or estimates, and the share of images that changed class."""
    labelled, judged = records.labelled, records.judgement.models if records.judgement else {}
    found = []
    for each in _from_the_best(labelled.models if labelled else judged):
        cell = estimate_cell(labelled.models[each.name] if labelled else judged[each.name].estimate)
        notes = [cell.note, cell.warning]
        if labelled:
            notes += [counted(labelled.count, "label"), _chosen_by(records, each, "labelled", labelled.labels)]
        if cell.note:
            what = f"{each.title} {'accuracy' if labelled else 'estimate'}"
            found.append(Tile(what, cell.value, ", ".join(filter(None, notes))))
    if records.summary.changed is not None:
        found.append(Tile("Changed class", percent(records.summary.changed), "of the target images"))
    return found


def _from_the_best(names: Iterable[str]) -> list[Candidate]:
    return ordered(names)[::-1]


def _chosen_by(records: RunRecords, model: Candidate, labels: str, data: object) -> str:
    selection = records.selection
    chosen = selection is not None and selection.model == model.name and selection.chosen_on(labels, data)
    return "selected by these labels" if chosen else ""


def _unbroken(text: str) -> str:
    return text.replace(" ", "\N{NO-BREAK SPACE}").replace("-", "\N{NON-BREAKING HYPHEN}")
