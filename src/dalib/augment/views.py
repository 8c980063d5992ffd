"""Views: normalise uint8 images, then random operations in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Generator, Tensor

from dalib.augment.color import GaussianNoise, RandomIntensity
from dalib.augment.geometry import RandomAffine

#: (N, C, H, W) float32 images, a generator on their device -> views of the same shape.
Operation = Callable[[Tensor, Generator], Tensor]


@dataclass(frozen=True)
class View:
    """An :data:`dalib.types.Augment`: uint8 (N, C, H, W) -> float32, normalised, then changed by each operation."""

    normalize: Callable[[Tensor], Tensor]
    operations: tuple[Operation, ...] = ()

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        views = self.normalize(images)
        for operation in self.operations:
            views = operation(views, generator)
        return views


def noise_operations() -> tuple[Operation, ...]:
    """The paper's minimal augmentation: Gaussian noise alone."""
    return (GaussianNoise(0.1),)


def tf_operations(*, flip: bool = False) -> tuple[Operation, ...]:
    """The paper's TF: translation by up to 2 pixels, flips where they keep the class, noise."""
    return (RandomAffine(translation=2, flip=flip), GaussianNoise(0.1))


def tfa_operations(*, flip: bool = False) -> tuple[Operation, ...]:
    """The paper's TFA: TF with normal noise on the affine matrix."""
    return (RandomAffine(translation=2, flip=flip, matrix_sigma=0.1), GaussianNoise(0.1))


def tfa_intensity_operations(*, flip: bool = False) -> tuple[Operation, ...]:
    """The paper's views for MNIST -> SVHN: TFA, then intensities inverted, scaled and shifted."""
    return (
        RandomAffine(translation=2, flip=flip, matrix_sigma=0.1),
        RandomIntensity(),
        GaussianNoise(0.1),
    )


def warp_operations(size: int, *, flip: bool = False) -> tuple[Operation, ...]:
    """Our default: TFA with a shift of a sixteenth of the size, and with the border's pixels beyond the border.

    Our choice, because zeros would draw a grey frame around a standardised image with a dark background.
    """
    return (
        RandomAffine(translation=size / 16, matrix_sigma=0.1, flip=flip, padding="border"),
        GaussianNoise(0.1),
    )


def strong_warp_operations(size: int, *, flip: bool = False) -> tuple[Operation, ...]:
    """:func:`warp_operations` with half as much again on the matrix, and a shift of a twelfth of the size."""
    return (
        RandomAffine(translation=size / 12, matrix_sigma=0.15, flip=flip, padding="border"),
        GaussianNoise(0.1),
    )


def weak_warp_operations(size: int, *, flip: bool = False) -> tuple[Operation, ...]:
    """A third of :func:`strong_warp_operations`, without noise: for a teacher that is to see clearly.

    Our choice, after FixMatch (Sohn et al. 2020), whose targets come from weakly augmented views.
    """
    return (RandomAffine(translation=size / 24, matrix_sigma=0.05, flip=flip, padding="border"),)
