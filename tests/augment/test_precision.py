"""Views compute in float32 and give the images' own floating-point dtype back; whole numbers are refused."""

import pytest
import torch

from dalib.augment.color import (
    ColourJitter,
    ColourRotation,
    Cutout,
    GaussianBlur,
    GaussianNoise,
    RandomGrey,
    RandomIntensity,
)
from dalib.augment.geometry import RandomAffine, RandomResizedCrop
from dalib.augment.ground import RandomGround, RandomTones

VIEWS = [
    RandomAffine(translation=2, rotation=20),
    RandomResizedCrop(12),
    GaussianNoise(),
    RandomIntensity(),
    ColourJitter(0.4, 0.4, 0.4, 0.1),
    RandomGrey(0.5),
    ColourRotation(),
    GaussianBlur(),
    Cutout(),
    RandomGround(),
    RandomTones(),
]
every_view = pytest.mark.parametrize("view", VIEWS, ids=[type(view).__name__ for view in VIEWS])


@every_view
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_a_view_of_other_floats_is_that_of_float32_rounded(view, dtype):
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1)).to(dtype)
    seen = view(images, torch.Generator().manual_seed(2))
    assert seen.dtype == dtype
    assert torch.equal(seen, view(images.float(), torch.Generator().manual_seed(2)).to(dtype))


@every_view
def test_whole_numbers_are_refused(view):
    with pytest.raises(ValueError, match=r"expected floating-point images, got torch.uint8; Preprocessing.normalize"):
        view(torch.zeros(2, 3, 16, 16, dtype=torch.uint8), torch.Generator())
