"""Fits the estimate of each class's recall on all families of tasks but one, and scores it on that one."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from seen import MODELS, SeenClass, seen_in
from tables import estimates, leave_out, ridge_of_logits, weight_of_families
from tasks import HELD_OUT

from dalib.judge.calibrated import headroom
from dalib.judge.recalls import RecallCalibration, recall_estimates, recall_signs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from seen import Recorded

    from dalib.judge.estimate import AccuracyEstimate

Array = NDArray[np.float64]

FEWEST_CLASSES = 5
"""Classes of a task in which the lowest estimate says something."""


@dataclass(frozen=True)
class EstimatedTask:
    """The classes of a task by one model, and the estimate of its accuracy that other families taught."""

    name: str
    family: str
    accuracy: float
    classes: list[SeenClass]

    def estimates(self, calibration: RecallCalibration) -> list[AccuracyEstimate]:
        return recall_estimates([each.agreement for each in self.classes], self.accuracy, calibration)


def recall_tables(seen: Path) -> None:
    """Prints how good the estimates of recalls are as Markdown, and what was fitted."""
    tasks = [task for task in seen_in(seen) if task.good and task.family not in HELD_OUT]
    print(
        "\n| recall of each class | classes | mean absolute error, points | bias | 90% interval holds the truth | "
        "median width | the lowest estimate is in the lowest third, tasks | the model's own expectation: error | "
        "bias | the accuracy for each class: error |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    )
    fitted = [_print_kind(name, [task for task in tasks if task.recalls.get(name)]) for name in reversed(MODELS)]
    not_seen = sum(not row.agreement.seen for task in tasks for of_model in task.recalls.values() for row in of_model)
    print(f"\n{not_seen} classes have no estimate, because nothing names an image as them; they are not counted.")
    print("\nfitted calibrations of recalls:")
    for each in fitted:
        print({key: round(value, 3) if isinstance(value, float) else value for key, value in asdict(each).items()})


def _print_kind(name: str, recorded: Sequence[Recorded]) -> RecallCalibration:
    """Prints the row of one kind of model; returns what is fitted to all of these tasks."""
    tasks = [
        EstimatedTask(
            task.name, task.family, estimate.value, [each for each in task.recalls[name] if each.agreement.seen]
        )
        for task, estimate in zip(recorded, estimates(recorded, name, spread=False), strict=True)
    ]
    said = leave_out(tasks, lambda rest: fit_recalls(rest, name), lambda found, task: task.estimates(found))
    return replace(fit_recalls(tasks, name), usual_error=round(_print_row(name, tasks, said), 2))


def fit_recalls(tasks: Sequence[EstimatedTask], kind: str) -> RecallCalibration:
    """Fits the logit of the recalls, then half of a 90% interval to what that leaves on families not seen."""
    rows, weight = [each for task in tasks for each in task.classes], _weights(tasks)
    said = leave_out(tasks, lambda rest: _fit_logit(rest, kind), lambda found, task: task.estimates(found))
    left = [
        abs(found.value - row.recall) / headroom(found.value)
        for found, row in zip((each for of_task in said for each in of_task), rows, strict=True)
    ]
    return replace(_fit_logit(tasks, kind), spread=_quantile(np.array(left), weight, 0.9))


def _fit_logit(tasks: Sequence[EstimatedTask], kind: str) -> RecallCalibration:
    x = np.array([recall_signs(each.agreement, task.accuracy) for task in tasks for each in task.classes])
    recalls = np.array([each.recall for task in tasks for each in task.classes])
    constant, (accuracy, expected, heads) = ridge_of_logits(x, recalls, _weights(tasks))
    return RecallCalibration(kind, constant, accuracy, expected, heads, spread=0.0)


def _weights(tasks: Sequence[EstimatedTask]) -> Array:
    """(N,) of each class: the classes of a task share its weight, and a family weighs by the root of its tasks."""
    of_tasks = weight_of_families(tasks)
    return np.repeat(of_tasks / [len(each.classes) for each in tasks], [len(each.classes) for each in tasks])


def _quantile(values: Array, weight: Array, share: float) -> float:
    order = np.argsort(values)
    reached = np.cumsum(weight[order]) / weight.sum()
    return float(values[order][min(int(np.searchsorted(reached, share)), len(values) - 1)])


def _print_row(name: str, tasks: Sequence[EstimatedTask], said: Sequence[Sequence[AccuracyEstimate]]) -> float:
    """Prints what the estimates of one kind of model come to; returns their mean absolute error."""
    found, rows = [each for of_task in said for each in of_task], [each for task in tasks for each in task.classes]
    weight, truth = _weights(tasks), np.array([each.recall for each in rows])
    errors = np.array([each.value for each in found]) - truth
    expected = np.array([_or_zero(each.agreement.expected) for each in rows]) - truth
    accuracies = np.array([task.accuracy for task in tasks for _ in task.classes]) - truth
    error, of_expected, of_accuracies = (
        float(np.average(abs(each), weights=weight)) for each in (errors, expected, accuracies)
    )
    inside = np.average(
        [each.low <= right <= each.high for each, right in zip(found, truth, strict=True)], weights=weight
    )
    width, lowest = median(each.high - each.low for each in found), _found_lowest(tasks, said)
    bias, expected_bias = (100 * np.average(each, weights=weight) for each in (errors, expected))
    print(
        f"| {name} | {len(rows)} | {100 * error:.1f} | {bias:+.1f} | {inside:.0%} | {100 * width:.0f} | "
        f"{sum(lowest)} of {len(lowest)} | {100 * of_expected:.1f} | {expected_bias:+.1f} | {100 * of_accuracies:.1f} |"
    )
    return error


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def _found_lowest(tasks: Sequence[EstimatedTask], said: Sequence[Sequence[AccuracyEstimate]]) -> list[bool]:
    """Returns of each task of enough classes whether the lowest estimate is of a class in the lowest third."""
    found = []
    for task, of_it in zip(tasks, said, strict=True):
        if len(task.classes) >= FEWEST_CLASSES:
            truth = np.array([each.recall for each in task.classes])
            lowest = int(np.argmin([each.value for each in of_it]))
            found.append(int((truth < truth[lowest]).sum()) < max(1, len(truth) // 3))
    return found
