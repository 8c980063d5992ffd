"""From a PIL image of any kind to what the network sees."""

import io
import math
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from dalib.data.preprocessing import Preprocessing

GREY = Preprocessing(size=8, channels=1)
COLOUR = Preprocessing(size=8, channels=3)


def through_file(image: Image.Image, ending: str, **options) -> Image.Image:
    file = io.BytesIO()
    image.save(file, format=ending, **options)
    file.seek(0)
    return Image.open(file)


def random_bytes(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_gets_mean_0_and_std_1_over_all_its_pixels_and_channels(channels):
    images = torch.from_numpy(random_bytes(5, channels, 8, 8)) // torch.tensor([1, 2, 3, 4, 9]).view(5, 1, 1, 1)
    values = Preprocessing(8, channels).normalize(images)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values.mean(dim=(1, 2, 3)), torch.zeros(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(values.std(dim=(1, 2, 3), correction=0), torch.ones(5))


def test_standardisation_keeps_the_differences_between_channels():
    image = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    image[:, 0] = 200
    values = COLOUR.normalize(image)
    assert values[0, 0].min() > 1
    assert values[0, 1:].max() < 0


@pytest.mark.parametrize("value", [0, 1, 93, 255])
def test_an_image_of_one_colour_becomes_zeros(value):
    images = torch.full((2, 3, 64, 64), value, dtype=torch.uint8)
    # up to the rounding of the mean, over the smallest standard deviation that is divided by
    torch.testing.assert_close(COLOUR.normalize(images), torch.zeros(2, 3, 64, 64), atol=0.05, rtol=0)


def test_an_image_is_standardised_without_regard_to_its_batch():
    images = torch.from_numpy(random_bytes(4, 1, 8, 8))
    torch.testing.assert_close(GREY.normalize(images)[2:3], GREY.normalize(images[2:3]))


def test_fixed_mean_and_std_are_of_each_channel_on_the_scale_0_to_1():
    fixed = Preprocessing(2, 3, mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 2.0))
    images = torch.tensor([0, 255, 51], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    expected = torch.tensor([0.0, 1.0, -0.4]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    torch.testing.assert_close(fixed.normalize(images), expected)


def test_crop_takes_the_centre_and_stretch_takes_everything():
    wide = np.zeros((8, 24), dtype=np.uint8)
    wide[:, 8:16] = 255
    cropped = Preprocessing(8, 1, fit="crop").pixels(Image.fromarray(wide))
    stretched = Preprocessing(8, 1, fit="stretch").pixels(Image.fromarray(wide))
    assert (cropped == 255).all()
    assert (stretched[0, :, 0] == 0).all()
    assert (stretched[0, :, 4] > 200).all()


@pytest.mark.parametrize("fit", ["crop", "stretch"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(8, 8), (1, 1), (1, 40), (37, 5)])
def test_any_size_becomes_channels_size_size_bytes(fit, channels, size):
    pixels = Preprocessing(8, channels, fit=fit).pixels(Image.new("RGB", size, (10, 20, 30)))
    assert pixels.shape == (channels, 8, 8)
    assert pixels.dtype == np.uint8


def test_an_image_of_the_right_size_keeps_its_pixels():
    image = random_bytes(8, 8, 3)
    np.testing.assert_array_equal(COLOUR.pixels(Image.fromarray(image)), image.transpose(2, 0, 1))


@pytest.mark.parametrize(("orientation", "turn"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_exif_orientation_turns_the_image_upright(orientation, turn):
    image = random_bytes(8, 8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = GREY.pixels(through_file(Image.fromarray(image), "png", exif=exif))
    np.testing.assert_array_equal(pixels[0], np.rot90(image, turn))


@pytest.mark.parametrize("ending", ["png", "tiff", "ppm"])
def test_sixteen_bits_are_scaled_to_eight(ending):
    image = random_bytes(8, 8)
    sixteen = Image.fromarray(image.astype(np.uint16) * 257)
    assert sixteen.mode == "I;16"
    opened = through_file(sixteen, ending)
    np.testing.assert_array_equal(GREY.pixels(opened)[0], image)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "F"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_keeps_black_and_white(mode, channels):
    def pixels(grey: int) -> np.ndarray:
        image = Image.new("L", (8, 8), grey)
        # PIL has no direct way between all of these
        via = {"PA": "LA", "HSV": "RGB", "P": "RGB"}.get(mode)
        image = image.convert(via) if via else image
        return Preprocessing(8, channels).pixels(image.convert(mode))

    assert int(pixels(0).max()) <= 2
    assert int(pixels(255).min()) >= 253


def test_transparency_in_a_palette_is_read_without_a_warning():
    palette = Image.fromarray(random_bytes(8, 8) // 64).convert("P")
    opened = through_file(palette, "png", transparency=bytes([0, 128, 255, 255]))
    assert opened.mode == "P"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert COLOUR.pixels(opened).shape == (3, 8, 8)


def test_grey_becomes_three_equal_channels_and_colour_one():
    grey = random_bytes(8, 8)
    as_colour = COLOUR.pixels(Image.fromarray(grey))
    assert (as_colour == grey).all()
    as_grey = GREY.pixels(Image.new("RGB", (8, 8), (255, 0, 0)))
    assert as_grey.shape == (1, 8, 8)
    assert (as_grey == 76).all()  # ITU-R 601: 0.299 of red


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channels": 2}, "channels: .*got 2"),
        ({"channels": 4}, "channels: .*got 4"),
        ({"size": 0}, "size: .*got 0"),
        ({"fit": "pad"}, "fit: .*got 'pad'"),
        ({"crop": 9}, "crop: expected at most the size, 8 pixels, got 9"),
        ({"crop": 0}, "crop: .*got 0"),
        ({"interpolation": "cubic"}, "interpolation: .*got 'cubic'"),
        ({"mean": (0.5,)}, "mean, std: give both"),
        ({"std": (0.5,)}, "mean, std: give both"),
        ({"mean": (0.5, 0.5, 0.5), "std": (1.0, 1.0, 1.0)}, "mean, std: expected 1 values"),
        ({"mean": (0.5,), "std": (1.0, 1.0)}, "mean, std: expected 1 values"),
        ({"mean": (0.5,), "std": (0.0,)}, "mean, std: expected finite numbers, each std above 0"),
        ({"mean": (0.5,), "std": (-0.5,)}, "mean, std: expected finite numbers, each std above 0"),
        ({"mean": (0.5,), "std": (math.nan,)}, "mean, std: expected finite numbers, each std above 0"),
        ({"mean": (math.inf,), "std": (0.5,)}, "mean, std: expected finite numbers, each std above 0"),
        ({"mean": ("a",), "std": (0.5,)}, "mean, std: expected finite numbers, each std above 0"),
    ],
)
def test_what_does_not_fit_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Preprocessing(**({"size": 8, "channels": 1} | settings))


def letter(height, width, top, left, *, size=(40, 60), ground=0, ink=255):
    """A filled box on plain ground, as a PIL image."""
    pixels = np.full(size, ground, np.uint8)
    pixels[top : top + height, left : left + width] = ink
    return Image.fromarray(pixels)


@pytest.mark.parametrize(("ground", "ink"), [(0, 255), (255, 0), (40, 140)])
def test_ink_is_brought_to_the_centre_and_to_one_size_wherever_it_was(ground, ink):
    preprocessing = Preprocessing(24, 1, fit="ink")
    expected = np.full((24, 24), ground)
    expected[2:22, 7:17] = ink  # the longer side is 20 = 24 * 5 / 6, the shorter half of it
    for image in (
        letter(10, 5, 3, 4, ground=ground, ink=ink),
        letter(10, 5, 25, 50, ground=ground, ink=ink),
        letter(20, 10, 10, 10, ground=ground, ink=ink),
    ):
        found = preprocessing.pixels(image)[0].astype(int)
        # scaled up, the outermost pixels of the ink take in a little of the ground
        assert (np.abs(found - expected) <= abs(ink - ground) / 2).all()
        np.testing.assert_array_equal(found[3:21, 8:16], expected[3:21, 8:16])
        np.testing.assert_array_equal(found[:, :7], expected[:, :7])


def test_faint_marks_are_not_ink():
    image = letter(10, 5, 15, 30)
    faint = np.array(image)
    faint[2, 2] = 60  # differs from the ground by less than a quarter of the range
    preprocessing = Preprocessing(24, 1, fit="ink")
    np.testing.assert_array_equal(preprocessing.pixels(Image.fromarray(faint)), preprocessing.pixels(image))


def test_ink_of_one_channel_counts_and_keeps_its_colour():
    pixels = np.full((30, 30, 3), (200, 200, 0), np.uint8)
    pixels[5:15, 5:15] = (200, 20, 0)
    found = Preprocessing(12, 3, fit="ink").pixels(Image.fromarray(pixels))
    assert found[:, 6, 6].tolist() == [200, 20, 0]
    assert found[:, 0, 0].tolist() == [200, 200, 0]


def test_an_image_without_ink_is_scaled_as_a_whole():
    image = Image.fromarray(np.full((30, 20), 77, np.uint8))
    assert (Preprocessing(16, 1, fit="ink").pixels(image) == 77).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (3, 2)])
def test_ink_of_the_smallest_images_has_the_right_shape(shape):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    for size in (1, 8, 24):
        assert Preprocessing(size, 1, fit="ink").pixels(image).shape == (1, size, size)


@pytest.mark.parametrize(("ground", "ink"), [(0, 200), (255, 40)])
def test_ink_along_most_of_the_border_does_not_tint_the_ground(ground, ink):
    pixels = np.full((16, 16), ground, np.uint8)
    pixels[:2, 2:14] = pixels[-2:, 2:14] = ink  # a character that fills its box: 24 of 60 pixels of the border
    pixels[4:12, 0] = (3 * ground + ink) // 4  # and 8 more in between, so that the median is
    found = Preprocessing(24, 1, fit="ink").pixels(Image.fromarray(pixels))[0]
    assert (found[:2] == ground).all()
    assert (found[:, -1] == ground).all()


def test_the_network_sees_the_centre_of_the_stored_image():
    whole, crop = Preprocessing(8, 1, mean=(0.0,), std=(1.0,)), Preprocessing(8, 1, mean=(0.0,), std=(1.0,), crop=4)
    images = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8)
    assert crop.input_size == 4
    assert whole.input_size == 8
    assert crop.pixels(Image.new("L", (30, 20))).shape == (1, 8, 8)
    torch.testing.assert_close(crop.normalize(images), whole.normalize(images)[:, :, 2:6, 2:6])


def test_standardisation_is_of_what_the_network_sees():
    images = torch.full((1, 1, 8, 8), 200, dtype=torch.uint8)
    images[:, :, 2:6, 2:4] = 0
    seen = Preprocessing(8, 1, crop=4).normalize(images)
    assert seen.mean().item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("fit", ["crop", "stretch"])
def test_interpolation_is_that_of_pillow(fit):
    image = Image.fromarray(random_bytes(20, 20))
    for interpolation, resampling in (("bilinear", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC)):
        found = Preprocessing(8, 1, fit=fit, interpolation=interpolation).pixels(image)
        np.testing.assert_array_equal(found[0], np.asarray(image.resize((8, 8), resampling)))
