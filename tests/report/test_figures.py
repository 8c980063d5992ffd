"""Charts and the words for numbers."""

from __future__ import annotations

import pytest

from dalib.report.figures import Series, interval, line_chart, number, percent, sentence, signed_interval

CURVE = [Series("loss", "one", [(0, 1.0), (50, 0.5), (100, 0.25)])]


def test_the_kept_step_stands_where_its_point_is() -> None:
    chart = line_chart("Loss", "", CURVE, shares=False, kept_step=50)
    assert chart is not None
    (line,) = chart.lines
    assert chart.mark == line.dots[1][0]
    assert chart.mark_name == "kept: step 50"
    assert chart.alt.endswith("; kept: step 50")


@pytest.mark.parametrize("step", [None, -1, 101])
def test_a_step_off_the_axis_is_not_marked(step: float | None) -> None:
    chart = line_chart("Loss", "", CURVE, shares=False, kept_step=step)
    assert chart is not None
    assert chart.mark is None
    assert "kept" not in chart.alt


def test_many_points_are_thinned() -> None:
    chart = line_chart("Loss", "", [Series("loss", "one", [(n, 1.0) for n in range(10_000)])], shares=False)
    assert chart is not None
    assert chart.lines[0].path.count("L") < 240


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), True, "0.5", [0.5]])
def test_what_is_no_number_is_a_dash(value: object) -> None:
    assert number(value) is None
    assert percent(value) == "\N{EN DASH}"  # type: ignore[arg-type]


def test_words_for_numbers() -> None:
    assert interval([0.9, 0.955]) == "90.0% to 95.5%"
    assert signed_interval((-0.031, 0.08)) == "\N{MINUS SIGN}3.1 to +8.0"
    assert [sentence(text) for text in ("a b", "A.", "why?", "")] == ["A b.", "A.", "Why?", "."]
