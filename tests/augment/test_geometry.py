"""One random affine map for each image."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as torchvision

from dalib.augment.geometry import CentreCrop, RandomAffine, RandomCrop, RandomResizedCrop

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


@pytest.mark.parametrize(("height", "width"), [(10, 20), (20, 10)])
def test_rotation_and_shear_are_of_pixels_on_an_oblong_image(height, width):
    to_pixels = torch.diag(torch.tensor([width / 2, height / 2]))
    turned, _ = maps(RandomAffine(rotation=30), height, width)
    turned = to_pixels @ turned @ to_pixels.inverse()
    torch.testing.assert_close(turned @ turned.mT, torch.eye(2).expand(MANY, 2, 2))
    assert_fills(torch.atan2(turned[:, 1, 0], turned[:, 0, 0]) * 180 / math.pi, -30, 30)
    slanted, _ = maps(RandomAffine(shear=0.4), height, width)
    assert_fills((to_pixels @ slanted @ to_pixels.inverse())[:, 0, 1], -0.4, 0.4)


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
        of_pixels = rotation @ shape  # of 10 x 20 of them
        relative = of_pixels * [[1, 10 / 20], [20 / 10, 1]]
        np.testing.assert_allclose(maps[image, :, :2], relative + 0.1 * noise[image], atol=1e-6)
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


def test_a_normal_angle_has_the_sigma_asked():
    linear, _ = maps(RandomAffine(rotation_sigma=0.2))
    angle = torch.atan2(linear[:, 1, 0], linear[:, 0, 0])
    assert float(angle.std()) == pytest.approx(0.2, rel=0.1)
    assert float(angle.mean()) == pytest.approx(0, abs=0.03)
    assert float((angle.abs() < 0.2).float().mean()) == pytest.approx(0.683, abs=0.06)
    torch.testing.assert_close(linear @ linear.mT, torch.eye(2).expand(MANY, 2, 2))


def test_an_affine_view_of_another_size_is_the_centre_of_the_warped_image():
    images = random_images(4, 3, 30, 30)
    whole = RandomAffine(translation=2, rotation=25, scale=1.3, flip=True)(images, generator(3))
    cut = RandomAffine(translation=2, rotation=25, scale=1.3, flip=True, size=22)(images, generator(3))
    torch.testing.assert_close(cut, whole[:, :, 4:26, 4:26], atol=1e-4, rtol=0)


def test_a_mirrored_border_shows_the_image_again():
    ramp = torch.arange(8.0).expand(50, 1, 8, 8).contiguous()
    views = RandomAffine(translation=3, padding="reflection")(ramp, generator())
    assert float(views.min()) >= 0
    assert float((views[:, 0, 0, 1:] - views[:, 0, 0, :-1]).abs().amax()) <= 1 + 1e-4
    assert bool((views[:, 0, 0].argmax(dim=1) < 7).any())  # the brightest column, mirrored, lies within


# --- crops at whole pixels


def coordinates(count: int, height: int, width: int, dtype: torch.dtype = torch.uint8) -> Tensor:
    """(count, 3, height, width): the row, the column and the image's number."""
    rows = torch.arange(height).view(1, 1, height, 1).expand(count, 1, height, width)
    columns = torch.arange(width).view(1, 1, 1, width).expand(count, 1, height, width)
    numbers = (torch.arange(count) % 256).view(count, 1, 1, 1).expand(count, 1, height, width)
    return torch.cat([rows, columns, numbers], dim=1).to(dtype)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("flip", [False, True])
def test_a_random_crop_is_a_slice_of_its_image_bit_for_bit(dtype, flip):
    images = coordinates(200, 20, 31, dtype)
    crops = RandomCrop(12, flip)(images, generator())
    assert crops.shape == (200, 3, 12, 12)
    assert crops.dtype == dtype
    mirrored = 0
    for image, crop in zip(images, crops, strict=True):
        top, first, last = int(crop[0, 0, 0]), int(crop[1, 0, 0]), int(crop[1, 0, -1])
        left = min(first, last)
        expected = image[:, top : top + 12, left : left + 12]
        mirrored += first > last
        assert torch.equal(crop, expected.flip(2) if first > last else expected)
    assert 70 < mirrored < 130 if flip else mirrored == 0


