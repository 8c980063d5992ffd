"""Random geometry: one affine warp for each image, in one pass over the batch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class RandomAffine:
    """Warps each image by an affine map of its own, bilinear, with zeros beyond the border by default.

    (N, C, H, W) float -> same shape. With everything at its default it changes nothing.

    Attributes:
        translation: uniform in +- this many pixels, along both axes.
        rotation: uniform in +- this many degrees.
        shear: uniform in +- this, the horizontal shift for each unit of height: the slant of handwriting.
        scale: log-uniform in [1 / scale, scale], the same along both axes; at least 1.
        aspect: log-uniform in [1 / aspect, aspect], width against height; at least 1.
        matrix_sigma: standard deviation of normal noise on each entry of the 2x2 matrix (the paper's TFA, 0.1).
        flip: mirror left to right with probability 1/2.
        padding: what lies beyond the border: zeros (the paper's; the mean grey of a standardised image), or the pixels
            of the border.

    Source: translation, flip and matrix noise are the paper's; rotation, shear, scale and aspect are usual.
    """

    translation: float = 0.0
    rotation: float = 0.0
    shear: float = 0.0
    scale: float = 1.0
    aspect: float = 1.0
    matrix_sigma: float = 0.0
    flip: bool = False
    padding: Literal["zeros", "border"] = "zeros"

    def __post_init__(self) -> None:
        if self.scale < 1 or self.aspect < 1:
            raise ValueError(f"scale, aspect: expected at least 1 (1 is none), got {self.scale} and {self.aspect}")

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        grid = F.affine_grid(self.matrices(images, generator), list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, mode="bilinear", padding_mode=self.padding, align_corners=False)

    def matrices(self, images: Tensor, generator: Generator) -> Tensor:
        """The maps (N, 2, 3) from the output's to the input's coordinates, both in [-1, 1] across the image."""
        count, (height, width) = images.shape[0], images.shape[-2:]
        # always seven draws an image, so that switching one kind off leaves the others as they were
        uniform = torch.rand(7, count, generator=generator, device=images.device) * 2 - 1
        angle = uniform[0] * math.radians(self.rotation)
        slant = uniform[1] * self.shear
        scale = torch.exp(uniform[2] * math.log(self.scale))
        stretch = torch.exp(uniform[3] * math.log(self.aspect) / 2)
        mirror = torch.where(uniform[4] < 0, -1.0, 1.0) if self.flip else torch.ones_like(angle)

        cosine, sine = angle.cos(), angle.sin()
        rotation = torch.stack([cosine, -sine, sine, cosine]).view(2, 2, count)
        zero = torch.zeros_like(scale)
        shape = torch.stack([scale * stretch * mirror, slant, zero, scale / stretch]).view(2, 2, count)
        linear = torch.einsum("ijn,jkn->nik", rotation, shape)
        if self.matrix_sigma:
            noise = torch.randn(count, 2, 2, generator=generator, device=images.device)
            linear = linear + self.matrix_sigma * noise
        shift = torch.stack(
            [uniform[5] * self.translation * 2 / width, uniform[6] * self.translation * 2 / height], dim=1
        )
        return torch.cat([linear, shift[:, :, None]], dim=2)
