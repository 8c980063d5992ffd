"""Preprocessing between an image and a network: size, channels, normalisation. A saved model contains its own."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch
from PIL import Image, ImageOps

from dalib.data.depth import LIMIT, grey_values, is_grey_beyond_8_bits, own_range, scaled

if TYPE_CHECKING:
    from torch import Tensor

    from dalib.data.depth import Range

Fit = Literal["crop", "stretch", "ink"]
Interpolation = Literal["bilinear", "bicubic"]
_MODES = {1: "L", 3: "RGB"}


@dataclass(frozen=True)
class Preprocessing:
    """Settings that turn images of any size and mode into the network's input.

    Attributes:
        size: height and width of the stored images, in pixels.
        channels: 1 (grey) or 3 (RGB).
        fit: ``'crop'`` scales the shorter side to ``size`` and takes the centre; ``'stretch'`` scales both sides;
            ``'ink'``, for characters on plain ground, cuts out what differs from the colour of the border, scales its
            longer side to five sixths of ``size`` and centres it.
        crop: height and width that the network sees, at most ``size``: random views cut it out where they like, plain
            images are cut in the centre. None is all of ``size``.
        interpolation: how images are scaled to ``size``; what a pretrained network was trained with suits it best.
        mean, std: of each channel on the scale [0, 1]; None standardises each image by the mean and standard deviation
            over all of its own pixels and channels, as the paper does.
        range: the values that are black and white of images of whole numbers beyond 8 bits; others have no use for it.
            None takes the range that each image states (:func:`dalib.data.depth.own_range`), and refuses an image that
            states none.

    Raises:
        ValueError: another number of channels, an unknown fit or interpolation, a size below 1, a crop beyond the
            size, mean and std that do not fit or are no scale, or a range without a width.
    """

    size: int
    channels: int
    fit: Fit = "crop"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    crop: int | None = None
    interpolation: Interpolation = "bilinear"
    # not in the repr, which names features on the disk: these depend on pixels, and pixels alone on the range
    range: Range | None = field(default=None, kw_only=True, repr=False)

    def __post_init__(self) -> None:
        if self.channels not in _MODES:
            raise ValueError(f"channels: expected 1 (grey) or 3 (RGB), got {self.channels}")
        if self.size < 1:
            raise ValueError(f"size: expected at least 1 pixel, got {self.size}")
        if self.fit not in get_args(Fit):
            raise ValueError(f"fit: expected one of {get_args(Fit)}, got {self.fit!r}")
        if self.interpolation not in get_args(Interpolation):
            raise ValueError(f"interpolation: expected one of {get_args(Interpolation)}, got {self.interpolation!r}")
        if self.crop is not None and not 1 <= self.crop <= self.size:
            raise ValueError(f"crop: expected at most the size, {self.size} pixels, got {self.crop}")
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean, std: give both, or neither to standardise each image by its own")
        if self.mean is not None and {len(self.mean), len(self.std or ())} != {self.channels}:
            raise ValueError(f"mean, std: expected {self.channels} values each, got {self.mean} and {self.std}")
        numbers = (*(self.mean or ()), *(self.std or ()))
        if not all(isinstance(each, Real) and math.isfinite(each) for each in numbers) or min(self.std or (1,)) <= 0:
            raise ValueError(f"mean, std: expected finite numbers, each std above 0, got {self.mean} and {self.std}")
        if self.range is not None and not -LIMIT <= self.range[0] < self.range[1] <= LIMIT:
            raise ValueError(f"range: expected two whole numbers, the lower one first, got {self.range}")

    @property
    def input_size(self) -> int:
        """Height and width of the network's input."""
        return self.crop or self.size

    def pixels(self, image: Image.Image) -> np.ndarray:
        """Converts a PIL image of any size and mode to (channels, size, size) uint8, upright by its EXIF data."""
        image = ImageOps.exif_transpose(image)
        image = in_eight_bits(image, self.range)
        if image.mode == "P" and "transparency" in image.info:  # PIL warns of any other way
            image = image.convert("RGBA")
        image = image.convert(_MODES[self.channels])
        target = (self.size, self.size)
        resampling = Image.Resampling[self.interpolation.upper()]
        if self.fit == "ink":
            image = _ink_centred(image, self.size)
        elif self.fit == "stretch":
            image = image.resize(target, resampling)
        else:
            image = ImageOps.fit(image, target, resampling)
        return np.asarray(image).reshape(self.size, self.size, self.channels).transpose(2, 0, 1)

    def normalize(self, images: Tensor) -> Tensor:
        """Normalises (N, C, size, size) uint8 to (N, C, input_size, input_size) float32, by ``mean`` and ``std`` or by
        its own.

        An image of one colour becomes zeros, if it is standardised by its own.
        """
        if self.crop is not None:
            edge = (self.size - self.crop) // 2
            images = images[..., edge : edge + self.crop, edge : edge + self.crop]
        values = images.float()
        if self.mean is None or self.std is None:
            values -= values.mean(dim=(1, 2, 3), keepdim=True)
            # torch.std would take ten times as long on a CPU
            std = values.square().mean(dim=(1, 2, 3), keepdim=True).sqrt_()
            return values.div_(std.clamp_min_(0.255))  # 1e-3 on the scale [0, 1]; below is rounding, not content
        mean = torch.tensor(self.mean, device=images.device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, device=images.device).view(1, -1, 1, 1)
        return values.div_(255).sub_(mean).div_(std)


def in_eight_bits(image: Image.Image, black_white: Range | None = None) -> Image.Image:
    """Scales an image of whole numbers beyond 8 bits to 8, where PIL's convert() would clip it at 255.

    Args:
        image: image of any mode; one of another kind is returned unchanged.
        black_white: the values that become black and white; None is :func:`dalib.data.depth.own_range`.

    Raises:
        ValueError: None, and the range of the values is unknown.
    """
    if not is_grey_beyond_8_bits(image):
        return image
    values = grey_values(image)
    if black_white is None:
        black_white = own_range(int(values.min()), int(values.max()))
    return Image.fromarray(scaled(values, black_white))


def _ink_centred(image: Image.Image, size: int) -> Image.Image:
    """Puts the ink of a grey or RGB image, its longer side 5/6 of ``size``, on a square of the ground's colour.

    Ground is the dark or the light end of the border's values (their first or ninth decile), whichever is nearer to
    their median, so that characters that touch the border do not tint it. Ink is what differs from the ground by more
    than a quarter of the range in any channel. Without ink, the image is scaled as a whole.
    Source: our choice; data sets of characters differ in margins more than in hands.
    """
    pixels = np.asarray(image)
    border = np.concatenate([pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]])
    low, median, high = np.sort(border, axis=0)[[len(border) // 10, len(border) // 2, -1 - len(border) // 10]]
    ground = np.where(median - low <= high - median, low, high)
    ink = np.abs(np.subtract(pixels, ground, dtype=np.int16)) > 64
    if ink.ndim == 3:
        ink = ink.any(axis=2)
    rows, columns = ink.any(axis=1).nonzero()[0], ink.any(axis=0).nonzero()[0]
    if not len(rows):
        return image.resize((size, size), Image.Resampling.BILINEAR)
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    scale = max(1, size - 2 * (size // 12)) / max(bottom - top, right - left)
    width, height = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    cut = image.resize((width, height), Image.Resampling.BILINEAR, box=(left, top, right, bottom))
    colour = tuple(ground.tolist()) if ground.ndim else int(ground)
    square = Image.new(image.mode, (size, size), colour)
    square.paste(cut, ((size - width) // 2, (size - height) // 2))
    return square
