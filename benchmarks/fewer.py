"""Office-31 with ten of its 31 classes in the target, and the source as it is: ``--classes same`` and ``fewer``.

    python benchmarks/fewer.py --root data --backbone lite2 --steps 400 --seeds 3

The ten are those that Office-31 and Caltech share, as in the literature on partial adaptation. Labels of the target are
read after training, to measure; they choose nothing. ``--all_classes`` leaves all 31 in the target: what it costs to
expect fewer classes where there are not.
"""

from __future__ import annotations

import argparse
import contextlib
import io
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING

import torch

from dalib.data.sources import open_labelled
from dalib.engine.evaluate import plain_representation
from dalib.engine.results import InMemory
from dalib.run import recipe
from dalib.run.domains import open_domains
from dalib.run.feature_space import standardization
from dalib.run.judge import judge
from dalib.run.pair import BaselineAndAdapted, Task, align, fitted_to_fewer, train_task, training_inputs
from dalib.run.photographs import SHORT_NAMES
from dalib.run.presets import from_preset

if TYPE_CHECKING:
    from torch import Tensor

    from dalib.run.config import TrainConfig
    from dalib.run.pair import TrainingInputs

CPU = torch.device("cpu")
DIRECTIONS = ("A:W", "A:D", "W:A", "W:D", "D:A", "D:W")
DOMAINS = {"A": "office31/amazon", "W": "office31/webcam", "D": "office31/dslr"}
TEN = [
    "back_pack",
    "bike",
    "calculator",
    "headphones",
    "keyboard",
    "laptop_computer",
    "monitor",
    "mouse",
    "mug",
    "projector",
]
COLUMNS = ("source-only", "aligned", "same", "same, selected", "fewer", "fewer, selected")


def task_of(config: TrainConfig, *, all_classes: bool) -> tuple[TrainingInputs, Tensor]:
    """Returns the inputs of the trainings, with the target's images of the ten classes alone, and their labels."""
    preprocessing, request = recipe.make_preprocessing(config), recipe.make_data_request(config)
    shared = training_inputs(config, request, preprocessing, open_domains(request, preprocessing), CPU)
    domains, classes = shared.domains, shared.domains.train.classes
    truth = open_labelled(config.target, preprocessing, list(classes), root=config.root, cache="disk").labels.long()
    if all_classes:
        return shared, truth
    rows = torch.isin(truth, torch.tensor([classes.index(name) for name in TEN])).nonzero().flatten()
    names = tuple(domains.target.names[row] for row in rows.tolist())
    target = replace(domains.target, images=domains.target.images[rows], names=names)
    domains = replace(domains, target=target, to_predict=domains.to_predict[rows])
    assert shared.standardized is not None
    of_target = [standardization(each, CPU) for each in (target.images, domains.to_predict)]
    standardized = replace(shared.standardized, target=of_target[0], plain=of_target[1])
    return replace(shared, domains=domains, standardized=standardized), truth[rows]


def accuracies(config: TrainConfig, *, all_classes: bool) -> dict[str, float]:
    """Returns what each model has on the target, in percent."""
    shared, truth = task_of(config, all_classes=all_classes)
    representation = plain_representation(shared.domains.train, shared.domains.to_predict)
    trainings, before = dict(recipe.trainings(config)), BaselineAndAdapted()
    own = shared.of("source-only")[0]
    train_task(Task("source-only", trainings["source-only"], shared.domains, own, InMemory()), before, CPU)
    align(before, shared)
    found = {name: _right(said.target, truth) for name, said in before.evidence.items()}
    for classes in ("same", "fewer"):
        training = replace(trainings["adapted"], classes=classes)
        done = BaselineAndAdapted(dict(before.trained), dict(before.evidence))
        inputs = fitted_to_fewer(training, shared, done) if classes == "fewer" else shared
        own, expected = inputs.of("adapted")[0], inputs.expected
        train_task(Task("adapted", training, inputs.domains, own, InMemory(), expected=expected), done, CPU)
        settings = recipe.make_judge_settings(training, expected)
        judged = judge(done.trained, done.evidence, settings, shared.domains.train.classes, representation)
        found[classes] = _right(done.evidence["adapted"].target, truth)
        found[f"{classes}, selected"] = _right(done.evidence[judged.shipped].target, truth)
    return found


def _right(p: Tensor, truth: Tensor) -> float:
    return 100 * (p.argmax(dim=1) == truth).double().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data")
    parser.add_argument("--backbone", default="lite2", choices=sorted(SHORT_NAMES))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--directions", nargs="+", default=DIRECTIONS)
    parser.add_argument("--all_classes", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"| direction | {' | '.join(COLUMNS)} |\n| --- |{' ---: |' * len(COLUMNS)}")
    means: list[dict[str, float]] = []
    for direction in given.directions:
        source, target = (DOMAINS[letter] for letter in direction.split(":"))
        of_seeds = []
        for seed in range(given.seeds):
            settings = {
                "source": source,
                "target": target,
                "root": given.root,
                "features": given.views,
                "steps": given.steps,
                "seed": seed,
                "every.evaluate": max(1, given.steps // 6),
                **SHORT_NAMES[given.backbone],
            }
            with contextlib.redirect_stdout(io.StringIO()):
                config = from_preset("photo-features", **settings)
                of_seeds.append(accuracies(config, all_classes=given.all_classes))
        means.append({name: fmean(each[name] for each in of_seeds) for name in COLUMNS})
        print(f"| {direction.replace(':', ' -> ')} | {_row(means[-1])} |", flush=True)
    print(f"| mean | {_row({name: fmean(each[name] for each in means) for name in COLUMNS})} |")


def _row(found: dict[str, float]) -> str:
    return " | ".join(f"{found[name]:.1f}" for name in COLUMNS)


if __name__ == "__main__":
    main()
