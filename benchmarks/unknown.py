"""Open-set adaptation: the target has images of classes that the source lacks, ``--classes same`` and ``other``.

    python benchmarks/unknown.py --root data --backbone lite2 --steps 400 --seeds 3

On Office-31 the first 20 classes in alphabetical order are known, the last 11 stand in the target alone, as in
Transfer-Learning-Library. ``--pair SOURCE TARGET --known N`` takes two other folders of classes. The score is HOS,
2ab / (a + b), with the mean accuracy a over the known classes and the accuracy b on unknown images, in percent; every
model tells unknown images by the rule that ``dalib`` gives it, without labels. Labels of the target are read after
training, to measure; they choose nothing. With ``--known 31`` no image is unknown, and the columns are the mean
accuracy over classes: of source-only, aligned and same without a rule, of other with it, which is what expecting
unknown images costs then.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from worlds import CPU, adapted, add_arguments, baselines_of, inputs_of, pair_of, print_table

from dalib.data.rows import Selected
from dalib.engine.evaluate import plain_representation
from dalib.judge.unknown import harmonic_mean, open_set_accuracies, rule_of
from dalib.run.features.feature_space import standardization
from dalib.run.judge import judge
from dalib.run.recipe import recipe
from dalib.run.recipe.expected import fitted_to_known

if TYPE_CHECKING:
    from torch import Tensor

    from dalib.data.domain_images import LabelledImages
    from dalib.run.recipe.shared_inputs import TrainingInputs
    from dalib.run.settings.config import TrainConfig

MODELS = ("source-only", "aligned", "same", "other", "selected")
COLUMNS = (*MODELS, "other: a", "other: b")


def task_of(config: TrainConfig, known: int) -> tuple[TrainingInputs, Tensor]:
    """Returns the inputs of the trainings on the first classes alone, and the target's labels; unknown is ``known``."""
    shared, truth = inputs_of(config)
    domains, classes = shared.domains, shared.domains.train.classes

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
    training, before = dict(recipe.trainings(config))["adapted"], baselines_of(config, shared)
    all_known = known == len(shared.domains.train.classes) and not bool((truth == known).any())
    score = _mean_accuracy if all_known else _hos
    found = {name: score(each.target, truth) for name, each in before.everything.items()}
    for classes in ("same", "other"):
        training = replace(training, classes=classes)
        inputs = fitted_to_known(shared, before) if classes == "other" else shared
        done = adapted(training, inputs, before)
        found[classes] = score(done.everything["adapted"].target, truth)
    settings = recipe.make_judge_settings(training, inputs.expected)
    judged = judge(done.trained, done.everything, settings, shared.domains.train.classes, representation)
    found["selected"] = score(done.everything[judged.shipped].target, truth)
    found["other: a"], found["other: b"] = _parts(done.everything["adapted"].target, truth)
    if all_known:
        found["other"], found["selected"] = found["other: a"], _parts(done.everything[judged.shipped].target, truth)[0]
    return {name: 100 * value for name, value in found.items()}


def _parts(p: Tensor, truth: Tensor) -> tuple[float, float]:
    predicted = torch.where(rule_of(p).are_known(p.double()), p.argmax(dim=1), p.shape[1])
    return open_set_accuracies(predicted, truth, p.shape[1])


def _mean_accuracy(p: Tensor, truth: Tensor) -> float:
    return open_set_accuracies(p.argmax(dim=1), truth, p.shape[1])[0]


def _hos(p: Tensor, truth: Tensor) -> float:
    return harmonic_mean(*_parts(p, truth))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--pair", nargs=2)
    parser.add_argument("--known", type=int, default=20)
    given = parser.parse_args()
    pairs = [tuple(given.pair), tuple(given.pair[::-1])] if given.pair else list(map(pair_of, given.directions))
    print_table(pairs, given, COLUMNS, partial(scores, known=given.known))


if __name__ == "__main__":
    main()
