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
        grid = _sampling_grid(self.matrices(images, generator), *images.shape[-2:])
        return F.grid_sample(images, grid, mode="bilinear", padding_mode=self.padding, align_corners=False)

    def matrices(self, images: Tensor, generator: Generator) -> Tensor:
        """The maps (N, 2, 3) from the output's to the input's coordinates, both in [-1, 1] across the image."""
        count, (height, width) = images.shape[0], images.shape[-2:]
        # always seven draws an image, so that switching one kind off leaves the others as they were
        uniform = torch.rand(7, count, generator=generator, device=images.device).mul_(2).sub_(1)
        turn, slant, growth, stretch, side, right, down = uniform.unbind()
        angle = turn * math.radians(self.rotation)
        slant = slant * self.shear
        growth, stretch = growth * math.log(self.scale), stretch * (math.log(self.aspect) / 2)
        horizontal, vertical = (growth + stretch).exp(), (growth - stretch).exp()
        if self.flip:
            horizontal = horizontal.copysign(side)

        # rotation @ [[horizontal, slant], [0, vertical]], written out: on matrices so small, calls are what costs
        cosine, sine = angle.cos(), angle.sin()
        shift_x, shift_y = right * (2 * self.translation / width), down * (2 * self.translation / height)
        row_x = [cosine * horizontal, cosine * slant - sine * vertical, shift_x]
        row_y = [sine * horizontal, sine * slant + cosine * vertical, shift_y]
        maps = torch.stack(row_x + row_y, dim=1).view(count, 2, 3)
        if self.matrix_sigma:
            noise = torch.randn(count, 2, 2, generator=generator, device=images.device)
            maps[:, :, :2].add_(noise, alpha=self.matrix_sigma)
        return maps


def _sampling_grid(maps: Tensor, height: int, width: int) -> Tensor:
    """Where each output pixel looks in the input, (N, 2, 3) -> (N, height, width, 2): F.affine_grid without corners.

    affine_grid multiplies a matrix for each image, many times slower on a CPU than the sum of a term for the column and
    one for the row. The x of all pixels lie together, then their y: one plain addition, and as quick to sample from.
    """
    x = _pixel_centres(width, maps)
    y = _pixel_centres(height, maps)[:, None]
    of_x, of_y, shift = maps[:, :, :, None, None].unbind(2)  # (N, 2, 1, 1) each
    return (of_x * x + (of_y * y + shift)).permute(0, 2, 3, 1)


def _pixel_centres(count: int, like: Tensor) -> Tensor:
    """(count,) coordinates of pixels in [-1, 1], where -1 and 1 are the outer edges of the first and the last."""
    return torch.arange(1 - count, count, 2, dtype=like.dtype, device=like.device) / count
