"""Keeps the weights of the best evaluation, by a score of the metrics so far: they become the training's model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dalib.engine.results import Kept

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn

    from dalib.engine.results import Line, Results


def keep_if_better(results: Results, step: int, score: float, model: Callable[[], nn.Module]) -> None:
    """Keeps the weights of an evaluation whose score is the highest so far; of equal ones the earlier stay.

    Args:
        results: hold what is kept.
        step: number of steps done, an evaluation.
        score: how good the weights are. A score that is not finite is never better than another, and every finite one
            is better than it.
        model: gives the model with these weights.
    """
    best = results.kept()
    # not score > best.score alone: nothing is greater than NaN, which would be kept for ever
    if best is None or (math.isfinite(score) and not (math.isfinite(best.score) and best.score >= score)):
        results.keep(Kept(step, score), model())


def most_confident(lines: Sequence[Line], every: int) -> float:
    """Returns the mean mask rate over the steps since the previous evaluation; ``every`` is the steps between two.

    For methods without a mask, it is the share of confident target images at this evaluation.
    Source: how the authors' code chooses the epoch.
    """
    if "mask_rate" not in lines[-1]:
        return float(lines[-1]["target_mask_rate"])
    step = lines[-1]["step"]
    return mean_over_steps(lines, "mask_rate", (step - 1) // every * every, step)


def mean_over_steps(lines: Sequence[Line], name: str, after: int, until: int) -> float:
    """Returns the mean of a metric over steps ``after`` + 1 to ``until``, from the means of the lines over them."""
    total, steps, last = 0.0, 0, 0
    for line in lines:
        if after < line["step"] <= until:
            covered = line["step"] - max(last, after)
            total += line[name] * covered
            steps += covered
        last = line["step"]
    return total / steps
