"""The reliability diagram: bins become dots, and gaps in the data none."""

from __future__ import annotations

from dalib.records.estimate import Bin, Calibration
from dalib.report.reliability import BOTTOM, LARGEST_DOT, LEFT, RIGHT, SMALLEST_DOT, TOP, diagram


def test_corners_by_hand() -> None:
    bins = (Bin(1.0, 1.0, 400), Bin(None, None, 0), Bin(0.0, 0.0, 100), Bin(0.5, 0.25, 1))
    found = diagram("here", {"adapted": Calibration(0.05, bins)})
    assert found is not None
    (line,) = found.lines
    assert line.dots == [
        (LEFT, BOTTOM, round(LARGEST_DOT / 2, 1)),  # a quarter of the images, half the radius
        ((LEFT + RIGHT) / 2, round(BOTTOM - (BOTTOM - TOP) / 4, 1), SMALLEST_DOT),
        (RIGHT, TOP, LARGEST_DOT),
    ]
    assert line.error == "5.0%"
    assert found.alt == "Accuracy by confidence, here. adapted: calibration error 5.0%"


def test_models_without_images_are_left_out() -> None:
    empty = Calibration(0.0, (Bin(None, None, 0),))
    assert diagram("here", {"adapted": empty, "student": Calibration()}) is None
    full = Calibration(None, (Bin(0.5, 0.5, 3),))
    found = diagram("here", {"adapted": empty, "source-only": full})
    assert found is not None
    assert [line.name for line in found.lines] == ["source-only"]
    assert found.lines[0].error == "\N{EN DASH}"
