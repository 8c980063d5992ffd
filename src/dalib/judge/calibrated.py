"""The accuracy on the target without a target label, by signs whose errors were measured on other data."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from dalib.judge.checked import as_probabilities
from dalib.judge.estimate import AccuracyEstimate, apply_temperature, fit_temperature
from dalib.judge.signs import head_agreement, neighbour_agreement

if TYPE_CHECKING:
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
    from scipy.optimize import linear_sum_assignment  # here, because it takes half a second

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
    """What one model's predictions agree with; each in [0, 1], and None where there is nothing to agree with.

    Attributes:
        transport: labels in the source's shares (:func:`confidence_transport`).
        heads: classifiers that were trained separately (:func:`dalib.judge.signs.head_agreement`).
        neighbours: predictions for images that look similar to a network that none of the models trained
            (:func:`dalib.judge.signs.neighbour_agreement`, at least 0). A model's own features do not serve: training
            on the target has drawn together whatever it calls one class.
        aligned: the share of images for which the aligned model names the same class; None for that model itself.
    """

    transport: float
    heads: float
    neighbours: float | None = None
    aligned: float | None = None


@dataclass(frozen=True)
class AccuracyCalibration:
    """The fit that turns the agreements into an accuracy and an interval, for one kind of model.

    Attributes:
        kind: source-only, aligned or adapted.
        constant, transport, heads, neighbours, aligned: coefficients of the logit of the accuracy; those of the
            agreements multiply their :func:`log_odds`, and are None where this agreement was not there for the fit.
        spread: half of the 90% interval, relative to the :func:`headroom` of the estimate.
        usual_error: the mean absolute error on data that had no part in the fit.
    """

    kind: str
    constant: float
    transport: float
    heads: float
    neighbours: float | None
    aligned: float | None
    spread: float
    usual_error: float = math.nan


CALIBRATIONS: tuple[AccuracyCalibration, ...] = (
    AccuracyCalibration("source-only", -0.338, 0.249, 0.551, 0.145, 0.174, spread=0.124, usual_error=0.06),
    AccuracyCalibration("source-only", -0.22, 0.313, 0.668, 0.163, None, spread=0.127, usual_error=0.06),
    AccuracyCalibration("source-only", -0.361, 0.095, 0.681, None, 0.225, spread=0.143, usual_error=0.06),
    AccuracyCalibration("source-only", -0.207, 0.155, 0.859, None, None, spread=0.143, usual_error=0.06),
    AccuracyCalibration("aligned", -0.226, 0.271, 0.291, 0.602, None, spread=0.173, usual_error=0.07),
    AccuracyCalibration("aligned", -0.365, 0.253, 0.828, None, None, spread=0.204, usual_error=0.09),
    AccuracyCalibration("adapted", -0.648, 0.274, 0.424, 0.306, 0.315, spread=0.169, usual_error=0.07),
    AccuracyCalibration("adapted", -0.455, 0.283, 0.66, 0.327, None, spread=0.169, usual_error=0.07),
    AccuracyCalibration("adapted", -0.412, 0.257, 0.538, None, 0.386, spread=0.176, usual_error=0.08),
    AccuracyCalibration("adapted", -0.153, 0.266, 0.841, None, None, spread=0.176, usual_error=0.08),
)
"""Calibrations of the models of a run, by what they can be compared with. Fitted by ``benchmarks/judging tables`` on
66 tasks of 21 families, which were recorded with an earlier form of the votes (benchmarks/RESULTS.md)."""


def calibration_for(kind: str, agreements: Agreements) -> AccuracyCalibration:
    """Returns the calibration that was fitted for a kind of model with these agreements.

    Args:
        kind: source-only, aligned or adapted.

    Raises:
        ValueError: another kind, or an aligned model that is compared with itself.
    """
    for each in CALIBRATIONS:
        if each.kind == kind and all(
            (getattr(each, name) is None) == (getattr(agreements, name) is None) for name in ("neighbours", "aligned")
        ):
            return each
    raise ValueError(f"kind: expected one that was calibrated with such agreements, got {kind!r} with {agreements}")


def log_odds(value: float) -> float:
    """Returns the logarithm of the odds of an agreement, finite for 0 and 1.

    >>> round(log_odds(0.5), 3), round(log_odds(1.0), 2)
    (0.0, 3.93)
    """
    return math.log((value + 0.02) / (1.02 - value))


def accuracy_of_logit(logit: float) -> float:
    """Returns the share whose logit a fit gives, so that 0 and 1 can be reached.

    >>> accuracy_of_logit(0.0), accuracy_of_logit(9.0)
    (0.5, 1.0)
    """
    return min(1.0, max(0.0, 1.06 / (1 + math.exp(-logit)) - 0.03))


def headroom(value: float) -> float:
    """Returns how far an accuracy can be off, relative to one of a half: there is less headroom near 0 and 1.

    >>> headroom(0.5), round(headroom(0.99), 2)
    (1.0, 0.2)
    """
    return max(0.1, 2 * math.sqrt(value * (1 - value)))


def estimate_of_logit(logit: float, spread: float, usual_error: float, method: str) -> AccuracyEstimate:
    """Returns the share whose logit a fit gives, with its 90% interval; never called reliable, which no study backs.

    Args:
        logit: of the share.
        spread: half of the interval, relative to the :func:`headroom` of the share.
        usual_error: the mean absolute error on data that had no part in the fit.
        method: name of the method.

    >>> found = estimate_of_logit(0.0, spread=0.1, usual_error=0.06, method="heads")
    >>> found.low, found.value, found.high
    (0.4, 0.5, 0.6)
    """
    value = accuracy_of_logit(logit)
    half = headroom(value) * spread
    reason = f"on other data such estimates were {100 * usual_error:.0f} points off on average"
    return AccuracyEstimate(
        value, max(0.0, value - half), min(1.0, value + half), method, reliable=False, reason=reason
    )


def calibrated_estimate(agreements: Agreements, calibration: AccuracyCalibration) -> AccuracyEstimate:
    """Returns the estimated accuracy with a 90% interval; never called reliable, because the study backs no such claim.

    Args:
        agreements: of the model.
        calibration: of its kind of model, fitted with the same agreements (:func:`calibration_for`).

    Misleads: groups of images that got each other's names, if the heads gave them the same names.
    Source: the signs' sources; the form and the coefficients are ours, see docs/judging.md for how often the truth was
    inside on data that had no part in the fit.
    """
    known = {name: value for name, value in asdict(agreements).items() if value is not None}
    logit = calibration.constant + sum(getattr(calibration, name) * log_odds(value) for name, value in known.items())
    return estimate_of_logit(logit, calibration.spread, calibration.usual_error, ", ".join(known))


def agreements_of(
    validation: Tensor,
    labels: Tensor,
    target: Tensor,
    heads: Tensor,
    structure: Structure | None = None,
    aligned: Tensor | None = None,
) -> Agreements:
    """Computes what one model's predictions agree with.

    Args:
        validation: (N, C) probabilities of labelled source images that training has not seen.
        labels: (N,) int64, their classes; their shares are expected of the target.
        target: (M, C) probabilities of the target's images.
        heads: (H, M) int64, :func:`dalib.judge.signs.head_classes` of features in which the classes can be learnt.
        structure: of the same images, of features that no model has trained; None without any.
        aligned: (M, C) probabilities of the aligned model; None for that model itself and where there is none.
    """
    calm, predicted = apply_temperature(target, fit_temperature(validation, labels)), target.argmax(dim=1)
    shares = torch.bincount(labels, minlength=target.shape[1]).double()
    return Agreements(
        confidence_transport(calm, shares),
        head_agreement(predicted, heads),
        None if structure is None else max(0.0, neighbour_agreement(predicted, structure)),
        None if aligned is None else float((aligned.argmax(dim=1) == predicted).double().mean()),
    )
