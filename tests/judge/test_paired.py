"""Two models on the same images: an exact test and an interval, against whole numbers and by hand."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dalib.judge.paired import mcnemar, paired_difference_interval

COUNTS = st.integers(0, 3000)
FEW = st.integers(0, 300)


@given(FEW, FEW)
def test_the_test_is_the_binomial_one(first: int, second: int) -> None:
    count, least = first + second, min(first, second)
    expected = min(1.0, float(Fraction(2 * sum(math.comb(count, each) for each in range(least + 1)), 2**count)))
    assert mcnemar(first, second) == pytest.approx(expected, rel=1e-9, abs=1e-200)
    assert mcnemar(second, first) == mcnemar(first, second)


def test_six_against_none_is_the_least_that_is_clear() -> None:
    assert mcnemar(6, 0) == pytest.approx(2 / 64)
    assert mcnemar(5, 0) == pytest.approx(2 / 32)


def test_no_difference_is_no_evidence() -> None:
    assert mcnemar(0, 0) == 1


def test_many_images_overflow_nothing() -> None:
    assert mcnemar(1_000_000, 1_000_000) == 1
    assert 0 <= mcnemar(1_000_000, 100) < 1e-300


def test_the_interval_by_hand() -> None:
    # n = 98 + 2, b - c = 8, b + c + 1 = 13: half = 1.96 * sqrt(13 - 0.64)
    low, high = paired_difference_interval(10, 2, 98)
    assert low == pytest.approx((8 - 1.96 * 12.36**0.5) / 100)
    assert high == pytest.approx((8 + 1.96 * 12.36**0.5) / 100)


@given(COUNTS, COUNTS, COUNTS)
def test_what_the_test_calls_clear_the_interval_does_too(first: int, second: int, same: int) -> None:
    count = max(1, first + second + same)
    low, high = paired_difference_interval(first, second, count)
    assert -1 <= low <= high <= 1
    if mcnemar(first, second) < 0.05:
        assert low > 0 or high < 0


def test_swapping_the_models_turns_the_interval_around() -> None:
    low, high = paired_difference_interval(9, 4, 50)
    assert paired_difference_interval(4, 9, 50) == (-high, -low)


@pytest.mark.parametrize(("first", "second"), [(-1, 0), (0, -1)])
def test_negative_counts_are_refused(first: int, second: int) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        mcnemar(first, second)
    with pytest.raises(ValueError, match="first, second, count"):
        paired_difference_interval(first, second, 10)


@pytest.mark.parametrize("count", [0, 2])
def test_more_differences_than_images_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"got 2, 1 and {count}"):
        paired_difference_interval(2, 1, count)
