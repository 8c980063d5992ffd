"""Two models measured on the same images: a test and an interval. Without torch, so that the report can ask."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dalib.judge.groups import design_effect, sign_test

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def mcnemar(first: int, second: int) -> float:
    r"""Computes McNemar's exact test: how likely so uneven a split is if both models are equally good.

    .. math:: \min\Bigl(1,\; 2 \sum_{i=0}^{\min(b, c)} \binom{b + c}{i} 2^{-(b + c)}\Bigr)

    Images that both get right, or both wrong, are no evidence of which is better; of the others, equal models take half
    each.

    Args:
        first: b, the images that only the first model gets right.
        second: c, those that only the second gets right.

    Returns:
        The two-sided p value in [0, 1]; 1 where the models differ on no image.

    Raises:
        ValueError: a negative count.

    Misleads: it speaks of other images like these, not of other training runs.
    Source: McNemar, Psychometrika 1947; the exact form is the sign test.

    >>> round(mcnemar(6, 0), 5), mcnemar(3, 3)
    (0.03125, 1.0)
    """
    if first < 0 or second < 0:
        raise ValueError(f"first, second: expected counts of at least 0, got {first} and {second}")
    from scipy.stats import binomtest  # here, because it takes a second

    return float(binomtest(first, first + second).pvalue) if first + second else 1.0


def paired_difference_interval(first: int, second: int, count: int, z: float = 1.96) -> tuple[float, float]:
    r"""Computes the interval for the first model's accuracy less the second's on the same images, 95% by default.

    .. math:: d = \frac{b - c}{n}, \quad d \pm \frac{z}{n} \sqrt{b + c - \frac{(b - c)^2}{n}}

    with half an image added to b, c, the images that both get right, and those that both get wrong.

    Args:
        first: b, the images that only the first model gets right.
        second: c, those that only the second gets right.
        count: n before the additions, all images.

    Returns:
        Low and high in [-1, 1], shares of all images.

    Raises:
        ValueError: a negative count, or more than ``count`` images.

    Source: Agresti & Min, Statistics in Medicine 2005.

    >>> low, high = paired_difference_interval(60, 20, 600)
    >>> round(low, 3), round(high, 3)
    (0.038, 0.095)
    """
    if first < 0 or second < 0 or count < 1 or first + second > count:
        raise ValueError(
            "first, second, count: expected counts with first + second <= count and count > 0, "
            f"got {first}, {second} and {count}"
        )
    return _difference_interval(first, second, count, z)


def _difference_interval(first: float, second: float, count: float, z: float) -> tuple[float, float]:
    """Computes the interval of :func:`paired_difference_interval`, of counts that need not be whole."""
    whole, difference = count + 2, first - second
    half = z * math.sqrt(first + second + 1 - difference**2 / whole)
    return max(-1.0, (difference - half) / whole), min(1.0, (difference + half) / whole)


@dataclass(frozen=True)
class PairedTest:
    """Two models on the same images.

    Attributes:
        p: p value of McNemar's test (:func:`mcnemar`).
        interval: 95% interval of the first model's accuracy less the second's (:func:`paired_difference_interval`).
    """

    p: float
    interval: tuple[float, float]


def paired_test(first: ArrayLike, second: ArrayLike, groups: ArrayLike | None = None) -> PairedTest:
    """Compares two models on the same images, in which images of one group are no independent evidence.

    Args:
        first, second: (N,) bool, N > 0, which images each model predicts correctly.
        groups: (N,) equal for images of one group; None counts every image.

    With groups, the test is :func:`dalib.judge.groups.sign_test`, and the interval that of as many images as the groups
    are worth (:func:`dalib.judge.groups.design_effect`).

    >>> first, second = np.repeat([True] * 9 + [False] * 3, 10), np.repeat([True] * 2 + [False] * 10, 10)
    >>> found = paired_test(first, second, np.arange(120) // 10)
    >>> found.p == mcnemar(7, 0), [round(end, 2) for end in found.interval]
    (True, [0.18, 0.8])
    """
    one, other = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    difference = one.astype(np.float64) - other
    counts, count = (int((one & ~other).sum()), int((other & ~one).sum())), len(difference)
    if groups is None:
        return PairedTest(mcnemar(*counts), paired_difference_interval(*counts, count))
    effect = design_effect(difference - difference.mean(), groups)
    worth = [each / effect for each in (*counts, count)]
    return PairedTest(sign_test(difference, groups), _difference_interval(worth[0], worth[1], worth[2], 1.96))
