"""Two models measured on the same images: a test and an interval. Without torch, so that the report can ask."""

from __future__ import annotations

import math


def mcnemar(first: int, second: int) -> float:
    r"""Computes McNemar's exact test: how likely so uneven a split is if both models are equally good.

    .. math:: \min\Bigl(1,\; 2 \sum_{i=0}^{\min(b, c)} \binom{b + c}{i} 2^{-(b + c)}\Bigr)

    Images that both get right, or both wrong, say nothing of which is better; of the others, equal models take half
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
    whole, difference = count + 2, first - second
    half = z * math.sqrt(first + second + 1 - difference**2 / whole)
    return max(-1.0, (difference - half) / whole), min(1.0, (difference + half) / whole)
