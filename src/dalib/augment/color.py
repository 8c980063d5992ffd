"""Random intensities, colours, blur and holes.

What changes colours linearly draws one matrix and one offset for each image, a :class:`ColourMap`. Several in a row are
multiplied into one, so that any number of them costs one pass over the pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from dalib.augment.precision import in_float32

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Red, green and blue in grey: ITU-R BT.601, as PIL and torchvision mix them.
GREY_SHARES = (0.299, 0.587, 0.114)
#: ITU-R BT.709, as scikit-image mixes them, and the paper's authors.
GREY_SHARES_BT709 = (0.2125, 0.7154, 0.0721)


@dataclass(frozen=True)
class GaussianNoise:
    """Adds normal noise of standard deviation ``sigma`` to every pixel; (N, C, H, W) float -> same.

    Source: the paper's minimal augmentation, sigma 0.1 on standardised images.
    """

    sigma: float = 0.1

    @in_float32
    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        noise = torch.empty(images.shape, device=images.device).normal_(std=self.sigma, generator=generator)
        return noise.add_(images)  # in memory of its own, because fresh memory costs more than a pass over it


@dataclass(frozen=True)
class RandomIntensity:
    """Inverts, scales and shifts the intensities of each image as a whole; (N, C, H, W) float -> same.

    Attributes:
        flip_probability: probability of changing the sign, which inverts a standardised image.
        scale: range of the uniform factor.
        offset: range of the uniform summand.

    Source: the paper's augmentation for MNIST <-> SVHN, whose values are the defaults.
    """

    flip_probability: float = 0.5
    scale: tuple[float, float] = (0.25, 1.5)
    offset: tuple[float, float] = (-0.5, 0.5)

    @in_float32
    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        uniform = torch.rand(3, images.shape[0], 1, 1, 1, generator=generator, device=images.device)
        sign = torch.where(uniform[0] < self.flip_probability, -1.0, 1.0)
        factor = self.scale[0] + uniform[1] * (self.scale[1] - self.scale[0])
        summand = self.offset[0] + uniform[2] * (self.offset[1] - self.offset[0])
        return torch.addcmul(summand, images, sign * factor)


class ColourMap(Protocol):
    """A random affine map of RGB, one for each image."""

    def maps(self, means: Tensor, generator: Generator) -> Tensor:
        """Computes from mean colours (N, 3) of the images the maps (N, 3, 4): a 3x3 matrix and, in the last column, an
        offset.

        Draws the same number of values whatever the means are.
        """
        ...


def recoloured(images: Tensor, colours: Sequence[ColourMap], generator: Generator) -> Tensor:
    """Applies the maps of ``colours`` in order, in one pass and without clamps; (N, 3, H, W) float32 -> new memory.

    Raises:
        ValueError: images of another number of channels.

    >>> grey = recoloured(torch.rand(2, 3, 4, 4), (RandomGrey(1.0),), torch.Generator())
    >>> torch.equal(grey[:, 0], grey[:, 1])
    True
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(
            f"expected RGB images (N, 3, H, W), got {tuple(images.shape)}; make grey ones RGB with "
            "images.expand(-1, 3, -1, -1) or Preprocessing(channels=3), or change them with RandomIntensity"
        )
    means = images.mean(dim=(2, 3))
    total = torch.eye(3, 4, device=images.device).expand(len(images), 3, 4)
    for colour in colours:
        maps = colour.maps(means, generator)
        linear, offset = maps[:, :, :3], maps[:, :, 3:]
        means = (linear @ means[:, :, None] + offset)[:, :, 0]  # of the changed images: the maps are linear
        total = torch.cat([linear @ total[:, :, :3], linear @ total[:, :, 3:] + offset], dim=2)
    return torch.baddbmm(total[:, :, 3:], total[:, :, :3], images.flatten(2)).view(images.shape)


