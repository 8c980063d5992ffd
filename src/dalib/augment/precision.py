"""The numbers that views compute in: float32, in which their parameters are drawn, whatever the images have."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Generator, Tensor

    View = TypeVar("View")


def in_float32(
    change: Callable[[View, Tensor, Generator], Tensor],
) -> Callable[[View, Tensor, Generator], Tensor]:
    """Decorates a view's call: it computes in float32, and returns the floating-point dtype of the images.

    Positions within an image would be wrong by pixels in half precision. No gradient is lost: casts have one.

    Raises (when called):
        ValueError: images of whole numbers, whose scale is another one.

    >>> from dalib.augment.color import GaussianNoise
    >>> GaussianNoise(0.1)(torch.zeros(1, 1, 2, 2, dtype=torch.bfloat16), torch.Generator()).dtype
    torch.bfloat16
    """

    @wraps(change)
    def changed(view: View, images: Tensor, generator: Generator) -> Tensor:
        if images.dtype == torch.float32:
            return change(view, images, generator)
        if not images.is_floating_point():
            raise ValueError(
                f"expected floating-point images, got {images.dtype}; Preprocessing.normalize makes such of uint8, and "
                "images / 255 those on the scale [0, 1]"
            )
        return change(view, images.float(), generator).to(images.dtype)

    return changed
