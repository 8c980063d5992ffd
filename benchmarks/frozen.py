"""Compares dalib's models with what else a user could run on the same features of a frozen backbone.

    OMP_NUM_THREADS=1 python benchmarks/frozen.py --root data --steps 1500 --views 4
    OMP_NUM_THREADS=1 python benchmarks/frozen.py --root data --pairs pairs/steel/neu:pairs/steel/xsdd

Logistic regression and SKADA's methods see the plain features of all source and target images; SKADA's are left out
where skada is not installed. DANN and MCC are Transfer-Learning-Library's losses with its weights in our loop: the same
head, standardised features, stored views, optimiser, batch and steps as dalib's, from random weights, one batch of both
domains, and the model after the last step. Labels of the target measure, and choose nothing.
"""

from __future__ import annotations

import argparse
import math
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from arguments import direction, place_in
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional as F
from worlds import CPU, add_arguments, baselines_of, inputs_of, pair_of, print_table
from worlds import adapted as train_adapted

from dalib.core.types import Batch, Losses
from dalib.engine.evaluate import plain_representation
from dalib.engine.fit import fit
from dalib.engine.predict import predict_probabilities
from dalib.engine.runlog import MetricsLog
from dalib.models.classifier import logits_and_features_of
from dalib.run.judge import judge
from dalib.run.recipe import recipe

try:
    import skada
except ImportError:
    skada = None

if TYPE_CHECKING:
    from collections.abc import Callable

    from dalib.models.classifier import ImageClassifier
    from dalib.run.recipe.shared_inputs import TrainingInputs
    from dalib.run.settings.config import TrainConfig

REGRESSION = {"C": 0.01, "max_iter": 1000}
"""Settings of each logistic regression."""
SHALLOW: dict[str, Callable[[], tuple[Any, ...]]] = {
    "regression": lambda: (StandardScaler(),),
    "regression, each domain standardised": lambda: (skada.PerDomain(StandardScaler()),),
    "SKADA CORAL": lambda: (StandardScaler(), skada.CORALAdapter()),
    "SKADA subspace alignment": lambda: (
        StandardScaler(),
        skada.SubspaceAlignmentAdapter(n_components=100, random_state=0),
    ),
    "SKADA transfer components": lambda: (StandardScaler(), skada.TransferComponentAnalysisAdapter(n_components=100)),
    "SKADA linear optimal transport": lambda: (
        StandardScaler(),
        PCA(n_components=100, random_state=0),  # covariances of all features cannot be inverted
        skada.LinearOTMappingAdapter(),
    ),
    "SKADA class-regularised optimal transport": lambda: (
        skada.PerDomain(StandardScaler()),
        skada.ClassRegularizerOTMappingAdapter(),
    ),
}
"""What stands before the logistic regression, by the name of the column."""
OURS = ("source-only", "aligned", "adapted", "selected")
DEEP = ("DANN", "MCC")


