"""Fits the judgement on all families of tasks but one, scores it on that one, and prints what a user can expect."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from itertools import combinations
from statistics import fmean, median
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from literature import average_threshold_confidence, difference_of_confidences
from numpy.typing import NDArray
from safetensors.torch import load_file
from scipy.optimize import lsq_linear, minimize
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_mutual_info_score
from tasks import HELD_OUT

from dalib.judge.better import WEIGHTS, Signs, signs_of, vote_ratio, votes_of
from dalib.judge.calibrated import Agreements, Calibration, agreements_of, calibrated_estimate, headroom, log_odds
from dalib.judge.estimate import apply_temperature, fit_temperature
from dalib.judge.evidence import Evidence
from dalib.judge.guard import MIN_CERTAINTY, MIN_CLASSES_KEPT, shared_representation
from dalib.judge.scores import mutual_information
from dalib.judge.signs import head_classes
from dalib.judge.structure import Representation, Structure, structure_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

Array = NDArray[np.float64]
T = TypeVar("T")
MODELS = ("adapted", "aligned", "source-only")
BASELINES = MODELS[1:]
WEIGHTS_OF = ("neighbours", "names", "votes")


@dataclass(frozen=True)
class Pair:
    """Two labellings of one target, seen without labels, and the truth.

    Attributes:
        seen: differences of the signs times the trust in the witness, in the order of WEIGHTS_OF.
        gain: of the first over the second, in points.
        weight: in the fit; what the study makes itself counts less than what was trained.
    """

    seen: list[float]
    gain: float
    weight: float


@dataclass(frozen=True)
class Recorded:
    """One task: the pairs of its models, others that teach the fit, and each model's accuracy."""

    name: str
    family: str
    good: bool
    models: dict[tuple[str, str], Pair]
    pairs: list[Pair]
    accuracy: dict[str, float]
    classes: dict[str, float]
    stopped: bool
    agreements: dict[str, Agreements]
    literature: dict[str, dict[str, float]]
    others: dict[str, float]


def read(file: Path) -> Recorded:
    """Computes all that the tables need of a recording."""
    kept = load_file(file)
    truth, classes = kept["truth"], int(kept["classes"])
    said = {name: kept[f"{name}/target"].float() for name in MODELS if f"{name}/target" in kept}
    compared, learnt_from = _structures(kept, classes)
    candidates = {**said, **_spoilt(said, classes)}
    courses = sorted(name for name in kept if name.startswith("adapted/course/"))[:2]
    candidates |= {name: kept[name].float() for name in courses}
    of_models = list(combinations(said, 2))
    pairs = [*((one, other, 1.0) for one, other in of_models), *((name, "source-only", 0.3) for name in courses)]
    pairs += [(name.split("~")[0], name, 0.15) for name in candidates if "~" in name]
    witness = said.get("aligned", said["source-only"])
    signs = {name: signs_of(each, witness, compared) for name, each in candidates.items()}
    right = {name: _right(each, truth) for name, each in candidates.items()}
    found = [
        Pair(
            _difference(signs[one], signs[other], vote_ratio(votes_of(candidates[one], candidates[other], compared))),
            right[one] - right[other],
            weight,
        )
        for one, other, weight in pairs
    ]
    return Recorded(
        name=file.stem,
        family=file.stem.split("--")[0],
        good=file.stem.endswith("--good"),
        models=dict(zip(of_models, found, strict=False)),
        pairs=found,
        accuracy={name: right[name] for name in said},
        classes={name: _effective(p) for name, p in said.items()},
        stopped=bool(kept["adapted/stopped"]),
        agreements=_agreements(kept, said, learnt_from),
        literature={name: _literature(kept, name) for name in said},
        others=_others(said, compared, classes),
    )


def _structures(kept: dict[str, torch.Tensor], classes: int) -> tuple[Structure, Structure]:
    """As a run makes them: what models are compared by, and what their accuracy is estimated from.

    Both are the features of a frozen backbone. Networks from scratch are compared by those of the installed network,
    and estimated from their own, side by side.
    """
    if "neutral/target" not in kept:
        plain = structure_of(Representation(kept["plain/target"], kept["plain/train"], kept["train_labels"]), classes)
        return plain, plain
    neutral = Representation(kept["neutral/target"], kept["neutral/train"], kept["neutral/train_labels"])
    models = [
        Evidence(
            kept[f"{name}/validation"],
            kept["labels"],
            kept[f"{name}/target"],
            None,
            kept[f"{name}/validation_features"],
            kept[f"{name}/target_features"],
        )
        for name in ("source-only", "adapted")
    ]
    shared = shared_representation(models)
    assert shared is not None
    return structure_of(neutral, classes), structure_of(shared, classes)


