"""Mean Teacher (Tarvainen & Valpola, NeurIPS 2017): agree with the average of one's own weights on every image."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from dalib.adaptation.losses import ConsistencyLoss, at_least_float32, mean_squared_distance
from dalib.adaptation.pseudo_labels import accuracy, load_state, state_of
from dalib.adaptation.self_ensemble import ramp_up
from dalib.adaptation.student import EachDomain
from dalib.adaptation.teacher import EmaTeacher, stop_dropout
from dalib.core.types import Batch, Losses
from dalib.engine.distributed import parallel
from dalib.models.classifier import logits_of
from dalib.models.compiled import compiled, mark_step

if TYPE_CHECKING:
    from torch import nn


class MeanTeacher:
    r"""Mean Teacher as a :class:`dalib.core.types.Method`.

    .. math::
        L = CE(f(x_s), y_s) + w \, e^{-5 (1 - t / T)^2} \, \frac{1}{2B} \sum_i \frac1C \Vert p_i - q_i \Vert_2^2

    over the 2B images of both domains, with the student's probabilities p and the teacher's q. It differs from
    :class:`dalib.adaptation.self_ensemble.SelfEnsemble`: no confidence mask; the source's images are to agree as well;
    each network sees both domains in ONE batch, with one batch normalisation.

    Args:
        student: images -> logits (N, C), alone or first in a tuple.
        consistency_weight: w. The authors' code takes 100 times the labelled share, which is half of a batch here.
        ramp_up_steps: T; 0 is at once. The authors' is 40,000 of 150,000 steps.
        alpha, alpha_warmup: of :class:`EmaTeacher`.
        teacher_dropout: dropout stays on in the teacher, the paper's.
        label_smoothing: of the cross-entropy, in [0, 1).
        compile_mode: of torch.compile around the forward passes; None does not compile.

    The student sees the first of two target views, the teacher the second. A batch has one view of the source, which
    both see: what differs there is dropout. The predictor is the teacher.
    Source: sections 2 and 3.1, and the authors' code for CIFAR-10.
    """

    target_views = 2

    def __init__(
        self,
        student: nn.Module,
        *,
        consistency_weight: float = 50.0,
        ramp_up_steps: int = 0,
        alpha: float = 0.99,
        alpha_warmup: bool = True,
        teacher_dropout: bool = True,
        label_smoothing: float = 0.0,
        compile_mode: str | None = None,
    ) -> None:
        if not (consistency_weight >= 0 and ramp_up_steps >= 0):  # NaN fails this too
            raise ValueError(f"weight, ramp_up: expected at least 0, got {consistency_weight} and {ramp_up_steps}")
        self.student = student
        self.teacher = EmaTeacher(student, alpha, warmup=alpha_warmup).train()
        if not teacher_dropout:
            stop_dropout(self.teacher.module)
        self.consistency_loss = ConsistencyLoss(mean_squared_distance)
        self.consistency_weight = consistency_weight
        self.ramp_up_steps = ramp_up_steps
        self.label_smoothing = label_smoothing
        self.compile_mode = compile_mode
        self._student_logits = compiled(parallel(EachDomain(student)), compile_mode)
        self._teacher_logits = compiled(partial(logits_of, self.teacher.module), compile_mode)

    def loss(self, batch: Batch, step: int) -> Losses:
        mark_step(self.compile_mode)
        student_view, teacher_view = batch.target
        (logits,) = self._student_logits(torch.cat([batch.source, student_view]))
        with torch.no_grad():
            wanted = at_least_float32(self._teacher_logits(torch.cat([batch.source, teacher_view]))).softmax(dim=1)
        logits = at_least_float32(logits)
        source = logits[: len(batch.labels)]
        weight = self.consistency_weight * ramp_up(step, self.ramp_up_steps)
        return Losses(
            parts={
                "supervised": F.cross_entropy(source, batch.labels, label_smoothing=self.label_smoothing),
                "consistency": weight * self.consistency_loss(logits.softmax(dim=1), wanted),
            },
            metrics={
                "agreement": accuracy(logits[len(source) :], wanted[len(source) :].argmax(dim=1)),
                "source_accuracy": accuracy(source, batch.labels),
            },
        )

    def after_step(self, step: int) -> None:
        self.teacher.update()

    def predictor(self) -> nn.Module:
        return self.teacher.module

    def state_dict(self) -> dict[str, Any]:
        return state_of(self.student, self.teacher)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        load_state(self.student, self.teacher, state)
