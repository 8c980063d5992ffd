"""Scores rules that choose among several runs on one target, and among the checkpoints of one run, by recordings."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file

from dalib.judge.better import pairwise
from dalib.judge.scores import class_ami, corr_c, ensemble_agreement
from dalib.judge.structure import Representation, Structure, structure_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from torch import Tensor

BEST, CHANCE = "best", "one at random"


@dataclass(frozen=True)
class Recorded:
    """One run: what its models and its checkpoints say, its selected model, and the truth."""

    structure: Structure
    witness: Tensor
    selected: Tensor
    features: Tensor
    checkpoints: list[Tensor]
    truth: Tensor

    @classmethod
    def read(cls, kept: dict[str, Tensor]) -> Recorded:
        """Reads a recording of a network on stored features, and selects its model as a run does."""
        said = {name: _shares(kept[f"{name}/target"]) for name in ("source-only", "aligned", "adapted")}
        plain = Representation(kept["plain/target"].float(), kept["plain/train"].float(), kept["train_labels"])
        structure, witness = structure_of(plain, int(kept["classes"])), said["aligned"]
        chances = pairwise(list(said.values()), witness, structure)
        baseline = "aligned" if chances[1, 0] > 0.5 else "source-only"
        adapted = chances[2, 1 if baseline == "aligned" else 0] >= 0.5
        courses = [_shares(kept[name]) for name in sorted(kept) if name.startswith("adapted/course/")]
        return cls(
            structure,
            witness,
            said["adapted" if adapted else baseline],
            kept["adapted/target_features" if adapted else "source-only/target_features"].float(),
            courses[1:],  # the first quarter of the steps is never trusted
            kept["truth"],
        )


def runs(out: Path) -> None:
    """Prints how far each rule's choice is below the best one."""
    torch.set_num_threads(1)
    of_target: dict[tuple[str, ...], list[Recorded]] = defaultdict(list)
    for file in sorted((out / "recorded").glob("*.safetensors")):
        kept = load_file(file)
        if "plain/target" in kept and "aligned/target" in kept and "neutral/target" not in kept:
            of_target[tuple(file.stem.split("--")[:3])].append(Recorded.read(kept))
    several = [each for each in of_target.values() if len(each) > 1]
    print(f"{len(several)} targets with {sum(map(len, several))} runs: the selected model of one of them")
    _print([_of_runs(each) for each in several])
    courses = [each for found in of_target.values() for each in found if len(each.checkpoints) > 1]
    print(f"{len(courses)} trainings: one checkpoint of each")
    _print([_of_checkpoints(each) for each in courses])


def _of_runs(found: Sequence[Recorded]) -> dict[str, float]:
    """Returns the accuracy, in percent, of the run that each rule chooses."""
    first, models = found[0], [each.selected for each in found]
    classes = first.structure.num_classes
    clusters = [
        class_ami(torch.nn.functional.normalize(each.features, dim=1), each.selected.argmax(dim=1), classes)
        for each in found
    ]
    return _chosen(
        [_accuracy(each, first.truth) for each in models],
        {
            "ClassAMI": clusters,
            "Corr-C": map(corr_c, models),
            "agreement with the mean": ensemble_agreement(models).tolist(),
            "the judgement's probability": pairwise(models, first.witness, first.structure).sum(dim=1).tolist(),
        },
    )


def _of_checkpoints(run: Recorded) -> dict[str, float]:
    models = run.checkpoints
    return _chosen(
        [_accuracy(each, run.truth) for each in models],
        {
            "the last one": range(len(models)),
            "Corr-C": map(corr_c, models),
            "the judgement's probability": pairwise(models, run.witness, run.structure).sum(dim=1).tolist(),
        },
    )


def _chosen(accuracies: list[float], rules: dict[str, Iterable[float]]) -> dict[str, float]:
    found = {BEST: max(accuracies), CHANCE: fmean(accuracies)}
    for name, scores in rules.items():
        values = list(scores)
        found[name] = accuracies[values.index(max(values))]
    return found


def _print(found: Sequence[dict[str, float]]) -> None:
    """Prints the means of each rule; nothing where no target has several to choose among."""
    if not found:
        return
    print("| rule | accuracy | below the best | at most |\n| --- | ---: | ---: | ---: |")
    for rule in found[0]:
        below = [each[BEST] - each[rule] for each in found]
        print(f"| {rule} | {fmean(each[rule] for each in found):.2f} | {fmean(below):.2f} | {max(below):.1f} |")


def _shares(p: Tensor) -> Tensor:
    return p.double() / p.double().sum(dim=1, keepdim=True)


def _accuracy(p: Tensor, truth: Tensor) -> float:
    return 100 * (p.argmax(dim=1) == truth).double().mean().item()
