"""The models of a run side by side: measured accuracies, estimates, and label-free scores."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dalib.core.words import counted
from dalib.records.candidates import in_order, ordered
from dalib.records.estimate import Estimate
from dalib.report.figures import interval, percent, short

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dalib.records.candidates import Candidate
    from dalib.records.evaluation import Evaluation
    from dalib.records.folder import RunRecords
    from dalib.records.judgement import JudgedModel, Judgement, MaskThreshold
    from dalib.records.labelled import LabelledValue
    from dalib.records.selection import Selection
    from dalib.records.summary import SummarizedModel, Summary

MOST_CLASSES = 12  # of which estimates are shown at once

# What a label-free score is called, what it says, and how its number is written. Known without the code that computes
# them, which knows torch.
SCORES: dict[str, tuple[str, str, str]] = {
    "mask_rate": ("Mask rate", "share of images the model is confident of; higher is better", "%"),
    "mean_entropy": ("Mean entropy", "doubt, in nats; lower is better", ".3f"),
    "mutual_information": ("Mutual information", "certain and diverse, in nats; higher is better", ".3f"),
    "nuclear_norm": ("Nuclear norm", "certain and diverse, share of its maximum; higher is better", ".3f"),
    "corr_c": ("Class correlation", "certain and diverse, at most 1; higher is better", ".3f"),
    "agreement": ("Agreement", "teacher and student say the same; higher is better", "%"),
    "classes": ("Effective classes", "how many are in use; far fewer than there are is a warning", ".1f"),
    "density": ("Neighbourhood density", "how much alike near images are; higher is better", ".3f"),
    "class_ami": ("Clusters follow classes", "at most 1; higher is better", ".3f"),
    "dev_risk": ("Embedded validation risk", "error weighted towards the target; lower is better", ".3f"),
}


@dataclass(frozen=True)
class Cell:
    """A value, the remark under it, and a warning, if there is one."""

    value: str = "\N{EN DASH}"
    note: str = ""
    warning: str = ""


@dataclass(frozen=True)
class Row:
    """A measure, a remark on it, and a cell for each model."""

    name: str
    note: str
    cells: list[Cell]


@dataclass(frozen=True)
class Group:
    """Rows of the same kind."""

    title: str
    rows: list[Row]


@dataclass(frozen=True)
class Comparison:
    """A table, a column for each model.

    Attributes:
        models: in the order of the columns.
        shipped: the selected model.
        scores: numbers of the target that need no labels and are no accuracy.
        why: who selected it.
        distance: how well the domains are separated in the features of the model ``distance_of``.
    """

    models: list[Candidate]
    shipped: str
    groups: list[Group]
    scores: list[Row]
    distance: float | None = None
    distance_of: str = ""
    why: str = ""


@dataclass(frozen=True)
class ClassEstimates:
    """Estimated recall of each class: the worst ones, and the rest.

    Attributes:
        models: in the order of the cells.
        worst, others: a row for each class.
        caution: sentence on how far the estimates are to be trusted.
    """

    models: list[Candidate]
    worst: list[Row] = field(default_factory=list)
    others: list[Row] = field(default_factory=list)
    caution: str = ""


def estimated_on(records: RunRecords) -> str:
    """Returns the images that estimates are of: those that judge, where some of the target's may be unknown."""
    return "the target's images that seem known" if records.summary.expects_unknown else "the target"


def comparison(records: RunRecords) -> Comparison | None:
    """Returns what is known of each model; None where nothing is."""
    judgement, labelled, selection = records.judgement, records.labelled, records.selection
    trained, judged = records.summary.models, judgement.models if judgement else {}
    measured_names = [name for evaluation in records.evaluations for name in evaluation.models]
    models = ordered([*trained, *judged, *measured_names, *(labelled.models if labelled else ())])
    if not models:
        return None
    names = [model.name for model in models]
    measured = [_measured(evaluation, names, selection) for evaluation in records.evaluations]
    if labelled:
        note = f"from {counted(labelled.count, 'label')} of {labelled.target:,} images; 95% intervals"
        note += _selected_by(selection, "labelled", labelled.labels)
        cells = [estimate_cell(labelled.models.get(name)) for name in names]
        measured.append(Row("Accuracy on the target", note, cells))
    estimated = [estimate_cell(judged[name].estimate if name in judged else None) for name in names]
    validation = [Cell(percent(_validation_accuracy(trained.get(name), judged.get(name)))) for name in names]
    groups = [
        Group("Measured against labels", measured),
        Group(
            "Estimated without target labels",
            [Row(f"Accuracy on {estimated_on(records)}", _OF_ESTIMATES, estimated)]
            if any(cell != Cell() for cell in estimated)
            else [],
        ),
        Group("Predictions on the target", _unknown(names, records.summary)),
        Group("On the source", [Row("Validation accuracy", "images kept from training", validation)]),
    ]
    shipped = judgement.shipped if judgement else records.own
    return Comparison(
        models,
        selection.model if selection else shipped,
        [group for group in groups if group.rows],
        _scores(names, trained, judged, None if judgement is None else judgement.mask_threshold),
        judgement.distance if judgement else None,
        shipped,
        selection.reason if selection and len(models) > 1 else "",
    )


