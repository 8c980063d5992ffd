"""Test-time averaging: one prediction from several views of each image."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dalib.models.classifier import logits_of


class AveragedViews(nn.Module):
    r"""A classifier that looks at each image through ``count`` small warps.

    .. math:: \log \frac1V \sum_v softmax\,f(x_v)

    The warps are drawn once and are the same for every image, so that a prediction depends on its image alone: shifts
    of up to a 24th of the size, and normal noise of 0.05 on the affine matrix; bilinear, with the border's pixels
    beyond the border. (N, C, H, W) -> log-probabilities (N, K), at ``count`` times the price of one forward pass.

    Args:
        model: images -> logits, alone or first in a tuple.
        count: V, at least 1.

    Raises:
        ValueError: count below 1.

    Source: the authors of French et al. average the teacher over augmented views at test time for photographs; that the
    views are fixed is our choice, for repeatable and exportable predictions.

    >>> import math
    >>> model = AveragedViews(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), count=8).eval()
    >>> math.isclose(model(torch.zeros(1, 1, 8, 8)).exp().sum().item(), 1, abs_tol=1e-5)
    True
    """

    maps: Tensor

    def __init__(self, model: nn.Module, count: int) -> None:
        super().__init__()
        if count < 1:
            raise ValueError(f"count: expected at least 1, got {count}")
        self.model = model
        generator = torch.Generator().manual_seed(0)
        linear = torch.eye(2) + 0.05 * torch.randn(count, 2, 2, generator=generator)
        shift = (torch.rand(count, 2, 1, generator=generator) * 2 - 1) / 12  # of [-1, 1]: a 24th of the size
        self.register_buffer("maps", torch.cat([linear, shift], dim=2), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        total = torch.zeros((), device=images.device)
        for one in self.maps:
            grid = F.affine_grid(one.expand(len(images), 2, 3), list(images.shape), align_corners=False)
            view = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
            total = total + logits_of(self.model, view).float().softmax(dim=1)
        return (total / len(self.maps)).log()
