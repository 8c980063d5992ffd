"""Estimates of accuracy without labels from the literature, to compare dalib's own with: ATC and DoC."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dalib.judge.checked import as_validation_and_target

Array = NDArray[np.float64]
Confidence = Literal["maximum", "negative-entropy"]


def average_threshold_confidence(
    validation: Tensor, labels: Tensor, target: Tensor, confidence: Confidence = "maximum"
) -> float:
    r"""ATC: the share of target images that are more confident than a threshold t set on the source.

    .. math:: \frac1N \sum_{validation} [s(p) < t] = \text{error on validation}, \qquad
              \frac1M \sum_{target} [s(p) \ge t]

    Images tied at t, as certain ones are, count by the share that makes the first equation exact.

    Args:
        confidence: s, the largest probability or the negative entropy.

    Returns:
        The estimated accuracy, in [0, 1].

    Misleads: a model that grows certain while wrong, as self-training makes it, is estimated too high; a calibrated
    one whose confidence falls smoothly, too low (34% for 56% in our tests). All right on validation gives 1 unless
    the target falls below every validation image.
    Raises: ValueError for another confidence, unequal classes, or what ``as_probabilities`` and ``as_classes`` refuse.
    Source: Garg et al., ICLR 2022.

    >>> p = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    >>> average_threshold_confidence(p, torch.tensor([0, 0, 0, 1]), torch.tensor([[0.65, 0.35], [0.95, 0.05]]))
    0.5
    """
    validation, labels, target = as_validation_and_target(validation, labels, target)
    if confidence not in get_args(Confidence):
        raise ValueError(f"confidence: expected one of {get_args(Confidence)}, got {confidence!r}")
    right = (validation.argmax(dim=1) == labels).numpy()
    counts = np.ones((1, len(right)))
    return float(_atc(_confidence(validation, confidence), right, counts, _confidence(target, confidence))[0])


def difference_of_confidences(validation: Tensor, labels: Tensor, target: Tensor) -> float:
    r"""DoC: validation accuracy less the fall of the mean confidence, :math:`acc - (\bar c_{val} - \bar c_{target})`.

    Returns:
        The estimated accuracy, clipped to [0, 1].

    Misleads: as :func:`average_threshold_confidence`: confidence that does not fall with accuracy hides the loss.
    Raises: ValueError for unequal classes, or what ``as_probabilities`` and ``as_classes`` refuse.
    Source: Guillory et al., ICCV 2021.

    >>> p = torch.tensor([[0.9, 0.1], [0.9, 0.1]])
    >>> round(difference_of_confidences(p, torch.tensor([0, 0]), torch.tensor([[0.7, 0.3]])), 4)
    0.8
    """
    validation, labels, target = as_validation_and_target(validation, labels, target)
    accuracy = (validation.argmax(dim=1) == labels).double().mean()
    fall = validation.amax(dim=1).mean() - target.amax(dim=1).mean()
    return min(1.0, max(0.0, float(accuracy - fall)))


def _atc(source: Array, right: NDArray[np.bool_], counts: Array, target: Array) -> Array:
    """The estimate for each row of (B, N) counts of the validation images; N at target's own counts."""
    order = np.argsort(source, kind="stable")
    ordered = source[order]
    cumulative = np.cumsum(counts[:, order], axis=1)
    wrong = counts @ (~right).astype(np.float64)
    # the first image with more than `wrong` images up to it lies at the threshold; all wrong: above every image
    first = (cumulative <= wrong[:, None] + 1e-9).sum(axis=1)
    threshold = np.append(ordered, np.inf)[first]
    below, upto = np.searchsorted(ordered, threshold, "left"), np.searchsorted(ordered, threshold, "right")
    padded = np.concatenate([np.zeros((len(counts), 1)), cumulative], axis=1)
    rows = np.arange(len(counts))
    tied = padded[rows, upto] - padded[rows, below]
    passing = np.where(tied > 0, (padded[rows, upto] - wrong) / np.maximum(tied, 1), 0.0)
    shifted = np.sort(target)
    above = len(shifted) - np.searchsorted(shifted, threshold, "right")
    equal = len(shifted) - above - np.searchsorted(shifted, threshold, "left")
    return np.asarray((above + passing * equal) / len(shifted), dtype=np.float64)


def _confidence(p: Tensor, kind: Confidence) -> Array:
    if kind == "maximum":
        values = p.amax(dim=1)
    else:
        entropy: Tensor = torch.special.entr(p.clamp_min(0))
        values = -entropy.sum(dim=1)
    return np.asarray(values.numpy(), dtype=np.float64)
