"""Masked image consistency (MIC, Hoyer et al., CVPR 2023), beside any method: classify images hidden in part."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dalib.adaptation.losses import at_least_float32
from dalib.adaptation.pseudo_labels import pseudo_label_loss
from dalib.adaptation.settings import settings
from dalib.adaptation.teacher import make_teacher
from dalib.core.ranges import check_at_least, check_share
from dalib.core.types import Batch, Losses
from dalib.engine.distributed import mean_over_ranks
from dalib.models.classifier import logits_of

if TYPE_CHECKING:
    from torch import nn

    from dalib.core.types import ClassPrior, Method


@settings
class MaskedConsistencyConfig:
    """Masked image consistency, beside a method: the loss on images that are hidden in part.

    Attributes:
        weight: weight of its loss; 0 is off, 1 is the authors'.
        ratio: probability that a patch is hidden, in [0, 1).
        patch: side of a patch as a share of the image's, in (0, 1].
        threshold: confidence of its teacher above which a target image counts; the share of such images weighs the
            loss.
        alpha: decay of its own teacher, in [0, 1].
    """

    weight: float = 0.0
    ratio: float = 0.7
    patch: float = 64 / 224
    threshold: float = 0.968
    alpha: float = 0.9


def masked(images: Tensor, ratio: float, patch: float) -> Tensor:
    """Hides square patches of images, which become 0, the mean of normalised images; (N, C, H, W) -> same.

    Each patch of each image is hidden with probability ``ratio``; its side is about ``patch`` times the image's. Draws
    from torch's global generator, which :func:`dalib.engine.fit.fit` seeds at each step.

    Raises:
        ValueError: another shape.

    Source: equations 2 and 3. The authors' patches of 64 of 224 pixels are the default, a grid of 4 by 4.
    """
    if images.ndim != 4:
        raise ValueError(f"images: expected shape (N, C, H, W), got {tuple(images.shape)}")
    grid = max(1, round(1 / patch))
    seen = (torch.rand(len(images), 1, grid, grid, device=images.device) >= ratio).to(images.dtype)
    return images * F.interpolate(seen, size=images.shape[-2:], mode="nearest")


class MaskedConsistency:
    r"""A :class:`dalib.core.types.Method` around another one.

    .. math::
        L = L_{method} + w \, \bar m \, \frac1B \sum_i H(\arg\max_c q_{ic}, f(M \odot x_t)_i), \qquad
        \bar m = \frac1B \sum_i [\max_c q_{ic} > \tau]

    with q from a teacher, the average of the student's weights, on the whole image.

    Args:
        method: method that it goes with, which trains, predicts and logs as it would alone.
        weight: w, at least 0.
        ratio: probability that a patch is hidden, in [0, 1).
        patch: side of a patch as a share of the image's, in (0, 1].
        threshold: tau in [0, 1].
        alpha: decay of the teacher, which starts with a shorter memory, sees batch statistics of its own and has no
            dropout, as in the authors' code.

    Raises:
        ValueError: an argument out of its range, by its name.

    The first target view is masked; the teacher sees the last one, which is the same if the method takes one view. The
    quality :math:`\bar m` is over the pixels of an image in the paper; an image has one label here, so it is over the
    batch. The authors' code for classification takes each image's confidence in its place.
    Source: equations 4 to 8; ratio, patch and alpha of their runs on VisDA and Office-Home.
    """

    def __init__(
        self,
        method: Method,
        *,
        weight: float = 1.0,
        ratio: float = 0.7,
        patch: float = 64 / 224,
        threshold: float = 0.968,
        alpha: float = 0.9,
    ) -> None:
        check_at_least(0, weight=weight)
        if not 0 <= ratio < 1:
            raise ValueError(f"ratio: expected a probability in [0, 1), got {ratio}")
        if not 0 < patch <= 1:
            raise ValueError(f"patch: expected a share in (0, 1], got {patch}")
        check_share(threshold=threshold)
        self.method = method
        self.student = method.student
        self.target_views = max(1, method.target_views)
        self.teacher = make_teacher(method.student, alpha, warmup=True, dropout=False)
        self.weight = weight
        self.ratio = ratio
        self.patch = patch
        self.threshold = threshold

    @classmethod
    def around(cls, method: Method, settings: MaskedConsistencyConfig) -> MaskedConsistency:
        """Returns the method with these settings around another one."""
        return cls(
            method,
            weight=settings.weight,
            ratio=settings.ratio,
            patch=settings.patch,
            threshold=settings.threshold,
            alpha=settings.alpha,
        )

    @property
    def class_prior(self) -> ClassPrior | None:
        """The class shares that the method inside expects."""
        return self.method.class_prior

    @property
    def refining(self) -> Any:
        """What refines the predictions that the method inside learns from; of a method without any, AttributeError."""
        return self.method.refining  # type: ignore[attr-defined]

    @refining.setter
    def refining(self, refining: Any) -> None:
        self.method.refining = refining  # type: ignore[attr-defined]

    def loss(self, batch: Batch, step: int) -> Losses:
        losses = self.method.loss(replace(batch, target=batch.target[: self.method.target_views]), step)
        with torch.no_grad():
            wanted = at_least_float32(logits_of(self.teacher.module, batch.target[-1])).softmax(dim=1)
            confidence, labels = wanted.max(dim=1)
            quality = mean_over_ranks((confidence > self.threshold).float().mean())
        # the bare student: of several processes the method's own pass is in the same graph, and each parameter's
        # gradient is averaged once, when both passes have added to it
        logits = logits_of(self.student, masked(batch.target[0], self.ratio, self.patch))
        part = self.weight * pseudo_label_loss(logits, labels, quality.expand(len(labels)))
        return Losses({**losses.parts, "masked": part}, {**losses.metrics, "masked_quality": quality})

    def after_step(self, step: int) -> None:
        self.method.after_step(step)
        self.teacher.update()

    def predictor(self) -> nn.Module:
        return self.method.predictor()

    def state_dict(self) -> dict[str, Any]:
        return {
            **self.method.state_dict(),
            "masked_teacher": self.teacher.state_dict(),
            "masked_teacher_updates": self.teacher.updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.method.load_state_dict(state)
        self.teacher.load_state_dict(state["masked_teacher"])
        self.teacher.updates = state["masked_teacher_updates"]
