"""AdaMatch (Berthelot et al., ICLR 2022): FixMatch for two domains."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dalib.adaptation.losses import at_least_float32
from dalib.adaptation.pseudo_labels import pseudo_label_losses
from dalib.adaptation.settings import settings
from dalib.adaptation.student import StudentPass
from dalib.adaptation.teacher import EmaTeacher, load_state, state_of
from dalib.core.ranges import check_at_least, check_share, check_smoothing
from dalib.engine.distributed import mean_over_ranks
from dalib.judge.evidence import Confidence
from dalib.models.classifier import logits_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dalib.adaptation.hints import Refining
    from dalib.adaptation.inputs import MethodInputs
    from dalib.core.types import Batch, Losses

BATCHES_REMEMBERED = 128  # as many as the authors' code averages the target's predictions over
FLOOR = 1e-6  # the authors', in the ratio of distributions


@settings
class AdaMatchConfig:
    """Settings of adamatch. The student's views are the strong ones, the teacher's the weak ones.

    Attributes:
        weight: weight of the loss on pseudo-labels, which rises until half of the steps.
        threshold: share of the mean confidence on the source that a target image has to reach to count, in [0, 1].
        alpha: decay of the moving average of the weights, which predicts, in [0, 1].
        alpha_warmup: whether the average starts with a shorter memory, min(alpha, 1 - 1 / (t + 1)) at update t.
    """

    weight: float = 1.0
    threshold: float = 0.9
    alpha: float = 0.99
    alpha_warmup: bool = True


def aligned(probabilities: Tensor, source_mean: Tensor, target_mean: Tensor) -> Tensor:
    r"""Computes predictions whose mean is nearer to the source's, :math:`normalize(q \odot \bar p_s / \bar q_t)`.

    (N, C), (C,), (C,) -> (N, C), rows that sum to 1. Source: section 3.3, with the floor of the authors' code.

    >>> aligned(torch.tensor([[0.5, 0.5]]), torch.tensor([0.75, 0.25]), torch.tensor([0.5, 0.5]))
    tensor([[0.7500, 0.2500]])
    """
    moved = probabilities * (FLOOR + source_mean) / (FLOOR + target_mean)
    return moved / moved.sum(dim=1, keepdim=True)


def rising_weight(step: int, steps: int) -> float:
    r"""Computes the share of the target's weight, :math:`\frac12 - \frac12 \cos(\min(\pi, 2 \pi t / T))`.

    It rises from 0 to 1 in the first half of T. Source: section 3.5.

    >>> [round(rising_weight(step, 100), 3) for step in (0, 25, 50, 100)]
    [0.0, 0.5, 1.0, 1.0]
    """
    return 0.5 - math.cos(min(math.pi, 2 * math.pi * step / steps)) / 2


class AdaMatch:
    r"""AdaMatch as a :class:`dalib.core.types.Method`.

    .. math::
        z_s = z'_s + u \odot (z''_s - z'_s), \quad L = CE(z_s, y_s) + \mu(t) \, \frac1B \sum_i
        [\max_c \tilde q_{ic} \ge \tau \, \overline{\max_c p_s}] \, H(\arg\max_c \tilde q_{ic}, z_{t,strong})

    z' are logits from one batch of the source and both target views, z'' of the source alone, u uniform in [0, 1] for
    each logit; :math:`\tilde q` the weak view's probabilities, :func:`aligned`; :math:`\mu` is :func:`rising_weight`.

    Args:
        student: images -> logits (N, num_classes), alone or first in a tuple.
        num_classes: C.
        steps: T, the number of steps of the whole training, at least 1.
        weight: weight of the target's part when it has risen, at least 0.
        threshold: tau in [0, 1], relative to the mean confidence on the source.
        alpha, alpha_warmup: decay and warm-up of the average of the weights, which predicts and teaches nothing. Its
            running statistics are averaged alike, without those of the source alone, as in the paper.
        label_smoothing: label smoothing of the cross-entropy on the source, in [0, 1).
        compile_mode: mode of torch.compile for the forward passes; None does not compile.

    Raises:
        ValueError: an argument out of its range, by its name.

    The first of two target views is the strong one, the second the weak one. Where the paper leaves room: the means
    are moving means of about 128 batches, as in the authors' code for the target (their mean of the source remembers
    1000, for longer trainings); the label is the largest entry, as in their code. The paper has a weak and a strong
    view of the source and three times as many target images; a batch here has one view and as many target images.
    """

    target_views = 2
    class_prior = None
    joins_domains = True
    takes_hints = True
    rising: tuple[str, ...] = ()  # its weight rises without a setting

    # the settings stand one by one, as those of SelfEnsemble
    def __init__(
        self,
        student: nn.Module,
        num_classes: int,
        *,
        steps: int,
        weight: float = 1.0,
        threshold: float = 0.9,
        alpha: float = 0.99,
        alpha_warmup: bool = True,
        label_smoothing: float = 0.0,
        compile_mode: str | None = None,
    ) -> None:
        check_at_least(0, weight=weight)
        check_share(threshold=threshold)
        check_at_least(1, steps=steps)
        self.student = student
        self.average = EmaTeacher(student, alpha, buffers="ema", warmup=alpha_warmup)
        self.steps = steps
        self.weight = weight
        self.threshold = threshold
        check_smoothing(label_smoothing)
        self.label_smoothing = label_smoothing
        self.source_mean, self.target_mean = torch.full((2, num_classes), 1 / num_classes)
        self.batches = 0
        #: Changes the aligned predictions for the weak view that become pseudo-labels, such as by hints.
        self.refining: Refining | None = None
        self._logits = StudentPass(student, compile_mode, _AloneAndJoint)

    @staticmethod
    def confidence(settings: AdaMatchConfig) -> Confidence:
        """Returns when a target image counts as confident: as in its mask, relative to the source."""
        return Confidence(settings.threshold, of_source=True)

    @classmethod
    def build(cls, settings: AdaMatchConfig, inputs: MethodInputs) -> AdaMatch:
        """Returns the method with these settings."""
        return cls(
            inputs.student,
            inputs.num_classes,
            steps=inputs.steps,
            weight=settings.weight,
            threshold=settings.threshold,
            alpha=settings.alpha,
            alpha_warmup=settings.alpha_warmup,
            label_smoothing=inputs.label_smoothing,
            compile_mode=inputs.compile_mode,
        )

    def loss(self, batch: Batch, step: int) -> Losses:
        strong_view, weak_view = batch.target
        alone, logits = self._logits(batch.source, torch.cat([batch.source, strong_view, weak_view]))
        alone = at_least_float32(alone)
        joint, strong, weak = at_least_float32(logits).split_with_sizes([len(alone), len(strong_view), len(weak_view)])
        source = joint + torch.rand_like(joint) * (alone - joint)

        with torch.no_grad():
            of_source, of_target = source.softmax(dim=1), weak.softmax(dim=1)
            self._remember(of_source, of_target)
            wanted = aligned(of_target, self.source_mean, self.target_mean)
            if self.refining is not None:
                wanted = self.refining.refined(wanted.clamp_min(1e-12).log(), batch.hints).softmax(dim=1)
            confidence, labels = wanted.max(dim=1)
            confident = confidence >= self.threshold * mean_over_ranks(of_source.amax(dim=1).mean())
        weight = self.weight * rising_weight(step, self.steps)
        smoothing = self.label_smoothing
        return pseudo_label_losses(
            source, batch.labels, strong, labels, confident, weight=weight, label_smoothing=smoothing
        )

    def _remember(self, of_source: Tensor, of_target: Tensor) -> None:
        self.batches += 1
        new = max(1 / self.batches, 1 / BATCHES_REMEMBERED)  # a plain mean until there are as many
        self.source_mean, self.target_mean = (
            mean.to(each).lerp(mean_over_ranks(each.mean(dim=0)), new)
            for mean, each in ((self.source_mean, of_source), (self.target_mean, of_target))
        )

    def after_step(self, step: int) -> None:
        self.average.update()

    def predictor(self) -> nn.Module:
        return self.average.module

    def state_dict(self) -> dict[str, Any]:
        means = {"source_mean": self.source_mean, "target_mean": self.target_mean, "batches": self.batches}
        return {**state_of(self.student, self.average), **means}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        load_state(self.student, self.average, state)
        self.source_mean, self.target_mean = state["source_mean"], state["target_mean"]
        self.batches = state["batches"]


class _AloneAndJoint(nn.Module):
    """Logits of the source alone, which leave no trace in the running statistics, and of the joint batch."""

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.student = student

    def forward(self, source: Tensor, joint: Tensor) -> tuple[Tensor, Tensor]:
        with _resting_statistics(self.student):
            alone = logits_of(self.student, source)
        return alone, logits_of(self.student, joint)


@contextmanager
def _resting_statistics(model: nn.Module) -> Iterator[None]:
    """Normalises by the batch, without moving the averages of batch normalisation.

    The averages are not restored afterwards instead, because writing to them between a forward and its backward pass
    raises.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
            if momentum is None and norm.training and norm.num_batches_tracked is not None:
                norm.num_batches_tracked -= 1  # without a momentum the averages are means over the batches counted
