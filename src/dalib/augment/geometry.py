"""Random geometry: crops at whole pixels, and one affine warp for each image, in one pass over the batch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from dalib.augment.precision import in_float32
from dalib.core.devices import grid_sample

Padding = Literal["zeros", "border", "reflection"]


@dataclass(frozen=True)
class RandomAffine:
    """Warps each image by an affine map of its own, bilinear, with zeros beyond the border by default.

    (N, C, H, W) float -> same shape, or (N, C, size, size). With everything at its default it changes nothing.

    Attributes:
        translation: uniform in +- this many pixels, along both axes.
        rotation: uniform in +- this many degrees.
        rotation_sigma: standard deviation, in radians, of a normal angle that is added to ``rotation``'s.
        shear: uniform in +- this, the horizontal shift for each pixel of height: the slant of handwriting.
        scale: log-uniform in [1 / scale, scale], the same along both axes; at least 1.
        aspect: log-uniform in [1 / aspect, aspect], width against height; at least 1.
        matrix_sigma: standard deviation of normal noise on each entry of the 2x2 matrix (the paper's TFA, 0.1), whose
            coordinates are [-1, 1] along either side.
        flip: mirror left to right with probability 1/2.
        padding: what lies beyond the border: zeros (the paper's; the mean grey of a standardised image), the pixels of
            the border, or the image mirrored at it.
        size: height and width of what is returned, cut from the warped image's centre at the scale of the input. What
            lies beyond the cut is then the image's own, where padding would stand otherwise. None keeps the size.

    Source: translation, flip and matrix noise are the paper's; the normal angle is that of its authors' code for
    photographs; rotation, shear, scale and aspect are usual.
    """

    translation: float = 0.0
    rotation: float = 0.0
    shear: float = 0.0
    scale: float = 1.0
    aspect: float = 1.0
    matrix_sigma: float = 0.0
    flip: bool = False
    padding: Padding = "zeros"
    rotation_sigma: float = 0.0
    size: int | None = None

    def __post_init__(self) -> None:
        if self.scale < 1 or self.aspect < 1:
            raise ValueError(f"scale, aspect: expected at least 1 (1 is none), got {self.scale} and {self.aspect}")

    @in_float32
    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        height, width = (self.size, self.size) if self.size else images.shape[-2:]
        return _warped(images, self.matrices(images, generator), height, width, self.padding)

    def matrices(self, images: Tensor, generator: Generator) -> Tensor:
        """Draws the maps (N, 2, 3) from the output's to the input's coordinates, both in [-1, 1] across their image."""
        count, (height, width) = images.shape[0], images.shape[-2:]
        # always seven draws an image, so that switching one kind off leaves the others as they were
        uniform = torch.rand(7, count, generator=generator, device=images.device).mul_(2).sub_(1)
        turn, slant, growth, stretch, side, right, down = uniform.unbind()
        angle = turn * math.radians(self.rotation)
        if self.rotation_sigma:
            normal = torch.randn(count, generator=generator, device=images.device)
            angle = angle.add(normal, alpha=self.rotation_sigma)
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
        if height != width:  # angles are of pixels, and [-1, 1] covers more of them along the longer side
            maps[:, 0, 1] *= height / width
            maps[:, 1, 0] *= width / height
        if self.matrix_sigma:
            noise = torch.randn(count, 2, 2, generator=generator, device=images.device)
            maps[:, :, :2].add_(noise, alpha=self.matrix_sigma)
        if self.size:
            maps[:, :, 0] *= self.size / width
            maps[:, :, 1] *= self.size / height
        return maps


@dataclass(frozen=True)
class RandomResizedCrop:
    """Cuts a box of random area, shape and place out of each image and scales it to ``size``, bilinear.

    (N, C, H, W) float -> (N, C, size, size). Four neighbours make a pixel, so that a box wider than about 1.15 times
    ``size`` is sampled too sparsely: 256 to 224 is as far as this should shrink.

    Attributes:
        size: height and width of what is returned.
        scale: range of the box's share of the image's area, uniform.
        ratio: range of its width against its height, log-uniform.
        flip: mirror left to right with probability 1/2.
        rotation: turn the box about its centre by uniform +- this many degrees; its corners may leave the image.
        padding: fill beyond the image, in the corners that leave it.

    Source: torchvision's RandomResizedCrop, but for three things: a box that would not fit is cut to the image's width
    or height, where torchvision draws again (the number of draws would depend on them); its place is not rounded to
    whole pixels; and it can be turned.
    """

    size: int
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = False
    rotation: float = 0.0
    padding: Padding = "reflection"

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale: expected a range within (0, 1], got {self.scale}")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"ratio: expected a range above 0, got {self.ratio}")

    @in_float32
    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        return _warped(images, self.matrices(images, generator), self.size, self.size, self.padding)

    def matrices(self, images: Tensor, generator: Generator) -> Tensor:
        """Draws the maps (N, 2, 3) from the output's to the input's coordinates, both in [-1, 1] across their image."""
        count, (height, width) = images.shape[0], images.shape[-2:]
        # always six draws an image, so that switching flips or rotation off leaves the boxes as they were
        uniform = torch.rand(6, count, generator=generator, device=images.device)
        area = (self.scale[0] + uniform[0] * (self.scale[1] - self.scale[0])) * (height * width)
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        root_ratio = ((low + uniform[1] * (high - low)) / 2).exp()
        box_width = (area.sqrt() * root_ratio).clamp_(max=width)
        box_height = (area.sqrt() / root_ratio).clamp_(max=height)
        right, down, side, turn = uniform[2:].mul(2).sub_(1).unbind()
        centre_x, centre_y = right * (1 - box_width / width), down * (1 - box_height / height)
        mirrored_width = box_width.copysign(side) if self.flip else box_width
        angle = turn * math.radians(self.rotation)
        cosine, sine = angle.cos(), angle.sin()
        row_x = [cosine * mirrored_width / width, -sine * box_height / width, centre_x]
        row_y = [sine * mirrored_width / height, cosine * box_height / height, centre_y]
        return torch.stack(row_x + row_y, dim=1).view(count, 2, 3)


@dataclass(frozen=True)
class RandomCrop:
    """Cuts a square at whole pixels out of each image, without interpolation: (N, C, H, W) -> (N, C, size, size).

    Any dtype; on uint8 it is cheapest, and the stream can apply it before the views that should share the place.

    Attributes:
        size: height and width of what is returned.
        flip: mirror left to right with probability 1/2.

    Raises:
        ValueError: images smaller than ``size``.

    Source: torchvision's RandomCrop and RandomHorizontalFlip, without padding.
    """

    size: int
    flip: bool = False

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        _require_room(self.size, images)
        count, channels, height, width = images.shape
        device = images.device
        # always three draws an image, so that switching flips off leaves the places as they were
        uniform = torch.rand(3, count, 1, 1, generator=generator, device=device)
        top = (uniform[0] * (height - self.size + 1)).long()
        left = (uniform[1] * (width - self.size + 1)).long()
        # a crop's row is a run of neighbours in memory: copying runs takes a hundredth of gathering pixel by pixel
        plane = torch.arange(count * channels, device=device).view(count, channels, 1)
        row = top + torch.arange(self.size, device=device)
        first = (plane * height + row) * width + left
        runs = images.reshape(-1).unfold(0, self.size, 1)
        crops = runs.index_select(0, first.flatten()).view(count, channels, self.size, self.size)
        if not self.flip:
            return crops
        mirrored = (uniform[2].flatten() < 0.5).long()
        either = torch.cat([crops, crops.flip(3)])  # choosing whole images is quicker than torch.where on pixels
        return either.index_select(0, torch.arange(count, device=device) + mirrored * count)


@dataclass(frozen=True)
class CentreCrop:
    """Cuts the centre square out of each image: (N, C, H, W) of any dtype -> (N, C, size, size), a view of its memory.

    It draws nothing.

    Raises:
        ValueError: images smaller than ``size``.
    """

    size: int

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        _require_room(self.size, images)
        top, left = (images.shape[-2] - self.size) // 2, (images.shape[-1] - self.size) // 2
        return images[..., top : top + self.size, left : left + self.size]


def _require_room(size: int, images: Tensor) -> None:
    if images.ndim != 4 or min(images.shape[-2:]) < size:
        raise ValueError(f"expected images (N, C, H, W) of at least {size} pixels a side, got {tuple(images.shape)}")


def _warped(images: Tensor, maps: Tensor, height: int, width: int, padding: Padding) -> Tensor:
    grid = _sampling_grid(maps, height, width)
    return grid_sample(images, grid, padding)


def _sampling_grid(maps: Tensor, height: int, width: int) -> Tensor:
    """Computes the sampled input positions, (N, 2, 3) -> (N, height, width, 2): F.affine_grid without corners.

    affine_grid multiplies a matrix for each image, many times slower on a CPU than the sum of a term for the column and
    one for the row. The x of all pixels lie together, then their y: one plain addition, and as quick to sample from.
    """
    x = _pixel_centres(width, maps)
    y = _pixel_centres(height, maps)[:, None]
    of_x, of_y, shift = maps[:, :, :, None, None].unbind(2)  # (N, 2, 1, 1) each
    return (of_x * x + (of_y * y + shift)).permute(0, 2, 3, 1)


def _pixel_centres(count: int, like: Tensor) -> Tensor:
    """Returns (count,) pixel coordinates in [-1, 1]; -1 and 1 are the outer edges of the first and the last."""
    return torch.arange(1 - count, count, 2, dtype=like.dtype, device=like.device) / count
