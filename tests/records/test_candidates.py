"""The models of a run stand in one order everywhere."""

from __future__ import annotations

from dalib.records.candidates import ADAPTED, BASELINE, CANDIDATES, in_order, ordered


def test_the_baseline_comes_first_and_the_adapted_model_last():
    assert (CANDIDATES[0].name, CANDIDATES[-1].name) == (BASELINE, ADAPTED) == ("source-only", "adapted")
    assert len({each.title for each in CANDIDATES}) == len(CANDIDATES)


def test_models_come_in_order_and_unknown_ones_are_left_out():
    assert [each.name for each in ordered(["adapted", "x", "source-only"])] == ["source-only", "adapted"]
    assert [*in_order({"adapted": 1, "x": 2, "aligned": 3})] == ["aligned", "adapted"]
