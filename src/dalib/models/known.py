"""The rule for images of none of a model's classes, by how certain its prediction is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

SCORE = "certainty"
"""Name of the score in files: :func:`certainty`."""


def certainty(probabilities: Tensor) -> Tensor:
    r"""Computes how certain predictions are, :math:`1 - H(p_i) / \log C`; (N, C) -> (N,) in [0, 1].

    1 is a prediction of one class alone, 0 the uniform one.

    Raises:
        ValueError: another shape, or fewer than 2 classes.

    >>> certainty(torch.tensor([[1.0, 0.0], [0.5, 0.5]])).tolist()
    [1.0, 0.0]
    """
    if probabilities.ndim != 2 or probabilities.shape[1] < 2:
        raise ValueError(
            f"probabilities: expected shape (N, C) with at least 2 classes, got {tuple(probabilities.shape)}"
        )
    entropy: Tensor = torch.special.entr(probabilities.clamp_min(0)).sum(dim=1)
    return (1 - entropy / math.log(probabilities.shape[1])).clamp(0, 1)


@dataclass(frozen=True)
class KnownRule:
    r"""Computes the probability of being of one of the classes, :math:`\sigma((c_i - \tau) / s)`, c the certainty.

    Attributes:
        threshold: tau in [0, 1], the certainty at which either is as probable.
        scale: s > 0; the smaller, the more abrupt.

    Raises:
        ValueError: a threshold or a scale out of its range.

    >>> rule = KnownRule(threshold=0.5, scale=0.1)
    >>> rule.probability_of_known(torch.tensor([[1.0, 0.0], [0.5, 0.5]]))
    tensor([0.9933, 0.0067])
    """

    threshold: float
    scale: float

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold: expected a number in [0, 1], got {self.threshold}")
        if not (self.scale > 0 and math.isfinite(self.scale)):
            raise ValueError(f"scale: expected a number above 0, got {self.scale}")

    def probability_of_known(self, probabilities: Tensor) -> Tensor:
        """Computes the probability (N,) float32 that each image is of one of the C classes, of predictions (N, C)."""
        return torch.sigmoid((certainty(probabilities) - self.threshold) / self.scale).float()

    def answers(self, probabilities: Tensor) -> Tensor:
        """Returns probabilities (N, C + 1) whose largest is the answer: of the C classes, and at last of none of them.

        An image that counts as known has no probability of being unknown, so that its class stays the answer.

        >>> KnownRule(0.5, 0.1).answers(torch.tensor([[1.0, 0.0], [0.5, 0.5]])).argmax(dim=1).tolist()
        [0, 2]
        """
        known = torch.where(self.are_known(probabilities), 1.0, self.probability_of_known(probabilities).clamp_max(0.5))
        known = known[:, None].to(probabilities.dtype)
        return torch.cat([probabilities * known, 1 - known], dim=1)

    def are_known(self, probabilities: Tensor) -> Tensor:
        """Returns (N,) bool, whether each image counts as one of a class: at least as probable as not."""
        return certainty(probabilities) >= self.threshold
