"""The accuracy on the target without a target label, by two signs whose errors were measured on other data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from dalib.judge.estimate import AccuracyEstimate, apply_temperature, fit_temperature
from dalib.judge.scores import as_probabilities
from dalib.judge.signs import head_agreement

if TYPE_CHECKING:
    from torch import Tensor

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
class Calibration:
    """The fit that turns the two signs into an accuracy and an interval, for one kind of model.

    Attributes:
        constant, transport, heads: coefficients of the logit of the accuracy.
        spread, disagreement: half of the 90% interval is ``spread`` plus ``disagreement`` times how far the two signs
            are apart, times :func:`headroom` of the estimate.
        usual_error: the mean absolute error on data that had no part in the fit.
    """

    constant: float
    transport: float
    heads: float
    spread: float
    disagreement: float
    usual_error: float = math.nan


SOURCE_ONLY = Calibration(-2.98, 1.25, 4.17, spread=0.138, disagreement=0.0, usual_error=0.06)
ADAPTED = Calibration(-4.65, 3.22, 4.85, spread=0.245, disagreement=0.239, usual_error=0.12)
"""Fitted by ``benchmarks/judging tables`` on its families of tasks without the two that were held out."""


def headroom(value: float) -> float:
    """Returns how far an accuracy can be off, relative to one of a half: there is less headroom near 0 and 1.

    >>> headroom(0.5), round(headroom(0.99), 2)
    (1.0, 0.2)
    """
    return max(0.1, 2 * math.sqrt(value * (1 - value)))


def calibrated_estimate(transport: float, agreement: float, calibration: Calibration) -> AccuracyEstimate:
    """Returns the estimated accuracy with a 90% interval; never called reliable, because the study backs no such claim.

    Args:
        transport: :func:`confidence_transport`.
        agreement: :func:`dalib.judge.signs.head_agreement`.
        calibration: SOURCE_ONLY for a model without adaptation, else ADAPTED.

    Misleads: groups of images that got each other's names, if the heads gave them the same names.
    Source: the signs' sources; the form and the coefficients are ours, see docs/judging.md for how often the truth was
    inside on data that had no part in the fit.
    """
    logit = calibration.constant + calibration.transport * transport + calibration.heads * agreement
    value = min(1.0, max(0.0, 1.06 / (1 + math.exp(-logit)) - 0.03))  # so that 0 and 1 can be reached
    half = headroom(value) * (calibration.spread + calibration.disagreement * abs(transport - agreement))
    return AccuracyEstimate(
        value,
        max(0.0, value - half),
        min(1.0, value + half),
        "optimal transport and independent heads",
        reliable=False,
        reason=f"on other data such estimates were {100 * calibration.usual_error:.0f} points off on average",
    )


def estimate_of(
    validation: Tensor, labels: Tensor, target: Tensor, heads: Tensor, calibration: Calibration
) -> AccuracyEstimate:
    """Estimates the accuracy of one model on the target.

    Args:
        validation: (N, C) probabilities of labelled source images that training has not seen.
        labels: (N,) int64, their classes; their shares are expected of the target.
        target: (M, C) probabilities of the images that the heads named.
        heads: (H, M) int64, :func:`dalib.judge.signs.head_classes`.
    """
    calm = apply_temperature(target, fit_temperature(validation, labels))
    shares = torch.bincount(labels, minlength=target.shape[1]).double()
    return calibrated_estimate(
        confidence_transport(calm, shares), head_agreement(target.argmax(dim=1), heads), calibration
    )
