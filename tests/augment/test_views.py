"""Normalisation and random operations in order, and the paper's choices of them."""

import pytest
import torch
from torch import Tensor

from dalib.augment.color import GaussianNoise, RandomIntensity
from dalib.augment.geometry import RandomAffine
from dalib.augment.views import (
    View,
    noise_operations,
    strong_warp_operations,
    tf_operations,
    tfa_intensity_operations,
    tfa_operations,
    warp_operations,
    weak_warp_operations,
)
from dalib.data.preprocessing import Preprocessing

NORMALIZE = Preprocessing(size=8, channels=3).normalize
OPERATIONS = {
    "noise": noise_operations(),
    "tf": tf_operations(flip=True),
    "tfa": tfa_operations(flip=True),
    "tfa-intensity": tfa_intensity_operations(),
    "warp": warp_operations(8),
    "strong-warp": strong_warp_operations(8, flip=True),
    "weak-warp": weak_warp_operations(8),
}
every_choice = pytest.mark.parametrize("operations", OPERATIONS.values(), ids=OPERATIONS)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bytes_of(count: int) -> Tensor:
    return torch.randint(0, 256, (count, 3, 8, 8), generator=generator(1), dtype=torch.uint8)


def test_a_view_without_operations_is_the_normalised_image():
    images = bytes_of(3)
    assert torch.equal(View(NORMALIZE)(images, generator()), NORMALIZE(images))


def test_operations_follow_normalisation_in_order():
    def double(images: Tensor, generator: torch.Generator) -> Tensor:
        return images * 2

    def add(images: Tensor, generator: torch.Generator) -> Tensor:
        return images + 1

    images = bytes_of(3)
    torch.testing.assert_close(View(NORMALIZE, (double, add))(images, generator()), NORMALIZE(images) * 2 + 1)
    torch.testing.assert_close(View(NORMALIZE, (add, double))(images, generator()), NORMALIZE(images) * 2 + 2)


@every_choice
def test_bytes_become_float_views_of_the_same_shape(operations):
    images = bytes_of(4)
    before = images.clone()
    views = View(NORMALIZE, operations)(images, generator())
    assert views.dtype == torch.float32
    assert views.shape == images.shape
    assert bool(views.isfinite().all())
    assert not views.requires_grad
    assert torch.equal(images, before)


@every_choice
def test_each_image_of_a_batch_draws_for_itself(operations):
    """Trap 11: one draw for the whole batch would make these views equal."""
    same = bytes_of(1).expand(6, 3, 8, 8).contiguous()
    views = View(NORMALIZE, operations)(same, generator())
    assert len({tuple(view.flatten().tolist()) for view in views}) == 6


@every_choice
def test_the_same_state_of_the_generator_gives_the_same_views(operations):
    view, images, state = View(NORMALIZE, operations), bytes_of(4), generator(3)
    first, second = view(images, state), view(images, state)
    assert torch.equal(first, view(images, generator(3)))
    assert not torch.equal(first, second)


@every_choice
def test_torchs_global_generator_is_left_alone(operations):
    before = torch.get_rng_state()
    View(NORMALIZE, operations)(bytes_of(2), generator())
    assert torch.equal(torch.get_rng_state(), before)


@every_choice
def test_a_view_still_resembles_its_image(operations):
    images = (torch.arange(8, dtype=torch.uint8) * 30).view(1, 1, 1, 8).expand(64, 3, 8, 8).contiguous()
    views = View(NORMALIZE, operations)(images, generator())
    flat, original = views.flatten(1), NORMALIZE(images).flatten(1)
    similarity = torch.nn.functional.cosine_similarity(flat - flat.mean(1, keepdim=True), original).abs()
    assert similarity.mean() > 0.6


@pytest.mark.parametrize("sigma", [0.1, 0.5])
def test_noise_has_mean_0_and_the_given_sigma(sigma):
    noise = GaussianNoise(sigma)(torch.full((4, 3, 32, 32), 2.0), generator()) - 2
    assert float(noise.mean()) == pytest.approx(0, abs=0.05 * sigma)
    assert float(noise.std()) == pytest.approx(sigma, rel=0.05)
    assert float((noise.abs() < sigma).float().mean()) == pytest.approx(0.683, abs=0.02)


