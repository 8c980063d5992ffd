"""Random intensities, on images that are already normalised."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class GaussianNoise:
    """Adds normal noise of standard deviation ``sigma`` to every pixel; (N, C, H, W) float -> same.

    Source: the paper's minimal augmentation, sigma 0.1 on standardised images.
    """

    sigma: float = 0.1

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        noise = torch.empty(images.shape, device=images.device).normal_(std=self.sigma, generator=generator)
        return noise.add_(images)  # in memory of its own, because fresh memory costs more than a pass over it


@dataclass(frozen=True)
class RandomIntensity:
    """Inverts, scales and shifts the intensities of each image as a whole; (N, C, H, W) float -> same.

    Attributes:
        flip_probability: of changing the sign, which inverts a standardised image.
        scale: range of the uniform factor.
        offset: range of the uniform summand.

    Source: the paper's augmentation for MNIST <-> SVHN, whose values are the defaults.
    """

    flip_probability: float = 0.5
    scale: tuple[float, float] = (0.25, 1.5)
    offset: tuple[float, float] = (-0.5, 0.5)

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        uniform = torch.rand(3, images.shape[0], 1, 1, 1, generator=generator, device=images.device)
        sign = torch.where(uniform[0] < self.flip_probability, -1.0, 1.0)
        factor = self.scale[0] + uniform[1] * (self.scale[1] - self.scale[0])
        summand = self.offset[0] + uniform[2] * (self.offset[1] - self.offset[0])
        return torch.addcmul(summand, images, sign * factor)
