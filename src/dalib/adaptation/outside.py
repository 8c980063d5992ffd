"""Target images of none of the classes, beside any method: the student learns to be sure of nothing on them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dalib.adaptation.losses import at_least_float32
from dalib.core.ranges import check_at_least
from dalib.core.types import Batch, Losses
from dalib.models.classifier import logits_of

if TYPE_CHECKING:
    from torch import nn

    from dalib.core.types import ClassPrior, Method


def uniform_loss(logits: Tensor) -> Tensor:
    r"""Computes the cross-entropy to the uniform distribution less its minimum, mean over images, and in units of it.

    .. math:: \frac1N \sum_i \Bigl( \frac{-\frac1C \sum_c \log p_{ic}}{\log C} - 1 \Bigr)

    Args:
        logits: (N, C), whose softmax is p; N may be 0, which costs nothing.

    Returns:
        A scalar of at least 0, which is 0 where every prediction is uniform.

    Raises:
        ValueError: another shape, or fewer than 2 classes.

    >>> uniform_loss(torch.zeros(1, 4))
    tensor(0.)
    """
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(f"logits: expected shape (N, C) with at least 2 classes, got {tuple(logits.shape)}")
    if not len(logits):
        return logits.sum()
    log_p = F.log_softmax(at_least_float32(logits), dim=1)
    return (-log_p.mean(dim=1) / math.log(logits.shape[1]) - 1).clamp_min(0).mean()


class UnknownApart:
    r"""A :class:`dalib.core.types.Method` around another one, for targets with images of none of the classes.

    .. math:: L = L_{method} + w \, U(f(x_o))

    with U of :func:`uniform_loss` on :attr:`~dalib.core.types.Batch.outside`, target images that seem to be of none of
    the classes. The method inside does not see these: its consistency, information and class balance are of the others.

    Args:
        method: method that it goes with, which trains, predicts and logs as it would alone.
        weight: w, at least 0.

    Raises:
        ValueError: a weight below 0.

    The images pass the student in one batch with the known ones, so that batch normalisation sees the target as it is.
    Source: ours; the separation of entropies is that of DANCE (Saito et al., NeurIPS 2020), the choice of the images
    before the adaptation that of ROS (Bucci et al., ECCV 2020).
    """

    def __init__(self, method: Method, *, weight: float = 1.0) -> None:
        check_at_least(0, weight=weight)
        self.method, self.weight = method, weight
        self.student = method.student
        self.target_views = method.target_views

    @property
    def class_prior(self) -> ClassPrior | None:
        """The class shares that the method inside expects."""
        return self.method.class_prior

    def loss(self, batch: Batch, step: int) -> Losses:
        losses = self.method.loss(replace(batch, outside=None), step)
        if batch.outside is None or not len(batch.outside):
            return losses
        # the bare student, as in MaskedConsistency: each parameter's gradient is averaged over processes once
        both = logits_of(self.student, torch.cat([batch.target[0], batch.outside]))
        logits = both[len(batch.target[0]) :]
        with torch.no_grad():
            sure = at_least_float32(logits).softmax(dim=1).amax(dim=1).mean()
        return Losses(
            {**losses.parts, "unknown": self.weight * uniform_loss(logits)},
            {**losses.metrics, "unknown_confidence": sure},
        )

    def after_step(self, step: int) -> None:
        self.method.after_step(step)

    def predictor(self) -> nn.Module:
        return self.method.predictor()

    def state_dict(self) -> dict[str, Any]:
        return self.method.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.method.load_state_dict(state)
