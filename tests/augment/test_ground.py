"""Characters before other grounds and in other tones; oracles are pixels whose ground and ink are known."""

import pytest
import torch
from torch import Tensor

from dalib.augment.ground import RandomGround, RandomTones, random_textures

OPERATIONS = {"ground": RandomGround(), "tones": RandomTones()}
every_operation = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bars(count: int, *, ground: float = 0.0, ink: float = 1.0) -> Tensor:
    """An upright bar of ink, two pixels wide, on plain ground; (count, 3, 12, 10)."""
    images = torch.full((count, 3, 12, 10), ground)
    images[:, :, 3:9, 4:6] = ink
    return images


@every_operation
def test_views_keep_shape_and_dtype_in_memory_of_their_own(operation):
    images = bars(5)
    views = operation(images, generator())
    assert (views.shape, views.dtype) == (images.shape, torch.float32)
    views.zero_()
    assert torch.equal(images, bars(5))


@every_operation
def test_each_image_of_a_batch_draws_for_itself(operation):
    views = operation(bars(60, ink=0.7), generator())
    assert len({tuple(view.flatten().tolist()) for view in views}) == 60


@every_operation
def test_the_draws_follow_from_the_generator_and_not_from_the_other_images(operation):
    before = torch.get_rng_state()
    views, others = operation(bars(4), generator(3)), bars(4)
    others[1:] = torch.rand(3, 3, 12, 10, generator=generator(5))
    assert torch.equal(views, operation(bars(4), generator(3)))
    assert torch.equal(operation(others, generator(3))[0], views[0])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (28, 28), (33, 20)])
def test_textures_are_colours_of_any_size(shape):
    textures = random_textures(3, *shape, generator())
    assert textures.shape == (3, 3, *shape)
    assert textures.isfinite().all()
    assert 0 <= textures.min() <= textures.max() <= 1


def test_textures_are_smooth_and_grainy_dim_and_bright_grey_and_coloured():
    textures = random_textures(300, 28, 28, generator())
    means = textures.mean(dim=(1, 2, 3))
    assert means.min() < 0.15
    assert means.max() > 0.85
    varied = textures[textures.std(dim=(1, 2, 3)) > 0.15]
    edge = (varied - varied.roll(1, dims=3))[..., 1:].square().mean(dim=(1, 2, 3)).sqrt()
    roughness = edge / (varied - varied.mean(dim=(2, 3), keepdim=True)).square().mean(dim=(1, 2, 3)).sqrt()
    assert roughness.min() < 0.4
    assert roughness.max() > 1.0
    colour = (varied.amax(dim=1) - varied.amin(dim=1)).mean(dim=(1, 2))
    assert colour.min() < 0.1
    assert colour.max() > 0.25


def test_ink_is_the_negative_of_its_ground_whatever_it_was_before():
    views, inked = RandomGround()(bars(50), generator()), bars(50) == 1
    textures = random_textures(50, 12, 10, generator())
    torch.testing.assert_close(views[~inked], textures[~inked])
    torch.testing.assert_close(views[inked], 1 - textures[inked])
    for ground, ink in ((1.0, 0.0), (0.2, 0.7)):
        torch.testing.assert_close(RandomGround()(bars(50, ground=ground, ink=ink), generator()), views)


def test_half_dark_ink_is_half_a_negative():
    images = bars(20)
    images[:, :, 0, 4] = 0.5  # on the border, as of a character that touches it
    views, textures = RandomGround()(images, generator()), random_textures(20, 12, 10, generator())
    torch.testing.assert_close(views[:, :, 0, 4], (textures[:, :, 0, 4] - 0.5).abs())


def test_coloured_ink_counts_by_its_strongest_channel():
    images = bars(20)
    images[:, 1:] = 0.0  # red on black
    torch.testing.assert_close(RandomGround()(images, generator()), RandomGround()(bars(20), generator()))


def test_pictures_and_images_without_ink_stay_as_they_are():
    pictures = torch.rand(6, 3, 12, 10, generator=generator(2))
    faint = bars(6, ground=0.5, ink=0.6)
    for images in (pictures, faint):
        assert torch.equal(RandomGround()(images, generator()), images)


@every_operation
@pytest.mark.parametrize("shape", [(4, 1, 8, 8), (4, 4, 8, 8), (3, 8, 8)])
def test_images_that_are_not_rgb_are_refused_with_what_to_do(operation, shape):
    with pytest.raises(ValueError, match=r"expected RGB images \(N, 3, H, W\).*channels=3"):
        operation(torch.zeros(shape), generator())


def test_tones_are_a_contrast_about_middle_grey_some_of_them_inverted():
    grey = torch.stack([torch.zeros(400), torch.ones(400)], dim=1)[:, None, None, :].expand(-1, 3, 1, 2)
    views = RandomTones()(grey, generator())
    torch.testing.assert_close(views.mean(dim=3), torch.full((400, 3, 1), 0.5))
    factor = views[:, 0, 0, 1] - views[:, 0, 0, 0]
    assert 0.5 <= factor.abs().min() < 0.55
    assert 1.45 < factor.abs().max() <= 1.5
    assert 0.4 < (factor < 0).float().mean() < 0.6


def test_channels_change_places_and_lose_colour():
    red = torch.tensor([1.0, 0.0, 0.0])[None, :, None, None].expand(6000, 3, 1, 2)
    same = RandomTones(grey=0.0, contrast=(1.0, 1.0), inversion=0.0)(red, generator())
    places = same[:, :, 0, 0]
    assert bool((places.sort(dim=1).values == torch.tensor([0.0, 0.0, 1.0])).all())
    assert (places.mean(dim=0) - 1 / 3).abs().max() < 0.03
    paler = RandomTones(grey=0.5, contrast=(1.0, 1.0), inversion=0.0)(red, generator())
    torch.testing.assert_close(paler.mean(dim=1), torch.full((6000, 1, 2), 1 / 3))
    span = (paler.amax(dim=1) - paler.amin(dim=1))[:, 0, 0]
    assert 0.5 - 1e-5 <= span.min() < 0.55
    assert 0.95 < span.max() <= 1 + 1e-5


def test_tones_can_be_switched_off_for_grey_images():
    images = bars(5, ground=0.3)
    torch.testing.assert_close(RandomTones(0.0, (1.0, 1.0), 0.0)(images, generator()), images)