@dataclass(frozen=True)
class ColourJitter:
    """Changes brightness, contrast, saturation and hue of each image; (N, 3, H, W) float in [0, 1] -> same.

    Attributes:
        brightness, contrast, saturation: the factors are uniform in [max(0, 1 - this), 1 + this].
        hue: the turn is uniform in +- this share of the circle, at most 1/2.
        probability: probability of changing the image at all.

    Source: torchvision's ColorJitter, made one 3x3 matrix for each image. It differs from torchvision's in three ways.
    Values are clamped to [0, 1] once, at the end, and not after each of the four. The four follow in the order above:
    without clamps the first three commute, so that of torchvision's random order only the hue's place would be left.
    The hue is a rotation of RGB about the grey axis. It equals the turn in HSV at thirds of the circle, and in between
    keeps the mean of R, G and B, where HSV keeps their largest and smallest: on 40 photographs of Office-31 the two
    differ by at most 0.014 on average, and HSV and a rotation in YIQ by 0.026.

    Raises:
        ValueError: ``hue`` outside [0, 1/2], a negative strength, images that are not RGB.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    probability: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.hue <= 0.5:
            raise ValueError(f"hue: expected a share of the circle in [0, 0.5], got {self.hue}")
        if min(self.brightness, self.contrast, self.saturation) < 0:
            raise ValueError(f"expected brightness, contrast and saturation of at least 0, got {self}")

    @in_float32
    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        return recoloured(images, (self,), generator).clamp_(0, 1)

    def maps(self, means: Tensor, generator: Generator) -> Tensor:
        """Draws the factors of a :class:`ColourMap`: brightness, contrast, saturation, hue, and which images change."""
        uniform = torch.rand(5, len(means), 1, 1, generator=generator, device=means.device)
        brightness = _factor(uniform[0], self.brightness)
        contrast = _factor(uniform[1], self.contrast)
        saturation = _factor(uniform[2], self.saturation)
        turn = _rotation_about_grey((uniform[3] * 2 - 1) * (2 * math.pi * self.hue))
        # greys stay themselves under turn and saturation, which therefore pass the contrast's offset on unchanged
        grey = _grey_matrix(GREY_SHARES, means)
        linear = brightness * contrast * (saturation * turn + (1 - saturation) * grey)
        offset = (1 - contrast) * brightness * (grey @ means[:, :, None])
        return _some(uniform[4] < self.probability, torch.cat([linear, offset], dim=2))


@dataclass(frozen=True)
class RandomGrey:
    """Turns some images grey; (N, 3, H, W) float -> same.

    Source: torchvision's RandomGrayscale, whose probability is the default.
    """

    probability: float = 0.1

    @in_float32
    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        return recoloured(images, (self,), generator)

    def maps(self, means: Tensor, generator: Generator) -> Tensor:
        """Draws maps as in :class:`ColourMap`."""
        uniform = torch.rand(len(means), 1, 1, generator=generator, device=means.device)
        grey = F.pad(_grey_matrix(GREY_SHARES, means), (0, 1)).expand(len(means), 3, 4)
        return _some(uniform < self.probability, grey)


@dataclass(frozen=True)
class ColourRotation:
    """Blends each image with its grey, turns its colours, scales and shifts them; (N, 3, H, W) float -> same.

    For normalised images, and without clamps.

    Attributes:
        rotation_sigma: standard deviation, in radians, of the angle about an axis of any direction in RGB.
        offset_sigma: standard deviation of the normal summand of each channel.
        scale: range of the uniform factor.
        grey: blend with grey, with a uniform weight in [0, 1].

    Source: the code of the paper's authors for photographs, and the values of its scripts.
    """

    rotation_sigma: float = 0.05
    offset_sigma: float = 0.1
    scale: tuple[float, float] = (0.75, 1.333)
    grey: bool = True

    @in_float32
    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        return recoloured(images, (self,), generator)

    def maps(self, means: Tensor, generator: Generator) -> Tensor:
        """Draws maps as in :class:`ColourMap`: seven normal values (angle, axis, offset), then two uniform (blend,
        factor).
        """
        count, device = len(means), means.device
        normal = torch.randn(7, count, generator=generator, device=device)
        blend, factor = torch.rand(2, count, 1, 1, generator=generator, device=device)
        factor = self.scale[0] + factor * (self.scale[1] - self.scale[0])
        linear = _rotation_about(normal[1:4].T, normal[0] * self.rotation_sigma)
        if self.grey:
            linear = torch.lerp(linear, linear @ _grey_matrix(GREY_SHARES_BT709, means), blend)
        return torch.cat([factor * linear, (normal[4:].T * self.offset_sigma)[:, :, None]], dim=2)


@dataclass(frozen=True)
class GaussianBlur:
    """Blurs some images, each by a sigma of its own; (N, C, H, W) float -> same.

    The kernel ends at three times the largest sigma. Pixels beyond the border count for nothing. All images are
    convolved, those that stay sharp with a kernel of one pixel: sorting them out would make the host wait for a GPU.

    Attributes:
        sigma: range of the uniform standard deviation, in pixels.
        probability: probability of blurring the image at all.

    Source: usual since SimCLR (Chen et al. 2020).
    """

    sigma: tuple[float, float] = (0.1, 1.5)
    probability: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.sigma[0] <= self.sigma[1]:
            raise ValueError(f"sigma: expected a range above 0, got {self.sigma}")

    @in_float32
    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        count, channels, height, width = images.shape
        uniform = torch.rand(2, count, 1, generator=generator, device=images.device)
        sigma = self.sigma[0] + uniform[0] * (self.sigma[1] - self.sigma[0])
        sigma = torch.where(uniform[1] < self.probability, sigma, 0.01)  # e^-5000 is 0 beside the centre
        radius = math.ceil(3 * self.sigma[1])
        distance = torch.arange(-radius, radius + 1, device=images.device)
        kernel = (-0.5 * (distance / sigma).square()).exp()
        kernel = kernel / kernel.sum(dim=1, keepdim=True)

        planes = count * channels  # a group each
        of_planes = kernel.repeat_interleave(channels, dim=0)[:, None, None]
        blurred = images.reshape(1, planes, height, width)
        blurred = F.conv2d(blurred, of_planes, padding=(0, radius), groups=planes)
        blurred = F.conv2d(blurred, of_planes.mT, padding=(radius, 0), groups=planes).view(images.shape)
        inside_x, inside_y = (
            F.conv1d(torch.ones(1, count, side, device=images.device), kernel[:, None], padding=radius, groups=count)
            for side in (width, height)
        )  # the share of each kernel that lies within the image
        return blurred.div_(inside_x.view(count, 1, 1, width)).div_(inside_y.view(count, 1, height, 1))


@dataclass(frozen=True)
class Cutout:
    """Sets a rectangle of some images to 0, the mean colour of normalised ones; (N, C, H, W) float -> same.

    The rectangle lies anywhere within the image.

    Attributes:
        area: range of its share of the image's area, uniform.
        ratio: range of its width against its height as shares of the image's, log-uniform.
        probability: probability of cutting the image at all.

    Source: random erasing (Zhong et al. 2020), after cutout (DeVries & Taylor 2017).
    """

    area: tuple[float, float] = (0.02, 0.2)
    ratio: tuple[float, float] = (1 / 2, 2.0)
    probability: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.area[0] <= self.area[1] <= 1:
            raise ValueError(f"area: expected a range within [0, 1], got {self.area}")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"ratio: expected a range above 0, got {self.ratio}")

    @in_float32
    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        count, (height, width) = len(images), images.shape[-2:]
        uniform = torch.rand(5, count, 1, generator=generator, device=images.device)
        area = self.area[0] + uniform[0] * (self.area[1] - self.area[0])
        area = torch.where(uniform[1] < self.probability, area, 0.0)
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        root_ratio = ((low + uniform[2] * (high - low)) / 2).exp()
        columns = _within((area.sqrt() * root_ratio).clamp_(max=1), uniform[3], width)
        rows = _within((area.sqrt() / root_ratio).clamp_(max=1), uniform[4], height)
        kept = 1 - rows[:, :, None] * columns[:, None, :]
        return images * kept[:, None]


def _within(length: Tensor, place: Tensor, count: int) -> Tensor:
    """Returns (N, count) 1 for pixels whose centres lie on a stretch of this length (N, 1), a share, and 0 for the
    others.

    ``place`` (N, 1) in [0, 1] moves the stretch from the first pixel to the last.
    """
    centres = (torch.arange(count, device=length.device) + 0.5) / count
    start = place * (1 - length)
    return ((centres >= start) & (centres < start + length)).float()


def _factor(uniform: Tensor, strength: float) -> Tensor:
    low, high = max(0.0, 1 - strength), 1 + strength
    return low + uniform * (high - low)


def _some(chosen: Tensor, maps: Tensor) -> Tensor:
    """Selects the maps (N, 3, 4) where chosen (N, 1, 1), and the identity elsewhere."""
    return torch.where(chosen, maps, torch.eye(3, 4, device=maps.device))


def _grey_matrix(shares: tuple[float, float, float], like: Tensor) -> Tensor:
    """Returns (3, 3), each row the shares. Filled, because a tensor made from a list makes the host wait for a GPU."""
    return torch.stack([torch.full((3,), share, device=like.device) for share in shares], dim=1)


def _rotation_about_grey(angle: Tensor) -> Tensor:
    """Turns (N, 1, 1) radians into (N, 3, 3) rotations around the grey axis; 2 pi / 3 takes red to green."""
    cosine, sine = angle.cos(), angle.sin()
    same = (1 + 2 * cosine) / 3
    last, following = (1 - cosine) / 3 - sine / math.sqrt(3), (1 - cosine) / 3 + sine / math.sqrt(3)
    rows = [same, last, following, following, same, last, last, following, same]
    return torch.cat(rows, dim=2).view(-1, 3, 3)


def _rotation_about(axis: Tensor, angle: Tensor) -> Tensor:
    """Turns (N, 3) axes of any length and (N,) radians into (N, 3, 3) rotations. Source: Rodrigues' formula."""
    x, y, z = F.normalize(axis, dim=1).unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).view(-1, 3, 3)
    angle = angle[:, None, None]
    return torch.eye(3, device=axis.device) + angle.sin() * cross + (1 - angle.cos()) * (cross @ cross)
