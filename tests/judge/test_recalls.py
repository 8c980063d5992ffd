import math

import numpy as np
import pytest
import torch

from dalib.judge.recalls import (
    RECALL_CALIBRATIONS,
    ClassAgreement,
    class_agreements,
    expected_recalls,
    recall_estimates,
)


def drawn(count, seed, right):
    """Labels of 3 classes, and probabilities of 0.9 for the right class of a share ``right`` of the images, else for
    the class after it."""
    generator = np.random.default_rng(seed)
    labels = torch.from_numpy(generator.integers(0, 3, count))
    wrong = torch.from_numpy(generator.random(count) > np.asarray(right)[labels.numpy()])
    return torch.full((count, 3), 0.05).index_put(
        (torch.arange(count), (labels + wrong) % 3), torch.tensor(0.9)
    ), labels


def estimated(target, heads, accuracy=0.8, kind="adapted"):
    validation, labels = drawn(300, 1, [0.95, 0.95, 0.95])
    return recall_estimates(class_agreements(validation, labels, target, heads), accuracy, RECALL_CALIBRATIONS[kind])


def test_expected_recalls_of_calibrated_probabilities_are_the_truth() -> None:
    generator = np.random.default_rng(0)
    p = torch.from_numpy(generator.normal(0, 2, (20000, 3))).softmax(dim=1)
    labels = (p.cumsum(dim=1) < torch.from_numpy(generator.random((20000, 1)))).sum(dim=1).clamp_max(2)
    recalls = [float((p.argmax(dim=1)[labels == each] == each).double().mean()) for each in range(3)]
    assert expected_recalls(p).tolist() == pytest.approx(recalls, abs=0.02)


def test_a_class_that_a_sure_model_never_predicts_has_no_expected_recall() -> None:
    sure = torch.eye(3, dtype=torch.float64)[torch.tensor([0, 1, 1])]
    expected = expected_recalls(sure)
    assert expected[:2].tolist() == [1, 1]
    assert math.isnan(expected[2])


def test_agreements_count_the_images_of_each_head() -> None:
    target = torch.eye(3, dtype=torch.float64)[torch.tensor([0, 0, 1, 2])]
    heads = torch.tensor([[0, 0, 1, 1], [0, 1, 1, 1]])
    found = class_agreements(target, torch.tensor([0, 0, 1, 2]), target, heads)
    assert [(each.named, each.agreed) for each in found] == [(1.5, 1.5), (2.5, 1.0), (0.0, 0.0)]
    assert [each.seen for each in found] == [True, True, True]


@pytest.mark.parametrize("kind", RECALL_CALIBRATIONS)
def test_the_class_in_trouble_has_the_lowest_estimate(kind) -> None:
    target, truth = drawn(600, 2, [0.9, 0.9, 0.4])  # the model is as sure as ever
    heads = torch.stack([drawn(600, 2, [0.95, 0.95, 0.95])[0].argmax(dim=1), truth])
    found = estimated(target, heads, kind=kind)
    assert found[2].value < min(found[0].value, found[1].value) - 0.1
    assert all(0 <= each.low < each.value < each.high <= 1 for each in found)


def test_where_classifiers_name_a_class_rarely_the_accuracy_stands_in() -> None:
    rare, often = ClassAgreement(0.9, 1.0, 0.0), ClassAgreement(0.9, 100.0, 0.0)
    low, lower = recall_estimates([rare, often], 0.9, RECALL_CALIBRATIONS["adapted"])
    assert lower.value < low.value - 0.2


def test_a_class_that_nothing_names_has_no_estimate() -> None:
    sure = torch.eye(3, dtype=torch.float64)[torch.arange(200) % 2]
    found = estimated(sure, torch.zeros(5, 200, dtype=torch.long))
    assert math.isnan(found[2].value)
    assert (found[2].low, found[2].high) == (0, 1)
    assert "neither the model nor a classifier" in found[2].reason


def test_no_estimate_is_called_reliable_and_each_tells_how_far_others_were_off() -> None:
    target, truth = drawn(300, 3, [0.9, 0.9, 0.9])
    for each in estimated(target, truth[None]):
        assert not each.reliable
        assert each.reason == "on other data such estimates were 11 points off on average"


def test_bad_arguments_are_refused_in_words() -> None:
    p, labels = drawn(30, 0, [0.9, 0.9, 0.9])
    heads = labels[None]
    for arguments, message in [
        ((p, labels[:3], p), "labels"),
        ((p, labels, p[:, :2] / p[:, :2].sum(dim=1, keepdim=True)), "classes"),
        ((p, labels, p * math.nan), "NaN"),
        ((p * 2, labels, p), "sum to 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            class_agreements(*arguments, heads)