def _spoilt(said: dict[str, torch.Tensor], classes: int) -> dict[str, torch.Tensor]:
    """Labellings that are worse on purpose: names exchanged in twos and in circles, classes merged, noise."""
    found = {}
    generator = np.random.default_rng(0)
    for name, p in said.items():
        often = torch.bincount(p.argmax(dim=1), minlength=classes).argsort(descending=True).tolist()
        for kind, chosen in (("exchanged", often[:2]), ("circle", often[: max(3, classes // 3)])):
            if len(chosen) <= classes:
                order = list(range(classes))
                for place, each in enumerate(chosen):
                    order[each] = chosen[(place + 1) % len(chosen)]
                found[f"{name}~{kind}"] = p[:, order]
        merged = p.clone()
        merged[:, often[0]] += merged[:, often[1]]
        merged[:, often[1]] = 0
        noisy, rows = p.clone(), torch.from_numpy(generator.random(len(p)) < 0.25)
        noisy[rows] = noisy[rows][:, torch.from_numpy(generator.permutation(classes))]
        found |= {f"{name}~merged": merged, f"{name}~noisy": noisy}
    return found


def _difference(one: Signs, other: Signs, ratio: float) -> list[float]:
    first, second = asdict(one), asdict(other)
    return [one.trust * (ratio if name == "votes" else first[name] - second[name]) for name in WEIGHTS_OF]


def _right(p: torch.Tensor, truth: torch.Tensor) -> float:
    return 100 * (p.argmax(dim=1) == truth).double().mean().item()


def _effective(p: torch.Tensor) -> float:
    shares = torch.bincount(p.argmax(dim=1), minlength=p.shape[1]).double() / len(p)
    return math.exp(float(torch.special.entr(shares).sum()))


def _agreements(
    kept: dict[str, torch.Tensor], said: dict[str, torch.Tensor], structure: Structure
) -> dict[str, Agreements]:
    heads = head_classes(structure)
    return {
        name: agreements_of(_proper(kept[f"{name}/validation"]), kept["labels"], _proper(p), structure, heads)
        for name, p in said.items()
    }


def _literature(kept: dict[str, torch.Tensor], name: str) -> dict[str, float]:
    labels = kept["labels"]
    validation, target = (_proper(kept[f"{name}/{side}"]) for side in ("validation", "target"))
    temperature = fit_temperature(validation, labels)
    calm, calm_source = (apply_temperature(each, temperature) for each in (target, validation))
    powers = target.clamp_min(1e-9).log().softmax(dim=1).pow(4).mean()
    return {
        "ATC": average_threshold_confidence(calm_source, labels, calm),
        "DoC": difference_of_confidences(calm_source, labels, calm),
        "MaNo": float(powers) ** 0.25 * target.shape[1] ** 0.25,
    }


def _proper(p: torch.Tensor) -> torch.Tensor:
    p = p.double()
    return p / p.sum(dim=1, keepdim=True)


def _others(said: dict[str, torch.Tensor], structure: Structure, classes: int) -> dict[str, float]:
    """Differences of scores that were studied and not taken."""
    clusters = KMeans(classes, n_init=3, random_state=0).fit_predict(structure.target.numpy())
    scores = {
        name: {
            "agreement with clusters (ClassAMI)": float(adjusted_mutual_info_score(p.argmax(dim=1).numpy(), clusters)),
            "mutual information": mutual_information(_proper(p)),
        }
        for name, p in said.items()
    }
    return {score: scores["adapted"][score] - scores["source-only"][score] for score in scores["adapted"]}


def fit_weights(tasks: Sequence[Recorded], ridge: float = 0.1) -> Array:
    """Fits the logistic regression without a constant and with weights of at least 0; (3,)."""
    pairs = [pair for task in tasks for pair in task.pairs if abs(pair.gain) >= 0.05]
    x = np.array([pair.seen for pair in pairs])
    sign = np.array([1.0 if pair.gain > 0 else -1.0 for pair in pairs])
    # a gain of less than 5 points counts less: which model is better matters less there
    weight = np.array([pair.weight * min(1.0, abs(pair.gain) / 5) for pair in pairs])
    scale = np.sqrt((x**2 * weight[:, None]).sum(axis=0) / weight.sum()) + 1e-9
    x = x / scale

    def loss(b: Array) -> tuple[float, Array]:
        z = sign * (x @ b)
        slope = -sign * weight / (1 + np.exp(z))
        return float((weight * np.logaddexp(0, -z)).sum() + ridge * (b**2).sum()), x.T @ slope + 2 * ridge * b

    found: Array = minimize(loss, np.zeros(x.shape[1]), jac=True, bounds=[(0, None)] * x.shape[1]).x
    return found / scale


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
    return Judged(baseline, _chance(weights, task.models["adapted", baseline]))


def _chance(weights: Array, pair: Pair) -> float:
    return float(1 / (1 + np.exp(-np.clip(weights @ np.array(pair.seen), -50, 50))))


def fit_calibration(tasks: Sequence[Recorded], name: str, ridge: float = 2.0) -> Calibration:
    """Fits the logit of the accuracy, then half of a 90% interval to what that leaves on tasks that it did not see."""
    values = _leave_out(tasks, lambda rest: _fit_logit(rest, name, ridge), lambda b, task: _value(b, task, name))
    left = np.array(
        [abs(value - task.accuracy[name] / 100) / headroom(value) for value, task in zip(values, tasks, strict=True)]
    )
    apart = np.array([task.agreements[name].apart for task in tasks])
    slope = max(0.0, float(np.polyfit(apart, left, 1)[0])) if len(tasks) > 2 else 0.0
    base = left - 2 * slope * apart
    spread = max(0.03, float(np.quantile(base, min(1.0, 0.9 * (1 + 1 / len(base))))))
    return Calibration(*_fit_logit(tasks, name, ridge), spread=spread, disagreement=2 * slope)


def _fit_logit(tasks: Sequence[Recorded], name: str, ridge: float) -> tuple[float, float, float, float]:
    """Ridge regression of the logit of the accuracy, with coefficients of at least 0.

    Each family weighs by the root of its number of tasks.
    """
    x = np.array([_log_odds(task.agreements[name]) for task in tasks])
    accuracy = np.array([task.accuracy[name] / 100 for task in tasks])
    y = np.log((accuracy + 0.03) / (1.03 - accuracy))
    families = [task.family for task in tasks]
    weight = np.array([1 / math.sqrt(families.count(each)) for each in families])
    weight /= weight.mean()
    mean, deviation = x.mean(axis=0), x.std(axis=0) + 1e-6
    z = np.c_[np.ones(len(x)), (x - mean) / deviation] * np.sqrt(weight)[:, None]
    small = np.sqrt(np.diag([1e-6, ridge, ridge, ridge]))
    found = lsq_linear(np.r_[z, small], np.r_[y * np.sqrt(weight), np.zeros(4)], bounds=([-np.inf, 0, 0, 0], np.inf)).x
    slopes = found[1:] / deviation
    return float(found[0] - slopes @ mean), float(slopes[0]), float(slopes[1]), float(slopes[2])


def _log_odds(found: Agreements) -> list[float]:
    return [log_odds(each) for each in (found.transport, found.heads, found.neighbours)]


def _value(b: tuple[float, float, float, float], task: Recorded, name: str) -> float:
    logit = b[0] + float(np.dot(b[1:], _log_odds(task.agreements[name])))
    return min(1.0, max(0.0, 1.06 / (1 + math.exp(-logit)) - 0.03))


def _leave_out(
    tasks: Sequence[Recorded], fit: Callable[[list[Recorded]], Any], use: Callable[[Any, Recorded], T]
) -> list[T]:
    """Of each task, what is fitted on the other families says."""
    found = {}
    for family in {task.family for task in tasks}:
        fitted = fit([task for task in tasks if task.family != family])
        found |= {task.name: use(fitted, task) for task in tasks if task.family == family}
    return [found[task.name] for task in tasks]


def tables(out: Path) -> None:
    """Prints every table of the study as Markdown, and what was fitted."""
    torch.set_num_threads(1)
    recorded = [read(file) for file in sorted((out / "recorded").glob("*.safetensors"))]
    learnt = [task for task in recorded if task.family not in HELD_OUT]
    kept = [task for task in recorded if task.family in HELD_OUT]
    families = {task.family for task in recorded if task.good}
    low = sum(task.accuracy["source-only"] < 60 for task in recorded if task.good)
    print(
        f"{sum(task.good for task in recorded)} tasks of {len(families)} families, {low} with source-only below 60%; "
        f"{sum(not task.good for task in recorded)} spoilt trainings.\n"
    )
    verdicts = _leave_out(learnt, fit_weights, judged)
    weights = fit_weights(learnt)
    held = [judged(weights, task) for task in kept]
    as_shipped = np.array([WEIGHTS[name] for name in WEIGHTS_OF])
    print(_HEAD_WHICH)
    _which("leave one family out", learnt, verdicts)
    _which("with the weights of dalib.judge.better", learnt, [judged(as_shipped, task) for task in learnt])
    for family in HELD_OUT:
        _which(f"{family}, held out until the end", *_only(kept, held, family))
    _which("always adapted", learnt, [Judged("source-only", 1.0)] * len(learnt))
    for score in learnt[0].others:
        _which(score, learnt, [Judged("source-only", 1.0 if task.others[score] > 0 else 0.0) for task in learnt])
    _calibrated(learnt, verdicts)
    _worst(learnt, verdicts)
    _baselines(learnt)
    _estimated(learnt, kept)
    print("fitted:", dict(zip(WEIGHTS_OF, weights.round(2).tolist(), strict=True)))
    for name in reversed(MODELS):
        found = fit_calibration([task for task in learnt if task.good and name in task.agreements], name)
        print(f"fitted for {name}:", {key: round(value, 3) for key, value in asdict(found).items()})


_HEAD_WHICH = (
    "| which model | tasks | share of the gains kept | points below the better model, mean | most | helped, right | "
    "hurt, right | spoilt models selected |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
)


def _only(tasks: list[Recorded], verdicts: list[Judged], family: str) -> tuple[list[Recorded], list[Judged]]:
    chosen = [(task, verdict) for task, verdict in zip(tasks, verdicts, strict=True) if task.family == family]
    return [task for task, _ in chosen], [verdict for _, verdict in chosen]


def _collapsed(task: Recorded, baseline: str) -> bool:
    return task.stopped or task.classes["adapted"] <= MIN_CLASSES_KEPT * task.classes[baseline]


def _which(name: str, tasks: Sequence[Recorded], verdicts: Sequence[Judged]) -> None:
    if not tasks:
        return
    gained, kept, below, helped, hurt, shipped = 0.0, 0.0, [], [], [], 0
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
            helped.append(gain > 0)
        elif verdict.chance <= 1 - MIN_CERTAINTY or collapsed:
            hurt.append(gain <= 0)
    print(
        f"| {name} | {len(below)} | {100 * kept / max(gained, 1e-9):.1f}% | {fmean(below):.2f} | {max(below):.1f} | "
        f"{sum(helped)} of {len(helped)} | {sum(hurt)} of {len(hurt)} | {shipped} |"
    )


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
        "where source-only is below 60% | called reliable | of these within 5 points |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    )
    good = [task for task in learnt if task.good]
    rows: dict[str, list[tuple[float, float, float, float, bool, bool]]] = {}
    for name in reversed(MODELS):
        having = [task for task in good if name in task.agreements]
        for family in {task.family for task in having}:
            found = fit_calibration([task for task in having if task.family != family], name)
            rows.setdefault(f"{name}, leave one family out", []).extend(
                _row(found, task, name) for task in having if task.family == family
            )
        found = fit_calibration(having, name)
        for family in HELD_OUT:
            chosen = [task for task in kept if task.good and task.family == family and name in task.agreements]
            rows[f"{name}, {family}, held out until the end"] = [_row(found, task, name) for task in chosen]
    rows["all, leave one family out"] = [
        row for title, each in rows.items() if title.endswith("leave one family out") for row in each
    ]
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


def _row(found: Calibration, task: Recorded, name: str) -> tuple[float, float, float, float, bool, bool]:
    estimate = calibrated_estimate(task.agreements[name], found)
    truth = task.accuracy[name] / 100
    return (
        estimate.value,
        truth,
        estimate.low,
        estimate.high,
        estimate.reliable,
        task.accuracy["source-only"] < 60,
    )


def _print_estimates(title: str, rows: Sequence[tuple[float, float, float, float, bool, bool]]) -> None:
    errors = [abs(value - truth) for value, truth, *_ in rows]
    inside = fmean(low <= truth <= high for _, truth, low, high, _, _ in rows)
    widths = [high - low for _, _, low, high, _, _ in rows]
    hard = [high - low for _, _, low, high, _, below in rows if below] or [math.nan]
    reliable = [error <= 0.05 for error, row in zip(errors, rows, strict=True) if row[4]]
    print(
        f"| {title} | {len(rows)} | {100 * fmean(errors):.1f} | {inside:.0%} | {100 * median(widths):.0f} | "
        f"{100 * median(hard):.0f} | {len(reliable)} | {sum(reliable)} |"
    )
