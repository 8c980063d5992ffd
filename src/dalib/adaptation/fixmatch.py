"""FixMatch (Sohn et al., NeurIPS 2020): a weakly changed image, if sure, labels the strongly changed one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dalib.adaptation.pseudo_labels import pseudo_label_losses
from dalib.adaptation.settings import settings
from dalib.adaptation.student import StudentPass
from dalib.adaptation.teacher import EmaTeacher, load_state, state_of
from dalib.core.ranges import check_at_least, check_share, check_smoothing
from dalib.judge.evidence import Confidence

if TYPE_CHECKING:
    from torch import nn

    from dalib.adaptation.hints import Refining
    from dalib.adaptation.inputs import MethodInputs
    from dalib.core.types import Batch, Losses


@settings
class FixMatchConfig:
    """Settings of fixmatch. The student's views are the strong ones, the teacher's the weak ones.

    Attributes:
        weight: weight of the loss on pseudo-labels.
        threshold: least probability of the largest class of the weak view at which a target image counts, in [0, 1].
        alpha: decay of the moving average of the weights, which predicts, in [0, 1].
        alpha_warmup: whether the average starts with a shorter memory, min(alpha, 1 - 1 / (t + 1)) at update t.
    """

    weight: float = 1.0
    threshold: float = 0.95
    alpha: float = 0.99
    alpha_warmup: bool = True


class FixMatch:
    r"""FixMatch as a :class:`dalib.core.types.Method`.

    .. math::
        L = CE(f(x_s), y_s) + \lambda \, \frac1B \sum_i [\max_c q_{ic} \ge \tau] \, H(\arg\max_c q_{ic}, f(A(x_t))_i)

    with q the student's own probabilities on the weak view, taken as constants. As in the authors' code, the source and
    both views are one batch with one batch normalisation.

    Args:
        student: images -> logits (N, C), alone or first in a tuple.
        weight: lambda, at least 0.
        threshold: tau in [0, 1].
        alpha, alpha_warmup: decay and warm-up of the average of the weights, which predicts and teaches nothing. Its
            running statistics are averaged alike. The authors' alpha of 0.999 is for a million steps.
        label_smoothing: label smoothing of the cross-entropy on the source, in [0, 1).
        compile_mode: mode of torch.compile for the forward pass; None does not compile.

    Raises:
        ValueError: an argument out of its range, by its name.

    The first of two target views is the strong one, the second the weak one. The authors take seven times as many
    unlabelled images as labelled ones; a batch here has as many of each.
    Source: equations 3 and 4; tau and lambda of section 4.
    """

    target_views = 2
    class_prior = None
    joins_domains = True
    takes_hints = True
    rising: tuple[str, ...] = ()

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
        check_at_least(0, weight=weight)
        check_share(threshold=threshold)
        self.student = student
        self.average = EmaTeacher(student, alpha, buffers="ema", warmup=alpha_warmup)
        self.weight = weight
        self.threshold = threshold
        check_smoothing(label_smoothing)
        self.label_smoothing = label_smoothing
        #: Changes the predictions for the weak view that become pseudo-labels, such as by hints.
        self.refining: Refining | None = None
        self._logits = StudentPass(student, compile_mode)

    @staticmethod
    def confidence(settings: FixMatchConfig) -> Confidence:
        """Returns when a target image counts as confident: as in its mask."""
        return Confidence(settings.threshold)

    @classmethod
    def build(cls, settings: FixMatchConfig, inputs: MethodInputs) -> FixMatch:
        """Returns the method with these settings."""
        return cls(
            inputs.student,
            weight=settings.weight,
            threshold=settings.threshold,
            alpha=settings.alpha,
            alpha_warmup=settings.alpha_warmup,
            label_smoothing=inputs.label_smoothing,
            compile_mode=inputs.compile_mode,
        )

    def loss(self, batch: Batch, step: int) -> Losses:
        source, strong, weak = self._logits.joint(batch.source, *batch.target)
        wanted = weak.detach()
        if self.refining is not None:
            wanted = self.refining.refined(wanted, batch.hints)
        confidence, labels = wanted.softmax(dim=1).max(dim=1)
        confident = confidence >= self.threshold
        smoothing = self.label_smoothing
        return pseudo_label_losses(
            source, batch.labels, strong, labels, confident, weight=self.weight, label_smoothing=smoothing
        )

    def after_step(self, step: int) -> None:
        self.average.update()

    def predictor(self) -> nn.Module:
        return self.average.module

    def state_dict(self) -> dict[str, Any]:
        return state_of(self.student, self.average)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        load_state(self.student, self.average, state)
