"""Checks of numbers, whose errors begin with the argument's name."""

from __future__ import annotations


def check_at_least(low: float, **values: float) -> None:
    """Checks that numbers are not below a bound.

    Raises:
        ValueError: the first that is, or that is not a number.

    >>> check_at_least(0, weight=1.0)
    >>> check_at_least(0, weight=1.0, ramp_up=-2)
    Traceback (most recent call last):
    ValueError: ramp_up: expected at least 0, got -2
    """
    for name, value in values.items():
        if not value >= low:  # NaN fails this too
            raise ValueError(f"{name}: expected at least {low}, got {value}")


def check_smoothing(label_smoothing: float) -> None:
    """Checks that a label smoothing is in [0, 1); with 1, labels would carry no information.

    Raises:
        ValueError: it is not.

    >>> check_smoothing(-0.1)
    Traceback (most recent call last):
    ValueError: label_smoothing: expected a number in [0, 1), got -0.1
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing: expected a number in [0, 1), got {label_smoothing}")


def check_share(**values: float) -> None:
    """Checks that numbers are in [0, 1].

    Raises:
        ValueError: the first that is not.

    >>> check_share(threshold=1.5)
    Traceback (most recent call last):
    ValueError: threshold: expected a number in [0, 1], got 1.5
    """
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name}: expected a number in [0, 1], got {value}")