def test_every_place_of_a_crop_is_as_likely_and_rows_and_columns_independent():
    crops = RandomCrop(12)(coordinates(3000, 15, 16), generator())
    top, left = crops[:, 0, 0, 0].long(), crops[:, 1, 0, 0].long()
    torch.testing.assert_close(torch.bincount(top) / 3000, torch.full((4,), 1 / 4), atol=0.03, rtol=0)
    torch.testing.assert_close(torch.bincount(left) / 3000, torch.full((5,), 1 / 5), atol=0.03, rtol=0)
    assert abs(torch.corrcoef(torch.stack([top, left]).float())[0, 1]) < 0.05


def test_flips_leave_the_places_of_the_crops_as_they_were():
    images = coordinates(50, 20, 20)
    plain, flipped = RandomCrop(8)(images, generator(1)), RandomCrop(8, flip=True)(images, generator(1))
    assert torch.equal(plain.sort(dim=3).values, flipped.sort(dim=3).values)


def test_flips_are_independent_of_the_place():
    crops = RandomCrop(12, flip=True)(coordinates(MANY, 20, 20), generator())
    top, first, last = crops[:, 0, 0, 0].float(), crops[:, 1, 0, 0].float(), crops[:, 1, 0, -1].float()
    draws = torch.stack([top, torch.minimum(first, last), (first > last).float()])
    assert (torch.corrcoef(draws) - torch.eye(3)).abs().max() < 0.2


def test_a_crop_of_the_whole_image_is_the_image():
    images = coordinates(5, 16, 16)
    crops = RandomCrop(16)(images, generator())
    assert torch.equal(crops, images)
    crops.zero_()
    assert images.any()


def test_a_random_crop_takes_images_in_any_layout_and_leaves_them_alone():
    images = coordinates(4, 20, 20)
    expected = RandomCrop(9, flip=True)(images, generator(2))
    strided = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(RandomCrop(9, flip=True)(strided, generator(2)), expected)
    assert torch.equal(images, coordinates(4, 20, 20))


@pytest.mark.parametrize("size", [224, 5, 6])
def test_a_centre_crop_is_torchvisions(size):
    images = torch.randint(0, 256, (1, 3, 256, 258), dtype=torch.uint8, generator=generator())
    if size % 2:
        images = images[..., 1:, 1:]  # so that the centre is between no two pixels
    assert torch.equal(CentreCrop(size)(images, generator()), torchvision.center_crop(images, [size, size]))


@pytest.mark.parametrize("crop", [RandomCrop(9), CentreCrop(9)])
@pytest.mark.parametrize("shape", [(2, 3, 8, 20), (2, 3, 20, 8), (3, 20, 20)])
def test_images_smaller_than_a_crop_are_refused(crop, shape):
    with pytest.raises(ValueError, match="at least 9 pixels a side"):
        crop(torch.zeros(shape, dtype=torch.uint8), generator())


# --- crops that are scaled


