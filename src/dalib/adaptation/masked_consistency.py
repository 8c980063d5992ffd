"""Masked image consistency (MIC, Hoyer et al., CVPR 2023): beside any method, name what is hidden in part."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dalib.adaptation.losses import at_least_float32
from dalib.adaptation.pseudo_labels import pseudo_label_loss
from dalib.adaptation.teacher import EmaTeacher, stop_dropout
from dalib.core.types import Batch, Losses
from dalib.engine.distributed import mean_over_ranks
from dalib.models.classifier import logits_of

if TYPE_CHECKING:
    from torch import nn

    from dalib.core.types import Method


def masked(images: Tensor, ratio: float, patch: float) -> Tensor:
    """Images with square patches set to 0, the mean of normalised ones; (N, C, H, W) -> same.

    Each patch of each image is hidden with probability ``ratio``; its side is about ``patch`` times the image's. Draws
    from torch's global generator, which :func:`dalib.engine.fit.fit` seeds at each step.

    Raises:
        ValueError: another shape.

    Source: equations 2 and 3. The authors' patches of 64 of 224 pixels are a ``patch`` of 0.286.
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
        method: what it goes with; it trains, predicts and logs as it would alone.
        weight: w.
        ratio: probability that a patch is hidden, in [0, 1).
        patch: side of a patch as a share of the image's, in (0, 1].
        threshold: tau in [0, 1].
        alpha: of the teacher, which starts with a shorter memory, sees batch statistics of its own and has no dropout,
            as in the authors' code.

    The first target view is masked; the teacher sees the last one, which is the same where the method asks for one
    alone. The quality :math:`\bar m` is over the pixels of an image in the paper; an image has one label here, so it
    is over the batch. The authors' code for classification takes each image's confidence in its place.
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
        if not (weight >= 0 and 0 <= ratio < 1 and 0 < patch <= 1 and 0 <= threshold <= 1):  # NaN fails this too
            raise ValueError(
                "weight, ratio, patch, threshold: expected at least 0, in [0, 1), in (0, 1] and in [0, 1], "
                f"got {weight}, {ratio}, {patch} and {threshold}"
            )
        self.method = method
        self.student = method.student
        self.target_views = max(1, method.target_views)
        self.teacher = EmaTeacher(method.student, alpha, warmup=True).train()
        stop_dropout(self.teacher.module)
        self.weight = weight
        self.ratio = ratio
        self.patch = patch
        self.threshold = threshold

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
