import math

import numpy as np
import pytest
import torch

from dalib.judge.estimate import (
    agreement_accuracy,
    apply_temperature,
    average_threshold_confidence,
    difference_of_confidences,
    estimate_accuracy,
    estimate_class_accuracy,
    expected_calibration_error,
    expected_confusion,
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


METHODS = {"atc": average_threshold_confidence, "doc": difference_of_confidences}
every_method = pytest.mark.parametrize("method", METHODS)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_temperature_is_found_and_mends_calibration(temperature):
    honest, labels = calibrated(5000)
    given = apply_temperature(honest, 1 / temperature)
    found = fit_temperature(given, labels)
    assert found == pytest.approx(temperature, rel=0.1)
    assert expected_calibration_error(apply_temperature(given, found), labels) < 0.03
    assert torch.equal(apply_temperature(given, 4).argmax(dim=1), given.argmax(dim=1))


def test_temperature_is_finite_where_all_images_are_right():
    labels = torch.arange(100) % 2
    p = torch.eye(2)[labels] * 0.8 + 0.1
    assert 0.05 < fit_temperature(p, labels) < 1
    assert math.isfinite(fit_temperature(torch.eye(2)[labels], 1 - labels))


def test_calibration_error_equals_the_numpy_oracle():
    p, labels = calibrated(300, 1)
    confidence, right = p.max(dim=1).values.numpy(), (p.argmax(dim=1) == labels).numpy()
    expected = 0.0
    for b in range(15):
        inside = (confidence > b / 15) & (confidence <= (b + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert expected_calibration_error(p, labels) == pytest.approx(expected)


@every_method
def test_without_a_shift_the_estimate_is_the_validation_accuracy(method):
    p, labels = calibrated(500)
    assert METHODS[method](p, labels, p) == pytest.approx(accuracy(p, labels))


def test_atc_by_negative_entropy_and_with_ties_is_exact_on_the_validation_images():
    p, labels = calibrated(500)
    assert average_threshold_confidence(p, labels, p, "negative-entropy") == pytest.approx(accuracy(p, labels))
    certain = torch.eye(3)[p.argmax(dim=1)]
    assert average_threshold_confidence(certain, labels, certain) == pytest.approx(accuracy(p, labels))
    with pytest.raises(ValueError, match="confidence"):
        average_threshold_confidence(p, labels, p, "other")


def test_atc_of_all_right_or_all_wrong():
    p = torch.tensor([[0.9, 0.1], [0.8, 0.2]])
    assert average_threshold_confidence(p, torch.tensor([0, 0]), p) == 1
    assert average_threshold_confidence(p, torch.tensor([1, 1]), p) == 0
    assert average_threshold_confidence(p[:1], torch.tensor([0]), torch.tensor([[0.6, 0.4]])) == 0


@every_method
def test_a_model_that_gets_less_certain_is_estimated_worse_and_the_interval_covers_the_truth(method):
    validation, labels = calibrated(4000)
    values = []
    for sharpness in (1.0, 0.7, 0.4):
        target, truth = calibrated(4000, 5, sharpness)
        values.append(METHODS[method](validation, labels, target))
        found = estimate_accuracy(validation, labels, target, method=method, resamples=20)
        assert found.low <= accuracy(target, truth) <= found.high
    # ATC takes a smooth fall of confidence for more errors than it brings: too low, and flagged
    assert not found.reliable
    assert values[0] > values[1] > values[2]


def test_difference_of_confidences_of_calibrated_models_is_the_truth():
    target, truth = calibrated(20000, 6, 0.5)
    assert difference_of_confidences(*calibrated(20000), target) == pytest.approx(accuracy(target, truth), abs=0.015)


def test_agreement_of_two_draws_is_the_accuracy():
    p, labels = calibrated(20000)
    _, other = calibrated(20000, 0)  # the same images, answered by chance as their labels were
    answers = torch.eye(3)[other]
    assert agreement_accuracy(p, answers) == pytest.approx(accuracy(p, labels))
    assert agreement_accuracy(p, p, excess=0.25) == 0.75
    assert agreement_accuracy(p, p, excess=-1) == 1


@every_method
def test_the_interval_covers_the_truth_without_a_shift_and_without_its_allowance(method):
    covered = 0
    for seed in range(40):
        validation, labels = calibrated(300, seed)
        target, truth = calibrated(300, seed + 1000)
        found = estimate_accuracy(validation, labels, target, method=method, allowance=0, resamples=100, seed=seed)
        assert 0 <= found.low <= found.value <= found.high <= 1
        covered += found.low <= accuracy(target, truth) <= found.high
    assert covered >= 34


def test_estimates_are_seeded_and_wider_for_fewer_images():
    p, labels = calibrated(1000)
    target, _ = calibrated(1000, 1)
    assert estimate_accuracy(p, labels, target, seed=3) == estimate_accuracy(p, labels, target, seed=3)
    few = estimate_accuracy(p[:110], labels[:110], target[:60], allowance=0)
    many = estimate_accuracy(p, labels, target, allowance=0)
    assert few.high - few.low > many.high - many.low


def test_the_flag_says_why_not_to_trust():
    p, labels = calibrated(500)
    target, _ = calibrated(500, 1)
    assert estimate_accuracy(p, labels, target, distance=0.5).reliable
    for arguments, options, reason in [
        ((p[:50], labels[:50], target), {}, "only 50"),
        ((p, labels, target), {"distance": 1.95}, "apart"),
        ((p, labels, target), {"distance": math.nan}, "apart"),
        ((p, labels, torch.tensor([[0.9, 0.05, 0.05]] * 100)), {}, "one class"),
    ]:
        found = estimate_accuracy(*arguments, **options)
        assert not found.reliable
        assert reason in found.reason
        assert "not reliable" in str(found)
        assert str(found).startswith("estimated")


def test_class_estimates_are_near_the_truth_and_own_up_to_rare_classes():
    validation, labels = calibrated(5000)
    target, truth = calibrated(5000, 1, 0.7)
    for index, found in enumerate(estimate_class_accuracy(validation, labels, target, resamples=50)):
        recall = float((target.argmax(dim=1)[truth == index] == index).double().mean())
        assert found.value == pytest.approx(recall, abs=0.05)
        assert found.low <= recall <= found.high
        assert found.reliable
    one_hot = torch.eye(3)[torch.zeros(100, dtype=torch.long)]
    missing = estimate_class_accuracy(one_hot, torch.zeros(100, dtype=torch.long), one_hot)[1]
    assert math.isnan(missing.value)
    assert not missing.reliable


def test_expected_confusion_sums_to_one_and_to_the_predicted_shares():
    p, _ = calibrated(100)
    found = expected_confusion(p)
    assert float(found.sum()) == pytest.approx(1)
    predicted = torch.bincount(p.argmax(dim=1), minlength=3).double() / 100
    torch.testing.assert_close(found.sum(dim=0), predicted)
    torch.testing.assert_close(found.sum(dim=1), p.mean(dim=0))


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


@every_method
def test_bad_arguments_are_refused_in_words(method):
    p, labels = calibrated(10)
    for function in (METHODS[method], estimate_accuracy, estimate_class_accuracy):
        for arguments, message in [
            ((p, labels[:3], p), "labels"),
            ((p, labels, p[:, :2] / p[:, :2].sum(dim=1, keepdim=True)), "classes"),
            ((p, labels, p * math.nan), "NaN"),
            ((p * 2, labels, p), "sum to 1"),
        ]:
            with pytest.raises(ValueError, match=message):
                function(*arguments)
    with pytest.raises(ValueError, match="method"):
        estimate_accuracy(p, labels, p, method="other")
    with pytest.raises(ValueError, match="temperature"):
        apply_temperature(p, 0)
    with pytest.raises(ValueError, match="bins"):
        expected_calibration_error(p, labels, 0)
