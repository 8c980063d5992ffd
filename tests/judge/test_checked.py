"""What the functions of the room judge take, and what they refuse."""

import math

import pytest
import torch

from dalib.judge.checked import (
    SUM_TOLERANCE,
    as_classes,
    as_features,
    as_probabilities,
    as_validation,
    as_validation_and_target,
)

P = torch.tensor([[0.25, 0.75], [1.0, 0.0]])


def test_probabilities_come_in_float64_without_gradient():
    found = as_probabilities(P.clone().requires_grad_())
    assert (found.dtype, found.requires_grad) == (torch.float64, False)
    assert torch.equal(found, P.double())
    assert as_probabilities(P.half()).dtype == torch.float64


def test_rows_in_half_precision_need_not_sum_to_1_exactly():
    assert len(as_probabilities(P - SUM_TOLERANCE / 4)) == 2
    with pytest.raises(ValueError, match=r"target: expected rows in .0, 1. that sum to 1; apply softmax"):
        as_probabilities(P - SUM_TOLERANCE, "target")


@pytest.mark.parametrize(
    ("p", "message"),
    [
        (P[:, :1], "expected probabilities .N >= 1, C >= 2., got shape"),
        (P[:0], "got shape .0, 2."),
        (P[0], "got shape .2,."),
        (P.long(), "expected floating-point probabilities, got torch.int64"),
        (torch.tensor([[math.nan, 1.0], [0.5, 0.5]]), "1 of 2 rows have NaN or infinite entries"),
        (torch.tensor([[-0.5, 1.5]]), "expected rows in"),
        (torch.tensor([[2.0, -3.0]]), "apply softmax to logits first"),
    ],
)
def test_what_are_no_probabilities_is_refused(p, message):
    with pytest.raises(ValueError, match=f"^p: .*{message}"):
        as_probabilities(p)


def test_features_are_finite_numbers_of_two_dimensions():
    assert as_features(torch.ones(3, 4).half()).dtype == torch.float64
    for bad in (torch.ones(3), torch.ones(0, 4), torch.tensor([[math.inf]])):
        with pytest.raises(ValueError, match=r"^features: "):
            as_features(bad)


def test_classes_are_numbers_below_that_of_classes_one_for_each_image():
    assert as_classes(torch.tensor([0, 1], dtype=torch.int32), 2, 2).dtype == torch.int64
    for bad in (torch.tensor([0, 2]), torch.tensor([-1, 0]), torch.tensor([0]), torch.tensor([0.0, 1.0])):
        with pytest.raises(ValueError, match=r"^truth: "):
            as_classes(bad, 2, 2, "truth")


def test_validation_has_labels_and_the_targets_classes():
    p, labels = as_validation(P, torch.tensor([1, 0]))
    assert (p.dtype, labels.tolist()) == (torch.float64, [1, 0])
    assert [len(each) for each in as_validation_and_target(P, labels, P[:1])] == [2, 2, 1]
    with pytest.raises(ValueError, match=r"^labels: "):
        as_validation(P, torch.tensor([1]))
    with pytest.raises(ValueError, match="classes"):
        as_validation_and_target(P, labels, torch.full((2, 4), 0.25))
