"""Views for characters in colour: another ground behind the ink, other colours, light and dark exchanged.

Everything is drawn, no image is borrowed: neither the target's nor a photograph's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from dalib.augment.precision import in_float32

MOST_GROUND_DEVIATION = 0.04
"""Difference from the border's median, in [0, 1] and in any channel, within which half of the border lies where the
ground is plain. Half, because characters may touch the border on two sides."""

LEAST_INK = 0.2
"""Largest distance from the ground, in [0, 1], from which on an image has ink; less is noise of a plain image."""


def random_textures(count: int, height: int, width: int, generator: Generator) -> Tensor:
    """Draws coloured textures, from smooth to grainy and from dim to bright; (count, 3, height, width) in [0, 1].

    Each is a sum of normal noise on grids of 2, 4, 8, ... cells a side, enlarged to the whole. Drawn for each texture
    are how fast the amplitude falls with the number of cells, how grey each grid is, the contrast, and the mean colour.

    Source: our choice, after photographs, whose amplitude falls with the frequency (Field 1987).

    >>> random_textures(2, 8, 8, torch.Generator()).shape
    torch.Size([2, 3, 8, 8])
    """
    device = generator.device
    uniform = torch.rand(3, count, 1, 1, 1, generator=generator, device=device)
    fall, contrast, brightness = 2 * uniform[0], 0.35 * uniform[1], uniform[2]
    total = torch.zeros(count, 3, height, width, device=device)
    scale, cells = 0, 1
    while cells < max(height, width):
        scale, cells = scale + 1, 2 * cells
        noise = torch.randn(count, 3, min(cells, height), min(cells, width), generator=generator, device=device)
        grey = noise.sum(dim=1, keepdim=True) / 3**0.5  # as large as each channel
        greyness = torch.rand(count, 1, 1, 1, generator=generator, device=device).sqrt_()
        noise = torch.lerp(noise, grey.expand_as(noise), greyness)
        total += F.interpolate(noise, (height, width), mode="bilinear") * 2 ** (-scale * fall)
    total /= total.square().mean(dim=(1, 2, 3), keepdim=True).sqrt().clamp_min(1e-6)
    tint = 0.1 * torch.randn(count, 3, 1, 1, generator=generator, device=device)
    return (brightness + tint).addcmul(contrast, total).clamp_(0, 1)


@dataclass(frozen=True)
class RandomGround:
    """Puts characters on plain ground before random textures; (N, 3, H, W) float in [0, 1] -> same.

    The ground is the median of the border's pixels, and ink is what differs from it: its largest difference in any
    channel, over the image's largest one. Images without a plain ground, or without ink, stay as they are.

    Ink becomes the negative of the texture, \\|texture - ink\\|, so that neither its colour nor its light is usual.

    Source: our choice. The difference is that of MNIST-M (Ganin et al. 2016), with textures that are drawn
    (:func:`random_textures`) in place of its photographs.

    Raises:
        ValueError: images that are not RGB.
    """

    @in_float32
    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        _require_rgb(images)
        count, _, height, width = images.shape
        ink, plain = _ink_on_plain_ground(images)
        inked = (random_textures(count, height, width, generator) - ink).abs_()
        return torch.where(plain[:, None, None, None], inked, images)


@dataclass(frozen=True)
class RandomTones:
    """Changes colours, contrast and light of each image about middle grey; (N, 3, H, W) float -> same.

    Attributes:
        grey: the share of its grey that is mixed into an image is uniform in [0, this].
        contrast: range of the uniform factor of the distance from middle grey.
        inversion: probability of exchanging light and dark.

    The three channels change places at random, too. Without clamps: the views are normalised afterwards.

    Source: our choice; the inversion is the paper's for MNIST <-> SVHN.

    Raises:
        ValueError: images that are not RGB.
    """

    grey: float = 0.5
    contrast: tuple[float, float] = (0.5, 1.5)
    inversion: float = 0.5

    @in_float32
    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        _require_rgb(images)
        count, device = len(images), images.device
        uniform = torch.rand(3, count, 1, 1, 1, generator=generator, device=device)
        order = torch.rand(count, 3, generator=generator, device=device).argsort(dim=1)
        shuffled = images.gather(1, order[:, :, None, None].expand_as(images))
        mixed = torch.lerp(shuffled, shuffled.mean(dim=1, keepdim=True).expand_as(images), self.grey * uniform[0])
        factor = self.contrast[0] + (self.contrast[1] - self.contrast[0]) * uniform[1]
        factor = torch.where(uniform[2] < self.inversion, -factor, factor)
        return (mixed - 0.5) * factor + 0.5


def _require_rgb(images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(
            f"expected RGB images (N, 3, H, W), got {tuple(images.shape)}; Preprocessing(channels=3) reads grey ones "
            "as RGB"
        )


def _ink_on_plain_ground(images: Tensor) -> tuple[Tensor, Tensor]:
    """Returns ink (N, 1, H, W) in [0, 1], and of which images (N,) the ground is plain and bears ink."""
    border = torch.cat([images[:, :, [0, -1]].flatten(2), images[..., [0, -1]].flatten(2)], dim=2)
    ground = border.median(dim=2, keepdim=True).values
    deviation = (border - ground).abs_().amax(dim=1).median(dim=1).values
    ink = (images - ground[..., None]).abs_().amax(dim=1, keepdim=True)
    most = ink.amax(dim=(1, 2, 3))
    plain = (deviation <= MOST_GROUND_DEVIATION) & (most >= LEAST_INK)
    return ink / most.clamp_min(LEAST_INK)[:, None, None, None], plain
