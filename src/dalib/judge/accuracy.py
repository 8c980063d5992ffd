"""Accuracy against labels, with the interval that its number of images allows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dalib.judge.checked import as_validation
from dalib.judge.groups import SIDE_OF_95, Integers, design_effect
from dalib.records.estimate import Bin

if TYPE_CHECKING:
    from collections.abc import Sequence


def confusion_matrix(labels: Tensor, predictions: Tensor, num_classes: int) -> Tensor:
    """Counts images (C, C) int64 by true class (rows) and predicted class (columns).

    Args:
        labels: (N,) int64 in [0, C).
        predictions: (N,) int64 in [0, C).

    >>> confusion_matrix(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), 2)
    tensor([[1, 1],
            [0, 1]])
    """
    return torch.bincount(labels * num_classes + predictions, minlength=num_classes**2).view(num_classes, num_classes)


def wilson_interval(correct: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Returns the interval for a share of which ``correct`` out of ``count`` were seen.

    It never leaves [0, 1] and is right for shares near 1, where the usual normal interval is not. It speaks of other
    images like these, not of other training runs.
    Source: Wilson 1927.

    Raises:
        ValueError: no images, or more correct ones than images.

    >>> low, high = wilson_interval(90, 100)
    >>> round(low, 3), round(high, 3)
    (0.826, 0.945)
    """
    if count < 1 or not 0 <= correct <= count:
        raise ValueError(f"correct, count: expected 0 <= correct <= count and count > 0, got {correct} and {count}")
    from scipy.stats import binomtest  # here, because it takes a second

    interval = binomtest(correct, count).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def accuracy_interval(right: Tensor, groups: Integers | None = None) -> tuple[float, float]:
    """Returns the 95% interval of the accuracy, in which images of one group are no independent evidence.

    It is :func:`wilson_interval` of as many images as the groups are worth (:mod:`dalib.judge.groups`).

    Args:
        right: (N,) bool, N > 0, which images are predicted correctly.
        groups: (N,) equal for images of one group; None counts every image.

    >>> right = torch.tensor([True] * 90 + [False] * 10)
    >>> low, high = accuracy_interval(right.repeat_interleave(10), torch.arange(1000).numpy() // 10)
    >>> round(low, 3), round(high, 3)
    (0.825, 0.945)
    """
    correct, count = int(right.sum()), len(right)
    if groups is None or (effect := design_effect(right.double().numpy() - correct / max(1, count), groups)) == 1:
        return wilson_interval(correct, count)
    share, worth, z = correct / count, count / effect, SIDE_OF_95
    middle = (share + z**2 / (2 * worth)) / (1 + z**2 / worth)
    half = z / (1 + z**2 / worth) * math.sqrt(share * (1 - share) / worth + (z / (2 * worth)) ** 2)
    return max(0.0, middle - half), min(1.0, middle + half)


def reliability_bins(p: Tensor, labels: Tensor, bins: int = 10) -> tuple[Bin, ...]:
    """Computes accuracy and mean confidence of images that are sorted by confidence into bins of equal width.

    Args:
        p: (N, C) probabilities.
        labels: (N,) int64 in [0, C).
        bins: B, how many.

    Returns:
        B bins, of the least confidence first, which :func:`calibration_error` sums up. A confidence on an edge falls
        into the bin below it.

    Raises: ValueError for fewer than 1 bin or what :func:`dalib.judge.checked.as_validation` refuses.
    Source: the reliability diagram, Niculescu-Mizil & Caruana, ICML 2005.

    >>> reliability_bins(torch.tensor([[0.75, 0.25], [0.75, 0.25]]), torch.tensor([0, 1]), bins=2)[1]
    Bin(confidence=0.75, accuracy=0.5, count=2)
    """
    if bins < 1:
        raise ValueError(f"bins: expected at least 1, got {bins}")
    p, labels = as_validation(p, labels)
    confidence, predicted = p.max(dim=1)
    index = ((confidence * bins).ceil().long() - 1).clamp(0, bins - 1)
    counts = torch.bincount(index, minlength=bins).tolist()
    right = torch.bincount(index, (predicted == labels).double(), minlength=bins).tolist()
    sums = torch.bincount(index, confidence, minlength=bins).tolist()
    return tuple(
        Bin(total / count, correct / count, count) if count else Bin(None, None, 0)
        for total, correct, count in zip(sums, right, counts, strict=True)
    )


def calibration_error(bins: Sequence[Bin]) -> float:
    r"""Computes the expected calibration error :math:`\sum_b \frac{n_b}{N} |acc_b - conf_b|` of bins of images.

    Returns:
        In [0, 1]; LOWER is better. NaN of no images.

    Misleads: biased upwards for few images, and 0 for a model that answers the classes' shares everywhere.
    Source: Naeini et al., AAAI 2015; Guo et al., ICML 2017.

    >>> calibration_error([Bin(0.75, 0.5, 2), Bin(None, None, 0)])
    0.25
    """
    excess = [
        each.count * abs(each.accuracy - each.confidence)
        for each in bins
        if each.accuracy is not None and each.confidence is not None
    ]
    return sum(excess) / sum(each.count for each in bins) if excess else math.nan
