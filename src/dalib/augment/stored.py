"""Stored views: K views of each image computed beforehand, (N, K, D) features, of which a step takes one or two."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class RandomStoredViews:
    """Draws some of each image's stored views without repetition; (N, K, D) -> (N, count, D), same type.

    ``count`` None is all of them, in random order.

    Raises:
        ValueError: fewer stored views than ``count``.
    """

    count: int | None = None

    def __call__(self, features: Tensor, generator: Generator) -> Tensor:
        images, stored = features.shape[:2]
        if self.count is not None and stored < self.count:
            raise ValueError(f"features: expected at least {self.count} views of each image, got {stored}")
        order = torch.rand(images, stored, generator=generator, device=features.device).argsort(dim=1)
        return features[torch.arange(images, device=features.device)[:, None], order[:, : self.count]]


@dataclass(frozen=True)
class StoredView:
    """Takes the stored view of one number, as float32; (N, K, D) -> (N, D). Draws nothing."""

    number: int = 0

    def __call__(self, features: Tensor, generator: Generator) -> Tensor:
        return features[:, self.number].float()


@dataclass(frozen=True)
class Standardized:
    """Computes (features - mean) / std, by given mean and std (D,); (..., D) float -> same. Draws nothing."""

    mean: Tensor
    std: Tensor

    def __call__(self, features: Tensor, generator: Generator | None = None) -> Tensor:
        return (features - self.mean) / self.std
