import math

import numpy as np
import pytest
import torch

from dalib.judge.accuracy import calibration_error, reliability_bins
from dalib.judge.estimate import (
    apply_temperature,
    fit_temperature,
    proxy_a_distance,
)


def calibrated(count, seed=0, sharpness=1.0, classes=3):
    """Probabilities and labels drawn from them: calibrated by construction; sharpness sets the accuracy."""
    generator = np.random.default_rng(seed)
    p = torch.from_numpy(generator.normal(0, 2 * sharpness, (count, classes))).softmax(dim=1)
    labels = (p.cumsum(dim=1) < torch.from_numpy(generator.random((count, 1)))).sum(dim=1).clamp_max(classes - 1)
    return p, labels


def accuracy(p, labels):
    return float((p.argmax(dim=1) == labels).double().mean())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_temperature_is_found_and_mends_calibration(temperature):
    honest, labels = calibrated(5000)
    given = apply_temperature(honest, 1 / temperature)
    found = fit_temperature(given, labels)
    assert found == pytest.approx(temperature, rel=0.1)
    assert calibration_error(reliability_bins(apply_temperature(given, found), labels)) < 0.03
    assert torch.equal(apply_temperature(given, 4).argmax(dim=1), given.argmax(dim=1))


def test_temperature_is_finite_where_all_images_are_right():
    labels = torch.arange(100) % 2
    p = torch.eye(2)[labels] * 0.8 + 0.1
    assert 0.05 < fit_temperature(p, labels) < 1
    assert math.isfinite(fit_temperature(torch.eye(2)[labels], 1 - labels))


def test_proxy_a_distance_grows_with_the_shift():
    generator = np.random.default_rng(0)
    source, target = (torch.from_numpy(generator.normal(0, 1, (300, 4))) for _ in range(2))
    near, middle, far = (proxy_a_distance(source, target + shift) for shift in (0.0, 0.5, 10.0))
    assert near < 0.3 < middle < far == 2
    assert proxy_a_distance(source, target + 0.5) == middle
    assert proxy_a_distance(torch.zeros(20, 2), torch.zeros(20, 2)) == 0
    with pytest.raises(ValueError, match="folds"):
        proxy_a_distance(source[:3], target)
    with pytest.raises(ValueError, match="NaN"):
        proxy_a_distance(source * math.nan, target)


def test_bad_arguments_are_refused_in_words():
    p, labels = calibrated(10)
    for arguments, message in [
        ((p, labels[:3]), "labels"),
        ((p * math.nan, labels), "NaN"),
        ((p * 2, labels), "sum to 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            fit_temperature(*arguments)
    with pytest.raises(ValueError, match="temperature"):
        apply_temperature(p, 0)
