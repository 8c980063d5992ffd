"""Test-time averaging: one prediction from several views of each image."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dalib.core.devices import grid_sample
from dalib.models.classifier import logits_of


class AveragedViews(nn.Module):
    r"""A classifier that averages predictions over ``count`` small warps of each image.

    .. math:: \log \frac1V \sum_v softmax\,f(x_v)

    (N, C, H, W) -> log-probabilities (N, K), at ``count`` times the price of one forward pass. The warps are those of
    :class:`FixedWarps`.

    Args:
        model: images -> logits, alone or first in a tuple.
        count: V, at least 1.
        flip: every other view is mirrored.

    Raises:
        ValueError: count below 1.

    Source: the authors of French et al. average the teacher over augmented views at test time for photographs; that the
    views are fixed is our choice, for repeatable and exportable predictions.

    >>> import math
    >>> model = AveragedViews(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), count=8).eval()
    >>> math.isclose(model(torch.zeros(1, 1, 8, 8)).exp().sum().item(), 1, abs_tol=1e-5)
    True
    """

    def __init__(self, model: nn.Module, count: int, *, flip: bool = False) -> None:
        super().__init__()
        self.model = model
        self.warps = FixedWarps(count, flip=flip)

    def forward(self, images: Tensor) -> Tensor:
        total = torch.zeros((), device=images.device)
        for number in range(len(self.warps)):
            total = total + logits_of(self.model, self.warps(images, number)).float().softmax(dim=1)
        return (total / len(self.warps)).log()


class AveragedFeatures(nn.Module):
    """:class:`AveragedViews` for stored views, features (N, V, D) or maps (N, V, ...): -> log-probabilities (N, K)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: Tensor) -> Tensor:
        images, views = features.shape[:2]
        probabilities = logits_of(self.model, features.flatten(0, 1)).float().softmax(dim=1)
        return probabilities.view(images, views, -1).mean(dim=1).log()


class FixedWarps(nn.Module):
    """Small warps, drawn once and the same for every image, so that a prediction depends on its image alone.

    Shifts of up to a 24th of the size, and normal noise of 0.05 on the affine matrix; bilinear, with the border's
    pixels beyond the border. Call it with images (N, C, H, W) and the number of a warp; the shape stays.

    Args:
        count: at least 1.
        flip: every other warp also mirrors left to right.

    Raises:
        ValueError: count below 1.
    """

    maps: Tensor

    def __init__(self, count: int, *, flip: bool = False) -> None:
        super().__init__()
        self.flip = flip
        if count < 1:
            raise ValueError(f"count: expected at least 1, got {count}")
        generator = torch.Generator().manual_seed(0)
        linear = torch.eye(2) + 0.05 * torch.randn(count, 2, 2, generator=generator)
        shift = (torch.rand(count, 2, 1, generator=generator) * 2 - 1) / 12  # of [-1, 1]: a 24th of the size
        if flip:
            linear[1::2, :, 0] *= -1
        self.register_buffer("maps", torch.cat([linear, shift], dim=2), persistent=False)

    def __len__(self) -> int:
        return len(self.maps)

    def forward(self, images: Tensor, number: int) -> Tensor:
        # not len(images), which is a plain number to an export: its graph would take batches of one size alone
        grid = F.affine_grid(self.maps[number].expand(images.shape[0], 2, 3), list(images.shape), align_corners=False)
        return grid_sample(images, grid, "border")
