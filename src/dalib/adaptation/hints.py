"""Hints beside a method with a teacher: others' opinions of target images, trusted as far as they agree with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from dalib.adaptation.losses import at_least_float32
from dalib.core.ranges import check_at_least
from dalib.core.seeds import derive_seed
from dalib.core.types import Losses
from dalib.data.stream import drawn
from dalib.judge.annotator import Annotator, fit_annotator
from dalib.models.classifier import logits_of

if TYPE_CHECKING:
    from torch import nn

    from dalib.core.types import Batch, ClassPrior, Method


class Refining(Protocol):
    """Changes the teacher's predictions for a batch before the student learns from them."""

    def refined(self, logits: Tensor, hints: Tensor | None) -> Tensor:
        """Returns logits (B, C) for the teacher's (B, C) and the hints of these images (B, K, C), without gradient."""
        ...


class TrustedHints:
    r"""Hints for the whole target, and what they are worth: the second teacher.

    .. math:: q'_{ic} \propto q_{ic} \, \ell_{ic}

    with the teacher's probabilities q and the likelihood :math:`\ell` of the image's hint
    (:class:`dalib.judge.annotator.Annotator`), which is learned from the agreement of all hints with the teacher:
    hints of noise leave q as it is.

    Args:
        hints: (N, K, C) probabilities: first the hints, rows of zeros for images without one; then those of the models
            that hints may be copies of.
        beliefs: (N, C), probabilities that the first estimate is made of.
        rows: (M,) int64, the images whose predictions :meth:`revise` is given; None is all.
        held_back: (N,) bool, the images whose hints nothing learns from, so that they can judge; None is none.

    Raises:
        ValueError: another shape.
    """

    def __init__(
        self, hints: Tensor, beliefs: Tensor, rows: Tensor | None = None, held_back: Tensor | None = None
    ) -> None:
        if hints.ndim != 3 or hints.shape[1] < 1 or beliefs.shape != (len(hints), hints.shape[2]):
            raise ValueError(
                f"hints, beliefs: expected (N, K, C) and (N, C), got {tuple(hints.shape)} and {tuple(beliefs.shape)}"
            )
        self.given, self.originals, self.held_back = hints[:, 0], hints[:, 1:], held_back
        if held_back is not None:
            hints = torch.cat([torch.where(held_back[:, None], 0.0, self.given)[:, None], self.originals], dim=1)
        self.hints = hints
        self.rows = torch.arange(len(hints)) if rows is None else rows
        self.annotator = fit_annotator(beliefs, hints[:, 0], hints[:, 1:])

    def revise(self, beliefs: Tensor) -> dict[str, Any]:
        """Returns the state of a new estimate, by the predictions (M, C) of the teacher as it is now."""
        hints = self.hints[self.rows]
        sharpness = self.annotator.sharpness
        return fit_annotator(beliefs, hints[:, 0], hints[:, 1:], sharpness=sharpness).state_dict()

    def refined(self, logits: Tensor, hints: Tensor | None) -> Tensor:
        if hints is None or not bool(self.annotator.trust.any()):
            return logits
        with torch.autocast(logits.device.type, enabled=False):
            beliefs = at_least_float32(logits).detach().log_softmax(dim=1)
            return beliefs + self.annotator.log_likelihood(hints[:, 0], hints[:, 1:])

    def state_dict(self) -> dict[str, Any]:
        """Returns the estimate; the hints themselves are read again."""
        return self.annotator.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what :meth:`state_dict` or :meth:`revise` returned."""
        self.annotator = Annotator(**state)


HELD_BACK_ONE_IN, MOST_HELD_BACK = 10, 60
"""Share of the hints that is held back, and at most how many images or groups: each is learned less well without."""

FEWEST_TO_HOLD_BACK = 100
"""Hints; of fewer none is held back, because a tenth of them is too few to compare models."""


def hold_back(hints: Tensor, seed: int, groups: Tensor | None = None) -> Tensor | None:
    """Draws the hints that the training does not see, which then speak for the better of two models.

    Args:
        hints: (N, C); rows of zeros are images without a hint.
        seed: equal seeds hold the same back.
        groups: (N,) int64, equal for images that belong together, which are held back together.

    Returns:
        (N,) bool, a tenth of the images with hints, or of their groups, and at most 60; None where there are too few.
    """
    given = hints.sum(dim=1) > 0
    if int(given.sum()) < FEWEST_TO_HOLD_BACK:
        return None
    groups = torch.arange(len(hints)) if groups is None else groups
    units = torch.unique(groups[given])
    count = min(MOST_HELD_BACK, len(units) // HELD_BACK_ONE_IN)
    chosen = drawn(count, len(units), derive_seed(seed, "hints held back"))
    return given & torch.isin(groups, units[chosen])


class WithHints:
    r"""A :class:`dalib.core.types.Method` whose teacher is refined by hints, around one that takes them.

    .. math:: L = L_{method}(q') + \frac wN \sum_i t_i \, H(q'_i, f(x_i))

    with the worth :math:`t_i` of an image's hint (:attr:`dalib.judge.annotator.Annotator.worth`), which is 0 without
    one. Where hints are trusted the student fits the refined predictions as it fits labels, which a bounded distance of
    the method's does slowly.

    Args:
        method: method with an attribute ``refining``, through which it passes the predictions that the student learns
            from, with the batch's hints.
        hints: the hints.
        weight: w, at least 0.

    Raises:
        ValueError: a method without such an attribute, or a weight below 0.
    """

    def __init__(self, method: Method, hints: TrustedHints, *, weight: float = 0.6) -> None:
        if not hasattr(method, "refining"):
            raise ValueError(f"{type(method).__name__} has no teacher that hints could refine")
        check_at_least(0, weight=weight)
        method.refining = self
        self.method, self.hints, self.weight = method, hints, weight
        self._wanted: Tensor | None = None
        self.student = method.student
        self.target_views = method.target_views

    @property
    def class_prior(self) -> ClassPrior | None:
        """The class shares that the method inside expects."""
        return self.method.class_prior

    def refined(self, logits: Tensor, hints: Tensor | None) -> Tensor:
        self._wanted = self.hints.refined(logits, hints)
        return self._wanted

    def loss(self, batch: Batch, step: int) -> Losses:
        losses, worth = self.method.loss(batch, step), self.hints.annotator.worth
        wanted, self._wanted = self._wanted, None
        if batch.hints is None or wanted is None or not self.weight or not bool(worth.any()):
            return losses
        of_image = batch.hints[:, 0] @ worth.to(batch.hints)
        # the bare student, as in MaskedConsistency: each parameter's gradient is averaged over processes once
        logits = at_least_float32(logits_of(self.student, batch.target[0]))
        apart = F.cross_entropy(logits, wanted.softmax(dim=1), reduction="none")
        return Losses({**losses.parts, "hints": self.weight * (of_image * apart).mean()}, losses.metrics)

    def after_step(self, step: int) -> None:
        self.method.after_step(step)

    def predictor(self) -> nn.Module:
        return self.method.predictor()

    def state_dict(self) -> dict[str, Any]:
        return {**self.method.state_dict(), "hints": self.hints.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.method.load_state_dict(state)
        self.hints.load_state_dict(state["hints"])
