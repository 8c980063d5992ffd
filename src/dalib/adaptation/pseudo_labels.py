"""The loss on pseudo-labels, and the accuracy that methods log."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dalib.adaptation.losses import at_least_float32


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


@torch.no_grad()
def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Computes the share of (N, C) logits whose largest entry is the label's, a scalar; labels (N,)."""
    return (logits.argmax(dim=1) == labels).float().mean()
