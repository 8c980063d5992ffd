"""Accuracy against labels: counts by hand, and bins that sum up to the calibration error."""

from __future__ import annotations

import math

import pytest
import torch

from dalib.judge.accuracy import (
    calibration_error,
    confusion_matrix,
    reliability_bins,
    wilson_interval,
)
from dalib.records.estimate import Bin


def test_confusion_counts_true_by_predicted() -> None:
    matrix = confusion_matrix(torch.tensor([0, 0, 2]), torch.tensor([0, 1, 2]), 3)
    assert matrix.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize(("correct", "count"), [(0, 1), (1, 1), (0, 1000), (1000, 1000), (999, 1000)])
def test_the_interval_stays_in_range_and_holds_the_share(correct: int, count: int) -> None:
    low, high = wilson_interval(correct, count)
    assert 0 <= low <= correct / count <= high <= 1
    assert low < high


def test_the_interval_by_its_formula() -> None:
    share, count, z = 0.9, 200, 1.959963984540054
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    assert wilson_interval(180, 200) == pytest.approx((centre - half, centre + half), abs=1e-12)


@pytest.mark.parametrize(("correct", "count"), [(0, 0), (2, 1), (-1, 1)])
def test_impossible_counts_have_no_interval(correct: int, count: int) -> None:
    with pytest.raises(ValueError, match="correct, count"):
        wilson_interval(correct, count)


def test_bins_by_hand() -> None:
    # in powers of two, so that an edge is exactly an edge
    p = torch.tensor([[0.75, 0.25], [0.25, 0.75], [1.0, 0.0], [0.875, 0.125]])
    bins = reliability_bins(p, torch.tensor([0, 0, 0, 0]), bins=4)
    empty, third = Bin(None, None, 0), Bin(0.75, 0.5, 2)  # 0.75 is an edge: the bin below
    assert bins == (empty, empty, third, Bin(0.9375, 1.0, 2))


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_calibration_error_equals_the_numpy_oracle(bins: int) -> None:
    generator = torch.Generator().manual_seed(0)
    p = torch.randn(500, 4, generator=generator).softmax(dim=1)
    labels = torch.randint(4, (500,), generator=generator)
    found = reliability_bins(p, labels, bins)
    assert len(found) == bins
    assert sum(each.count for each in found) == 500
    confidence, right = p.max(dim=1).values.numpy(), (p.argmax(dim=1) == labels).numpy()
    expected = 0.0
    for b in range(bins):
        inside = (confidence > b / bins) & (confidence <= (b + 1) / bins)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert calibration_error(found) == pytest.approx(expected)


def test_bins_refuse_what_are_no_probabilities() -> None:
    with pytest.raises(ValueError, match="bins: expected at least 1"):
        reliability_bins(torch.tensor([[1.0]]), torch.tensor([0]), bins=0)
    with pytest.raises(ValueError):
        reliability_bins(torch.tensor([[2.0, 0.0]]), torch.tensor([0]))
