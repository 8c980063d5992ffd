"""Office-31 with ten of its 31 classes in the target, and the source as it is: ``--classes same`` and ``fewer``.

    python benchmarks/fewer.py --root data --backbone lite2 --steps 400 --seeds 3

The ten are those that Office-31 and Caltech share, as in the literature on partial adaptation. Labels of the target are
read after training, to measure; they choose nothing. ``--all_classes`` leaves all 31 in the target: what it costs to
expect fewer classes where there are not.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from worlds import CPU, adapted, add_arguments, baselines_of, inputs_of, pair_of, print_table

from dalib.engine.evaluate import plain_representation
from dalib.run.features.feature_space import standardization
from dalib.run.judge import judge
from dalib.run.recipe import recipe
from dalib.run.recipe.expected import fitted_to_fewer

if TYPE_CHECKING:
    from torch import Tensor

    from dalib.run.recipe.shared_inputs import TrainingInputs
    from dalib.run.settings.config import TrainConfig

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
    shared, truth = inputs_of(config)
    domains, classes = shared.domains, shared.domains.train.classes
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
    training, before = dict(recipe.trainings(config))["adapted"], baselines_of(config, shared)
    found = {name: _right(said.target, truth) for name, said in before.everything.items()}
    for classes in ("same", "fewer"):
        training = replace(training, classes=classes)
        inputs = shared
        if classes == "fewer":
            inputs = fitted_to_fewer(shared, before, prior=training.prior, seed=training.seed)
        done = adapted(training, inputs, before)
        settings = recipe.make_judge_settings(training, inputs.expected)
        judged = judge(done.trained, done.everything, settings, shared.domains.train.classes, representation)
        found[classes] = _right(done.everything["adapted"].target, truth)
        found[f"{classes}, selected"] = _right(done.everything[judged.shipped].target, truth)
    return found


def _right(p: Tensor, truth: Tensor) -> float:
    return 100 * (p.argmax(dim=1) == truth).double().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--all_classes", action="store_true")
    given = parser.parse_args()
    score = partial(accuracies, all_classes=given.all_classes)
    print_table(map(pair_of, given.directions), given, COLUMNS, score)


if __name__ == "__main__":
    main()