def boxes(crop: RandomResizedCrop, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """The sides (N, 2) and the centres (N, 2) of the boxes, x before y, in pixels, and the matrices (N, 2, 2)."""
    linear, centre = crop.matrices(torch.empty(MANY, 1, height, width), generator()).split([2, 1], dim=2)
    pixels = torch.tensor([width, height])
    # the columns are half a box's sides, on an image whose half sides are 1
    in_pixels = linear * pixels[:, None]
    return in_pixels.square().sum(dim=1).sqrt(), (centre[:, :, 0] + 1) / 2 * pixels, in_pixels


def test_boxes_have_the_areas_and_ratios_asked_and_lie_within_the_image():
    sides, centres, _ = boxes(RandomResizedCrop(8, scale=(0.1, 0.4)), height=40, width=50)
    area, ratio = sides.prod(dim=1) / 2000, sides[:, 0] / sides[:, 1]
    assert_fills(area, 0.1, 0.4)
    assert_fills(ratio.log(), math.log(3 / 4), math.log(4 / 3))
    assert abs(float(ratio.log().mean())) < 0.03
    room = torch.tensor([50, 40]) - sides
    place = (centres - sides / 2) / room
    assert_fills(place[:, 0], 0, 1)
    assert_fills(place[:, 1], 0, 1)
    independent = torch.corrcoef(torch.stack([area, ratio, place[:, 0], place[:, 1]])) - torch.eye(4)
    assert independent.abs().max() < 0.2


def test_a_box_that_would_not_fit_is_cut_to_the_image():
    sides, centres, _ = boxes(RandomResizedCrop(8, scale=(1.0, 1.0)), height=40, width=40)
    assert float(sides.max()) <= 40 + 1e-4
    assert float((centres - sides / 2).min()) >= -1e-4
    assert float((centres + sides / 2).max()) <= 40 + 1e-4


def test_the_whole_image_scaled_is_torchs_interpolate():
    images = random_images(3, 3, 20, 20)
    views = RandomResizedCrop(18, scale=(1.0, 1.0), ratio=(1.0, 1.0))(images, generator())
    expected = F.interpolate(images, (18, 18), mode="bilinear", align_corners=False)
    torch.testing.assert_close(views, expected, atol=1e-5, rtol=0)


def test_a_scaled_crop_is_scipys_sampling_of_its_box():
    """NumPy's boxes of the documented draws: area, ratio, place, flip."""
    images = random_images(6, 1, 48, 64)
    views = RandomResizedCrop(24, scale=(0.3, 0.5), flip=True)(images, generator(3))
    draws = torch.rand(6, 6, generator=generator(3)).double().numpy()
    for image, view, (area, ratio, x, y, side, _) in zip(images, views, draws.T, strict=True):
        pixels, shape = 48 * 64 * (0.3 + 0.2 * area), (3 / 4) ** (1 - 2 * ratio)
        width, height = math.sqrt(pixels * shape), math.sqrt(pixels / shape)
        centres = (np.arange(24) + 0.5) / 24
        columns = x * (64 - width) + width * centres - 0.5
        rows = y * (48 - height) + height * centres - 0.5
        places = np.stack(np.meshgrid(rows, columns[::-1] if side < 0.5 else columns, indexing="ij"))
        expected = ndimage.map_coordinates(image[0].double().numpy(), places, order=1, mode="nearest")
        np.testing.assert_allclose(view[0].numpy(), expected, atol=1e-4)


def test_a_turned_box_keeps_its_sides_and_right_angles_on_an_oblong_image():
    crop = RandomResizedCrop(8, scale=(0.1, 0.4), rotation=15)
    sides, centres, turned = boxes(crop, height=40, width=80)
    straight_sides, straight_centres, _ = boxes(RandomResizedCrop(8, scale=(0.1, 0.4)), height=40, width=80)
    torch.testing.assert_close(sides, straight_sides)
    torch.testing.assert_close(centres, straight_centres)
    torch.testing.assert_close((turned[:, :, 0] * turned[:, :, 1]).sum(dim=1), torch.zeros(MANY), atol=1e-3, rtol=0)
    assert_fills(torch.atan2(turned[:, 1, 0], turned[:, 0, 0]) * 180 / math.pi, -15, 15)


def test_scaled_crops_flip_half_of_the_images_and_keep_their_boxes():
    sides, centres, flipped = boxes(RandomResizedCrop(8, flip=True), height=40, width=40)
    plain_sides, plain_centres, _ = boxes(RandomResizedCrop(8), height=40, width=40)
    assert 0.4 < float((flipped[:, 0, 0] < 0).float().mean()) < 0.6
    torch.testing.assert_close(sides, plain_sides)
    torch.testing.assert_close(centres, plain_centres)


def test_each_image_is_cropped_and_scaled_for_itself():
    same = random_images(1, 1, 20, 20).expand(8, 1, 20, 20).contiguous()
    views = RandomResizedCrop(12)(same, generator())
    assert len({tuple(view.flatten().tolist()) for view in views}) == 8
    assert torch.equal(views, RandomResizedCrop(12)(same, generator()))


@pytest.mark.parametrize("settings", [{"scale": (0.0, 1.0)}, {"scale": (0.5, 1.2)}, {"ratio": (2.0, 1.0)}])
def test_boxes_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match="expected a range"):
        RandomResizedCrop(8, **settings)
