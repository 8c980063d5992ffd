"""Predictions over many images, batch by batch, in evaluation mode."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dalib.core.console import beat
from dalib.models.classifier import logits_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dalib.data.rows import Rows


def predict_probabilities(
    model: nn.Module,
    images: Rows,
    normalize: Callable[[Tensor], Tensor],
    *,
    device: torch.device,
    batch: int = 256,
    on_progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Computes class probabilities (N, K) float32, on the CPU, of all rows in order; the model keeps its mode.

    Args:
        model: input -> logits (B, K), alone or first in a tuple.
        images: N > 0 rows.
        normalize: rows -> input of the model, without augmentation.
        device: where the model is.
        batch: rows that are predicted at once.
        on_progress: called with (done, total).
    """
    parts = []
    with evaluating(model), torch.no_grad():
        for first in range(0, len(images), batch):
            rows = images[torch.arange(first, min(first + batch, len(images)))].to(device)
            parts.append(logits_of(model, normalize(rows)).float().softmax(dim=1).cpu())
            beat()
            if on_progress is not None:
                on_progress(first + len(rows), len(images))
    return torch.cat(parts)


def predict_with_features(
    model: nn.Module,
    head: nn.Module,
    images: Rows,
    normalize: Callable[[Tensor], Tensor],
    *,
    device: torch.device,
    batch: int = 256,
) -> tuple[Tensor, Tensor]:
    """Computes what :func:`predict_probabilities` does, and the input (N, D) float32 of the model's head, on the CPU.

    Args:
        head: part of the model, called once a batch with (B, D), or with (B * V, D), image by image, for V views of
            each; the features of an image are then the mean over its views.
        model, images, normalize, device, batch: see :func:`predict_probabilities`.
    """
    seen: list[Tensor] = []
    counts: list[int] = []

    def normalized(rows: Tensor) -> Tensor:
        counts.append(len(rows))
        return normalize(rows)

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        features = inputs[0].detach().float()
        seen.append(features.view(counts[-1], -1, features.shape[-1]).mean(dim=1).cpu())

    hook = head.register_forward_pre_hook(keep)
    try:
        probabilities = predict_probabilities(model, images, normalized, device=device, batch=batch)
    finally:
        hook.remove()
    return probabilities, torch.cat(seen)


@torch.no_grad()
def recompute_statistics(
    model: nn.Module,
    images: Rows,
    normalize: Callable[[Tensor], Tensor],
    *,
    device: torch.device,
    batch: int = 256,
    most: int = 8192,
) -> bool:
    """Replaces the running statistics of batch normalisation by those of plain images, in place.

    What ran during training is of augmented images, and of the network as it was some steps ago. The images, at most
    ``most`` of them, are spread evenly over the rows, and so are those of each batch, in case the rows lie class by
    class. Weights, modes and the momentum stay; a model without batch normalisation is left alone, and so is what stays
    in evaluation mode when the model is set to train: a frozen backbone.

    Returns:
        Whether the model has statistics that can be replaced.

    Raises:
        ValueError: fewer than two images.

    Source: our choice, after the recomputation that weight averaging needs (Izmailov et al. 2018).
    """
    with evaluating(model):
        model.train()
        norms = [
            module
            for module in model.modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats and module.training
        ]
    if not norms:
        return False
    if len(images) < 2:
        raise ValueError(f"images: expected at least two to take statistics of, got {len(images)}")
    spread = torch.linspace(0, len(images) - 1, min(most, len(images)), dtype=torch.float64).round().long()
    batches = max(1, len(spread) // max(2, batch))  # batch normalisation makes no statistics of one image
    momenta = [norm.momentum for norm in norms]
    try:
        with evaluating(model):
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # the plain mean over batches
                norm.train()
            for number in range(batches):
                model(normalize(images[spread[number::batches]].to(device)))
                beat()
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    return True


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Puts a model into evaluation mode for the block, then every submodule back into the mode that it had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
