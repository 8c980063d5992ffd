"""Mean Teacher (Tarvainen & Valpola, NeurIPS 2017): the student agrees with its own average on every image."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from dalib.adaptation.inputs import common_confidence, named_as
from dalib.adaptation.losses import ConsistencyLoss, at_least_float32, mean_squared_distance
from dalib.adaptation.pseudo_labels import accuracy
from dalib.adaptation.self_ensemble import ramp_up
from dalib.adaptation.settings import settings
from dalib.adaptation.student import StudentPass
from dalib.adaptation.teacher import load_state, make_teacher, state_of
from dalib.core.ranges import check_at_least, check_smoothing
from dalib.core.types import Batch, Losses
from dalib.models.classifier import logits_of
from dalib.models.compiled import compiled

if TYPE_CHECKING:
    from torch import nn

    from dalib.adaptation.hints import Refining
    from dalib.adaptation.inputs import MethodInputs


@settings
class MeanTeacherConfig:
    """Settings of mean-teacher.

    Attributes:
        weight: weight of the consistency loss, a mean over classes; the authors' is 100 times the labelled share of a
            batch.
        ramp_up: share of the steps over which the weight rises; the authors' is 40,000 of 150,000 steps.
        alpha: decay of the teacher's moving average, in [0, 1].
        alpha_warmup: whether the average starts with a shorter memory, min(alpha, 1 - 1 / (t + 1)) at update t.
        teacher_dropout: whether dropout stays on in the teacher, as in the paper.
    """

    weight: float = 50.0
    ramp_up: float = 0.27
    alpha: float = 0.99
    alpha_warmup: bool = True
    teacher_dropout: bool = True


class MeanTeacher:
    r"""Mean Teacher as a :class:`dalib.core.types.Method`.

    .. math::
        L = CE(f(x_s), y_s) + w \, e^{-5 (1 - t / T)^2} \, \frac{1}{2B} \sum_i \frac1C \Vert p_i - q_i \Vert_2^2

    over the 2B images of both domains, with the student's probabilities p and the teacher's q. It differs from
    :class:`dalib.adaptation.self_ensemble.SelfEnsemble`: there is no confidence mask; predictions for the source agree
    as well; each network sees both domains in ONE batch, with one batch normalisation.

    Args:
        student: images -> logits (N, C), alone or first in a tuple.
        consistency_weight: w, at least 0. The authors' code takes 100 times the labelled share, which is half of a
            batch here.
        ramp_up_steps: T, at least 0; 0 is at once. The authors' is 40,000 of 150,000 steps.
        alpha, alpha_warmup: decay and warm-up of :class:`EmaTeacher`.
        teacher_dropout: whether dropout stays on in the teacher, as in the paper.
        label_smoothing: label smoothing of the cross-entropy, in [0, 1).
        compile_mode: mode of torch.compile for the forward passes; None does not compile.

    Raises:
        ValueError: an argument out of its range, by its name.

    The student sees the first of two target views, the teacher the second. A batch has one view of the source, which
    both see: only dropout differs there. The predictor is the teacher.
    Source: sections 2 and 3.1, and the authors' code for CIFAR-10.
    """

    target_views = 2
    class_prior = None
    joins_domains = True
    takes_hints = True
    rising: tuple[str, ...] = ("ramp_up",)
    confidence = staticmethod(common_confidence)

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
        check_at_least(0, consistency_weight=consistency_weight, ramp_up_steps=ramp_up_steps)
        self.student = student
        self.teacher = make_teacher(student, alpha, warmup=alpha_warmup, dropout=teacher_dropout)
        self.consistency_loss = ConsistencyLoss(mean_squared_distance)
        self.consistency_weight = consistency_weight
        self.ramp_up_steps = ramp_up_steps
        check_smoothing(label_smoothing)
        self.label_smoothing = label_smoothing
        #: Changes what the teacher predicts for the target, such as by hints.
        self.refining: Refining | None = None
        self._student_logits = StudentPass(student, compile_mode)
        self._teacher_logits = compiled(partial(logits_of, self.teacher.module), compile_mode)

    @classmethod
    def build(cls, settings: MeanTeacherConfig, inputs: MethodInputs) -> MeanTeacher:
        """Returns the method with these settings."""
        check_at_least(0, ramp_up=settings.ramp_up)
        with named_as(consistency_weight="weight"):
            return cls(
                inputs.student,
                consistency_weight=settings.weight,
                ramp_up_steps=round(settings.ramp_up * inputs.steps),
                alpha=settings.alpha,
                alpha_warmup=settings.alpha_warmup,
                teacher_dropout=settings.teacher_dropout,
                label_smoothing=inputs.label_smoothing,
                compile_mode=inputs.compile_mode,
            )

    def loss(self, batch: Batch, step: int) -> Losses:
        student_view, teacher_view = batch.target
        (logits,) = self._student_logits(torch.cat([batch.source, student_view]))
        with torch.no_grad():
            wanted = at_least_float32(self._teacher_logits(torch.cat([batch.source, teacher_view])))
            if self.refining is not None:
                count = len(batch.labels)
                wanted = torch.cat([wanted[:count], self.refining.refined(wanted[count:], batch.hints)])
            wanted = wanted.softmax(dim=1)
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
