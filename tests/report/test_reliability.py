"""The reliability diagram: bins become dots, and gaps in the data none."""

from __future__ import annotations

from dalib.report.reliability import BOTTOM, LARGEST_DOT, LEFT, RIGHT, SMALLEST_DOT, TOP, diagram


def bin_of(confidence: float | None, accuracy: float | None, count: int) -> dict[str, float | None]:
    return {"confidence": confidence, "accuracy": accuracy, "count": count}


def test_corners_by_hand() -> None:
    bins = [bin_of(1.0, 1.0, 400), bin_of(None, None, 0), bin_of(0.0, 0.0, 100), bin_of(0.5, 0.25, 1)]
    found = diagram("here", {"adapted": {"error": 0.05, "bins": bins}})
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
    empty = {"error": 0.0, "bins": [bin_of(None, None, 0)]}
    assert diagram("here", {"adapted": empty, "student": {}}) is None
    full = {"error": None, "bins": [bin_of(0.5, 0.5, 3)]}
    found = diagram("here", {"adapted": empty, "source-only": full})
    assert found is not None
    assert [line.name for line in found.lines] == ["source-only"]
    assert found.lines[0].error == "\N{EN DASH}"
