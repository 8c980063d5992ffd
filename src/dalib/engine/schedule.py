"""Learning-rate schedules: pure functions of the step that give the share of the base rate."""

from __future__ import annotations

import math


def constant(step: int, steps: int) -> float:  # noqa: ARG001 - the signature of a schedule
    """Returns 1 at every step, as in the paper."""
    return 1.0


def one_cycle(step: int, steps: int, warmup_share: float = 0.25) -> float:
    """Returns half a cosine from 1/25 up to 1, then half a cosine down to 1/10000.

    Source: Smith & Topin 2017, in the form that torch's OneCycleLR made usual.

    >>> [round(one_cycle(step, steps=101), 3) for step in (0, 25, 100)]
    [0.04, 1.0, 0.0]
    """
    peak = max(1.0, warmup_share * (steps - 1))
    if step < peak:
        return _half_cosine(1 / 25, 1.0, step / peak)
    return _half_cosine(1.0, 1e-4, (step - peak) / max(1.0, steps - 1 - peak))


def cosine(step: int, steps: int) -> float:
    """Returns half a cosine from 1 down to 0.

    >>> [round(cosine(step, steps=101), 3) for step in (0, 50, 100)]
    [1.0, 0.5, 0.0]
    """
    return _half_cosine(1.0, 0.0, step / max(1, steps - 1))


def inverse_decay(step: int, steps: int) -> float:  # noqa: ARG001
    """Returns (1 + step / 1000) ** -0.75, whatever the number of steps.

    Source: Transfer-Learning-Library's examples, after Ganin & Lempitsky 2015.

    >>> [round(inverse_decay(step, steps=0), 3) for step in (0, 1000, 10000)]
    [1.0, 0.595, 0.166]
    """
    return float((1 + 0.001 * step) ** -0.75)


def _half_cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(1.0, progress))) / 2