def _unknown(names: Sequence[str], summary: Summary) -> list[Row]:
    """Returns the row of how many target images each model predicts as unknown; none where no such are expected."""
    found, count = summary.unknown, summary.counts.get("target")
    if not found or not count:
        return []
    cells = [Cell(f"{found[name]:,}", percent(found[name] / count)) if name in found else Cell() for name in names]
    return [Row("Predicted as unknown", f"of {counted(count, 'image')}; they seem to be of none of the classes", cells)]


_OF_ESTIMATES = "an estimate; its 90% interval does not cover every way to be wrong"
_VALIDATION = "source_validation_accuracy"


def _selected_by(selection: Selection | None, labels: str, data: str) -> str:
    """Returns the remark that an accuracy is a little too high, because these labels selected the model."""
    return f"; they selected {selection.model}" if selection and selection.chosen_on(labels, data) else ""


def _measured(evaluation: Evaluation, names: Sequence[str], selection: Selection | None) -> Row:
    found = evaluation.models
    return Row(
        f"Accuracy on {short(evaluation.data, 36)}",
        f"{counted(evaluation.count, 'image')}; 95% intervals" + _selected_by(selection, "evaluation", evaluation.data),
        [
            Cell(percent(found[name].accuracy), interval(found[name].interval)) if name in found else Cell()
            for name in names
        ],
    )


def estimate_cell(estimate: Estimate | LabelledValue | None) -> Cell:
    """Returns an accuracy that is not of all images with its interval; a warning where it is not reliable."""
    reason, reliable = (estimate.reason, estimate.reliable) if isinstance(estimate, Estimate) else ("", True)
    if estimate is None or estimate.value is None:
        return Cell(warning=f"no estimate: {reason}" if reason else "")
    low, high = estimate.low, estimate.high
    return Cell(
        percent(estimate.value),
        "" if low is None or high is None else interval((low, high)),
        "" if reliable else "not reliable",
    )


def _scores(
    names: Sequence[str],
    trained: Mapping[str, SummarizedModel],
    judged: Mapping[str, JudgedModel],
    mask_threshold: MaskThreshold | None,
) -> list[Row]:
    keys = list(
        dict.fromkeys(
            key.removeprefix("target_")
            for name in names
            if name in judged
            for key in judged[name].scores
            if key != _VALIDATION
        )
    )
    keys.sort(key=lambda key: list(SCORES).index(key) if key in SCORES else len(SCORES))
    rows = []
    for key in keys:
        name, note, form = SCORES.get(key, (key.replace("_", " ").capitalize(), "", ".3g"))
        if key == "mask_rate" and mask_threshold is not None:  # else it looks comparable with that of another method
            note = f"share of images with a largest probability above {mask_threshold.in_words}; higher is better"
        values = [_score(judged.get(model), key) for model in names]
        cells = [
            Cell() if value is None else Cell(percent(value) if form == "%" else format(value, form))
            for value in values
        ]
        rows.append(Row(name, note, cells))
    confidence = [trained[name].target_confidence if name in trained else None for name in names]
    if any(value is not None for value in confidence):
        rows.append(Row("Mean confidence", "not accuracy", [Cell(percent(value)) for value in confidence]))
    return rows


def _validation_accuracy(trained: SummarizedModel | None, judged: JudgedModel | None) -> float | None:
    found = trained.source_validation_accuracy if trained else None
    return _score(judged, _VALIDATION) if found is None else found


def _score(judged: JudgedModel | None, key: str) -> float | None:
    scores = judged.scores if judged else {}
    return scores.get(key, scores.get(f"target_{key}"))


def class_estimates(classes: Sequence[str], judgement: Judgement | None) -> ClassEstimates | None:
    """Returns the estimates of each class, the lowest of the last model first where they are many; None without any."""
    judged = in_order(judgement.models) if judgement else {}
    found = {name: each.classes for name, each in judged.items() if each.classes and len(each.classes) == len(classes)}
    if not found:
        return None
    last, of_last = [*found.items()][-1]
    alike = not any(each.reliable for estimates in found.values() for each in estimates)  # then it is said once
    rows = [
        Row(name, "", [_class_cell(estimates[index], marked=not alike) for estimates in found.values()])
        for index, name in enumerate(classes)
    ]
    caution = ""
    if alike:
        reason = next((each.reason for each in of_last if each.value is not None), "")
        caution = f"None of them is reliable{f': for the {last} model, {reason}' if reason else ''}."
    elif any(cell.warning for row in rows for cell in row.cells):
        caution = "Those marked “not reliable” rest on too few images."
    if len(classes) <= MOST_CLASSES:
        return ClassEstimates(ordered(found), rows, [], caution)
    order = sorted(range(len(classes)), key=lambda index: (of_last[index].value is None, of_last[index].value or 0.0))
    rows = [rows[index] for index in order]
    return ClassEstimates(ordered(found), rows[:MOST_CLASSES], rows[MOST_CLASSES:], caution)


def _class_cell(estimate: Estimate, *, marked: bool) -> Cell:
    return estimate_cell(estimate if marked or estimate.value is None else replace(estimate, reliable=True))
