"""Parts that several records share: estimates with their intervals, and bins of a reliability diagram."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bin:
    """Images of similar confidence.

    Attributes:
        confidence, accuracy: means; None where the bin is empty.
        count: how many images.
    """

    confidence: float | None
    accuracy: float | None
    count: int


@dataclass(frozen=True)
class Calibration:
    """Tells how far confidence is from accuracy.

    Attributes:
        error: the expected calibration error, a share.
        bins: by confidence, the lowest first.
        temperature: that fits the logits to labels, where one was fitted.
    """

    error: float | None = None
    bins: tuple[Bin, ...] = ()
    temperature: float | None = None


@dataclass(frozen=True)
class Estimate:
    """An accuracy that was estimated without target labels.

    Attributes:
        value: a share; None where nothing can be estimated.
        low, high: its 95% interval.
        method: how it was estimated.
        reliable: whether it is to be trusted; ``reason`` is why not.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    method: str = ""
    reliable: bool = True
    reason: str = ""
