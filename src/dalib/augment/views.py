"""Views: uint8 images, randomly changed and normalised, and named choices of changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from dalib.augment.color import (
    ColourJitter,
    ColourMap,
    ColourRotation,
    Cutout,
    GaussianBlur,
    GaussianNoise,
    RandomGrey,
    RandomIntensity,
    recoloured,
)
from dalib.augment.geometry import CentreCrop, RandomAffine, RandomCrop, RandomResizedCrop
from dalib.augment.ground import RandomGround, RandomTones

if TYPE_CHECKING:
    from dalib.core.types import Augment
    from dalib.data.preprocessing import Preprocessing

#: (N, C, H, W) images, a generator on their device -> (N, C, h, w) of the same dtype.
Operation = Callable[[Tensor, Generator], Tensor]


@dataclass(frozen=True)
class View:
    """An :data:`dalib.core.types.Augment`: uint8 (N, C, H, W) -> float32, normalised, then each operation."""

    normalize: Callable[[Tensor], Tensor]
    operations: tuple[Operation, ...] = ()

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        views = self.normalize(images)
        for operation in self.operations:
            views = operation(views, generator)
        return views


@dataclass(frozen=True)
class PhotoView:
    """An :data:`dalib.core.types.Augment` for photographs: uint8 (N, C, H, W) -> float32 (N, C, h, w), normalised.

    What :class:`View` does first stands near the end here, because colours are changed on the scale [0, 1].

    Attributes:
        mean, std: statistics of each channel on the scale [0, 1].
        crop: cuts the uint8 images, a quarter of the memory that floats take.
        warps: change floats in [0, 1] and keep them there: geometry and blur.
        colours: maps of RGB, all in one pass, then clamped to [0, 1]; see :class:`dalib.augment.color.ColourMap`.
        operations: change the normalised images.

    Raises:
        ValueError: ``mean`` and ``std`` of different lengths, images that are not uint8 or have other channels.

    >>> view = photo_plain(2, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    >>> view(torch.full((1, 3, 4, 4), 255, dtype=torch.uint8), torch.Generator()).unique()
    tensor([2.])
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: Operation | None = None
    warps: tuple[Operation, ...] = ()
    colours: tuple[ColourMap, ...] = ()
    operations: tuple[Operation, ...] = ()

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean, std: expected one of each a channel, got {self.mean} and {self.std}")

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != len(self.mean):
            raise ValueError(
                f"expected uint8 images (N, {len(self.mean)}, H, W), got {images.dtype} {tuple(images.shape)}"
            )
        if self.crop is not None:
            images = self.crop(images, generator)
        views = images.contiguous().float().div_(255)  # turning a strided crop into floats directly takes twice as long
        for warp in self.warps:
            views = warp(views, generator)
        if self.colours:
            views = recoloured(views, self.colours, generator).clamp_(0, 1)
        # channel by channel: tensors of the means and deviations would have to be sent to a GPU at every call
        for channel, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
            views[:, channel].sub_(mean).div_(std)
        for operation in self.operations:
            views = operation(views, generator)
        return views


def normalized_as(view: Augment, preprocessing: Preprocessing) -> Augment:
    """Returns the same view for a network of another normalisation: the same random changes, scaled by its own values.

    Raises:
        ValueError: a view of another kind than those of this file.
    """
    if isinstance(view, PhotoView) and preprocessing.mean is not None and preprocessing.std is not None:
        return replace(view, mean=preprocessing.mean, std=preprocessing.std)
    if isinstance(view, View):
        return replace(view, normalize=preprocessing.normalize)
    raise ValueError(f"view: expected a View or a PhotoView, got {type(view).__name__}")


@dataclass(frozen=True)
class CharacterView:
    """An :data:`dalib.core.types.Augment` for characters in colour: uint8 (N, 3, H, W) -> float32, changed, normalised.

    What :class:`View` does first stands near the end here, because ground and colours are changed on the scale [0, 1].

    Attributes:
        normalize: takes floats on the scale of bytes, [0, 255], and may overwrite them.
        changes: change floats in [0, 1].
        operations: change the normalised images.
    """

    normalize: Callable[[Tensor], Tensor]
    changes: tuple[Operation, ...] = ()
    operations: tuple[Operation, ...] = ()

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        views = images.float() / 255
        for change in self.changes:
            views = change(views, generator)
        views = self.normalize(views * 255)
        for operation in self.operations:
            views = operation(views, generator)
        return views


def noise_operations() -> tuple[Operation, ...]:
    """Returns the paper's minimal augmentation: Gaussian noise alone."""
    return (GaussianNoise(0.1),)


def tf_operations(*, flip: bool = False) -> tuple[Operation, ...]:
    """Returns the paper's TF: translation by up to 2 pixels, flips where they keep the class, noise."""
    return (RandomAffine(translation=2, flip=flip), GaussianNoise(0.1))


def tfa_operations(*, flip: bool = False) -> tuple[Operation, ...]:
    """Returns the paper's TFA: TF with normal noise on the affine matrix."""
    return (RandomAffine(translation=2, flip=flip, matrix_sigma=0.1), GaussianNoise(0.1))


def tfa_intensity_operations(*, flip: bool = False) -> tuple[Operation, ...]:
    """Returns the paper's views for MNIST -> SVHN: TFA, then intensities inverted, scaled and shifted."""
    return (
        RandomAffine(translation=2, flip=flip, matrix_sigma=0.1),
        RandomIntensity(),
        GaussianNoise(0.1),
    )


def warp_operations(size: int, *, flip: bool = False) -> tuple[Operation, ...]:
    """Returns our default: TFA with a shift of a sixteenth of the size, and with border pixels beyond the border.

    Our choice, because zeros would draw a grey frame around a standardised image with a dark background.
    """
    return (
        RandomAffine(translation=size / 16, matrix_sigma=0.1, flip=flip, padding="border"),
        GaussianNoise(0.1),
    )


def strong_warp_operations(size: int, *, flip: bool = False) -> tuple[Operation, ...]:
    """Returns :func:`warp_operations` with 1.5 times the matrix noise, and a shift of a twelfth of the size."""
    return (
        RandomAffine(translation=size / 12, matrix_sigma=0.15, flip=flip, padding="border"),
        GaussianNoise(0.1),
    )


def weak_warp_operations(size: int, *, flip: bool = False) -> tuple[Operation, ...]:
    """Returns a third of :func:`strong_warp_operations`, without noise: clear images for a teacher.

    Our choice, after FixMatch (Sohn et al. 2020), whose targets come from weakly augmented views.
    """
    return (RandomAffine(translation=size / 24, matrix_sigma=0.05, flip=flip, padding="border"),)


def character_grounds(size: int, normalize: Callable[[Tensor], Tensor], *, flip: bool = False) -> CharacterView:
    """Returns the view of characters before random textures, in other tones, warped as by
    :func:`strong_warp_operations`.

    Our choice, for a labelled source of characters on plain ground whose target has colours, or pictures behind the
    characters.
    """
    warp, noise = strong_warp_operations(size, flip=flip)
    return CharacterView(normalize, (warp, RandomGround(), RandomTones()), (noise,))


def character_tones(size: int, normalize: Callable[[Tensor], Tensor], *, flip: bool = False) -> CharacterView:
    """Returns the view of characters in other tones, some inverted, warped as by :func:`strong_warp_operations`.

    Our choice, for a student on a coloured target.
    """
    warp, noise = strong_warp_operations(size, flip=flip)
    return CharacterView(normalize, (warp, RandomTones()), (noise,))


def photo_plain(size: int, mean: tuple[float, ...], std: tuple[float, ...]) -> PhotoView:
    """Returns the view of the centre of each photograph, without randomness, as for prediction."""
    return PhotoView(mean, std, crop=CentreCrop(size))


def photo_weak(size: int, mean: tuple[float, ...], std: tuple[float, ...], *, flip: bool = True) -> PhotoView:
    """Returns the view of nearly all of each photograph, flipped, in slightly other colours: clear images for a
    teacher.

    Our choice.
    """
    crop = RandomResizedCrop(size, scale=(0.7, 1.0), flip=flip)
    return PhotoView(mean, std, warps=(crop,), colours=(ColourJitter(0.1, 0.1, 0.1, 0.02),))


def photo_moderate(size: int, mean: tuple[float, ...], std: tuple[float, ...], *, flip: bool = True) -> PhotoView:
    """Returns the view of most of each photograph, flipped, in other colours; between weak and strong.

    Our choice, for labelled images and for features that are computed once.
    """
    crop = RandomResizedCrop(size, scale=(0.5, 1.0), flip=flip)
    return PhotoView(mean, std, warps=(crop,), colours=(ColourJitter(0.3, 0.3, 0.3, 0.05), RandomGrey(0.1)))


def photo_strong(size: int, mean: tuple[float, ...], std: tuple[float, ...], *, flip: bool = True) -> PhotoView:
    """Returns the view of a part of each photograph, flipped and turned, recoloured, some blurred or with a hole.

    Our choice, of operations that are usual since SimCLR (Chen et al. 2020) and FixMatch (Sohn et al. 2020). The blur
    comes before the colours, with which it commutes but for the clamp.
    """
    crop = RandomResizedCrop(size, scale=(0.4, 1.0), flip=flip, rotation=15)
    return PhotoView(
        mean,
        std,
        warps=(crop, GaussianBlur(sigma=(0.1, 1.5), probability=0.5)),
        colours=(ColourJitter(0.4, 0.4, 0.4, 0.1), RandomGrey(0.2)),
        operations=(Cutout(area=(0.02, 0.2), probability=0.5),),
    )


def paper_photo(
    size: int, mean: tuple[float, ...], std: tuple[float, ...], *, translation: float = 0.0, flip: bool = True
) -> PhotoView:
    """Returns the view of the paper's authors: photographs flipped, scaled by 0.75 to 1.333, turned and recoloured.

    The angle has a sigma of 0.2 rad, and beyond the image's border lies its reflection. The colours are changed after
    normalisation: blended with grey, turned, scaled by 0.75 to 1.333, shifted; see
    :class:`dalib.augment.color.ColourRotation`.

    The view is the centre of the rows that it gets. In the authors' code the crop's place is random, and the same for
    student and teacher: cut the rows before their views, with ``RandomCrop``. Rows of ``size`` pixels are reflected at
    the crop's border, where the authors' show the photograph's own pixels; larger ones have such a margin.

    Args:
        size, mean, std: size and normalisation of the view.
        translation: where the crop is not shared, as for the source: its place is uniform in +- this many pixels, and
            half of what the rows are larger than ``size`` reaches every place.
        flip: whether half of the views are mirrored, as the authors' are.

    Source: the authors' code and scripts for VisDA and Office, French et al. 2018.
    """
    warp = RandomAffine(
        translation=translation, scale=4 / 3, flip=flip, padding="reflection", rotation_sigma=0.2, size=size
    )
    return PhotoView(mean, std, warps=(warp,), operations=(ColourRotation(),))


def tllib_student(size: int, mean: tuple[float, ...], std: tuple[float, ...], *, flip: bool = True) -> PhotoView:
    """Returns the student's view in Transfer-Learning-Library's example: random crop, flip, jitter, grey.

    The example's source has the same view, and its teacher :func:`photo_plain`.

    For rows of 256 pixels, made with ``fit='stretch'`` as the example's are, and ``size`` 224. The probability of grey
    is 0.1, torchvision's default. The jitter is linear and clamps once, so that its colours are near torchvision's and
    not the same: see :class:`dalib.augment.color.ColourJitter`.
    """
    return PhotoView(
        mean,
        std,
        crop=RandomCrop(size, flip=flip),
        colours=(ColourJitter(brightness=0.7, contrast=0.7, saturation=0.7, hue=0.5), RandomGrey(0.1)),
    )
