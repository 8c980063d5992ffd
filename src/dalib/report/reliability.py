"""The reliability diagram: is confidence accuracy? Geometry only, as in :mod:`dalib.report.figures`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dalib.report.figures import percent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dalib.records.estimate import Calibration

SIZE = 320
LEFT, RIGHT, TOP, BOTTOM = 50, 300, 12, 262
SMALLEST_DOT, LARGEST_DOT = 2.0, 6.5
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class ReliabilityLine:
    """One model: path data through its bins, a dot each (x, y, radius), and its calibration error in words."""

    name: str
    path: str
    dots: list[tuple[float, float, float]]
    error: str


@dataclass(frozen=True)
class Diagram:
    """A reliability diagram of some models on the same images."""

    title: str
    alt: str
    lines: list[ReliabilityLine]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    diagonal: str


def diagram(title: str, calibrations: Mapping[str, Calibration]) -> Diagram | None:
    """Returns the diagram of each model's calibration; None without a bin that has images."""
    lines, words = [], []
    for name, calibration in calibrations.items():
        bins = [
            (each.confidence, each.accuracy, each.count)
            for each in calibration.bins
            if each.count > 0 and each.confidence is not None and each.accuracy is not None
        ]
        if not bins:
            continue
        most = max(count for _, _, count in bins)
        dots = [
            (_x(confidence), _y(accuracy), round(max(SMALLEST_DOT, LARGEST_DOT * math.sqrt(count / most)), 1))
            for confidence, accuracy, count in sorted(bins)
        ]
        error = percent(calibration.error)
        lines.append(ReliabilityLine(name, "M" + " L".join(f"{x:g} {y:g}" for x, y, _ in dots), dots, error))
        words.append(f"{name}: calibration error {error}")
    if not lines:
        return None
    return Diagram(
        title=title,
        alt=f"Accuracy by confidence, {title}. {'; '.join(words)}",
        lines=lines,
        x_ticks=[(_x(tick), f"{100 * tick:g}%") for tick in TICKS],
        y_ticks=[(_y(tick), f"{100 * tick:g}%") for tick in TICKS],
        diagonal=f"M{_x(0):g} {_y(0):g} L{_x(1):g} {_y(1):g}",
    )


def _x(share: float) -> float:
    return round(LEFT + (RIGHT - LEFT) * share, 1)


def _y(share: float) -> float:
    return round(BOTTOM - (BOTTOM - TOP) * share, 1)
