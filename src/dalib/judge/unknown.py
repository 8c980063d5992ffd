"""Images of none of the classes in an unlabelled target: which they seem to be, and measures where labels are known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.sparse import csr_array, diags_array
from torch import Tensor

from dalib.judge.checked import as_probabilities
from dalib.models.known import KnownRule, certainty

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dalib.judge.structure import Representation

FEWEST = 10
"""Scores; fewer show no two groups."""

NARROWEST = 1e-3
"""Variance that a group of scores has at least, in units of the variance of all: equal scores are not certainty."""

SMALLEST_SPREAD = 1e-9
"""Standard deviation below which scores count as equal."""

SMALLEST_SLOPE = 0.1
"""Slope in units of the standard deviation of the scores; two groups that are one are no reason for a flat rule."""

MOVES = 10
"""Rounds in which prototypes move."""

SOURCE_COUNTS_AS = 2.0
"""Target images that a prototype of the source counts as, so that a class without any keeps its place."""

_ROWS = 1024  # whose products with all others are in memory together


@dataclass(frozen=True)
class TwoGroups:
    """Two groups of scores, a lower and an upper one.

    Attributes:
        threshold: score from which the upper group is the more probable one.
        slope: growth, there, of the logarithm of the ratio of the two probabilities for one unit of the score; above 0.
    """

    threshold: float
    slope: float

    @classmethod
    def of(cls, scores: Tensor) -> TwoGroups:
        """Fits a mixture of two normal distributions to scores (N,).

        Where all scores are equal, all are of the upper group.

        Raises:
            ValueError: another shape, fewer than 10 scores, or one that is not finite.

        >>> scores = torch.cat([torch.linspace(0, 1, 30), torch.linspace(3, 4, 60)])
        >>> groups = TwoGroups.of(scores)
        >>> 1 < groups.threshold < 3, int((groups.upper(scores) > 0.5).sum())
        (True, 60)
        """
        values = scores.double().numpy()
        if values.ndim != 1 or len(values) < FEWEST or not np.isfinite(values).all():
            raise ValueError(f"scores: expected at least {FEWEST} finite numbers, got shape {tuple(scores.shape)}")
        centre, spread = float(values.mean()), float(values.std())
        if spread < SMALLEST_SPREAD:
            return cls(float(values.min()), 1.0)
        from sklearn.mixture import GaussianMixture  # here, because it takes a second

        mixture = GaussianMixture(2, n_init=3, random_state=0, reg_covar=NARROWEST)
        mixture.fit((values[:, None] - centre) / spread)
        lower, upper = mixture.means_[:, 0].argsort()
        # between the means alone: beyond them the wider of two normal distributions is the more probable on both sides
        between = np.linspace(mixture.means_[lower, 0], mixture.means_[upper, 0], 1001)
        density = mixture.predict_proba(between[:, None]).clip(1e-12)
        ratio = np.log(density[:, upper]) - np.log(density[:, lower])
        above = np.flatnonzero(ratio > 0)
        first = int(above[0]) if len(above) else len(between) - 1
        around = slice(max(first - 1, 0), first + 2)
        rise = (ratio[around][-1] - ratio[around][0]) / max(between[around][-1] - between[around][0], 1e-12)
        return cls(centre + spread * float(between[first]), max(float(rise), SMALLEST_SLOPE) / spread)

    def upper(self, scores: Tensor) -> Tensor:
        """Returns the probability (N,) float64 that each score is of the upper group; it rises with the score."""
        return torch.sigmoid(self.slope * (scores.double() - self.threshold))


def rule_of(target: Tensor) -> KnownRule:
    """Returns the rule that separates known images from others by a model's predictions, set without labels.

    Args:
        target: (M, C) probabilities of target images, at least 10.

    The certainties of the predictions are taken for those of two groups (:class:`TwoGroups`); the rule's probability is
    that of the upper group near the threshold.

    Misleads: where the target has no images of unknown classes the lower group are hard images of the known ones.
    Raises: ValueError for what ``as_probabilities`` refuses, or fewer than 10 images.
    """
    groups = TwoGroups.of(certainty(as_probabilities(target, "target")))
    return KnownRule(min(max(groups.threshold, 0.0), 1.0), 1 / groups.slope)


def scores_of_known(predictions: Tensor, representation: Representation | None, num_classes: int) -> Tensor:
    r"""Computes how much speaks for each target image being of one of the classes, before any adaptation.

    The sum of up to three signals, each in units of its standard deviation over the images: the certainty of the
    predictions; the cosine to the closest class prototype, the mean of a class's source images; and the cosine to the
    closest prototype after k-means has moved these over the closer half of the target's images. The sum is then
    :func:`smoothed`: images of an unknown class lie together, and some of them alone would pass for known.

    Args:
        predictions: (M, C) probabilities of target images by models from before the adaptation.
        representation: features of both domains, the target's of all M images, best by a network that no training has
            changed. None leaves the certainty alone.
        num_classes: C.

    Returns:
        (M,) float64, higher for images that seem known; :meth:`TwoGroups.of` makes probabilities of them.

    Misleads: as :func:`rule_of`; and an unknown class that looks like a known one passes for it.
    Raises: ValueError for what ``as_probabilities`` refuses, or another number of images.
    Source: ours; each signal alone is worse (benchmarks/LOG.md).
    """
    sure = _in_own_units(certainty(as_probabilities(predictions, "predictions")))
    if representation is None:
        return sure
    if len(representation.target) != len(predictions):
        raise ValueError(
            f"representation: expected features of {len(predictions)} target images, got {len(representation.target)}"
        )
    target, source = (_unit(_standardized(each)) for each in (representation.target, representation.source))
    labels, there = representation.labels, torch.bincount(representation.labels, minlength=num_classes) > 0
    sums = torch.zeros(num_classes, source.shape[1]).index_add_(0, labels, source)
    prototypes = _unit(sums[there])
    closeness = (target @ prototypes.T).amax(dim=1)
    moved = (target @ _moved(prototypes, target).T).amax(dim=1)
    return smoothed(sure + _in_own_units(closeness) + _in_own_units(moved), target)


def _moved(prototypes: Tensor, target: Tensor) -> Tensor:
    """Returns the prototypes (C, D) after rounds of k-means over the closer half of target images (M, D), all unit."""
    moved = prototypes
    for _ in range(MOVES):
        closest = (target @ moved.T).max(dim=1)
        close = closest.values > closest.values.median()
        sums = torch.zeros_like(moved).index_add_(0, closest.indices[close], target[close])
        moved = _unit(sums + SOURCE_COUNTS_AS * prototypes)
    return moved


def _standardized(features: Tensor) -> Tensor:
    values = features.float()
    return (values - values.mean(dim=0)) / values.std(dim=0, unbiased=False).clamp_min(1e-5)


def _unit(features: Tensor) -> Tensor:
    return torch.nn.functional.normalize(features.float(), dim=1)


def _in_own_units(values: Tensor) -> Tensor:
    values = values.double()
    return (values - values.mean()) / values.std(unbiased=False).clamp_min(1e-12)


def smoothed(
    scores: Tensor, features: Tensor, *, neighbours: int = 10, spread: float = 0.9, rounds: int = 30
) -> Tensor:
    r"""Computes scores as means over images that lie together, along the graph of nearest neighbours.

    .. math:: s \leftarrow \alpha A s + (1 - \alpha) s^{(0)}

    with :math:`A = D^{-1/2} W D^{-1/2}` of the squared cosine similarities of each image to its k nearest neighbours,
    made symmetric, and each result divided by what a constant becomes.

    Args:
        scores: (N,) one of each image.
        features: (N, D) of the same images; centred ones, as cosines are from the origin.
        neighbours: k >= 1; with fewer images, all others.
        spread: alpha in [0, 1).
        rounds: number of rounds.

    Returns:
        (N,) float64.

    Raises:
        ValueError: shapes that do not fit, no neighbours, or a spread out of its range.

    Source: Zhou et al., NeurIPS 2003, whose scores are of classes.

    >>> close = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
    >>> found = smoothed(torch.tensor([1.0, 0.0, 0.0, 0.0]), close, neighbours=1)
    >>> bool(found[1] > 0.4), float(found[2])
    (True, 0.0)
    """
    if scores.ndim != 1 or features.ndim != 2 or len(scores) != len(features):
        raise ValueError(
            f"scores, features: expected shapes (N,) and (N, D), got {tuple(scores.shape)} and {tuple(features.shape)}"
        )
    if neighbours < 1 or not 0 <= spread < 1 or rounds < 1:
        raise ValueError(
            "neighbours, spread, rounds: expected at least 1, a number in [0, 1) and at least 1, "
            f"got {neighbours}, {spread} and {rounds}"
        )
    if len(scores) < 2:
        return scores.double()
    graph = _graph(features, min(neighbours, len(features) - 1))
    first = np.stack([scores.double().numpy(), np.ones(len(scores))], axis=1)
    values = first
    for _ in range(rounds):
        values = spread * (graph @ values) + (1 - spread) * first
    return torch.from_numpy(values[:, 0] / values[:, 1])


def _graph(features: Tensor, neighbours: int) -> csr_array:
    """Returns the normalised weights (N, N) of :func:`smoothed`."""
    unit, count = _unit(features), len(features)
    near, weights = [], []
    for part in torch.split(torch.arange(count), _ROWS):
        closeness = unit[part] @ unit.T
        closeness[torch.arange(len(part)), part] = -math.inf
        nearest = closeness.topk(neighbours, dim=1)
        near.append(nearest.indices)
        weights.append(nearest.values.clamp_min(0).square().double())
    rows = np.arange(count).repeat(neighbours)
    one_way = csr_array((torch.cat(weights).flatten().numpy(), (rows, torch.cat(near).flatten().numpy())), (count,) * 2)
    graph = (one_way + one_way.T) / 2
    scale = 1 / np.sqrt(np.maximum(graph.sum(axis=1), 1e-12))
    return csr_array(diags_array(scale) @ graph @ diags_array(scale))


def harmonic_mean(known: float, unknown: float) -> float:
    """Computes HOS, 2ab / (a + b): a the mean accuracy over the known classes, b that on unknown images.

    >>> harmonic_mean(0.5, 1.0), harmonic_mean(0.9, 0.0)
    (0.6666666666666666, 0.0)
    """
    return 2 * known * unknown / (known + unknown) if known + unknown > 0 else 0.0


def open_set_accuracies(
    predicted: Tensor, labels: Tensor, num_classes: int, weights: Tensor | None = None
) -> tuple[float, float]:
    """Returns the mean accuracy over the known classes that have images, and the accuracy on unknown images.

    Args:
        predicted, labels: (N,) int64 in [0, C]; C itself is unknown.
        num_classes: C.
        weights: (N,) how many images each stands for; None is one.

    Returns:
        Both in [0, 1], NaN where there is no such image.

    Raises:
        ValueError: other shapes, or numbers out of the range.

    >>> open_set_accuracies(torch.tensor([0, 2, 1, 2]), torch.tensor([0, 0, 1, 2]), num_classes=2)
    (0.75, 1.0)
    """
    if predicted.shape != labels.shape or labels.ndim != 1:
        raise ValueError(
            f"predicted, labels: expected equal shapes (N,), got {tuple(predicted.shape)} and {tuple(labels.shape)}"
        )
    for name, each in (("predicted", predicted), ("labels", labels)):
        if len(each) and not 0 <= int(each.min()) <= int(each.max()) <= num_classes:
            raise ValueError(f"{name}: expected classes from 0 to {num_classes}")
    right = (predicted == labels).double()
    counts = torch.ones(len(labels), dtype=torch.float64) if weights is None else weights.double()

    def accuracy(number: int) -> float:
        of_class = labels == number
        return float((right * counts)[of_class].sum() / counts[of_class].sum())

    known: Sequence[float] = [accuracy(number) for number in range(num_classes) if bool((labels == number).any())]
    return (sum(known) / len(known) if known else math.nan), accuracy(num_classes)
