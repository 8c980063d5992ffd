"""Colours, blur and holes, each drawn for each image; oracles are torchvision, image by image, and SciPy.

Noise and intensities are tested with the views that are made of them.
"""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor
from torchvision.transforms.v2 import functional as torchvision

from dalib.augment.color import (
    GREY_SHARES,
    GREY_SHARES_BT709,
    ColourJitter,
    ColourRotation,
    Cutout,
    GaussianBlur,
    RandomGrey,
    recoloured,
)

MANY = 400
OPERATIONS = [
    ColourJitter(0.4, 0.4, 0.4, 0.1),
    RandomGrey(0.5),
    ColourRotation(),
    GaussianBlur(probability=0.8),
    Cutout(probability=0.8),
]
COLOURS = OPERATIONS[:3]
NAMES = [type(operation).__name__ for operation in OPERATIONS]
every_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=NAMES)
every_colour = pytest.mark.parametrize("colour", COLOURS, ids=NAMES[:3])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photographs(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator(9))


def maps_of(colour, count: int = MANY) -> tuple[Tensor, Tensor]:
    """The matrices (N, 3, 3) and the offsets (N, 3) of images whose mean is (0.2, 0.4, 0.6)."""
    maps = colour.maps(torch.tensor([0.2, 0.4, 0.6]).expand(count, 3), generator())
    return maps[:, :, :3], maps[:, :, 3]


def changed(images: Tensor, views: Tensor) -> Tensor:
    return (images - views).abs().amax(dim=(1, 2, 3)) > 1e-5


@every_operation
@pytest.mark.parametrize("count", [1, 5])
def test_views_keep_shape_and_dtype_in_memory_of_their_own(operation, count):
    images = photographs(count, 3, 10, 13)
    before = images.clone()
    views = operation(images, generator())
    assert views.shape == images.shape
    assert views.dtype == torch.float32
    assert views.is_contiguous()
    views.zero_()
    assert torch.equal(images, before)


@every_operation
def test_each_image_of_a_batch_draws_for_itself(operation):
    """Trap 11: one draw for the whole batch would change all copies alike, or none of them."""
    views = operation(photographs(1, 3, 16, 16).expand(60, 3, 16, 16).contiguous(), generator())
    different = len({tuple(view.flatten().tolist()) for view in views})
    assert different == 2 if isinstance(operation, RandomGrey) else different > 40


@every_operation
def test_the_draws_follow_from_the_generator_and_not_from_the_images(operation):
    state, other_state = generator(5), generator(5)
    first = operation(photographs(4, 3, 16, 16), state)
    operation(torch.zeros(4, 3, 16, 16), other_state)
    assert torch.equal(first, operation(photographs(4, 3, 16, 16), generator(5)))
    assert torch.equal(state.get_state(), other_state.get_state())


@every_operation
def test_torchs_global_generator_is_left_alone(operation):
    before = torch.get_rng_state()
    operation(photographs(2, 3, 16, 16), generator())
    assert torch.equal(torch.get_rng_state(), before)


@every_operation
def test_an_image_is_changed_as_it_would_be_in_another_company(operation):
    """Nothing of the other images reaches one: contrast takes the mean of its own image."""
    images = photographs(3, 3, 16, 16)
    others = images.clone()
    others[1:] = 0.9
    torch.testing.assert_close(operation(images, generator())[0], operation(others, generator())[0])


@every_colour
@pytest.mark.parametrize("channels", [1, 4])
def test_images_that_are_not_rgb_are_refused_with_a_remedy(colour, channels):
    with pytest.raises(ValueError, match=r"expected RGB images .*expand\(-1, 3, -1, -1\)"):
        colour(photographs(2, channels, 8, 8), generator())


@pytest.mark.parametrize("operation", OPERATIONS[3:], ids=NAMES[3:])
def test_grey_images_can_be_blurred_and_cut(operation):
    assert operation(photographs(5, 1, 16, 16), generator()).shape == (5, 1, 16, 16)


# --- maps of colours


def test_maps_in_a_row_are_what_one_after_the_other_would_be():
    images = photographs(6, 3, 8, 8, low=0.4, high=0.5)  # so that nothing is clamped in between
    row = (ColourJitter(brightness=0.2), ColourJitter(contrast=0.2), RandomGrey(0.5), ColourRotation())
    draws, expected = generator(3), images
    for colour in row:
        expected = colour(expected, draws)
    torch.testing.assert_close(recoloured(images, row, generator(3)), expected, atol=1e-5, rtol=1e-5)


def test_no_maps_are_the_image():
    images = photographs(2, 3, 8, 8)
    torch.testing.assert_close(recoloured(images, (), generator()), images)


