"""An operation of your own in the random views: each image loses some of its rows."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Generator, Tensor

from dalib.augment.views import View, warp_operations
from dalib.data.preprocessing import Preprocessing


@dataclass(frozen=True)
class LostRows:
    """Each row of each image is replaced by 0, the mean of normalised images, with this probability.

    (N, C, H, W) float -> the same shape.
    """

    probability: float = 0.1

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        # from the generator alone, on its device, and for each image: else runs do not resume bit for bit
        count, height = images.shape[0], images.shape[2]
        kept = torch.rand(count, 1, height, 1, generator=generator, device=images.device) >= self.probability
        return images * kept


def view_of(size: int, normalize: object) -> View:
    """The default warp, and then lost rows."""
    return View(normalize, (*warp_operations(size), LostRows(0.2)))


preprocessing = Preprocessing(size=32, channels=3)
view = view_of(32, preprocessing.normalize)
images = torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
draw = partial(view, images)
first = draw(torch.Generator().manual_seed(1))
print(tuple(first.shape), first.dtype)
print("same seed, same view:", bool((first == draw(torch.Generator().manual_seed(1))).all()))
