"""Normalisation and random operations in order, and the paper's choices of them."""

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dalib.augment.color import (
    ColourJitter,
    ColourRotation,
    Cutout,
    GaussianBlur,
    GaussianNoise,
    RandomGrey,
    RandomIntensity,
)
from dalib.augment.geometry import CentreCrop, RandomAffine, RandomCrop, RandomResizedCrop
from dalib.augment.ground import RandomGround, RandomTones
from dalib.augment.views import (
    CharacterView,
    PhotoView,
    View,
    character_grounds,
    character_tones,
    noise_operations,
    paper_photo,
    photo_moderate,
    photo_plain,
    photo_strong,
    photo_weak,
    strong_warp_operations,
    tf_operations,
    tfa_intensity_operations,
    tfa_operations,
    tllib_student,
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


# --- views of characters in colour


@pytest.mark.parametrize("preprocessing", [Preprocessing(8, 3), Preprocessing(8, 3, mean=(0.5,) * 3, std=(0.2,) * 3)])
def test_characters_are_changed_in_their_colours_and_normalised_afterwards(preprocessing):
    def darker(images: Tensor, generator: torch.Generator) -> Tensor:
        assert 0 <= images.min() <= images.max() <= 1
        return images**2

    def double(images: Tensor, generator: torch.Generator) -> Tensor:
        return images * 2

    images = bytes_of(3)
    before = images.clone()
    views = CharacterView(preprocessing.normalize, (darker,), (double,))(images, generator())
    torch.testing.assert_close(views, 2 * preprocessing.normalize(255 * (images / 255) ** 2))
    assert torch.equal(images, before)


def test_both_views_of_characters_warp_them_alike_and_one_draws_the_ground():
    grounds, tones = character_grounds(24, NORMALIZE), character_tones(24, NORMALIZE)
    warp, noise = strong_warp_operations(24)
    assert grounds == CharacterView(NORMALIZE, (warp, RandomGround(), RandomTones()), (noise,))
    assert tones == CharacterView(NORMALIZE, (warp, RandomTones()), (noise,))
    assert character_tones(24, NORMALIZE, flip=True).changes[0] == strong_warp_operations(24, flip=True)[0]


# --- views of photographs

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RANDOM_PHOTO_VIEWS = {
    "weak": photo_weak(24, MEAN, STD),
    "moderate": photo_moderate(24, MEAN, STD),
    "strong": photo_strong(24, MEAN, STD),
    "paper": paper_photo(24, MEAN, STD),
    "paper source": paper_photo(24, MEAN, STD, translation=2),
    "tllib student": tllib_student(24, MEAN, STD),
}
PLAIN_PHOTO_VIEWS = {"plain": photo_plain(24, MEAN, STD)}
PHOTO_VIEWS = RANDOM_PHOTO_VIEWS | PLAIN_PHOTO_VIEWS
every_photo_view = pytest.mark.parametrize("view", PHOTO_VIEWS.values(), ids=PHOTO_VIEWS)
every_random_photo_view = pytest.mark.parametrize("view", RANDOM_PHOTO_VIEWS.values(), ids=RANDOM_PHOTO_VIEWS)


def photographs(count: int, size: int = 28) -> Tensor:
    return torch.randint(0, 256, (count, 3, size, size), generator=generator(1), dtype=torch.uint8)


def in_pixels(views: Tensor) -> Tensor:
    """Back to the scale [0, 1]."""
    return views * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)


@every_photo_view
@pytest.mark.parametrize("count", [1, 5])
def test_photographs_become_float_views_of_the_size_asked(view, count):
    images = photographs(count)
    before = images.clone()
    views = view(images, generator())
    assert views.shape == (count, 3, 24, 24)
    assert views.dtype == torch.float32
    assert bool(views.isfinite().all())
    assert not views.requires_grad
    assert torch.equal(images, before)


@every_random_photo_view
def test_each_photograph_of_a_batch_draws_for_itself(view):
    """Trap 11."""
    views = view(photographs(1).expand(8, 3, 28, 28), generator())
    assert len({tuple(view.flatten().tolist()) for view in views}) == 8


