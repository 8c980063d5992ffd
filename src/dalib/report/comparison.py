"""The models of a run side by side: what was measured, what is estimated, and what the scores say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dalib.report.figures import counted, interval, number, percent, short

if TYPE_CHECKING:
    from dalib.records.selection import Selection

ORDER = ("source-only", "student", "adapted")  # of models, wherever one stands beside the other
MOST_CLASSES = 12  # of which estimates are shown at once

Json = dict[str, Any]

# What a label-free score is called, what it says, and how its number is written. Known without the code that computes
# them, which knows torch.
SCORES: dict[str, tuple[str, str, str]] = {
    "mask_rate": ("Mask rate", "share of images the model is confident of; higher is better", ".1%"),
    "mean_entropy": ("Mean entropy", "doubt, in nats; lower is better", ".3f"),
    "mutual_information": ("Mutual information", "certain and diverse, in nats; higher is better", ".3f"),
    "nuclear_norm": ("Nuclear norm", "certain and diverse, share of its maximum; higher is better", ".3f"),
    "corr_c": ("Class correlation", "certain and diverse, at most 1; higher is better", ".3f"),
    "agreement": ("Agreement", "teacher and student say the same; higher is better", ".1%"),
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
    """Rows that say the same kind of thing."""

    title: str
    rows: list[Row]


@dataclass(frozen=True)
class Comparison:
    """A table, a column for each model.

    Attributes:
        shipped: the selected model.
        why: who selected it.
        distance: how well the domains are told apart in the features of the model ``distance_of``.
    """

    models: list[str]
    shipped: str
    groups: list[Group]
    distance: float | None = None
    distance_of: str = ""
    why: str = ""


@dataclass(frozen=True)
class ClassEstimates:
    """Estimated accuracy by class: the worst ones, and the rest."""

    models: list[str]
    worst: list[Row] = field(default_factory=list)
    others: list[Row] = field(default_factory=list)
    unreliable: bool = False


def comparison(
    summary: Json, evaluations: list[Json], labelled: Json, judgement: Json, selection: Selection | None = None
) -> Comparison | None:
    """What is known of each model; nothing if nothing is."""
    own = "source-only" if summary.get("method") == "source-only" else "adapted"
    trained, judged = summary.get("models") or {}, judgement.get("models") or {}
    known = {
        *trained,
        *judged,
        *(name for evaluation in evaluations for name in evaluation["models"]),
        *labelled.get("models", ()),
    }
    models = [name for name in ORDER if name in known]
    if not models:
        return None
    measured = [_measured(evaluation, models, selection) for evaluation in evaluations]
    if labelled:
        note = f"from {counted(labelled['count'], 'label')} of {labelled.get('target', 0):,} images"
        note += _selected_by(selection, "labelled", labelled.get("labels"))
        cells = [estimate_cell(labelled["models"].get(name)) for name in models]
        measured.append(Row("Accuracy on the target", note, cells))
    estimated = [estimate_cell((judged.get(name) or {}).get("estimate")) for name in models]
    validation = [
        Cell(percent((trained.get(name) or {}).get("source_validation_accuracy", _score(judged, name, _VALIDATION))))
        for name in models
    ]
    groups = [
        Group("Measured against labels", measured),
        Group(
            "Estimated without target labels",
            [Row("Accuracy on the target", "an estimate; its interval does not cover every way to be wrong", estimated)]
            if any(cell != Cell() for cell in estimated)
            else [],
        ),
        Group("On the source", [Row("Validation accuracy", "images kept from training", validation)]),
        Group("Scores on the target, without labels", _scores(models, trained, judged)),
    ]
    return Comparison(
        models,
        selection.model if selection else str(judgement.get("shipped") or own),
        [group for group in groups if group.rows],
        number(judgement.get("distance")),
        str(judgement.get("shipped") or own),
        selection.reason if selection and len(models) > 1 else "",
    )


_VALIDATION = "source_validation_accuracy"


def _selected_by(selection: Selection | None, labels: str, data: object) -> str:
    """What to add where the selected model's accuracy is a little too high, as these labels selected it."""
    return f"; they selected {selection.model}" if selection and selection.chosen_on(labels, data) else ""


def _measured(evaluation: Json, models: list[str], selection: Selection | None) -> Row:
    found = evaluation["models"]
    return Row(
        f"Accuracy on {short(evaluation['data'], 36)}",
        counted(evaluation["count"], "image") + _selected_by(selection, "evaluation", evaluation["data"]),
        [
            Cell(percent(found[name]["accuracy"]), interval(found[name]["interval"])) if name in found else Cell()
            for name in models
        ],
    )


def estimate_cell(estimate: Json | None) -> Cell:
    """An estimate with its interval; a warning where it is not reliable."""
    if not estimate or number(estimate.get("value")) is None:
        reason = (estimate or {}).get("reason")
        return Cell(warning=f"no estimate: {reason}" if reason else "")
    low, high = number(estimate.get("low")), number(estimate.get("high"))
    return Cell(
        percent(estimate["value"]),
        "" if low is None or high is None else interval([low, high]),
        "" if estimate.get("reliable", True) else "not reliable",
    )


def _scores(models: list[str], trained: Json, judged: Json) -> list[Row]:
    keys = list(
        dict.fromkeys(
            key.removeprefix("target_")
            for name in models
            for key in ((judged.get(name) or {}).get("scores") or {})
            if key != _VALIDATION
        )
    )
    keys.sort(key=lambda key: list(SCORES).index(key) if key in SCORES else len(SCORES))
    rows = []
    for key in keys:
        name, note, form = SCORES.get(key, (key.replace("_", " ").capitalize(), "", ".3g"))
        values = [_score(judged, model, key) for model in models]
        if any(value is not None for value in values):
            cells = [Cell() if value is None else Cell(format(value, form)) for value in values]
            rows.append(Row(name, note, cells))
    confidence = [number((trained.get(name) or {}).get("target_confidence")) for name in models]
    if any(value is not None for value in confidence):
        rows.append(Row("Mean confidence", "not accuracy", [Cell(percent(value)) for value in confidence]))
    return rows


def _score(judged: Json, model: str, key: str) -> float | None:
    scores = (judged.get(model) or {}).get("scores") or {}
    return number(scores.get(key, scores.get(f"target_{key}")))


def class_estimates(classes: list[str], judgement: Json) -> ClassEstimates | None:
    """The estimates of each class, the lowest of the last model first where they are many; nothing without any."""
    judged = judgement.get("models") or {}
    models = [name for name in ORDER if len((judged.get(name) or {}).get("classes") or ()) == len(classes) > 0]
    if not models:
        return None
    rows = [
        Row(name, "", [estimate_cell(judged[model]["classes"][index]) for model in models])
        for index, name in enumerate(classes)
    ]
    unreliable = any(cell.warning for row in rows for cell in row.cells)
    if len(classes) <= MOST_CLASSES:
        return ClassEstimates(models, rows, [], unreliable)
    values = [number(each.get("value")) for each in judged[models[-1]]["classes"]]
    order = sorted(range(len(classes)), key=lambda index: (values[index] is None, values[index] or 0.0))
    rows = [rows[index] for index in order]
    return ClassEstimates(models, rows[:MOST_CLASSES], rows[MOST_CLASSES:], unreliable)
