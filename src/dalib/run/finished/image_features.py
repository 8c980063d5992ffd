"""Features of images of any kind, as Python gets them: a row for each image, and those that cannot be read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from dalib.core.words import counted
from dalib.run.finished.image_predictions import compute_of_images

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from dalib.core.files import Unreadable
    from dalib.run.finished.load import Predictor


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """Features of images, in their order.

    Attributes:
        paths: of the N images that can be read; of objects, what they came in and their number, such as array/07.
        features: (N, D) float32.
        layer: which features they are, in words.
        unreadable: the images that cannot be read, with the reason.
    """

    paths: tuple[str, ...]
    features: Tensor
    layer: str
    unreadable: tuple[Unreadable, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        lost = f", {len(self.unreadable)} unreadable" if self.unreadable else ""
        return f"<ImageFeatures: {counted(len(self), 'image')}{lost}; {self.features.shape[1]} each, {self.layer}>"


def features_of_images(images: Any, predictor: Predictor, on_progress: Callable[[int, int], None]) -> ImageFeatures:
    """Computes features of images of any kind; lists those that cannot be read.

    Args:
        images: as :meth:`dalib.run.opened.Run.predict` takes them.
        predictor: its model gives the features.
        on_progress: called with (done, total).

    Raises:
        UserError: no such place, or an exported graph, which gives probabilities alone.
    """
    network = predictor.representation(1)
    computed = compute_of_images(images, predictor, lambda count: predictor.representation(count).features, on_progress)
    found = torch.cat([torch.zeros(0, network.width), *computed.parts])
    return ImageFeatures(computed.paths, found, network.layer, computed.unreadable)