@every_random_photo_view
def test_the_same_state_of_the_generator_gives_the_same_photographs(view):
    images, state = photographs(4), generator(3)
    first, second = view(images, state), view(images, state)
    assert torch.equal(first, view(images, generator(3)))
    assert not torch.equal(first, second)


@every_photo_view
def test_the_draws_of_a_photo_view_do_not_depend_on_the_photographs(view):
    state, other_state = generator(3), generator(3)
    view(photographs(4), state)
    view(torch.zeros(4, 3, 28, 28, dtype=torch.uint8), other_state)
    assert torch.equal(state.get_state(), other_state.get_state())


@every_photo_view
def test_a_photo_view_leaves_torchs_global_generator_alone(view):
    before = torch.get_rng_state()
    view(photographs(2), generator())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["weak", "moderate", "strong", "tllib student", "plain"])
def test_colours_stay_within_the_range_of_images(name):
    pixels = in_pixels(PHOTO_VIEWS[name](photographs(40), generator()))
    assert float(pixels.min()) >= -1e-6
    assert float(pixels.max()) <= 1 + 1e-6


@pytest.mark.parametrize("view", PLAIN_PHOTO_VIEWS.values(), ids=PLAIN_PHOTO_VIEWS)
def test_a_plain_photograph_is_what_preprocessing_makes_of_it(view):
    images = photographs(3)
    expected = Preprocessing(size=28, channels=3, mean=MEAN, std=STD, crop=24).normalize(images)
    torch.testing.assert_close(view(images, generator()), expected)


def test_the_parts_of_a_photo_view_follow_one_another():
    """Crop on bytes, warps and colours on [0, 1], a clamp, normalisation, operations."""
    seen: list[tuple[str, torch.dtype, float]] = []

    def spy(name: str, factor: float):
        def operation(images: Tensor, generator: torch.Generator) -> Tensor:
            seen.append((name, images.dtype, float(images.max())))
            return images if images.dtype == torch.uint8 else images * factor

        return operation

    class Doubled:
        def maps(self, means: Tensor, generator: torch.Generator) -> Tensor:
            seen.append(("colour", means.dtype, float(means.max())))
            return 2 * torch.eye(3, 4).expand(len(means), 3, 4)

    images = torch.full((1, 3, 4, 4), 204, dtype=torch.uint8)
    view = PhotoView((0.5,) * 3, (0.25,) * 3, spy("crop", 1), (spy("warp", 0.75),), (Doubled(),), (spy("last", 10),))
    views = view(images, generator())
    assert [name for name, _, _ in seen] == ["crop", "warp", "colour", "last"]
    assert seen[0] == ("crop", torch.uint8, 204)
    assert [value for _, _, value in seen[1:]] == pytest.approx([0.8, 0.6, 2.0])
    torch.testing.assert_close(views, torch.full((1, 3, 4, 4), 20.0))


def test_student_and_teacher_share_the_place_of_a_crop_that_is_cut_before():
    rows = photographs(5)
    common = RandomCrop(24)(rows, generator(1))
    weak, plain = PhotoView(MEAN, STD, colours=(ColourJitter(brightness=0.0),)), photo_plain(24, MEAN, STD)
    torch.testing.assert_close(weak(common, generator(2)), plain(common, generator(3)), atol=1e-5, rtol=0)
    assert common.dtype == torch.uint8


def test_a_photo_view_of_grey_images_takes_one_mean():
    images = photographs(3)[:, :1]
    views = PhotoView((0.5,), (0.25,), warps=(RandomResizedCrop(20),))(images, generator())
    assert views.shape == (3, 1, 20, 20)


@pytest.mark.parametrize(
    "images", [torch.zeros(2, 3, 28, 28), torch.zeros(2, 1, 28, 28, dtype=torch.uint8), photographs(1)[0]]
)
def test_photographs_of_another_kind_are_refused(images):
    with pytest.raises(ValueError, match=r"expected uint8 images \(N, 3, H, W\)"):
        photo_plain(24, MEAN, STD)(images, generator())


def test_means_without_as_many_deviations_are_refused():
    with pytest.raises(ValueError, match="expected one of each a channel"):
        photo_plain(24, MEAN, (0.5,))


