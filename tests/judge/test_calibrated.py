import itertools

import pytest
import torch

from dalib.judge.calibrated import (
    ADAPTED,
    MAX_TRANSPORTED,
    SOURCE_ONLY,
    calibrated_estimate,
    confidence_transport,
    estimate_of,
    headroom,
)


def test_transport_is_the_best_of_all_assignments():
    p = torch.rand(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p = p / p.sum(dim=1, keepdim=True)
    labels = [0, 0, 0, 1, 1, 2]
    best = max(
        sum(float(p[row, label]) for row, label in enumerate(order)) / 6
        for order in set(itertools.permutations(labels))
    )
    assert confidence_transport(p, torch.tensor([3.0, 2.0, 1.0])) == pytest.approx(best)


def test_a_sure_model_that_collapsed_is_seen_through():
    collapsed = torch.tensor([[0.99, 0.01]]).repeat(100, 1)
    assert confidence_transport(collapsed, torch.ones(2)) == pytest.approx(0.5)


def test_more_images_than_are_transported_are_drawn_and_again_with_the_same_seed():
    p = torch.rand(MAX_TRANSPORTED + 500, 2, generator=torch.Generator().manual_seed(0))
    p = p / p.sum(dim=1, keepdim=True)
    found = [confidence_transport(p, torch.ones(2), seed) for seed in (0, 0, 1)]
    assert found[0] == found[1]
    assert found[0] == pytest.approx(found[2], abs=0.02)


def test_shares_of_another_number_of_classes_are_refused():
    with pytest.raises(ValueError, match=r"shares: expected shape \(2,\), got \(3,\)"):
        confidence_transport(torch.tensor([[0.5, 0.5]]), torch.ones(3))


@pytest.mark.parametrize("calibration", [SOURCE_ONLY, ADAPTED])
def test_the_estimate_rises_with_both_signs_and_holds_itself(calibration):
    grid = torch.linspace(0, 1, 11).tolist()
    for transport in grid:
        values = [calibrated_estimate(transport, heads, calibration) for heads in grid]
        assert [each.value for each in values] == sorted(each.value for each in values)
        assert all(0 <= each.low <= each.value <= each.high <= 1 for each in values)
    assert calibrated_estimate(1, 0.5, calibration).value > calibrated_estimate(0, 0.5, calibration).value


def test_signs_that_disagree_widen_the_interval_of_an_adapted_model():
    together, apart = calibrated_estimate(0.6, 0.6, ADAPTED), calibrated_estimate(0.9, 0.4, ADAPTED)
    assert apart.high - apart.low > together.high - together.low


@pytest.mark.parametrize("calibration", [SOURCE_ONLY, ADAPTED])
def test_no_estimate_is_called_reliable_and_each_says_how_far_such_are_off(calibration):
    estimate = calibrated_estimate(1.0, 1.0, calibration)
    assert not estimate.reliable
    assert f"{100 * calibration.usual_error:.0f} points off on average" in estimate.reason


@pytest.mark.parametrize(("value", "expected"), [(0.0, 0.1), (0.5, 1.0), (0.9, 0.6), (1.0, 0.1)])
def test_there_is_less_room_near_the_ends(value, expected):
    assert headroom(value) == pytest.approx(expected)


def test_from_probabilities_and_heads():
    labels = torch.arange(4).repeat(50)
    right = 0.94 * torch.eye(4)[labels] + 0.015
    heads = labels.repeat(5, 1)
    good = estimate_of(right, labels, right, heads, SOURCE_ONLY)
    wrong = estimate_of(right, labels, right.roll(1, dims=1), heads, SOURCE_ONLY)
    assert good.value > 0.85
    assert wrong.value < 0.4
