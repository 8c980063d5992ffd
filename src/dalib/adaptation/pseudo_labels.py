"""The loss on pseudo-labels, the losses of methods that learn from them, and the accuracy that methods log."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dalib.adaptation.losses import at_least_float32
from dalib.core.types import Losses


def pseudo_label_loss(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    r"""Computes the weighted cross-entropy :math:`\frac1N \sum_i w_i H(\hat y_i, softmax\,z_i)`.

    Args:
        logits: (N, C) z; the gradient flows here alone.
        labels: (N,) int64 pseudo-labels.
        weights: (N,) of bool or float. The sum is divided by N and not by the sum of the weights, so that few
            confident images weigh little.

    Raises:
        ValueError: other shapes.

    >>> pseudo_label_loss(torch.zeros(2, 2), torch.tensor([0, 1]), torch.tensor([True, False]))
    tensor(0.3466)
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or weights.shape != labels.shape:
        raise ValueError(
            "logits, labels, weights: expected shapes (N, C), (N,) and (N,), "
            f"got {tuple(logits.shape)}, {tuple(labels.shape)} and {tuple(weights.shape)}"
        )
    each = F.cross_entropy(at_least_float32(logits), labels, reduction="none")
    return (each * weights.detach().to(each.dtype)).mean()


def pseudo_label_losses(
    source: Tensor,
    labels: Tensor,
    strong: Tensor,
    pseudo_labels: Tensor,
    confident: Tensor,
    *,
    weight: float,
    label_smoothing: float,
) -> Losses:
    """Computes the parts and metrics of a method that learns the target from pseudo-labels of sure images.

    Args:
        source: (N, C) logits of the source; the gradient flows here and to ``strong``.
        labels: (N,) int64, the source's.
        strong: (B, C) logits of the target's strongly changed view.
        pseudo_labels: (B,) int64.
        confident: (B,) bool, which of them count.
        weight: of the loss on pseudo-labels.
        label_smoothing: of the cross-entropy on the source, in [0, 1).
    """
    return Losses(
        parts={
            "supervised": F.cross_entropy(source, labels, label_smoothing=label_smoothing),
            "consistency": weight * pseudo_label_loss(strong, pseudo_labels, confident),
        },
        metrics={
            "mask_rate": confident.float().mean(),
            "agreement": accuracy(strong, pseudo_labels),
            "source_accuracy": accuracy(source, labels),
        },
    )


@torch.no_grad()
def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Computes the share of (N, C) logits whose largest entry is the label's, a scalar; labels (N,)."""
    return (logits.argmax(dim=1) == labels).float().mean()