def test_a_map_by_hand():
    class Swapped:
        def maps(self, means: Tensor, generator: torch.Generator) -> Tensor:
            """Red and blue change places, and green is the mean of red."""
            one = torch.tensor([[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
            maps = one.expand(len(means), 3, 4).clone()
            maps[:, 1, 3] = means[:, 0]
            return maps

    images = torch.tensor([[0.1, 0.3], [0.5, 0.6], [0.7, 0.9]]).view(1, 3, 1, 2)
    expected = torch.tensor([[0.7, 0.9], [0.2, 0.2], [0.1, 0.3]]).view(1, 3, 1, 2)
    torch.testing.assert_close(recoloured(images, (Swapped(),), generator()), expected)


# --- jitter


def test_jitter_is_torchvisions_where_nothing_is_clamped():
    """Image by image with the same factors. Grey is mixed 0.299, 0.587, 0.114 here and to four digits there."""
    images = photographs(8, 3, 9, 7, low=0.35, high=0.55)
    views = ColourJitter(brightness=0.3, contrast=0.4, saturation=0.5)(images, generator(3))
    uniform = torch.rand(5, 8, generator=generator(3))
    for number, (image, view) in enumerate(zip(images, views, strict=True)):
        brightness, contrast, saturation = (
            1 + strength * (2 * float(u) - 1) for strength, u in zip((0.3, 0.4, 0.5), uniform[:3, number], strict=True)
        )
        expected = torchvision.adjust_brightness(image, brightness)
        expected = torchvision.adjust_contrast(expected, contrast)
        expected = torchvision.adjust_saturation(expected, saturation)
        assert bool(((expected > 0) & (expected < 1)).all())
        torch.testing.assert_close(view, expected, atol=2e-4, rtol=0)


def test_a_factor_can_reach_zero_and_no_further():
    """torchvision's range is [max(0, 1 - b), 1 + b]."""
    linear, offset = maps_of(ColourJitter(brightness=2))
    factors = linear[:, 0, 0]
    assert 0 <= float(factors.min()) < 0.05
    assert 2.9 < float(factors.max()) <= 3
    torch.testing.assert_close(linear, factors[:, None, None] * torch.eye(3))
    assert (offset == 0).all()


def test_contrast_moves_towards_the_mean_grey():
    image = torch.tensor([[0.2, 0.6], [0.2, 0.6], [0.2, 0.6]]).view(1, 3, 1, 2)
    views = ColourJitter(contrast=0.5)(image.expand(MANY, 3, 1, 2), generator())
    distance = views[..., 1] - views[..., 0]
    torch.testing.assert_close(views.mean(dim=3), torch.full((MANY, 3, 1), 0.4))
    assert 0.2 <= float(distance.min()) < 0.22
    assert 0.58 < float(distance.max()) <= 0.6 + 1e-5


def test_without_saturation_an_image_is_its_grey():
    linear, _ = maps_of(ColourJitter(saturation=1))
    saturation = linear[:, 0, 0] - linear[:, 1, 0]
    torch.testing.assert_close(linear[saturation.argmin()], torch.tensor([GREY_SHARES] * 3), atol=0.02, rtol=0)
    torch.testing.assert_close(linear.sum(dim=2), torch.ones(MANY, 3))  # greys stay themselves


def test_a_third_of_the_circle_is_torchvisions_hue_in_both_directions():
    images = photographs(1, 3, 9, 7)
    seen = set()
    for seed in range(30):
        turn = 2 * float(torch.rand(5, 1, generator=generator(seed))[3, 0]) - 1
        if abs(turn) > 2 / 3:
            view = ColourJitter(hue=1 / 3 / abs(turn))(images, generator(seed))
            expected = torchvision.adjust_hue(images, math.copysign(1 / 3, turn))
            torch.testing.assert_close(view, expected, atol=1e-5, rtol=0)
            seen.add(turn > 0)
    assert seen == {True, False}


def test_hue_is_near_torchvisions_everywhere_on_the_circle():
    """The colours of photographs: not far from grey."""
    images = photographs(60, 3, 8, 8, low=0.35, high=0.65)
    views = ColourJitter(hue=0.5)(images, generator(3))
    turns = torch.rand(5, 60, generator=generator(3))[3] - 0.5
    differences, changes = [], []
    for image, view, turn in zip(images, views, turns.tolist(), strict=True):
        expected = torchvision.adjust_hue(image, turn)
        differences.append(float((view - expected).abs().mean()))
        changes.append(float((image - expected).abs().mean()))
    assert max(differences) < 0.04
    assert np.mean(differences) < 0.3 * np.mean(changes)


def test_hue_keeps_greys_and_the_mean_of_the_channels():
    linear, offset = maps_of(ColourJitter(hue=0.5))
    ones = torch.ones(MANY, 3)
    torch.testing.assert_close(linear.sum(dim=2), ones)
    torch.testing.assert_close(linear.sum(dim=1), ones)
    torch.testing.assert_close(linear @ linear.mT, torch.eye(3).expand(MANY, 3, 3), atol=1e-5, rtol=0)
    assert (offset == 0).all()


def test_jitter_clamps_to_the_range_of_images():
    views = ColourJitter(0.9, 0.9, 0.9, 0.5)(photographs(30, 3, 8, 8), generator())
    assert float(views.min()) == 0
    assert float(views.max()) == 1


@pytest.mark.parametrize(("probability", "low", "high"), [(0.0, 0, 0), (0.3, 0.22, 0.38), (1.0, 1, 1)])
def test_jitter_leaves_images_alone_with_the_probability_asked(probability, low, high):
    images = photographs(MANY, 3, 4, 4)
    views = ColourJitter(0.5, 0.5, 0.5, 0.2, probability)(images, generator())
    assert low <= float(changed(images, views).float().mean()) <= high


def test_whether_an_image_is_changed_says_nothing_of_how():
    """One draw for both would give the images that are changed a part of the range alone."""
    sure, sometimes = ColourJitter(0.5, 0.5, 0.5, 0.2), ColourJitter(0.5, 0.5, 0.5, 0.2, probability=0.3)
    chosen = (maps_of(sometimes)[0] != torch.eye(3)).any(dim=(1, 2)).float()
    uniform = torch.rand(5, MANY, generator=generator())[:4]
    torch.testing.assert_close(maps_of(sure)[0][chosen > 0], maps_of(sometimes)[0][chosen > 0])
    assert torch.corrcoef(torch.cat([chosen[None], uniform]))[0, 1:].abs().max() < 0.15

    image = torch.zeros(MANY, 1, 9, 9)
    image[:, :, 4, 4] = 1
    peak = GaussianBlur((0.3, 1.0), probability=0.3)(image, generator())[:, 0, 4, 4]
    always = GaussianBlur((0.3, 1.0), probability=1.0)(image, generator())[:, 0, 4, 4]
    assert float(always.min()) == pytest.approx(float(peak.min()), abs=0.02)
    assert float(peak[peak < 1].max()) == pytest.approx(float(always.max()), abs=0.05)

    ones = torch.ones(MANY, 1, 40, 40)
    hole = 1 - Cutout((0.1, 0.3), probability=0.3)(ones, generator()).mean(dim=(1, 2, 3))
    assert 0.09 < float(hole[hole > 0].min()) < 0.13
    assert 0.27 < float(hole.max()) < 0.32


def test_one_strength_leaves_the_draws_of_the_others_as_they_were():
    with_all, _ = maps_of(ColourJitter(brightness=0.5, contrast=0.0, saturation=0.0, hue=0.4))
    alone, _ = maps_of(ColourJitter(brightness=0.5))
    torch.testing.assert_close(with_all.sum(dim=2), alone.sum(dim=2))


@pytest.mark.parametrize("settings", [{"hue": 0.6}, {"hue": -0.1}, {"brightness": -1}])
def test_strengths_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match="expected"):
        ColourJitter(**settings)


# --- grey


def test_grey_is_torchvisions():
    images = photographs(4, 3, 8, 8)
    expected = torch.stack([torchvision.rgb_to_grayscale(image, num_output_channels=3) for image in images])
    torch.testing.assert_close(RandomGrey(1.0)(images, generator()), expected, atol=2e-4, rtol=0)


def test_some_images_turn_grey_and_the_others_stay():
    images = photographs(MANY, 3, 4, 4)
    views = RandomGrey(0.2)(images, generator())
    grey = (views - views[:, :1]).abs().amax(dim=(1, 2, 3)) < 1e-5
    assert 0.14 < float(grey.float().mean()) < 0.26
    assert torch.equal(grey, changed(images, views))


# --- the authors' colours


def test_colour_rotation_is_scipys_of_the_documented_draws():
    colour, count, draws = ColourRotation(0.3, 0.2, (0.5, 1.5)), 6, generator(3)
    normal = torch.randn(7, count, generator=draws).double().numpy()
    blend, factor = torch.rand(2, count, generator=draws).double().numpy()
    maps = colour.maps(torch.zeros(count, 3), generator(3)).double().numpy()
    for image in range(count):
        axis = normal[1:4, image] / np.linalg.norm(normal[1:4, image])
        turned = Rotation.from_rotvec(0.3 * normal[0, image] * axis).as_matrix()
        greyed = (1 - blend[image]) * np.eye(3) + blend[image] * np.array([GREY_SHARES_BT709] * 3)
        np.testing.assert_allclose(maps[image, :, :3], (0.5 + factor[image]) * turned @ greyed, atol=1e-5)
        np.testing.assert_allclose(maps[image, :, 3], 0.2 * normal[4:, image], atol=1e-6)


def test_colour_rotation_has_the_sigmas_asked():
    linear, offset = maps_of(ColourRotation(0.05, 0.1, scale=(1.0, 1.0), grey=False), 4000)
    torch.testing.assert_close(linear @ linear.mT, torch.eye(3).expand(4000, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(linear), torch.ones(4000), atol=1e-5, rtol=0)
    trace = linear.diagonal(dim1=1, dim2=2).double().sum(dim=1)
    assert float((3 - trace).mean().sqrt()) == pytest.approx(0.05, rel=0.1)  # trace = 1 + 2 cos(angle)
    torch.testing.assert_close(offset.std(dim=0), torch.full((3,), 0.1), atol=0.01, rtol=0)


def test_colour_rotation_can_be_switched_off():
    images = photographs(4, 3, 8, 8)
    same = ColourRotation(0.0, 0.0, (1.0, 1.0), grey=False)
    torch.testing.assert_close(same(images, generator()), images)


# --- blur


def test_blur_is_torchvisions_away_from_the_border():
    images = photographs(6, 3, 24, 30)
    views = GaussianBlur((0.3, 1.5), probability=1.0)(images, generator(3))
    uniform = torch.rand(2, 6, generator=generator(3))
    for image, view, share in zip(images, views, uniform[0].tolist(), strict=True):
        expected = torchvision.gaussian_blur(image, [11, 11], [0.3 + 1.2 * share] * 2)
        torch.testing.assert_close(view[:, 5:-5, 5:-5], expected[:, 5:-5, 5:-5], atol=1e-5, rtol=0)


def test_blur_of_one_colour_is_that_colour_up_to_the_border():
    images = torch.full((5, 3, 12, 9), 0.7)
    torch.testing.assert_close(GaussianBlur(probability=1.0)(images, generator()), images)


def test_sharp_images_stay_exactly_as_they_were():
    images = photographs(MANY, 1, 6, 6)
    views = GaussianBlur((0.5, 1.0), probability=0.3)(images, generator())
    blurred = changed(images, views)
    assert 0.22 < float(blurred.float().mean()) < 0.38
    assert torch.equal(views[~blurred], images[~blurred])


def test_blur_keeps_images_in_their_range():
    views = GaussianBlur((0.1, 3.0), probability=1.0)(photographs(9, 3, 20, 20).round(), generator())
    assert float(views.min()) >= -1e-6
    assert float(views.max()) <= 1 + 1e-6


@pytest.mark.parametrize("sigma", [(0.0, 1.0), (2.0, 1.0)])
def test_sigmas_out_of_order_are_refused(sigma):
    with pytest.raises(ValueError, match="expected a range above 0"):
        GaussianBlur(sigma)


# --- cutout


def test_a_hole_is_one_rectangle_of_the_area_asked():
    views = Cutout((0.1, 0.3), (0.5, 2.0), probability=1.0)(torch.ones(MANY, 3, 50, 80), generator())
    assert torch.equal(views, views[:, :1].expand_as(views))
    hole = views[:, 0] == 0
    rows, columns = hole.any(dim=2), hole.any(dim=1)
    assert torch.equal(hole, rows[:, :, None] & columns[:, None, :])
    for side in (rows, columns):  # in one piece
        assert float(side.float().diff(dim=1).abs().sum(dim=1).max()) <= 2
    height, width = rows.float().mean(dim=1), columns.float().mean(dim=1)
    area, ratio = height * width, width / height
    assert 0.08 < float(area.min()) < 0.13
    assert 0.27 < float(area.max()) < 0.32
    assert 0.45 < float(ratio.min()) < 0.6
    assert 1.7 < float(ratio.max()) < 2.2


def test_holes_lie_anywhere_within_the_image():
    hole = Cutout((0.1, 0.1), (1.0, 1.0), probability=1.0)(torch.ones(4000, 1, 20, 20), generator()) == 0
    share = hole[:, 0].float().mean(dim=0)
    assert float(share.min()) > 0
    assert float(hole.float().mean()) == pytest.approx(0.1, abs=0.01)


def test_what_is_not_in_a_hole_stays_as_it_was():
    images = photographs(MANY, 3, 12, 12, low=0.1)
    views = Cutout(probability=0.3)(images, generator())
    assert bool(((views == images) | (views == 0)).all())
    assert 0.22 < float(changed(images, views).float().mean()) < 0.38


@pytest.mark.parametrize("settings", [{"area": (0.5, 1.5)}, {"area": (0.5, 0.1)}, {"ratio": (0.0, 1.0)}])
def test_holes_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match="expected a range"):
        Cutout(**settings)
