"""The accuracy on the target without a target label, by three signs whose errors were measured on other data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from dalib.judge.estimate import AccuracyEstimate, apply_temperature, fit_temperature
from dalib.judge.scores import as_probabilities
from dalib.judge.signs import head_agreement, neighbour_agreement

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from dalib.judge.structure import Structure

MAX_TRANSPORTED = 1000
"""Images between which mass is transported; the time grows with their cube."""


def confidence_transport(target: Tensor, shares: Tensor, seed: int = 0) -> float:
    r"""Computes how well predicted probabilities match labels in the given shares, at the least cost of transport.

    .. math:: 1 - \min_\pi \frac1M \sum_i \tfrac12 \lVert p^i - e_{\pi(i)} \rVert_1
              = \max_\pi \frac1M \sum_i p^i_{\pi(i)}

    over all ways to give the M images labels that occur in these shares. Overconfidence in too few classes costs, where
    the mean confidence sees none.

    Args:
        target: (M, C) calibrated probabilities (:func:`dalib.judge.estimate.apply_temperature`); of more than 1000
            images, 1000 are drawn.
        shares: (C,) the shares of the labels to expect, such as the source's.
        seed: seed of the draw.

    Returns:
        In [0, 1].

    Misleads: where the target's classes have other shares, it is too low; where a model names whole groups wrongly and
    in the right shares, too high.
    Source: COT (Lu et al., NeurIPS 2023).

    >>> confidence_transport(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0.5, 0.5]))
    0.5
    """
    p = as_probabilities(target, "target")
    if shares.shape != (p.shape[1],):
        raise ValueError(f"shares: expected shape ({p.shape[1]},), got {tuple(shares.shape)}")
    if len(p) > MAX_TRANSPORTED:
        p = p[np.random.default_rng(seed).permutation(len(p))[:MAX_TRANSPORTED]]
    wanted = shares.double().numpy() / float(shares.sum()) * len(p)
    counts = np.floor(wanted).astype(int)
    counts[np.argsort(counts - wanted, kind="stable")[: len(p) - counts.sum()]] += 1  # the largest remainders
    gained = p.numpy()[:, np.repeat(np.arange(len(counts)), counts)]
    rows, columns = linear_sum_assignment(gained, maximize=True)
    return float(gained[rows, columns].mean())


@dataclass(frozen=True)
class Agreements:
    """What one model's predictions for the target agree with; each in [0, 1].

    Attributes:
        transport: labels in the source's shares (:func:`confidence_transport`).
        heads: classifiers that were trained separately (:func:`dalib.judge.signs.head_agreement`).
        neighbours: predictions for similar images (:func:`dalib.judge.signs.neighbour_agreement`, at least 0).
    """

    transport: float
    heads: float
    neighbours: float

    @property
    def apart(self) -> float:
        """The largest difference between two of them."""
        values = self.transport, self.heads, self.neighbours
        return max(values) - min(values)


@dataclass(frozen=True)
class Calibration:
    """The fit that turns the agreements into an accuracy and an interval, for one kind of model.

    Attributes:
        constant, transport, heads, neighbours: coefficients of the logit of the accuracy; those of the agreements
            multiply their :func:`log_odds`.
        spread, disagreement: half of the 90% interval is ``spread`` plus ``disagreement`` times how far the agreements
            are apart, times :func:`headroom` of the estimate.
        usual_error: the mean absolute error on data that had no part in the fit.
    """

    constant: float
    transport: float
    heads: float
    neighbours: float
    spread: float
    disagreement: float
    usual_error: float = math.nan


CALIBRATIONS: Mapping[str, Calibration] = MappingProxyType(
    {
        "source-only": Calibration(-0.273, 0.06, 0.859, 0.0, spread=0.143, disagreement=0.0, usual_error=0.06),
        "aligned": Calibration(-0.443, 0.0, 0.568, 0.521, spread=0.163, disagreement=0.0, usual_error=0.08),
        "adapted": Calibration(-0.261, 0.264, 1.025, 0.0, spread=0.228, disagreement=0.29, usual_error=0.13),
    }
)
"""Of the models of a run. Fitted by ``benchmarks/judging tables`` on its families of tasks without those held out."""


def log_odds(value: float) -> float:
    """Returns the logarithm of the odds of an agreement, finite for 0 and 1.

    >>> round(log_odds(0.5), 3), round(log_odds(1.0), 2)
    (0.0, 3.93)
    """
    return math.log((value + 0.02) / (1.02 - value))


def headroom(value: float) -> float:
    """Returns how far an accuracy can be off, relative to one of a half: there is less headroom near 0 and 1.

    >>> headroom(0.5), round(headroom(0.99), 2)
    (1.0, 0.2)
    """
    return max(0.1, 2 * math.sqrt(value * (1 - value)))


def calibrated_estimate(agreements: Agreements, calibration: Calibration) -> AccuracyEstimate:
    """Returns the estimated accuracy with a 90% interval; never called reliable, because the study backs no such claim.

    Args:
        agreements: of the model.
        calibration: of its kind of model.

    Misleads: groups of images that got each other's names, if the heads gave them the same names.
    Source: the signs' sources; the form and the coefficients are ours, see docs/judging.md for how often the truth was
    inside on data that had no part in the fit.
    """
    logit = (
        calibration.constant
        + calibration.transport * log_odds(agreements.transport)
        + calibration.heads * log_odds(agreements.heads)
        + calibration.neighbours * log_odds(agreements.neighbours)
    )
    value = min(1.0, max(0.0, 1.06 / (1 + math.exp(-logit)) - 0.03))  # so that 0 and 1 can be reached
    half = headroom(value) * (calibration.spread + calibration.disagreement * agreements.apart)
    return AccuracyEstimate(
        value,
        max(0.0, value - half),
        min(1.0, value + half),
        "transport, heads and neighbours",
        reliable=False,
        reason=f"on other data such estimates were {100 * calibration.usual_error:.0f} points off on average",
    )


def agreements_of(
    validation: Tensor, labels: Tensor, target: Tensor, structure: Structure, heads: Tensor
) -> Agreements:
    """Computes what one model's predictions agree with.

    Args:
        validation: (N, C) probabilities of labelled source images that training has not seen.
        labels: (N,) int64, their classes; their shares are expected of the target.
        target: (M, C) probabilities of the images of the structure.
        structure: of the features that the models learnt from.
        heads: (H, M) int64, :func:`dalib.judge.signs.head_classes` of the structure.
    """
    calm, predicted = apply_temperature(target, fit_temperature(validation, labels)), target.argmax(dim=1)
    shares = torch.bincount(labels, minlength=target.shape[1]).double()
    return Agreements(
        confidence_transport(calm, shares),
        head_agreement(predicted, heads),
        max(0.0, neighbour_agreement(predicted, structure)),
    )
