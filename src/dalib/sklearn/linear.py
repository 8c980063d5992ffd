"""The estimator's linear models: logistic regression of the source, and its self-training on the target."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from sklearn.utils.extmath import randomized_svd
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from dalib.adaptation.self_training import SelfTraining, probabilities_of
from dalib.data.sparse import SparseRows
from dalib.engine.evaluate import evaluated_rows
from dalib.engine.train import Trained
from dalib.judge.evidence import Evidence
from dalib.judge.structure import COMPONENTS
from dalib.models.classifier import ImageClassifier
from dalib.models.linear import cross_validate, fit_logistic, least_loss, simplest
from dalib.models.tables import TableBackbone
from dalib.run.classes.prior import first_prior, halfway_shares

if TYPE_CHECKING:
    from collections.abc import Callable

    from dalib.data.domain_images import LabelledImages
    from dalib.engine.results import Line

ROUNDS = 15
"""The most rounds of self-training."""

MIN_CHANGED = 0.001
"""Share of the target's rows that get another class in a round, below which self-training has ended."""


@dataclass(frozen=True)
class LinearModel:
    """A fitted linear model.

    Attributes:
        trained: the network, and its evidence on the rows that judge.
        evidence: its predictions for all rows.
        lines: the metrics of its rounds.
        weights: weight (C, D) and bias (C,).
        l2: penalty of the weights with which to adapt it.
    """

    trained: Trained
    evidence: Evidence
    lines: list[Line]
    weights: tuple[Tensor, Tensor]
    l2: float


@dataclass
class LinearTask:
    """The rows that linear models are fitted to and judged on.

    Attributes:
        train: labelled rows of the source.
        validation: those that are kept from training.
        source_target: the target's rows as a model of the source alone sees them.
        target: the target's rows as the adapted model sees them.
        seed: of the folds by which the penalty is chosen.
    """

    train: LabelledImages
    validation: LabelledImages
    source_target: Tensor | SparseRows
    target: Tensor | SparseRows
    seed: int
    _components: Tensor | None = field(default=None, repr=False)

    def logistic_regression(self) -> LinearModel:
        """Fits the source's labels, with the penalty that cross-validation on the source chooses."""
        rows, labels, classes = matrix_of(self.train.images), self.train.labels, len(self.train.classes)
        found = cross_validate(rows, labels, classes, seed=self.seed)
        best = least_loss(found)
        weights = fit_logistic(rows, labels, classes, best.l2)
        lines = [{"step": 0, "l2": best.l2, "cross_validated_accuracy": best.accuracy}]
        # halfway: of the one, a model confirms its own predictions; with the other, it hardly has any
        adapting = math.sqrt(best.l2 * simplest(found, len(labels)).l2)
        return self._model(weights, adapting, self.source_target, lines, prior=None)

    def self_trained(self, first: LinearModel, prior: str, on_line: Callable[[Line], None]) -> LinearModel:
        """Adapts a model of the source to the target.

        Args:
            first: logistic regression of the source.
            prior: kind of the class prior: source, uniform or estimate.
            on_line: called with the metrics of each round.
        """
        rows, labels, classes = matrix_of(self.target), self.train.labels, self.train.classes
        training = SelfTraining(matrix_of(self.train.images), labels, rows, len(classes), l2=first.l2)
        shares, weights = first_prior(prior, labels, classes), first.weights
        named, lines = probabilities_of(weights, rows).argmax(dim=1), list[dict[str, Any]]()
        for number in range(1, ROUNDS + 1):
            if prior == "estimate" and number > 1:  # of the first predictions, half would be of the wrong classes
                shares = halfway_shares(self._evidence(weights, self.target))
            weights = training.after(weights, shares)
            before, named = named, probabilities_of(weights, rows).argmax(dim=1)
            lines.append({"step": number, "changed": float((named != before).double().mean())})
            on_line(lines[-1])
            if lines[-1]["changed"] < MIN_CHANGED:
                break
        return self._model(weights, first.l2, self.target, lines, prior=shares)

    def _model(
        self,
        weights: tuple[Tensor, Tensor],
        l2: float,
        target: Tensor | SparseRows,
        lines: list[Line],
        *,
        prior: Tensor | None,
    ) -> LinearModel:
        whole, chosen = self._evidence(weights, target), evaluated_rows(len(target))
        of_validation, of_target = self._features(target)
        judged = Evidence(
            whole.validation,
            whole.labels,
            whole.target[chosen],
            validation_features=of_validation,
            target_features=of_target[chosen],
        )
        step = lines[-1]["step"]
        return LinearModel(Trained(linear_network(weights), judged, step, step, "", prior), whole, lines, weights, l2)

    def _evidence(self, weights: tuple[Tensor, Tensor], target: Tensor | SparseRows) -> Evidence:
        validation = probabilities_of(weights, matrix_of(self.validation.images))
        return Evidence(validation, self.validation.labels, probabilities_of(weights, matrix_of(target)))

    def _features(self, target: Tensor | SparseRows) -> tuple[Tensor, Tensor]:
        """Returns the features of validation and target rows: the rows, or principal components of sparse ones."""
        validation = self.validation.images
        if isinstance(target, Tensor):
            assert isinstance(validation, Tensor)
            return validation, target
        if self._components is None:
            self._components = components_of(matrix_of(self.target))
        directions = self._components.numpy()
        return tuple(torch.from_numpy(matrix_of(rows) @ directions) for rows in (validation, target))  # type: ignore[return-value]


def matrix_of(rows: Any) -> Tensor | Any:
    """Returns a tensor as it is, and the matrix of sparse rows."""
    return rows.matrix if isinstance(rows, SparseRows) else rows


def components_of(matrix: Any) -> Tensor:
    """Computes the first directions (D, at most 64) of a sparse matrix that is not centred, as for LSA."""
    count = max(1, min(COMPONENTS, *(each - 1 for each in matrix.shape)))
    with threadpool_limits(1):
        *_, directions = randomized_svd(matrix, count, random_state=0)
    return torch.from_numpy(directions.T.astype("float32").copy())


def linear_network(weights: tuple[Tensor, Tensor]) -> ImageClassifier:
    """Returns the network without hidden layers that has this weight and bias."""
    weight, bias = weights
    network = ImageClassifier(TableBackbone(weight.shape[1], ()), len(bias), None, finetune=False)
    assert isinstance(network.head, nn.Linear)
    with torch.no_grad():
        network.head.weight.copy_(weight)
        network.head.bias.copy_(bias)
    return network.eval()


def is_clearly_better(first: Evidence, second: Evidence) -> bool:
    """Returns whether the first of two models is better on the source's validation rows by more than chance explains.

    It is where it is right alone so much oftener than the other that the difference exceeds its standard error
    (McNemar's test, at about 84%).

    >>> labels = torch.tensor([0, 1, 1, 0])
    >>> right, wrong = (Evidence(torch.eye(2)[each], labels, torch.eye(2)) for each in (labels, 1 - labels))
    >>> is_clearly_better(right, wrong), is_clearly_better(right, right)
    (True, False)
    """
    one, other = (each.validation.argmax(dim=1) == each.labels for each in (first, second))
    gained, lost = int((one & ~other).sum()), int((other & ~one).sum())
    return bool(gained - lost > (gained + lost) ** 0.5)
