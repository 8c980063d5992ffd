"""Minimum Class Confusion (Jin et al., ECCV 2020): no teacher, one loss on the target's predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dalib.adaptation.inputs import common_confidence
from dalib.adaptation.losses import at_least_float32
from dalib.adaptation.pseudo_labels import accuracy
from dalib.adaptation.settings import settings
from dalib.adaptation.student import StudentPass
from dalib.adaptation.teacher import load_state, state_of
from dalib.core.ranges import check_at_least, check_smoothing
from dalib.core.types import Batch, Losses

if TYPE_CHECKING:
    from torch import nn

    from dalib.adaptation.inputs import MethodInputs


@settings
class MccConfig:
    """Settings of mcc, minimum class confusion.

    Attributes:
        weight: weight of the class confusion.
        temperature: number above 0 that logits are divided by.
    """

    weight: float = 1.0
    temperature: float = 2.5


def class_confusion(logits: Tensor, temperature: float = 2.5) -> Tensor:
    r"""Computes how much predictions mix pairs of classes: 0 if each image is surely of one class, up to (C - 1) / C.

    .. math::
        p = softmax(z / T), \quad w_i = N \frac{1 + e^{-H(p_i)}}{\sum_j 1 + e^{-H(p_j)}}, \quad
        K = p^\top diag(w) \, p, \quad loss = \frac1C \sum_c \sum_{c' \ne c} \frac{K_{cc'}}{\sum_d K_{cd}}

    Args:
        logits: (N, C); the gradient flows here, though not through the weights w.
        temperature: T, above 0.

    Returns:
        A scalar. It compares the images of a batch with each other; each of several processes compares its own.

    Raises:
        ValueError: another shape, or a temperature that is not above 0.

    Source: equations 2 to 6. The weights are constants in the authors' code too.

    >>> round(class_confusion(torch.tensor([[99.0, 0.0], [0.0, 99.0]])).item(), 4)
    0.0
    >>> round(class_confusion(torch.zeros(2, 2)).item(), 4)
    0.5
    """
    if logits.ndim != 2 or logits.shape[0] == 0:
        raise ValueError(f"logits: expected shape (N > 0, C), got {tuple(logits.shape)}")
    if not temperature > 0:
        raise ValueError(f"temperature: expected more than 0, got {temperature}")
    with torch.autocast(logits.device.type, enabled=False):
        log_p = (at_least_float32(logits) / temperature).log_softmax(dim=1)
        p = log_p.exp()
        weights = 1 + (p * log_p).sum(dim=1).exp().detach()
        weights = weights * len(p) / weights.sum()
        confusion = (p * weights[:, None]).T @ p
        # the row of a class that nobody predicts is 0, and counts as not confused
        confusion = confusion / confusion.sum(dim=1, keepdim=True).clamp_min(1e-12)
        return (confusion.sum() - confusion.trace()) / p.shape[1]


class Mcc:
    r"""Minimum Class Confusion, a :class:`dalib.core.types.Method`: :math:`CE(f(x_s), y_s) + \mu \, confusion(f(x_t))`.

    Both domains are one batch, with one batch normalisation, as in the authors' code. The predictor is the student.

    Args:
        student: images -> logits (N, C), alone or first in a tuple.
        weight: mu, at least 0.
        temperature: see :func:`class_confusion`; 2.5 is the authors' for Office-31.
        label_smoothing: label smoothing of the cross-entropy, in [0, 1).
        compile_mode: mode of torch.compile for the forward pass; None does not compile.

    Raises:
        ValueError: an argument out of its range, by its name.
    """

    target_views = 1
    class_prior = None
    joins_domains = True
    takes_hints = False
    rising: tuple[str, ...] = ()
    confidence = staticmethod(common_confidence)

    def __init__(
        self,
        student: nn.Module,
        *,
        weight: float = 1.0,
        temperature: float = 2.5,
        label_smoothing: float = 0.0,
        compile_mode: str | None = None,
    ) -> None:
        check_at_least(0, weight=weight)
        if not temperature > 0:
            raise ValueError(f"temperature: expected more than 0, got {temperature}")
        self.student = student
        self.weight = weight
        self.temperature = temperature
        check_smoothing(label_smoothing)
        self.label_smoothing = label_smoothing
        self._logits = StudentPass(student, compile_mode)

    @classmethod
    def build(cls, settings: MccConfig, inputs: MethodInputs) -> Mcc:
        """Returns the method with these settings."""
        return cls(
            inputs.student,
            weight=settings.weight,
            temperature=settings.temperature,
            label_smoothing=inputs.label_smoothing,
            compile_mode=inputs.compile_mode,
        )

    def loss(self, batch: Batch, step: int) -> Losses:
        source, target = self._logits.joint(batch.source, *batch.target)
        return Losses(
            parts={
                "supervised": F.cross_entropy(source, batch.labels, label_smoothing=self.label_smoothing),
                "class_confusion": self.weight * class_confusion(target, self.temperature),
            },
            metrics={"source_accuracy": accuracy(source, batch.labels)},
        )

    def after_step(self, step: int) -> None:
        pass

    def predictor(self) -> nn.Module:
        return self.student

    def state_dict(self) -> dict[str, Any]:
        return state_of(self.student)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        load_state(self.student, None, state)
