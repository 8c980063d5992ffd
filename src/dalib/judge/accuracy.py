"""Accuracy against labels, with the interval that its number of images allows."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def confusion_matrix(labels: Tensor, predictions: Tensor, num_classes: int) -> Tensor:
    """Counts (C, C) int64, a row for each true class and a column for each predicted one.

    Args:
        labels: (N,) int64 in [0, C).
        predictions: (N,) int64 in [0, C).

    >>> confusion_matrix(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), 2)
    tensor([[1, 1],
            [0, 1]])
    """
    return torch.bincount(labels * num_classes + predictions, minlength=num_classes**2).view(num_classes, num_classes)


def wilson_interval(correct: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """Interval for a share of which ``correct`` out of ``count`` were seen; 95% with the default z.

    Never leaves [0, 1] and is right for shares near 1, where the usual normal interval is not. It speaks of other
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
    share = correct / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, centre - half), min(1.0, centre + half)
