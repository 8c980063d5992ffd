"""Random changes of rows of a table, instead of warps of images: noise, and values that are left out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class FeatureNoise:
    """Adds Gaussian noise of ``sigma`` times each feature's own spread; (N, D) float -> same.

    Attributes:
        sigma: at least 0; 0 changes nothing.
        std: (D,) the spread of each feature; where it is 0 there is no noise.

    >>> noise = FeatureNoise(0.1, torch.tensor([1.0, 0.0]))
    >>> noise(torch.zeros(2, 2), torch.Generator())[:, 1]
    tensor([0., 0.])
    """

    sigma: float
    std: Tensor

    def __call__(self, rows: Tensor, generator: Generator) -> Tensor:
        noise = torch.randn(rows.shape, generator=generator, device=rows.device, dtype=rows.dtype)
        return rows + self.sigma * self.std.to(rows) * noise


@dataclass(frozen=True)
class FeatureMask:
    """Replaces each value of each row by the feature's mean, with probability ``share``; (N, D) float -> same.

    Attributes:
        share: a number in [0, 1); 0 changes nothing.
        mean: (D,) what a value that is left out is taken for.

    Source: our choice, after the corruption of Vincent et al. 2008, with the mean in place of 0.

    >>> FeatureMask(0.0, torch.zeros(2))(torch.ones(1, 2), torch.Generator())
    tensor([[1., 1.]])
    """

    share: float
    mean: Tensor

    def __call__(self, rows: Tensor, generator: Generator) -> Tensor:
        left_out = torch.rand(rows.shape, generator=generator, device=rows.device) < self.share
        return torch.where(left_out, self.mean.to(rows), rows)
