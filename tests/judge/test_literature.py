"""The estimates that benchmarks/judging compares dalib's with."""

import math
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

LITERATURE = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "judging" / "literature.py"))
average_threshold_confidence = LITERATURE["average_threshold_confidence"]
difference_of_confidences = LITERATURE["difference_of_confidences"]
METHODS = {"atc": average_threshold_confidence, "doc": difference_of_confidences}
every_method = pytest.mark.parametrize("method", METHODS)


def calibrated(count, seed=0, sharpness=1.0, classes=3):
    """Probabilities and labels drawn from them: calibrated by construction; sharpness sets the accuracy."""
    generator = np.random.default_rng(seed)
    p = torch.from_numpy(generator.normal(0, 2 * sharpness, (count, classes))).softmax(dim=1)
    labels = (p.cumsum(dim=1) < torch.from_numpy(generator.random((count, 1)))).sum(dim=1).clamp_max(classes - 1)
    return p, labels


def accuracy(p, labels):
    return float((p.argmax(dim=1) == labels).double().mean())


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
def test_a_model_that_gets_less_certain_is_estimated_worse(method):
    validation, labels = calibrated(4000)
    values = []
    for sharpness in (1.0, 0.7, 0.4):
        target, _ = calibrated(4000, 5, sharpness)
        values.append(METHODS[method](validation, labels, target))
    assert values[0] > values[1] > values[2]


def test_difference_of_confidences_of_calibrated_models_is_the_truth():
    target, truth = calibrated(20000, 6, 0.5)
    assert difference_of_confidences(*calibrated(20000), target) == pytest.approx(accuracy(target, truth), abs=0.015)


@every_method
def test_bad_arguments_are_refused_in_words(method):
    p, labels = calibrated(10)
    for arguments, message in [
        ((p, labels[:3], p), "labels"),
        ((p, labels, p[:, :2] / p[:, :2].sum(dim=1, keepdim=True)), "classes"),
        ((p, labels, p * math.nan), "NaN"),
        ((p * 2, labels, p), "sum to 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            METHODS[method](*arguments)