def test_tllibs_views_are_what_its_example_says():
    jitter = ColourJitter(brightness=0.7, contrast=0.7, saturation=0.7, hue=0.5, probability=1.0)
    student = PhotoView(MEAN, STD, crop=RandomCrop(224, flip=True), colours=(jitter, RandomGrey(0.1)))
    assert tllib_student(224, MEAN, STD) == student
    assert photo_plain(224, MEAN, STD) == PhotoView(MEAN, STD, crop=CentreCrop(224))


def test_the_papers_photographs_are_what_its_code_says():
    view = paper_photo(160, MEAN, STD, translation=8)
    (warp,) = view.warps
    assert warp == RandomAffine(
        translation=8, scale=4 / 3, rotation_sigma=0.2, flip=True, padding="reflection", size=160
    )
    assert view.operations == (ColourRotation(rotation_sigma=0.05, offset_sigma=0.1, scale=(0.75, 1.333), grey=True),)
    assert (view.crop, view.colours) == (None, ())


def test_photographs_of_three_strengths_are_changed_more_and_more():
    weak, moderate, strong = (of(224, MEAN, STD) for of in (photo_weak, photo_moderate, photo_strong))
    assert weak.warps == (RandomResizedCrop(224, scale=(0.7, 1.0), flip=True),)
    assert weak.colours == (ColourJitter(0.1, 0.1, 0.1, 0.02),)
    assert moderate.warps == (RandomResizedCrop(224, scale=(0.5, 1.0), flip=True),)
    assert moderate.colours == (ColourJitter(0.3, 0.3, 0.3, 0.05), RandomGrey(0.1))
    assert strong.warps == (RandomResizedCrop(224, scale=(0.4, 1.0), flip=True, rotation=15), GaussianBlur())
    assert strong.colours == (ColourJitter(0.4, 0.4, 0.4, 0.1), RandomGrey(0.2))
    assert strong.operations == (Cutout(),)
    images = (torch.arange(28, dtype=torch.uint8) * 9).view(1, 1, 1, 28).expand(200, 3, 28, 28)
    plain = photo_plain(24, MEAN, STD)(images, generator())

    def distance(view: PhotoView) -> float:
        views = view(images, generator())
        views = torch.minimum((views - plain).abs().mean((1, 2, 3)), (views.flip(3) - plain).abs().mean((1, 2, 3)))
        return float(views.mean())

    weakly, moderately, strongly = (distance(RANDOM_PHOTO_VIEWS[name]) for name in ("weak", "moderate", "strong"))
    assert 0 < weakly < 0.9 * moderately < 0.9 * 0.9 * strongly


@pytest.mark.parametrize("of", [photo_weak, photo_moderate, photo_strong, paper_photo, tllib_student])
def test_no_photograph_is_mirrored_where_that_is_switched_off(of):
    images = torch.zeros(64, 3, 28, 28, dtype=torch.uint8)
    images[:, :, :, 14:] = 255

    def lighter_left(*, flip):
        views = of(24, MEAN, STD, flip=flip)(images, generator()).mean(dim=1)
        return (views[:, :, :8].mean(dim=(1, 2)) > views[:, :, -8:].mean(dim=(1, 2))).float().mean().item()

    assert lighter_left(flip=True) > 0.25
    assert lighter_left(flip=False) < 0.1


class HostWatch(TorchDispatchMode):
    """Fails at what would make the host wait for a GPU, or copy to one: reading a value, masks as an index, lists."""

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        name = function.overloadpacket.__name__
        assert name not in {"_local_scalar_dense", "nonzero", "masked_select", "lift_fresh", "lift_fresh_copy"}, name
        if name in {"index", "index_put", "index_put_"}:
            assert all(index is None or index.dtype != torch.bool for index in arguments[1])
        return function(*arguments, **(options or {}))


@every_photo_view
def test_no_photo_view_makes_the_host_wait(view):
    images, state = photographs(3), generator()
    with HostWatch():
        view(images, state)


def test_the_watch_sees_what_makes_the_host_wait():
    values = torch.rand(4)
    for waits in (lambda: values[0].item(), lambda: values[values > 0.5], lambda: torch.tensor([0.5, 0.5])):
        with pytest.raises(AssertionError), HostWatch():
            waits()