class GradientReversal(torch.autograd.Function):
    """Passes features on, and their gradient times -weight."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.weight * gradients[0], None


class Adversarial:
    """DANN (Ganin et al., JMLR 2016) on the head's features, as Transfer-Learning-Library weighs it."""

    target_views = 1
    class_prior = None

    def __init__(self, student: nn.Module, width: int, lr: float, steps: int) -> None:
        self.student, self.steps = student, steps
        hidden = (nn.Linear(width, 1024), nn.BatchNorm1d(1024), nn.ReLU())
        self.discriminator = nn.Sequential(
            *hidden, nn.Linear(1024, 1024), nn.BatchNorm1d(1024), nn.ReLU(), nn.Linear(1024, 1)
        )
        self.optimizer = torch.optim.Adam(self.discriminator.parameters(), lr=lr)

    def loss(self, batch: Batch, step: int) -> Losses:
        logits, features = logits_and_features_of(self.student, torch.cat([batch.source, batch.target[0]]))
        count = len(batch.source)
        weight = 2 / (1 + math.exp(-step / (self.steps / 20))) - 1
        domain = self.discriminator(GradientReversal.apply(features, weight)).flatten()
        from_source = (torch.arange(len(domain)) < count).float()
        supervised = F.cross_entropy(logits[:count], batch.labels)
        return Losses(
            {"supervised": supervised, "adversarial": F.binary_cross_entropy_with_logits(domain, from_source)}, {}
        )

    def after_step(self, step: int) -> None:
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def predictor(self) -> nn.Module:
        return self.student

    def state_dict(self) -> dict[str, Any]:
        return {"student": self.student.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.student.load_state_dict(state["student"])


def shallow_scores(inputs: TrainingInputs, truth: Tensor) -> dict[str, float]:
    """Returns the accuracy of each shallow method, on plain features of the whole source and target."""
    target = plain_representation(inputs.domains.train, inputs.domains.to_predict, torch.arange(len(truth))).target
    of_source = (inputs.domains.train, inputs.domains.validation)
    source = torch.cat([each.images[torch.arange(len(each.labels))].float().mean(dim=1) for each in of_source])
    labels = torch.cat([each.labels for each in of_source]).numpy()
    rows = np.concatenate([source.numpy(), target.numpy()])
    hidden = np.concatenate([labels, np.full(len(target), -1)])
    domains = np.repeat([1, -2], [len(source), len(target)])
    found = {}
    for name, steps in SHALLOW.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of singular covariances: defaults are what is measured
            model = skada.make_da_pipeline(*steps(), LogisticRegression(**REGRESSION))
            model.fit(rows, hidden, sample_domain=domains)
            predicted = model.predict(target.numpy(), sample_domain=np.full(len(target), -2))
        found[name] = float(np.mean(predicted == truth.numpy()))
    return found


def deep_score(config: TrainConfig, inputs: TrainingInputs, truth: Tensor, name: str) -> float:
    """Returns the accuracy of DANN or MCC after the last step."""
    assert config.steps is not None
    own, domains = inputs.of("adapted")[0], inputs.domains
    training = recipe.make_training(
        replace(config, method="mcc"), own, domains.train, domains.target, CPU, steps=config.steps
    )
    student = cast("ImageClassifier", training.method.student)
    if name == "DANN":
        method = Adversarial(student, student.features_dim, config.optimizer.lr, config.steps)
        training = replace(training, method=method)
    fit(training, MetricsLog(None))
    predictor = recipe.make_evaluator(domains, own, CPU).predictor(student)
    p = predict_probabilities(predictor, domains.to_predict, own.plain, device=CPU)
    return _accuracy(p, truth)


def scores(config: TrainConfig) -> dict[str, float]:
    """Returns the accuracy of each model on the target, in percent."""
    inputs, truth = inputs_of(config)
    training, before = dict(recipe.trainings(config))["adapted"], baselines_of(config, inputs)
    found = shallow_scores(inputs, truth) if skada is not None else {}
    found |= {name: deep_score(training, inputs, truth, name) for name in DEEP}
    done = train_adapted(training, inputs, before)
    representation = plain_representation(inputs.domains.train, inputs.domains.to_predict)
    judged = judge(
        done.trained,
        done.everything,
        recipe.make_judge_settings(training, inputs.expected),
        inputs.domains.train.classes,
        representation,
    )
    found |= {name: _accuracy(each.target, truth) for name, each in done.everything.items()}
    found["selected"] = found[judged.shipped]
    return {name: 100 * value for name, value in found.items()}


def _accuracy(p: Tensor, truth: Tensor) -> float:
    return (p.argmax(dim=1) == truth).double().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--pairs", nargs="+", type=direction, metavar="SOURCE:TARGET", help="folders below the root")
    given = parser.parse_args()
    pairs = given.pairs or list(map(pair_of, given.directions))
    columns = (*(SHALLOW if skada is not None else ()), *DEEP, *OURS)
    print_table([(place_in(given.root, a), place_in(given.root, b)) for a, b in pairs], given, columns, scores)


if __name__ == "__main__":
    main()
