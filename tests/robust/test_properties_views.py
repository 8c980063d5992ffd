"""What holds of every named view for any bytes of any odd size."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dalib.core.errors import UserError
from dalib.data.preprocessing import Preprocessing
from dalib.run.recipe.image_network import CHARACTER_VIEWS, PHOTO_VIEWS, make_views
from dalib.run.settings.config import TrainConfig, ViewName

NAMES = get_args(ViewName)
some = settings(max_examples=12, deadline=None, derandomize=True)


def view_of(name, preprocessing, flip):
    config = TrainConfig()
    views = replace(config.views, source=name, student=name, teacher=name, flip=flip)
    return make_views(replace(config, views=views), preprocessing).source


@st.composite
def cases(draw, photo):
    """Images (N, C, size, size) uint8 and how they are seen."""
    channels = draw(st.sampled_from([1, 3]))
    size = draw(st.integers(1, 40))
    normalized = photo or draw(st.booleans())
    crop = draw(st.one_of(st.none(), st.integers(1, size))) if photo else None
    mean, std = ((0.5,) * channels, (0.25,) * channels) if normalized else (None, None)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    images = torch.randint(0, 256, (draw(st.integers(2, 4)), channels, size, size), generator=generator)
    if draw(st.booleans()):
        images[0] = draw(st.sampled_from([0, 255]))
    return images.to(torch.uint8), Preprocessing(size, channels, crop=crop, mean=mean, std=std), draw(st.booleans())


@pytest.mark.parametrize("name", NAMES)
@some
@given(st.data(), st.integers(0, 2**31))
def test_a_view_is_finite_repeats_itself_and_keeps_images_apart(name, data, seed):
    images, preprocessing, flip = data.draw(cases(name in PHOTO_VIEWS))
    if preprocessing.channels == 1 and name in COLOURED:
        with pytest.raises(UserError, match="changes colours"):
            view_of(name, preprocessing, flip)
        return
    view = view_of(name, preprocessing, flip)

    def seen(pixels):
        return view(pixels, torch.Generator().manual_seed(seed))

    before = images.clone()
    views = seen(images)
    size = preprocessing.input_size
    assert views.dtype == torch.float32
    assert views.shape == (*images.shape[:2], size, size)
    assert views.isfinite().all()
    assert torch.equal(images, before)
    assert torch.equal(seen(images), views)
    others = images.clone()
    others[1:] = 255 - others[1:]
    torch.testing.assert_close(seen(others)[:1], views[:1])


COLOURED = {name for name in PHOTO_VIEWS | CHARACTER_VIEWS if name != "photo-plain"}
