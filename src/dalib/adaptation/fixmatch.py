"""FixMatch (Sohn et al., NeurIPS 2020): a weakly changed image, if sure, labels the strongly changed one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from dalib.adaptation.losses import at_least_float32
from dalib.adaptation.pseudo_labels import accuracy, load_state, pseudo_label_loss, state_of
from dalib.adaptation.student import EachDomain
from dalib.adaptation.teacher import EmaTeacher
from dalib.core.types import Batch, Losses
from dalib.engine.distributed import parallel
from dalib.models.compiled import compiled, mark_step

if TYPE_CHECKING:
    from torch import nn


class FixMatch:
    r"""FixMatch as a :class:`dalib.core.types.Method`.

    .. math::
        L = CE(f(x_s), y_s) + \lambda \, \frac1B \sum_i [\max_c q_{ic} \ge \tau] \, H(\arg\max_c q_{ic}, f(A(x_t))_i)

    with q the student's own probabilities on the weak view, taken as constants. As in the authors' code one batch, and
    one batch normalisation, holds the source and both views.

    Args:
        student: images -> logits (N, C), alone or first in a tuple.
        weight: lambda.
        threshold: tau in [0, 1].
        alpha, alpha_warmup: of the average of the weights, which predicts; it teaches nothing. Its running statistics
            are averaged alike. The authors' alpha of 0.999 is for a million steps.
        label_smoothing: of the cross-entropy on the source, in [0, 1).
        compile_mode: of torch.compile around the forward pass; None does not compile.

    The first of two target views is the strong one, the second the weak one. The authors take seven times as many
    unlabelled images as labelled ones, here they are as many.
    Source: equations 3 and 4; tau and lambda of section 4.
    """

    target_views = 2

    def __init__(
        self,
        student: nn.Module,
        *,
        weight: float = 1.0,
        threshold: float = 0.95,
        alpha: float = 0.99,
        alpha_warmup: bool = True,
        label_smoothing: float = 0.0,
        compile_mode: str | None = None,
    ) -> None:
        if not (weight >= 0 and 0 <= threshold <= 1):  # NaN fails this too
            raise ValueError(f"weight, threshold: expected at least 0, and in [0, 1], got {weight} and {threshold}")
        self.student = student
        self.average = EmaTeacher(student, alpha, buffers="ema", warmup=alpha_warmup)
        self.weight = weight
        self.threshold = threshold
        self.label_smoothing = label_smoothing
        self.compile_mode = compile_mode
        self._student_logits = compiled(parallel(EachDomain(student)), compile_mode)

    def loss(self, batch: Batch, step: int) -> Losses:
        mark_step(self.compile_mode)
        strong_view, weak_view = batch.target
        (logits,) = self._student_logits(torch.cat([batch.source, strong_view, weak_view]))
        source, strong, weak = at_least_float32(logits).split_with_sizes(
            [len(batch.labels), len(strong_view), len(weak_view)]
        )
        confidence, labels = weak.detach().softmax(dim=1).max(dim=1)
        confident = confidence >= self.threshold
        return Losses(
            parts={
                "supervised": F.cross_entropy(source, batch.labels, label_smoothing=self.label_smoothing),
                "consistency": self.weight * pseudo_label_loss(strong, labels, confident),
            },
            metrics={
                "mask_rate": confident.float().mean(),
                "agreement": accuracy(strong, labels),
                "source_accuracy": accuracy(source, batch.labels),
            },
        )

    def after_step(self, step: int) -> None:
        self.average.update()

    def predictor(self) -> nn.Module:
        return self.average.module

    def state_dict(self) -> dict[str, Any]:
        return state_of(self.student, self.average)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        load_state(self.student, self.average, state)
