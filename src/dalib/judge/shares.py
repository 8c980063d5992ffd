r"""The class shares of the target from labels of a few of its images, sharpened by the predictions for all of them.

A count of a hundred labels is off by several points for each class. The models' predictions are of every image, but
wrong in ways that nobody knows; the labels measure how wrong, and the two together are more precise than either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from dalib.judge.checked import as_probabilities
from dalib.judge.groups import SIDE_OF_95, design_effect
from dalib.judge.prior import ShareEstimate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from dalib.judge.groups import Integers, Numbers

PSEUDO_ERRORS = 0.5
"""Errors added to those seen, for the variance: a class without an error among the labels is not certain."""


def shares_with_labels(
    predictions: Tensor,
    rows: Tensor,
    labels: Tensor,
    strata: Tensor,
    population: Mapping[int, int],
    groups: Integers | None = None,
) -> ShareEstimate:
    r"""Estimates class shares from labelled images and predictions for all images, with 95% intervals.

    .. math:: \hat u_c = \frac{\lambda}{M} \sum_i p_{ic} +
              \sum_h \frac{M_h}{M} \frac1{n_h} \sum_{i \in h} (y_{ic} - \lambda p_{ic})

    The labels of stratum h, of which there are :math:`n_h`, correct the share that is predicted. That is unbiased for
    every :math:`\lambda`, which is chosen in [0, 1] such that the variance, summed over the classes, is the least; at 0
    it is the count of the labels. What the interval leaves of shares below 0 is left out: the share is the mean of a
    normal distribution over those above, so that no class that may be there has none.

    Args:
        predictions: (M, C) probabilities of all target images.
        rows: (n,) int64 labelled images, drawn at random in each stratum.
        labels: (n,) int64 their classes in [0, C).
        strata: (n,) int64 the stratum of each.
        population: the size of every stratum. Strata without a labelled image count as the others do.
        groups: (n,) equal for images that belong together, for the intervals; None counts every image.

    Returns:
        Shares with sum 1 and the ends of their intervals.

    Misleads: labels of images that were chosen otherwise, hard ones first or class by class.
    Raises: ValueError for no label, or lengths or classes that do not fit.
    Source: Angelopoulos et al., Science 2023 and, for lambda, arXiv 2311.01453 (PPI++); for strata it is the difference
    estimator of survey sampling (Saerndal et al., 1992). The added error and the truncation are ours.

    >>> p, labels = torch.tensor([[0.9, 0.1]]).repeat(60, 1), torch.tensor([0] * 15 + [1] * 5)
    >>> found = shares_with_labels(p, torch.arange(20), labels, torch.zeros(20).long(), {0: 60})
    >>> [round(share, 2) for share in found.shares.tolist()]
    [0.75, 0.25]
    """
    p = as_probabilities(predictions, "predictions").numpy()
    classes = p.shape[1]
    _check(rows, labels, strata, classes)
    truth, said = np.eye(classes)[labels.numpy()], p[rows.numpy()]
    weights, used = _weights(strata.numpy(), population), strata.numpy()
    # lambda: slope of the labels on the predictions within strata, weighted as the variance is
    y, f = (_within(each, used) for each in (truth, said))
    of_f = float((weights[:, None] ** 2 * f**2).sum())
    slope = float((weights[:, None] ** 2 * f * y).sum()) / of_f if of_f > 0 else 0.0
    slope = min(max(slope, 0.0), 1.0)
    error = truth - slope * said
    value = slope * p.mean(axis=0) + (weights[:, None] * error).sum(axis=0)
    spread = np.array([_deviation(each, weights, used, population, groups) for each in error.T])
    low, high = (np.clip(value + sign * SIDE_OF_95 * spread, 0, 1) for sign in (-1, 1))
    shares = _of_what_is_left(value, spread)
    shares /= shares.sum()
    ends = np.minimum(low, shares), np.maximum(high, shares)
    return ShareEstimate(torch.from_numpy(shares), *map(torch.from_numpy, ends))


def _check(rows: Tensor, labels: Tensor, strata: Tensor, classes: int) -> None:
    """Refuses the inputs that :func:`shares_with_labels` lists under Raises."""
    count = len(rows)
    if not count or labels.shape != (count,) or strata.shape != (count,):
        raise ValueError(
            "rows, labels, strata: expected one of each for at least one labelled image, got shapes "
            f"{tuple(rows.shape)}, {tuple(labels.shape)} and {tuple(strata.shape)}"
        )
    if not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(f"labels: expected classes from 0 to {classes - 1}")


def _weights(strata: Integers, population: Mapping[int, int]) -> Numbers:
    """Returns the share (n,) of the target that each labelled image stands for; with sum 1."""
    drawn = np.bincount(strata)
    weights = np.array([population[each] / drawn[each] for each in strata.tolist()], dtype=np.float64)
    return np.asarray(weights / weights.sum())


def _within(values: Numbers, strata: Integers) -> Numbers:
    """Returns values (n, C) less the mean of their stratum."""
    found = values.copy()
    for stratum in np.unique(strata):
        here = strata == stratum
        found[here] -= values[here].mean(axis=0)
    return found


def _deviation(
    error: Numbers, weights: Numbers, strata: Integers, population: Mapping[int, int], groups: Integers | None
) -> float:
    """Returns the standard error of the weighted sum of errors (n,)."""
    everywhere = float((error - (weights * error).sum()).var())
    variance, left = 0.0, _within(error[:, None], strata)[:, 0]
    for stratum in np.unique(strata):
        here = strata == stratum
        drawn = int(here.sum())
        # few labels show little of the spread in their stratum: that of all counts like two more
        own = (float((left[here] ** 2).sum()) + 2 * everywhere) / (drawn + 1) + PSEUDO_ERRORS / len(error)
        rest = 1 - drawn / max(population[int(stratum)], drawn)
        variance += float(weights[here].sum()) ** 2 * own / drawn * rest
    return float(np.sqrt(variance * design_effect(weights * left, groups)))


def _of_what_is_left(value: Numbers, spread: Numbers) -> Numbers:
    """Returns the means (C,) of normal distributions cut off below 0."""
    from scipy.stats import norm  # here, because it takes a second

    scale = np.maximum(spread, 1e-9)
    z = value / scale
    # far below 0 both are tiny: their quotient in logarithms
    rise = np.exp(norm.logpdf(z) - norm.logcdf(z))
    return np.asarray(np.maximum(value + scale * rise, 1e-6))
