"""Open-set adaptation: the target has images of classes that the source lacks, ``--classes same`` and ``other``.

    python benchmarks/unknown.py --root data --backbone lite2 --steps 400 --seeds 3

On Office-31 the first 20 classes in alphabetical order are known, the last 11 stand in the target alone, as in
Transfer-Learning-Library. ``--pair SOURCE TARGET --known N`` takes two other folders of classes. The score is HOS,
2ab / (a + b), with the mean accuracy a over the known classes and the accuracy b on unknown images, in percent; every
model tells unknown images by the rule that ``dalib`` gives it, without labels. Labels of the target are read after
training, to measure; they choose nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import io
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING

import torch

from dalib.data.rows import Selected
from dalib.data.sources import LabelledImages, open_labelled
from dalib.engine.evaluate import plain_representation
from dalib.engine.results import InMemory
from dalib.judge.unknown import harmonic_mean, open_set_accuracies, rule_of
from dalib.run import recipe
from dalib.run.domains import open_domains
from dalib.run.feature_space import standardization
from dalib.run.judge import judge
from dalib.run.pair import BaselineAndAdapted, Task, align, fitted_to_known, train_task, training_inputs
from dalib.run.photographs import SHORT_NAMES
from dalib.run.presets import from_preset

if TYPE_CHECKING:
    from torch import Tensor

    from dalib.run.config import TrainConfig
    from dalib.run.pair import TrainingInputs

CPU = torch.device("cpu")
DIRECTIONS = ("A:W", "A:D", "W:A", "W:D", "D:A", "D:W")
DOMAINS = {"A": "office31/amazon", "W": "office31/webcam", "D": "office31/dslr"}
MODELS = ("source-only", "aligned", "same", "other", "selected")
COLUMNS = (*MODELS, "other: a", "other: b")


def task_of(config: TrainConfig, known: int) -> tuple[TrainingInputs, Tensor]:
    """Returns the inputs of the trainings on the first classes alone, and the target's labels; unknown is ``known``."""
    preprocessing, request = recipe.make_preprocessing(config), recipe.make_data_request(config)
    shared = training_inputs(config, request, preprocessing, open_domains(request, preprocessing), CPU)
    domains, classes = shared.domains, shared.domains.train.classes
    truth = open_labelled(config.target, preprocessing, list(classes), root=config.root, cache="disk").labels.long()

    def of_known(labelled: LabelledImages) -> LabelledImages:
        rows = (labelled.labels < known).nonzero().flatten()
        names = tuple(labelled.names[row] for row in rows.tolist())
        images = Selected(labelled.images, rows)[torch.arange(len(rows))]
        return replace(labelled, images=images, labels=labelled.labels[rows], names=names, classes=classes[:known])

    domains = replace(domains, train=of_known(domains.train), validation=of_known(domains.validation))
    assert shared.standardized is not None
    standardized = replace(shared.standardized, source=standardization(domains.train.images, CPU))
    return replace(shared, domains=domains, standardized=standardized), truth.clamp_max(known)


def scores(config: TrainConfig, known: int) -> dict[str, float]:
    """Returns HOS of each model in percent, and its two parts of the adapted one."""
    shared, truth = task_of(config, known)
    representation = plain_representation(shared.domains.train, shared.domains.to_predict)
    trainings, before = dict(recipe.trainings(config)), BaselineAndAdapted()
    own = shared.of("source-only")[0]
    train_task(Task("source-only", trainings["source-only"], shared.domains, own, InMemory()), before, CPU)
    align(before, shared)
    found = {name: _hos(each.target, truth) for name, each in before.evidence.items()}
    for classes in ("same", "other"):
        training = replace(trainings["adapted"], classes=classes)
        done = BaselineAndAdapted(dict(before.trained), dict(before.evidence))
        inputs = fitted_to_known(shared, done) if classes == "other" else shared
        own, expected = inputs.of("adapted")[0], inputs.expected
        train_task(Task("adapted", training, inputs.domains, own, InMemory(), expected=expected), done, CPU)
        found[classes] = _hos(done.evidence["adapted"].target, truth)
    settings = recipe.make_judge_settings(training, expected)
    judged = judge(done.trained, done.evidence, settings, shared.domains.train.classes, representation)
    found["selected"] = _hos(done.evidence[judged.shipped].target, truth)
    found["other: a"], found["other: b"] = _parts(done.evidence["adapted"].target, truth)
    return {name: 100 * value for name, value in found.items()}


def _parts(p: Tensor, truth: Tensor) -> tuple[float, float]:
    predicted = torch.where(rule_of(p).are_known(p.double()), p.argmax(dim=1), p.shape[1])
    return open_set_accuracies(predicted, truth, p.shape[1])


def _hos(p: Tensor, truth: Tensor) -> float:
    return harmonic_mean(*_parts(p, truth))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data")
    parser.add_argument("--backbone", default="lite2", choices=sorted(SHORT_NAMES))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--directions", nargs="+", default=DIRECTIONS)
    parser.add_argument("--pair", nargs=2)
    parser.add_argument("--known", type=int, default=20)
    given = parser.parse_args()
    torch.set_num_threads(1)
    pairs = [[DOMAINS[letter] for letter in each.split(":")] for each in given.directions]
    pairs = pairs if given.pair is None else [given.pair, given.pair[::-1]]
    print(f"| source, target | {' | '.join(COLUMNS)} |\n| --- |{' ---: |' * len(COLUMNS)}")
    means: list[dict[str, float]] = []
    for source, target in pairs:
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
                of_seeds.append(scores(from_preset("photo-features", **settings), given.known))
        means.append({name: fmean(each[name] for each in of_seeds) for name in COLUMNS})
        print(f"| {source}, {target} | {_row(means[-1])} |", flush=True)
    print(f"| mean | {_row({name: fmean(each[name] for each in means) for name in COLUMNS})} |")


def _row(found: dict[str, float]) -> str:
    return " | ".join(f"{found[name]:.1f}" for name in COLUMNS)


if __name__ == "__main__":
    main()
