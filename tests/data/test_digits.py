"""The two built-in digit data sets."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from dalib.data import digits
from dalib.data.digits import (
    CLASSES,
    HEIGHT,
    WIDTH,
    handwritten_digits,
    normalise_bitmaps,
    printed_strokes,
    render_digits,
)


def test_rendering_is_the_same_for_one_seed_and_another_for_another():
    images, labels = render_digits(60, seed=3)
    again, labels_again = render_digits(60, seed=3)
    np.testing.assert_array_equal(images, again)
    np.testing.assert_array_equal(labels, labels_again)
    other, _ = render_digits(60, seed=4)
    assert (images != other).mean() > 0.1


@pytest.mark.parametrize("count", [1, 10, 57])
def test_rendered_digits_are_bytes_with_balanced_labels(count):
    images, labels = render_digits(count, seed=0)
    assert images.shape == (count, 8, 8)
    assert images.dtype == np.uint8
    assert labels.shape == (count,)
    assert labels.dtype == np.int64
    counts = np.bincount(labels, minlength=CLASSES)
    assert counts.max() - counts.min() <= 1


def test_rendered_digits_are_ink_on_paper_in_the_range_of_the_handwritten_ones():
    images, _ = render_digits(200, seed=1)
    handwritten, _, _ = handwritten_digits()
    assert images.min() == 0
    assert images.max() == 255
    assert set(np.unique(images)) <= set(np.rint(np.arange(17) * 255 / 16).astype(np.uint8))
    assert abs(images.mean() - handwritten.mean()) < 15
    assert (images.reshape(200, -1).max(axis=1) > 128).all()


def test_rendered_digits_of_a_class_are_closer_to_each_other_than_to_other_classes():
    images, labels = render_digits(300, seed=2)
    means = np.stack([images[labels == digit].mean(axis=0) for digit in range(CLASSES)])
    unseen, truth = render_digits(200, seed=5)
    distance = ((unseen[:, None] - means) ** 2).sum(axis=(2, 3))
    assert (distance.argmin(axis=1) == truth).mean() > 0.5  # chance is 0.1


def test_the_order_of_rendered_classes_is_shuffled():
    _, labels = render_digits(100, seed=0)
    assert (labels != np.arange(100) % CLASSES).mean() > 0.5


def test_handwritten_digits_are_split_once_and_for_all():
    train, held_out, labels = handwritten_digits()
    assert (train.shape, held_out.shape, labels.shape) == ((1200, 8, 8), (597, 8, 8), (597,))
    assert (train.dtype, held_out.dtype, labels.dtype) == (np.uint8, np.uint8, np.int64)
    assert (train.min(), train.max()) == (0, 255)
    assert set(labels.tolist()) == set(range(CLASSES))
    for first, second in zip((train, held_out, labels), handwritten_digits(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_every_handwritten_digit_is_in_exactly_one_part_of_the_split():
    train, held_out, labels = handwritten_digits()
    data = load_digits()
    everything = np.rint(data.images * (255 / 16)).astype(np.uint8)
    rows = sorted(image.tobytes() for image in everything)
    assert sorted(image.tobytes() for image in np.concatenate([train, held_out])) == rows
    labelled = {(image.tobytes(), int(label)) for image, label in zip(everything, data.target, strict=True)}
    assert {(image.tobytes(), int(label)) for image, label in zip(held_out, labels, strict=True)} <= labelled


@pytest.mark.parametrize("lines", printed_strokes(), ids=lambda lines: "")
def test_every_font_draws_every_digit_differently(lines):
    assert lines.shape == (CLASSES, digits.POINTS, 3)
    assert np.isfinite(lines).all()
    assert (np.abs(lines[..., 1]) <= 0.5 + 1e-6).all()
    assert (lines[..., 2] > 0).all()
    assert len({line.tobytes() for line in lines}) == CLASSES


@pytest.fixture(scope="module")
def trace_fonts():
    pytest.importorskip("matplotlib")
    return runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "trace_fonts.py"))


def test_the_stored_strokes_are_those_of_the_fonts(trace_fonts):
    if len(trace_fonts["digit_fonts"]()) != len(printed_strokes()):
        pytest.skip("this version of matplotlib ships other fonts")
    np.testing.assert_allclose(trace_fonts["traced_strokes"](), printed_strokes(), atol=1e-6)


def test_missing_fonts_are_named(trace_fonts, monkeypatch, tmp_path):
    monkeypatch.setattr("matplotlib.get_data_path", lambda: str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no TrueType font"):
        trace_fonts["digit_fonts"]()


def test_normalising_takes_the_slant_away_and_counts_ink():
    upright = np.zeros((HEIGHT, WIDTH), dtype=bool)
    upright[:, 8:18] = True
    rows = np.arange(HEIGHT)[:, None]
    slanted = np.abs(np.arange(WIDTH) - (4.5 + rows * 10 / (HEIGHT - 1))) <= 4.5
    straight, mended = normalise_bitmaps(np.stack([upright, slanted]))
    np.testing.assert_array_equal(straight, np.repeat(straight[:1], 8, axis=0))
    columns = (mended > 127).any(axis=0).sum()
    assert columns <= (straight > 127).any(axis=0).sum() + 1
