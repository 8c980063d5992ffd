"""Charts and the words for numbers."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from dalib.report.figures import (
    Series,
    interval,
    line_chart,
    number,
    percent,
    picture,
    sentence,
    short,
    signed_interval,
)

CURVE = [Series("loss", "one", [(0, 1.0), (50, 0.5), (100, 0.25)])]


def test_the_kept_step_stands_where_its_point_is() -> None:
    chart = line_chart("Loss", "", CURVE, shares=False, kept_step=50)
    assert chart is not None
    (line,) = chart.lines
    assert chart.mark == line.dots[1][0]
    assert chart.mark_name == "kept: step 50"
    assert chart.alt.endswith("; kept: step 50")


@pytest.mark.parametrize(
    ("last", "labels"),
    [(1, ["0", "1"]), (2, ["0", "1", "2"]), (10, ["0", "5", "10"]), (100, ["0", "25", "50", "75", "100"])],
)
def test_an_axis_of_few_steps_has_whole_ones(last: int, labels: list[str]) -> None:
    chart = line_chart("Loss", "", [Series("loss", "one", [(0, 1.0), (last, 0.5)])], shares=False)
    assert chart is not None
    assert [label for _, label in chart.x_ticks] == labels


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


def test_the_last_value_is_the_last_one_of_a_curve_that_is_thinned() -> None:
    chart = line_chart("Loss", "", [Series("loss", "one", [(n, float(n)) for n in range(1000)])], shares=False)
    assert chart is not None
    assert chart.lines[0].last == "999"
    assert "loss from 0 to 999" in chart.alt


def test_a_share_that_is_not_all_or_none_is_not_shown_as_100_or_0_percent() -> None:
    assert percent(0.9996) == "99.96%"
    assert percent(0.0004) == "0.04%"
    assert interval((0.99999999, 1)) == "99.999% to 100.0%"
    chart = line_chart("Shares", "", [Series("share", "one", [(0, 0.0002), (50, 0.9998)])], shares=True)
    assert chart is not None
    assert "share from 0.02% to 99.98%" in chart.alt


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), True, "0.5", [0.5]])
def test_what_is_no_number_is_a_dash(value: object) -> None:
    assert number(value) is None
    assert percent(value) == "\N{EN DASH}"  # type: ignore[arg-type]


def test_words_for_numbers() -> None:
    assert interval([0.9, 0.955]) == "90.0% to 95.5%"
    assert signed_interval((-0.031, 0.08)) == "\N{MINUS SIGN}3.1 to +8.0"
    assert [sentence(text) for text in ("a b", "A.", "why?", "")] == ["A b.", "A.", "Why?", "."]


def test_names_lose_their_middle_or_the_cache() -> None:
    assert short("street/" + "a" * 60 + "/image.png", 20) == "street/…aa/image.png"
    assert short(f"/home/me/.cache/dalib/given/{'0' * 32}/07.png") == "07"


def test_an_axis_of_shares_starts_at_zero_and_ends_at_one() -> None:
    chart = line_chart("Accuracy", "", [Series("a", "one", [(0, 0.96), (10, 0.99)])], shares=True)
    assert chart is not None
    assert [label for _, label in chart.y_ticks] == ["0%", "25%", "50%", "75%", "100%"]


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_knows_its_size(kind: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (31, 17)).save(file, kind)
    found = picture(file.getvalue())
    assert found is not None
    assert (found.width, found.height) == (31, 17)
    assert found.address.startswith(f"data:image/{kind.lower()};base64,")
    assert picture(file.getvalue()[:12]) is None


@pytest.mark.parametrize("content", [b"", b"GIF89a" + bytes(30), b"\xff\xd8\xff" + bytes(40), b"<svg/>"])
def test_what_is_no_picture_is_not_shown(content: bytes) -> None:
    assert picture(content) is None
