import math

import pytest

from dalib.core.ranges import check_at_least, check_share, check_smoothing


def test_bounds_are_included():
    check_at_least(0, weight=0, ramp_up=5)
    check_share(threshold=0, prototypes=1.0)


@pytest.mark.parametrize("value", [-1, -math.inf, math.nan])
def test_the_first_wrong_argument_is_named(value):
    with pytest.raises(ValueError, match=f"^second: expected at least 0, got {value}$"):
        check_at_least(0, first=1, second=value, third=-2)


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_a_share_is_between_0_and_1(value):
    with pytest.raises(ValueError, match=rf"^share: expected a number in \[0, 1\], got {value}$"):
        check_share(share=value)


@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan")])
def test_a_label_smoothing_out_of_its_range_is_refused(value):
    with pytest.raises(ValueError, match=r"label_smoothing: expected a number in \[0, 1\)"):
        check_smoothing(value)
    check_smoothing(0.0)