def test_noise_is_sigma_times_what_the_generator_gives():
    images = torch.randn(5, 3, 7, 6, generator=generator(2))
    expected = images + 0.25 * torch.randn(images.shape, generator=generator(4))
    assert torch.equal(GaussianNoise(0.25)(images, generator(4)), expected)


@pytest.mark.parametrize("operation", [GaussianNoise(), RandomIntensity(), RandomAffine(), RandomAffine(translation=2)])
def test_an_operation_returns_new_memory_and_leaves_its_images_alone(operation):
    images = torch.randn(5, 3, 6, 7, generator=generator(2))
    before = images.clone()
    views = operation(images, generator())
    views.zero_()
    assert torch.equal(images, before)


def intensity_map(operation: RandomIntensity, count: int = 500) -> tuple[Tensor, Tensor]:
    """The signed factor and the summand of each image, from what becomes of 1 and of -1."""
    images = torch.ones(count, 1, 1, 2)
    images[..., 1] = -1
    high, low = operation(images, generator()).view(count, 2).unbind(1)
    return (high - low) / 2, (high + low) / 2


def test_intensities_are_inverted_scaled_and_shifted_within_their_ranges():
    factor, summand = intensity_map(RandomIntensity())
    assert 0.25 - 1e-5 <= factor.abs().min() < 0.3
    assert 1.45 < factor.abs().max() <= 1.5 + 1e-5
    assert -0.5 - 1e-5 <= summand.min() < -0.45
    assert 0.45 < summand.max() <= 0.5 + 1e-5
    assert 0.4 < (factor < 0).float().mean() < 0.6
    assert torch.corrcoef(torch.stack([factor.sign(), factor.abs(), summand])).sub(torch.eye(3)).abs().max() < 0.2


@pytest.mark.parametrize(("probability", "share"), [(0.0, 0.0), (1.0, 1.0)])
def test_the_flip_probability_is_that_of_the_inversion(probability, share):
    factor, _ = intensity_map(RandomIntensity(flip_probability=probability))
    assert float((factor < 0).float().mean()) == share


def test_intensity_is_one_map_for_all_pixels_and_channels_of_an_image():
    images = torch.randn(5, 3, 4, 4, generator=generator(2))
    views = RandomIntensity()(images, generator())
    for image, view in zip(images.flatten(1), views.flatten(1), strict=True):
        assert abs(torch.corrcoef(torch.stack([image, view]))[0, 1]) == pytest.approx(1, abs=1e-4)


def test_intensity_can_be_switched_off():
    images = torch.randn(5, 3, 4, 4, generator=generator(2))
    same = RandomIntensity(flip_probability=0.0, scale=(1.0, 1.0), offset=(0.0, 0.0))
    torch.testing.assert_close(same(images, generator()), images)


@pytest.mark.parametrize("flip", [False, True])
def test_the_papers_views_are_what_the_paper_says(flip):
    noise = GaussianNoise(sigma=0.1)
    noisy = RandomAffine(translation=2, flip=flip, matrix_sigma=0.1)
    assert noise_operations() == (noise,)
    assert tf_operations(flip=flip) == (RandomAffine(translation=2, flip=flip), noise)
    assert tfa_operations(flip=flip) == (noisy, noise)
    inverted = RandomIntensity(flip_probability=0.5, scale=(0.25, 1.5), offset=(-0.5, 0.5))
    assert tfa_intensity_operations(flip=flip) == (noisy, inverted, noise)


def test_our_warp_draws_no_frame_around_a_dark_image():
    dark = torch.full((20, 1, 32, 32), -3.0)
    affine, _ = warp_operations(32)
    torch.testing.assert_close(affine(dark, generator()), dark)
    assert affine.translation == 2


def test_warps_of_three_strengths_shift_and_bend_by_their_shares_of_the_size():
    (weak,), (usual, _), (strong, noise) = weak_warp_operations(48), warp_operations(48), strong_warp_operations(48)
    assert [warp.translation for warp in (weak, usual, strong)] == [2, 3, 4]
    assert [warp.matrix_sigma for warp in (weak, usual, strong)] == [0.05, 0.1, 0.15]
    assert {warp.padding for warp in (weak, usual, strong)} == {"border"}
    assert noise == GaussianNoise(sigma=0.1)
