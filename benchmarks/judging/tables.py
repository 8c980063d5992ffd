"""Fits the judgement on all families of tasks but one, scores it on that one, and prints what a user can expect."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from itertools import product
from statistics import fmean, median
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear, minimize
from seen import MODELS, WEIGHTS_OF, Pair, Recorded, seen_in
from tasks import HELD_OUT, OF_PACKAGES

from dalib.judge.better import PRIOR_LOG_ODDS, WEIGHTS, prior_of_adapted
from dalib.judge.calibrated import AccuracyCalibration, Agreements, calibrated_estimate, headroom, log_odds
from dalib.judge.collapse import MIN_CLASSES_KEPT
from dalib.judge.comparison import MIN_CERTAINTY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from dalib.judge.estimate import AccuracyEstimate

Array = NDArray[np.float64]


class OfFamily(Protocol):
    """A task, by what leaves its family out."""

    @property
    def name(self) -> str: ...
    @property
    def family(self) -> str: ...


K = TypeVar("K", bound=OfFamily)
T = TypeVar("T")

FEWEST_FAMILIES = 3
"""One is scored, one widens its interval, and one is left to fit."""


def fit_weights(tasks: Sequence[Recorded], ridge: float = 1.0) -> Array:
    """Fits the logistic regression with weights of at least 0, in the order of WEIGHTS_OF; (4,)."""
    pairs = [pair for task in tasks for pair in task.pairs if abs(pair.gain) >= 0.05]
    x = np.array([pair.seen for pair in pairs])
    sign = np.array([1.0 if pair.gain > 0 else -1.0 for pair in pairs])
    # a gain of less than 5 points counts less: which model is better matters less there
    weight = np.array([pair.weight * min(1.0, abs(pair.gain) / 5) for pair in pairs])
    scale = np.sqrt((x**2 * weight[:, None]).sum(axis=0) / weight.sum()) + 1e-9
    scale[-1] = 1  # what is expected before anything is seen
    x = x / scale
    penalty = np.array([ridge] * (x.shape[1] - 1) + [0.5])

    def loss(b: Array) -> tuple[float, Array]:
        z = sign * (x @ b)
        slope = -sign * weight / (1 + np.exp(z))
        return float((weight * np.logaddexp(0, -z)).sum() + (penalty * b**2).sum()), x.T @ slope + 2 * penalty * b

    found: Array = minimize(loss, np.zeros(x.shape[1]), jac=True, bounds=[(0, None)] * x.shape[1]).x
    return np.asarray(found / scale)


@dataclass(frozen=True)
class Judged:
    """A verdict on a task: the baseline, and the probability that adapted is better than that."""

    baseline: str
    chance: float

    def gain(self, task: Recorded) -> float:
        return task.accuracy["adapted"] - task.accuracy[self.baseline]

    def selected(self, task: Recorded) -> str:
        return "adapted" if self.chance >= 0.5 and not _collapsed(task, self.baseline) else self.baseline


def judged(weights: Array, task: Recorded) -> Judged:
    """As a run judges: the better baseline, then adapted beside it."""
    baseline = "source-only"
    if ("aligned", baseline) in task.models and _chance(weights, task.models["aligned", baseline]) >= 0.5:
        baseline = "aligned"
    prior = prior_of_adapted(baseline, task.accuracy)
    return Judged(baseline, _chance(weights, task.models["adapted", baseline], prior))


def _chance(weights: Array, pair: Pair, prior: float = 0.0) -> float:
    return float(1 / (1 + np.exp(-np.clip(prior + weights @ np.array(pair.seen), -50, 50))))


WITHOUT = {
    "": (),
    ", without the aligned model": ("aligned",),
    ", without untrained features": ("neighbours",),
    ", without either": ("neighbours", "aligned"),
}
"""What a run may lack that estimates are made of."""


def fit_calibration(tasks: Sequence[Recorded], kind: str, without: Sequence[str] = ()) -> AccuracyCalibration:
    """Fits the logit of the accuracy, then half of a 90% interval to what that leaves on tasks that it did not see."""
    left = []
    for found, task in zip(estimates(tasks, kind, without, spread=False), tasks, strict=True):
        left.append(abs(found.value - task.accuracy[kind] / 100) / headroom(found.value))
    spread = max(0.03, float(np.quantile(left, min(1.0, 0.9 * (1 + 1 / len(left))))))
    return replace(_fit_logit(tasks, kind, without), spread=spread)


def estimates(
    tasks: Sequence[Recorded], kind: str, without: Sequence[str] = (), *, spread: bool = True
) -> list[AccuracyEstimate]:
    """Estimates the accuracy of one kind of model on each task by what was fitted on the other families."""
    fit = fit_calibration if spread else _fit_logit
    return leave_out(
        tasks,
        lambda rest: fit(rest, kind, without),
        lambda found, task: calibrated_estimate(_lacking(task.agreements[kind], without), found),
    )


def _lacking(agreements: Agreements, without: Sequence[str]) -> Agreements:
    lacking: dict[str, Any] = dict.fromkeys(without)
    return replace(agreements, **lacking)


def _fit_logit(tasks: Sequence[Recorded], kind: str, without: Sequence[str], ridge: float = 2.0) -> AccuracyCalibration:
    """Ridge regression of the logit of the accuracy, with coefficients of at least 0, and an interval of no width.

    Each family weighs by the root of its number of tasks.
    """
    known = [asdict(_lacking(task.agreements[kind], without)) for task in tasks]
    signs = [name for name, value in known[0].items() if value is not None]
    x = np.array([[log_odds(each[name]) for name in signs] for each in known])
    accuracy = np.array([task.accuracy[kind] / 100 for task in tasks])
    constant, slopes = ridge_of_logits(x, accuracy, weight_of_families(tasks), ridge)
    coefficients: dict[str, Any] = dict.fromkeys(known[0]) | dict(zip(signs, slopes, strict=True))
    return AccuracyCalibration(kind, constant=constant, **coefficients, spread=0.0)


def ridge_of_logits(x: Array, shares: Array, weight: Array, ridge: float = 2.0) -> tuple[float, list[float]]:
    """Fits the logit of shares, with coefficients of at least 0; the constant and the coefficients.

    Args:
        x: (N, S) signs.
        shares: (N,) in [0, 1].
        weight: (N,) of each; only their relation counts.
        ridge: penalty of a coefficient, of a standardised sign.
    """
    y, weight = np.log((shares + 0.03) / (1.03 - shares)), weight / weight.mean()
    mean, deviation = x.mean(axis=0), x.std(axis=0) + 1e-6
    z = np.c_[np.ones(len(x)), (x - mean) / deviation] * np.sqrt(weight)[:, None]
    small = np.sqrt(np.diag([1e-6, *[ridge] * x.shape[1]]))
    least = [-np.inf, *[0] * x.shape[1]]
    found = lsq_linear(np.r_[z, small], np.r_[y * np.sqrt(weight), np.zeros(len(small))], bounds=(least, np.inf)).x
    slopes = found[1:] / deviation
    return float(found[0] - slopes @ mean), slopes.tolist()


def weight_of_families(tasks: Sequence[OfFamily]) -> Array:
    """Weighs each family by the root of its number of tasks; (N,), of each task."""
    families = [task.family for task in tasks]
    return np.array([1 / math.sqrt(families.count(each)) for each in families])


def leave_out(tasks: Sequence[K], fit: Callable[[list[K]], Any], use: Callable[[Any, K], T]) -> list[T]:
    """Returns of each task what is fitted on the other families says."""
    found: dict[str, T] = {}
    for family in {task.family for task in tasks}:
        fitted = fit([task for task in tasks if task.family != family])
        found |= {task.name: use(fitted, task) for task in tasks if task.family == family}
    return [found[task.name] for task in tasks]


def tables(seen: Path) -> None:
    """Prints every table of the study as Markdown, and what was fitted."""
    recorded = seen_in(seen)
    learnt = [task for task in recorded if task.family not in HELD_OUT]
    kept = [task for task in recorded if task.family in HELD_OUT]
    families = {task.family for task in recorded if task.good}
    if len(families) < FEWEST_FAMILIES:
        raise SystemExit(
            f"--seen {seen}: expected recorded tasks of at least {FEWEST_FAMILIES} families, got {len(families)}; "
            "record more, then see them"
        )
    low = sum(task.accuracy["source-only"] < 60 for task in recorded if task.good)
    print(
        f"{sum(task.good for task in recorded)} tasks of {len(families)} families, {low} with source-only below 60%; "
        f"{sum(not task.good for task in recorded)} spoilt trainings.\n"
    )
    verdicts = leave_out(learnt, fit_weights, judged)
    weights = fit_weights(learnt)
    held = [judged(weights, task) for task in kept]
    as_shipped = np.array([WEIGHTS.get(name, PRIOR_LOG_ODDS.get(name)) for name in WEIGHTS_OF])
    print(_HEAD_WHICH)
    _which("leave one family out", learnt, verdicts)
    for which, of_packages in (("", {True, False}), (", families of packages", {True}), (", other families", {False})):
        chosen = [task for task in learnt if (task.family in OF_PACKAGES) in of_packages]
        _which(f"with the weights of dalib.judge.better{which}", chosen, [judged(as_shipped, task) for task in chosen])
    for family in HELD_OUT:
        _which(f"{family}, held out until the end", *_only(kept, held, family))
    _which("always adapted", learnt, [Judged("source-only", 1.0)] * len(learnt))
    for score in learnt[0].others:
        _which(score, learnt, [Judged("source-only", 1.0 if task.others[score] > 0 else 0.0) for task in learnt])
    good = [task for task in learnt if task.good]
    as_run = [judged(as_shipped, task) for task in good]
    _calibrated(good, as_run)
    _worst(good, as_run)
    _baselines(learnt)
    _estimated(learnt, kept)
    print("fitted:", dict(zip(WEIGHTS_OF, weights.round(2).tolist(), strict=True)))
    print("fitted calibrations:")
    for name in reversed(MODELS):
        _print_calibrations(name, [task for task in learnt if task.good and name in task.agreements])


def _print_calibrations(name: str, tasks: Sequence[Recorded]) -> None:
    """Prints what is fitted for one kind of model; what is missing never narrows an interval."""
    fitted: dict[tuple[str, ...], AccuracyCalibration] = {}
    for without in WITHOUT.values() if tasks else ():
        if name == "aligned" and "aligned" in without:
            continue
        errors = [
            abs(each.estimate.value - each.truth) for each in _together(tasks, name, estimates(tasks, name, without))
        ]
        found = fit_calibration(tasks, name, without)
        spread = max(found.spread, *(each.spread for less, each in fitted.items() if set(less) < set(without)), 0.0)
        fitted[without] = replace(found, spread=spread, usual_error=round(fmean(errors), 2))
        of_it = asdict(fitted[without])
        print({key: round(value, 3) if isinstance(value, float) else value for key, value in of_it.items()})


_HEAD_WHICH = (
    "| which model | tasks | share of the gains kept | points below the better model, mean | most | helped, right | "
    "hurt, right | helped, right, with spoilt trainings and cold starts | hurt | spoilt models selected |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
)


def _only(tasks: list[Recorded], verdicts: list[Judged], family: str) -> tuple[list[Recorded], list[Judged]]:
    chosen = [(task, verdict) for task, verdict in zip(tasks, verdicts, strict=True) if task.family == family]
    return [task for task, _ in chosen], [verdict for _, verdict in chosen]


def _collapsed(task: Recorded, baseline: str) -> bool:
    return task.stopped or task.classes["adapted"] <= MIN_CLASSES_KEPT * task.classes[baseline]


def _which(name: str, tasks: Sequence[Recorded], verdicts: Sequence[Judged]) -> None:
    if not tasks:
        return
    gained, kept, below, shipped = 0.0, 0.0, [], 0
    told: dict[tuple[str, bool], list[bool]] = {
        (word, good): [] for word in ("helped", "hurt") for good in (True, False)
    }
    for task, verdict in zip(tasks, verdicts, strict=True):
        gain, selected = verdict.gain(task), task.accuracy[verdict.selected(task)]
        collapsed = _collapsed(task, verdict.baseline)
        shipped += not task.good and selected < task.accuracy["source-only"] - 10
        if task.good:
            most = max(task.accuracy.values())
            gained += most - task.accuracy["source-only"]
            kept += max(0.0, selected - task.accuracy["source-only"])
            below.append(most - selected)
        if verdict.chance >= MIN_CERTAINTY and not collapsed:
            told["helped", task.good].append(gain > 0)
        elif verdict.chance <= 1 - MIN_CERTAINTY or collapsed:
            told["hurt", task.good].append(gain <= 0)
    natural, every = (
        " | ".join(_right_of([right for good in kinds for right in told[word, good]]) for word in ("helped", "hurt"))
        for kinds in ((True,), (True, False))
    )
    print(
        f"| {name} | {len(below)} | {100 * kept / max(gained, 1e-9):.1f}% | {fmean(below):.2f} | {max(below):.1f} | "
        f"{natural} | {every} | {shipped} |"
    )


def _right_of(said: Sequence[bool]) -> str:
    return f"{sum(said)} of {len(said)}"


def _calibrated(tasks: Sequence[Recorded], verdicts: Sequence[Judged]) -> None:
    print("\n| probability that adapted is better | tasks | adapted is better |\n| --- | ---: | ---: |")
    for low, high in ((0, 0.1), (0.1, 0.3), (0.3, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 1.001)):
        gains = [each.gain(task) for task, each in zip(tasks, verdicts, strict=True) if low <= each.chance < high]
        if gains:
            print(f"| {low:.0%} to {min(high, 1):.0%} | {len(gains)} | {sum(gain > 0 for gain in gains)} |")


def _worst(tasks: Sequence[Recorded], verdicts: Sequence[Judged]) -> None:
    print(
        "\n| where a worse model is selected | source-only | aligned | adapted | selected | probability |\n"
        "| --- | ---: | ---: | ---: | --- | ---: |"
    )
    for task, verdict in zip(tasks, verdicts, strict=True):
        selected = verdict.selected(task)
        if task.good and task.accuracy[selected] < max(task.accuracy.values()) - 1:
            accuracies = (f"{task.accuracy[name]:.1f}" if name in task.accuracy else "" for name in reversed(MODELS))
            print(f"| {task.name} | {' | '.join(accuracies)} | {selected} | {verdict.chance:.2f} |")


def _baselines(tasks: Sequence[Recorded]) -> None:
    """Prints what the models come to on average, and how often aligned is the better baseline."""
    both = [task for task in tasks if task.good and "aligned" in task.accuracy]
    better = sum(task.accuracy["aligned"] > task.accuracy["source-only"] for task in both)
    means = ", ".join(f"{name} {fmean(task.accuracy[name] for task in both):.1f}" for name in reversed(MODELS))
    print(f"\nMean accuracy of {len(both)} tasks: {means}; aligned is better than source-only in {better}.")


def _estimated(learnt: Sequence[Recorded], kept: Sequence[Recorded]) -> None:
    print(
        "\n| estimate of | tasks | mean absolute error, points | 90% interval holds the truth | median width | "
        "where source-only is below 60%: error | holds the truth | width |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    )
    good = [task for task in learnt if task.good]
    rows: dict[str, list[Estimated]] = {}
    for name in reversed(MODELS):
        having = [task for task in good if name in task.agreements]
        rows[f"{name}, leave one family out"] = _together(having, name, estimates(having, name))
        found = fit_calibration(having, name)
        for family in HELD_OUT:
            chosen = [task for task in kept if task.good and task.family == family and name in task.agreements]
            said = [calibrated_estimate(task.agreements[name], found) for task in chosen]
            rows[f"{name}, {family}, held out until the end"] = _together(chosen, name, said)
    rows["all, leave one family out"] = [
        row for title, each in rows.items() if title.endswith("leave one family out") for row in each
    ]
    for name, (lack, without) in product(reversed(MODELS), list(WITHOUT.items())[1:]):
        having = [task for task in good if name in task.agreements]
        if having and not (name == "aligned" and "aligned" in without):
            rows[f"{name}{lack}"] = _together(having, name, estimates(having, name, without))
    for title, each in rows.items():
        if each:
            _print_estimates(title, each)
    print("\n| alone | mean absolute error, points |\n| --- | ---: |")
    for method in ("ATC", "DoC", "MaNo", "transport", "heads", "neighbours"):
        errors = [
            abs(100 * {**task.literature[name], **asdict(each)}[method] - task.accuracy[name])
            for task in good
            for name, each in task.agreements.items()
        ]
        print(f"| {method} | {fmean(errors):.1f} |")
    print()


@dataclass(frozen=True)
class Estimated:
    """An estimate beside the truth; whether source-only is right on less than 60% of the images."""

    estimate: AccuracyEstimate
    truth: float
    low: bool


def _together(tasks: Sequence[Recorded], name: str, said: Sequence[AccuracyEstimate]) -> list[Estimated]:
    return [
        Estimated(each, task.accuracy[name] / 100, task.accuracy["source-only"] < 60)
        for each, task in zip(said, tasks, strict=True)
    ]


def _print_estimates(title: str, rows: Sequence[Estimated]) -> None:
    hard = [each for each in rows if each.low]
    print(f"| {title} | {len(rows)} | {_errors(rows)} | {_errors(hard) if hard else '- | - | -'} |")


def _errors(rows: Sequence[Estimated]) -> str:
    """Returns the mean absolute error, the share of intervals that hold the truth, and the median width, as cells."""
    error = fmean(abs(each.estimate.value - each.truth) for each in rows)
    inside = fmean(each.estimate.low <= each.truth <= each.estimate.high for each in rows)
    width = median(each.estimate.high - each.estimate.low for each in rows)
    return f"{100 * error:.1f} | {inside:.0%} | {100 * width:.0f}"
