"""Self-ensembling for visual domain adaptation (French, Mackiewicz & Fisher, ICLR 2018): the whole method.

The parts that a training loop of your own can use: :class:`ConsistencyLoss`, :class:`L2ConsistencyLoss`,
:class:`ClassBalanceLoss`, :class:`EmaTeacher`, :class:`ImageClassifier`. The objective that joins them:
:func:`self_ensemble_objective`. The method as ``dalib train`` runs it: :class:`SelfEnsemble`.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dalib.adaptation.inputs import named_as
from dalib.adaptation.losses import (
    ClassBalanceLoss,
    ConsistencyLoss,
    L2ConsistencyLoss,
    at_least_float32,
    binary_cross_entropy_distance,
    information_loss,
    kl_divergence_distance,
    mean_squared_distance,
    squared_distance,
)
from dalib.adaptation.prototypes import ClassPrototypes
from dalib.adaptation.pseudo_labels import accuracy
from dalib.adaptation.settings import settings
from dalib.adaptation.student import StudentPass
from dalib.adaptation.teacher import Buffers, EmaTeacher, load_state, make_teacher, state_of
from dalib.core.ranges import check_at_least, check_smoothing
from dalib.core.types import Batch, Losses
from dalib.engine.distributed import mean_over_ranks
from dalib.judge.evidence import Confidence
from dalib.models.classifier import ImageClassifier, logits_and_features_of, logits_of
from dalib.models.compiled import compiled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dalib.adaptation.hints import Refining
    from dalib.adaptation.inputs import MethodInputs

__all__ = [
    "ClassBalanceLoss",
    "ConsistencyLoss",
    "EmaTeacher",
    "ImageClassifier",
    "L2ConsistencyLoss",
    "SelfEnsemble",
    "binary_cross_entropy_distance",
    "information_loss",
    "kl_divergence_distance",
    "mean_squared_distance",
    "ramp_up",
    "self_ensemble_objective",
    "squared_distance",
]


DISTANCES: dict[tuple[str, str], Callable[[Tensor, Tensor], Tensor]] = {
    ("squared", "mean"): mean_squared_distance,
    ("squared", "sum"): squared_distance,
    ("bce", "sum"): binary_cross_entropy_distance,
    ("kl", "sum"): kl_divergence_distance,
}
"""The distance of each ``distance`` and ``over_classes`` that the settings may name."""


@settings
class SelfEnsembleConfig:
    """Settings of self-ensemble.

    Attributes:
        alpha: decay of the teacher's moving average, in [0, 1].
        alpha_warmup: whether the average starts with a shorter memory, min(alpha, 1 - 1 / (t + 1)) at update t.
        teacher_dropout: whether dropout stays on in the teacher, as in the paper. Without it, the teacher is more
            confident and the student learns from it sooner.
        teacher_views: number of views of a target image over which the teacher's predictions are averaged; 1 is the
            paper's. Of stored views (--features) at most all but the student's are used.
        buffers: batch-normalisation statistics of the teacher: its own, a copy of the student's, or ema, their moving
            average.
        distance: distance between the probabilities of student and teacher.
        over_classes: whether the distance is a mean or a sum over classes; a sum weighs as much as C times the mean.
            Only squared has both.
        weight: weight of the consistency loss.
        threshold: probability of the teacher's largest class above which a target image counts; 0 counts all.
        ramp_up_steps: number of steps over which the weights of consistency and information rise; 0 is at once.
        class_balance: weight of the class-balance loss; 0 is off.
        balance_over_classes: whether the class-balance loss is a mean or a sum over classes.
        information: weight of the mutual information between target images and predicted classes, which rewards
            confident predictions of many classes; not in the paper; 0 is off.
        prototypes: share of the teacher's target that class prototypes make, so that target images that lie together
            get one class; not in the paper; 0 is off.
    """

    alpha: float = 0.99
    alpha_warmup: bool = True
    teacher_dropout: bool = True
    teacher_views: int = 1
    buffers: Literal["own", "copy", "ema"] = "own"
    distance: Literal["squared", "bce", "kl"] = "squared"
    over_classes: Literal["mean", "sum"] = "mean"
    weight: float = 30.0
    threshold: float = 0.9
    ramp_up_steps: int = 0
    class_balance: float = 0.3
    balance_over_classes: Literal["mean", "sum"] = "mean"
    information: float = 0.0
    prototypes: float = 0.0


# a pure function has the paper's quantities as arguments, many as they are, so that it reads beside the formula
def self_ensemble_objective(
    source_logits: Tensor,
    labels: Tensor,
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    consistency_loss: Callable[[Tensor, Tensor, Tensor], Tensor],
    consistency_weight: float,
    threshold: float,
    class_balance_loss: Callable[[Tensor], Tensor],
    class_balance_weight: float,
    information_weight: float = 0.0,
    prior: Tensor | None = None,
    label_smoothing: float = 0.0,
    mean_over_ranks: Callable[[Tensor], Tensor] = lambda values: values,
) -> Losses:
    r"""Computes the objective of one step; to be read beside section 3 of the paper.

    .. math::
        L = CE(f(x_s), y_s) + w \, \frac1N \sum_i m_i \, d(p_i, q_i) + b \, \bar m \, BCE(\bar p, u)

    with the student's probabilities :math:`p = softmax\,f(x_t)` and the teacher's :math:`q = softmax\,f'(x_t')` on
    two views of the same target images, the confidence mask :math:`m_i = [\max_c q_{ic} > \tau]`, the means
    :math:`\bar m, \bar p` over the batch, and the prior u.

    Args:
        source_logits: (B, C) the student on labelled source images.
        labels: (B,) int64, their classes.
        student_logits: (N, C) the student on one view of the target images.
        teacher_logits: (N, C) the teacher on another view of the same images; taken as constants.
        consistency_loss: (p, q, m) -> scalar, such as :class:`ConsistencyLoss`: d with its mean over images.
        consistency_weight: w.
        threshold: tau in [0, 1]; 0 lets every image count.
        class_balance_loss: (p) -> scalar, such as :class:`ClassBalanceLoss`; is given :math:`\bar p`, as (1, C).
        class_balance_weight: b, independent of w: the authors' is w times theirs.
        information_weight: weight of :func:`information_loss` on the student's predictions, which the paper does not
            have; 0 leaves the part out.
        prior: (C,) the target's class shares, for :func:`information_loss`; the class-balance loss has its own.
        label_smoothing: label smoothing of the cross-entropy, in [0, 1).
        mean_over_ranks: function that turns :math:`\bar m, \bar p` of one process's part of the batch into those of
            the whole (:func:`dalib.engine.distributed.mean_over_ranks`). The other terms are means over images, for
            which the mean of the gradients is right.

    Returns:
        Losses with the weighted parts ``supervised``, ``consistency``, ``class_balance`` and, where it has a weight,
        ``information``, whose gradient reaches the student alone, and the metrics ``mask_rate``, ``agreement`` (share
        of target images on which student and teacher name the same class) and ``source_accuracy``.
    """
    source_logits = at_least_float32(source_logits)  # half-precision probabilities are too coarse to compare
    student = at_least_float32(student_logits).softmax(dim=1)
    teacher = at_least_float32(teacher_logits).detach().softmax(dim=1)
    confident = teacher.amax(dim=1) > threshold
    mask_rate = mean_over_ranks(confident.float().mean())
    mean = mean_over_ranks(student.mean(dim=0))

    supervised = F.cross_entropy(source_logits, labels, label_smoothing=label_smoothing)
    consistency = consistency_loss(student, teacher, confident)
    class_balance = mask_rate * class_balance_loss(mean[None])

    parts = {
        "supervised": supervised,
        "consistency": consistency_weight * consistency,
        "class_balance": class_balance_weight * class_balance,
    }
    if information_weight:
        parts["information"] = information_weight * information_loss(student, prior, mean)
    return Losses(
        parts=parts,
        metrics={
            "mask_rate": mask_rate,
            "agreement": accuracy(student, teacher.argmax(dim=1)),
            "source_accuracy": accuracy(source_logits, labels),
        },
    )


def ramp_up(step: int, steps: int) -> float:
    """Computes the share of the consistency weight at ``step``: exp(-5 (1 - step / steps)^2) up to ``steps``, then 1.

    It is the older alternative to the confidence mask: the student does not agree with an untrained teacher.
    Source: Laine & Aila 2017, section 2.

    >>> [round(ramp_up(step, steps=100), 3) for step in (0, 50, 100, 200)]
    [0.007, 0.287, 1.0, 1.0]
    """
    return 1.0 if step >= steps else math.exp(-5 * (1 - step / steps) ** 2)


def mean_of_views(logits: Sequence[Tensor]) -> Tensor:
    """Computes logits whose probabilities are the mean over views, of (N, C) each; those of one view are unchanged.

    >>> mean_of_views([torch.tensor([[0.0, 0.0]]), torch.tensor([[20.0, 0.0]])]).exp()
    tensor([[0.7500, 0.2500]])
    """
    if len(logits) == 1:
        return logits[0]
    each = torch.stack([at_least_float32(of_view).log_softmax(dim=1) for of_view in logits])
    return each.logsumexp(dim=0) - math.log(len(logits))


class SelfEnsemble:
    """Self-ensembling as a :class:`dalib.core.types.Method`: student, teacher, objective.

    Args:
        student: images -> logits (N, num_classes), alone or first in a tuple.
        num_classes: C.
        alpha: decay of the teacher; ``alpha_warmup`` and ``buffers`` are :class:`EmaTeacher`'s.
        teacher_dropout: whether dropout stays on in the teacher, as in the paper. Off is our choice for short
            trainings: a teacher without that noise passes the threshold sooner. Its batch normalisation is in training
            mode anyway.
        teacher_views: number of views of each image over which the teacher's probabilities are averaged, at least 1; 1
            is the paper's. More are steadier, and cost one forward pass each.
        distance: distance of student and teacher, which is a mean or a sum over classes as it chooses.
        consistency_weight, threshold, class_balance_weight, information_weight, label_smoothing: see
            :func:`self_ensemble_objective`.
        ramp_up_steps: number of steps over which the weights of consistency and information rise (:func:`ramp_up`); 0
            is at once.
        prior: (C,) class shares of the target, uniform if None, for class balance and information; :meth:`set_prior`
            changes them.
        prototypes: share of the teacher's target that moving class prototypes make (:class:`ClassPrototypes`), in
            [0, 1]; not the paper's. Above 0 the student must return ``(logits, features)`` in training mode, as
            :class:`ImageClassifier` does.
        compile_mode: mode of torch.compile for the forward passes; None does not compile.

    Raises:
        ValueError: an argument out of its range, by its name.

    With several processes (:mod:`dalib.engine.distributed`) the student's gradients are averaged over them; the teacher
    is not wrapped, and its average is the same in each.

    The student sees the first view of the target batch, the teacher the others. The predictor is the teacher.
    Defaults are the paper's for small images; `dalib train` has others (:class:`SelfEnsembleConfig`).
    """

    target_views = 2
    joins_domains = False
    takes_hints = True
    rising: tuple[str, ...] = ("ramp_up_steps",)

    # the settings stand one by one in the reference, for loops that have no configuration
    def __init__(
        self,
        student: nn.Module,
        num_classes: int,
        *,
        alpha: float = 0.99,
        alpha_warmup: bool = False,
        teacher_dropout: bool = True,
        teacher_views: int = 1,
        buffers: Buffers = "own",
        distance: Callable[[Tensor, Tensor], Tensor] = mean_squared_distance,
        consistency_weight: float = 3.0,
        threshold: float = 0.96837722,
        ramp_up_steps: int = 0,
        class_balance_weight: float = 0.0,
        information_weight: float = 0.0,
        prior: Tensor | None = None,
        prototypes: float = 0.0,
        label_smoothing: float = 0.0,
        compile_mode: str | None = None,
    ) -> None:
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold: expected a probability in [0, 1], got {threshold}")
        check_at_least(
            0,
            consistency_weight=consistency_weight,
            class_balance_weight=class_balance_weight,
            information_weight=information_weight,
            ramp_up_steps=ramp_up_steps,
        )
        if not 0 <= prototypes <= 1:
            raise ValueError(f"prototypes: expected a share in [0, 1], got {prototypes}")
        if teacher_views < 1:
            raise ValueError(f"teacher_views: expected at least 1, got {teacher_views}")
        self.target_views = 1 + teacher_views
        self.student = student
        self.teacher = make_teacher(student, alpha, buffers=buffers, warmup=alpha_warmup, dropout=teacher_dropout)
        self.consistency_loss = ConsistencyLoss(distance)
        # its prior is where the student is: sent there at each step, it would make the host wait for a GPU
        self.class_balance_loss = ClassBalanceLoss(num_classes, prior).to(next(student.parameters()).device)
        self.consistency_weight = consistency_weight
        self.threshold = threshold
        self.ramp_up_steps = ramp_up_steps
        self.class_balance_weight = class_balance_weight
        self.information_weight = information_weight
        self.prototypes = ClassPrototypes(num_classes, share=prototypes) if prototypes else None
        check_smoothing(label_smoothing)
        self.label_smoothing = label_smoothing
        #: Changes what the teacher predicts for the target, such as by hints.
        self.refining: Refining | None = None
        self._student_logits = StudentPass(student, compile_mode)
        self._teacher_logits = compiled(partial(logits_of, self.teacher.module), compile_mode)
        self._teacher_both = compiled(partial(logits_and_features_of, self.teacher.module), compile_mode)

    @staticmethod
    def confidence(settings: SelfEnsembleConfig) -> Confidence:
        """Returns when a target image counts as confident: as in its mask."""
        return Confidence(settings.threshold)

    @classmethod
    def build(cls, settings: SelfEnsembleConfig, inputs: MethodInputs) -> SelfEnsemble:
        """Returns the method with these settings."""
        distance = DISTANCES.get((settings.distance, settings.over_classes))
        if distance is None:
            raise ValueError(
                f"over_classes: expected sum, as {settings.distance} is a sum over classes, got {settings.over_classes}"
            )
        views, stored = settings.teacher_views, inputs.stored_views
        of_sum = inputs.num_classes if settings.balance_over_classes == "sum" else 1
        with named_as(
            consistency_weight="weight", class_balance_weight="class_balance", information_weight="information"
        ):
            return cls(
                inputs.student,
                inputs.num_classes,
                alpha=settings.alpha,
                alpha_warmup=settings.alpha_warmup,
                teacher_dropout=settings.teacher_dropout,
                teacher_views=min(views, stored - 1) if stored else views,
                buffers=settings.buffers,
                distance=distance,
                consistency_weight=settings.weight,
                threshold=settings.threshold,
                ramp_up_steps=settings.ramp_up_steps,
                class_balance_weight=settings.class_balance * of_sum,
                information_weight=settings.information,
                prior=inputs.prior,
                prototypes=settings.prototypes,
                label_smoothing=inputs.label_smoothing,
                compile_mode=inputs.compile_mode,
            )

    @property
    def class_prior(self) -> ClassBalanceLoss:
        """The class shares of the class-balance loss, which the information loss is given too."""
        return self.class_balance_loss

    def loss(self, batch: Batch, step: int) -> Losses:
        if len(batch.target) != self.target_views:
            raise ValueError(
                f"batch.target: expected {self.target_views} views, the student's and then the teacher's, "
                f"got {len(batch.target)}"
            )
        student_view, *teacher_views = batch.target
        source_logits, student_logits = self._student_logits(batch.source, student_view)
        ramp = ramp_up(step, self.ramp_up_steps)
        wanted = self._target_of(teacher_views)
        if self.refining is not None:
            wanted = self.refining.refined(wanted, batch.hints)
        return self_ensemble_objective(
            source_logits,
            batch.labels,
            student_logits,
            wanted,
            consistency_loss=self.consistency_loss,
            consistency_weight=self.consistency_weight * ramp,
            threshold=self.threshold,
            class_balance_loss=self.class_balance_loss,
            class_balance_weight=self.class_balance_weight,
            information_weight=self.information_weight * ramp,
            prior=self.class_balance_loss.prior,
            label_smoothing=self.label_smoothing,
            mean_over_ranks=mean_over_ranks,
        )

    @torch.no_grad()
    def _target_of(self, views: Sequence[Tensor]) -> Tensor:
        """Returns the predictions (N, C) that the student should agree with, as logits."""
        if self.prototypes is None:
            return mean_of_views([self._teacher_logits(view) for view in views])
        logits, features = zip(*(self._teacher_both(view) for view in views), strict=True)
        return self.prototypes.refined(mean_of_views(logits), torch.stack(features).mean(dim=0))

    def after_step(self, step: int) -> None:
        self.teacher.update()

    def predictor(self) -> nn.Module:
        return self.teacher.module

    def set_prior(self, prior: Tensor) -> None:
        """Expects these class shares (C,) of the target from the next step on.

        Raises:
            ValueError: another shape, or not a distribution.
        """
        self.class_balance_loss.set_prior(prior)

    def state_dict(self) -> dict[str, Any]:
        state = {**state_of(self.student, self.teacher), "prior": self.class_balance_loss.prior}
        if self.prototypes is not None and self.prototypes.sums is not None:
            state["prototypes"] = self.prototypes.sums
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        load_state(self.student, self.teacher, state)
        if "prior" in state:  # which older checkpoints lack
            self.set_prior(state["prior"])
        if self.prototypes is not None:
            self.prototypes.sums = state.get("prototypes")
