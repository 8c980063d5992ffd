"""One random affine map for each image."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from dalib.augment.geometry import RandomAffine

MANY = 400
EVERYTHING = RandomAffine(translation=2, rotation=20, shear=0.3, scale=1.2, aspect=1.3, matrix_sigma=0.1, flip=True)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_images(*shape: int) -> Tensor:
    return torch.randn(shape, generator=generator(9))


def maps(affine: RandomAffine, height: int = 8, width: int = 8) -> tuple[Tensor, Tensor]:
    """The 2x2 matrices (N, 2, 2) and the shifts (N, 2) in pixels."""
    matrices = affine.matrices(torch.empty(MANY, 1, height, width), generator())
    return matrices[:, :, :2], matrices[:, :, 2] * torch.tensor([width, height]) / 2


def assert_fills(values: Tensor, low: float, high: float) -> None:
    """Values stay within [low, high] and come near both ends."""
    tolerance = 0.05 * (high - low)
    assert low - 1e-5 <= float(values.min()) < low + tolerance
    assert high - tolerance < float(values.max()) <= high + 1e-5


@pytest.mark.parametrize("shape", [(3, 1, 8, 8), (2, 3, 7, 10)])
def test_nothing_changes_when_nothing_is_set(shape):
    images = random_images(*shape)
    torch.testing.assert_close(RandomAffine()(images, generator()), images, atol=1e-5, rtol=1e-5)


def test_each_image_draws_for_itself():
    """Trap 11: one draw for the whole batch would show the same warp on every image."""
    same = random_images(1, 1, 9, 9).expand(8, 1, 9, 9).contiguous()
    views = EVERYTHING(same, generator())
    assert len({tuple(view.flatten().tolist()) for view in views}) == 8


def test_the_channels_of_an_image_are_warped_alike():
    grey = random_images(4, 1, 9, 9)
    views = EVERYTHING(grey.expand(4, 3, 9, 9).contiguous(), generator())
    torch.testing.assert_close(views, views[:, :1].expand(4, 3, 9, 9))


def test_the_views_follow_from_the_state_of_the_generator():
    images = random_images(4, 1, 9, 9)
    state = generator(5)
    first, second = EVERYTHING(images, state), EVERYTHING(images, state)
    assert torch.equal(first, EVERYTHING(images, generator(5)))
    assert not torch.equal(first, second)


def test_views_keep_shape_and_dtype_and_leave_the_images_alone():
    images = random_images(5, 3, 6, 11)
    before = images.clone()
    views = EVERYTHING(images, generator())
    assert views.shape == images.shape
    assert views.dtype == torch.float32
    assert not views.requires_grad
    assert torch.equal(images, before)


def test_a_translation_moves_a_bright_pixel_by_no_more_than_asked():
    images = torch.zeros(MANY, 1, 13, 17)
    images[:, :, 6, 8] = 1
    views = RandomAffine(translation=2)(images, generator())[:, 0]
    torch.testing.assert_close(views.sum(dim=(1, 2)), torch.ones(MANY))
    down = (views.sum(dim=2) * torch.arange(13)).sum(dim=1) - 6
    right = (views.sum(dim=1) * torch.arange(17)).sum(dim=1) - 8
    assert_fills(down, -2, 2)
    assert_fills(right, -2, 2)
    assert abs(torch.corrcoef(torch.stack([down, right]))[0, 1]) < 0.2


def test_beyond_the_border_are_zeros_or_the_borders_pixels():
    ones = torch.ones(50, 1, 8, 8)
    zeros = RandomAffine(translation=3)(ones, generator())
    border = RandomAffine(translation=3, padding="border")(ones, generator())
    assert (zeros.amin(dim=(1, 2, 3)) == 0).float().mean() > 0.5
    torch.testing.assert_close(border, ones)


def test_flip_mirrors_left_to_right_half_of_the_time():
    images = random_images(1, 1, 6, 7).expand(MANY, 1, 6, 7).contiguous()
    views = RandomAffine(flip=True)(images, generator())
    mirrored = (views - images.flip(3)).abs().amax(dim=(1, 2, 3)) < 1e-4
    kept = (views - images).abs().amax(dim=(1, 2, 3)) < 1e-4
    assert bool((mirrored ^ kept).all())
    assert 0.4 < mirrored.float().mean() < 0.6


def test_translation_is_in_pixels_along_both_axes():
    linear, shift = maps(RandomAffine(translation=3), height=10, width=20)
    assert_fills(shift[:, 0], -3, 3)
    assert_fills(shift[:, 1], -3, 3)
    torch.testing.assert_close(linear, torch.eye(2).expand(MANY, 2, 2))


def test_rotation_is_in_degrees_and_changes_no_length():
    linear, shift = maps(RandomAffine(rotation=30))
    assert_fills(torch.atan2(linear[:, 1, 0], linear[:, 0, 0]) * 180 / math.pi, -30, 30)
    torch.testing.assert_close(linear @ linear.mT, torch.eye(2).expand(MANY, 2, 2))
    assert (shift == 0).all()


def test_shear_is_the_horizontal_shift_for_each_unit_of_height():
    linear, _ = maps(RandomAffine(shear=0.4))
    assert_fills(linear[:, 0, 1], -0.4, 0.4)
    linear[:, 0, 1] = 0
    torch.testing.assert_close(linear, torch.eye(2).expand(MANY, 2, 2))


def test_scale_is_the_same_along_both_axes_and_as_often_above_as_below_1():
    linear, _ = maps(RandomAffine(scale=2))
    torch.testing.assert_close(linear[:, 0, 0], linear[:, 1, 1])
    assert_fills(linear[:, 0, 0].log(), -math.log(2), math.log(2))
    assert abs(linear[:, 0, 0].log().mean()) < 0.1
    assert (linear[:, 0, 1] == 0).all()


def test_aspect_changes_width_against_height_and_not_the_area():
    linear, _ = maps(RandomAffine(aspect=2))
    assert_fills((linear[:, 0, 0] / linear[:, 1, 1]).log(), -math.log(2), math.log(2))
    torch.testing.assert_close(torch.linalg.det(linear), torch.ones(MANY))


def test_matrix_noise_is_normal_on_each_entry():
    linear, shift = maps(RandomAffine(matrix_sigma=0.1))
    noise = (linear - torch.eye(2)).view(MANY, 4)
    torch.testing.assert_close(noise.std(dim=0), torch.full((4,), 0.1), atol=0.02, rtol=0)
    torch.testing.assert_close(noise.mean(dim=0), torch.zeros(4), atol=0.02, rtol=0)
    correlation = torch.corrcoef(noise.T) - torch.eye(4)
    assert correlation.abs().max() < 0.25
    assert (shift == 0).all()


def test_switching_one_kind_off_leaves_the_others_as_they_were():
    _, with_all = maps(RandomAffine(translation=2, rotation=20, shear=0.3, scale=1.2, aspect=1.3, flip=True))
    _, alone = maps(RandomAffine(translation=2))
    torch.testing.assert_close(with_all, alone)


@pytest.mark.parametrize(("padding", "mode"), [("zeros", "grid-constant"), ("border", "nearest")])
def test_the_warp_agrees_with_scipy(padding, mode):
    height, width = 9, 7
    images = random_images(6, 1, height, width)
    affine = RandomAffine(translation=2, rotation=25, shear=0.3, scale=1.3, flip=True, padding=padding)
    views = affine(images, generator(3))
    for image, view, matrix in zip(images, views, affine.matrices(images, generator(3)), strict=True):
        (xx, xy, x), (yx, yy, y) = matrix.double().tolist()
        # scipy counts (row, column) in pixels; ours is (x, y) in [-1, 1] across the image
        linear = np.array([[yy, yx * height / width], [xy * width / height, xx]])
        centre = np.array([(height - 1) / 2, (width - 1) / 2])
        offset = centre - linear @ centre + np.array([y * height / 2, x * width / 2])
        expected = ndimage.affine_transform(image[0].double().numpy(), linear, offset, order=1, mode=mode)
        np.testing.assert_allclose(view[0].numpy(), expected, atol=1e-4)


def test_the_matrix_is_rotation_after_slant_scale_and_flip_plus_noise():
    """NumPy's composition of the documented draws, in their order."""
    draws = generator(3)
    uniform = (torch.rand(7, 5, generator=draws) * 2 - 1).double().numpy()
    noise = torch.randn(5, 2, 2, generator=draws).double().numpy()
    maps = EVERYTHING.matrices(torch.empty(5, 1, 10, 20), generator(3)).double().numpy()
    for image in range(5):
        turn, slant, growth, stretch, side, right, down = uniform[:, image]
        angle, size, width = math.radians(20 * turn), 1.2**growth, 1.3 ** (stretch / 2)
        rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        shape = np.array([[size * width * (-1 if side < 0 else 1), 0.3 * slant], [0, size / width]])
        np.testing.assert_allclose(maps[image, :, :2], rotation @ shape + 0.1 * noise[image], atol=1e-6)
        np.testing.assert_allclose(maps[image, :, 2], [2 * right * 2 / 20, 2 * down * 2 / 10], atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 1, 8, 8), (2, 3, 7, 10), (2, 1, 1, 5)])
def test_the_warp_samples_where_torchs_affine_grid_does(shape):
    images = random_images(*shape)
    grid = F.affine_grid(EVERYTHING.matrices(images, generator(3)), list(shape), align_corners=False)
    expected = F.grid_sample(images, grid, align_corners=False)
    torch.testing.assert_close(EVERYTHING(images, generator(3)), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("settings", [{"scale": 0.9}, {"aspect": 0.5}])
def test_factors_below_1_are_refused(settings):
    with pytest.raises(ValueError, match="expected at least 1"):
        RandomAffine(**settings)
