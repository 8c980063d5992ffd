"""Predictions over many images, batch by batch, in evaluation mode."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dalib.models.classifier import logits_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dalib.data.stream import Rows


def predict_probabilities(
    model: nn.Module,
    images: Rows,
    normalize: Callable[[Tensor], Tensor],
    *,
    device: torch.device,
    batch: int = 256,
) -> Tensor:
    """Class probabilities (N, K) float32 on the CPU of all rows in order; the model's mode is left as it was."""
    parts = []
    with evaluating(model), torch.no_grad():
        for first in range(0, len(images), batch):
            rows = images[torch.arange(first, min(first + batch, len(images)))].to(device)
            parts.append(logits_of(model, normalize(rows)).float().softmax(dim=1).cpu())
    return torch.cat(parts)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; afterwards every submodule is back in the mode it had, frozen BatchNorm included."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
