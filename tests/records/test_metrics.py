"""Lines of metrics: what is no number, and what is no line, is passed over."""

from __future__ import annotations

import json

import pytest

from dalib.records.metrics import MetricsLine, curve, line_text, read_metrics


def test_a_line_is_what_was_written(tmp_path):
    (tmp_path / "m.jsonl").write_text(line_text({"step": 25, "loss": 1.5, "mask_rate": 0}) + "\n")
    assert read_metrics(tmp_path / "m.jsonl") == (MetricsLine(25, {"loss": 1.5, "mask_rate": 0}),)
    assert json.loads(line_text({"step": 25, "loss": 1.5})) == {"step": 25, "loss": 1.5}


def test_lines_that_cannot_be_read_are_passed_over(tmp_path):
    path = tmp_path / "m.jsonl"
    assert read_metrics(path) == ()
    path.write_text('[1]\n{"step": "x"}\n{"loss": 1}\n{"step": 5, "loss": 2}\n{"step": 6, "lo' + "[" * 10_000)
    assert read_metrics(path) == (MetricsLine(5, {"loss": 2}),)


@pytest.mark.parametrize("value", [None, True, "1", [1], float("nan"), float("inf")])
def test_what_is_no_finite_number_is_no_value(value):
    assert MetricsLine.from_json({"step": 5, "loss": value}) == MetricsLine(5)
    assert MetricsLine.from_json({"step": value, "loss": 1}) is None


def test_a_curve_has_the_lines_with_its_number():
    lines = (MetricsLine(1, {"a": 1.0}), MetricsLine(2, {"b": 5.0}), MetricsLine(3, {"a": 0.5}))
    assert curve(lines, "a") == [(1, 1.0), (3, 0.5)]
