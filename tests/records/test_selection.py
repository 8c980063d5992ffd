"""Who selected a model, in words, and which of two measured models is better."""

from dataclasses import replace

import pytest

from dalib.records.selection import Measurement, Selection


def measured(difference: float, low: float, high: float, count: int = 200) -> Measurement:
    first = 0.8 + difference
    return Measurement("digits", "evaluation", count, "adapted", "aligned", (first, 0.8), difference, low, high)


@pytest.mark.parametrize(
    ("values", "better", "words"),
    [
        (
            (0.1, 0.05, 0.15),
            "adapted",
            "adapted 90.0%, aligned 80.0% on 200 labelled images; difference +10.0 points (95% interval +5.0 to +15.0)",
        ),
        (
            (-0.1, -0.15, -0.05),
            "aligned",
            "aligned 80.0%, adapted 70.0% on 200 labelled images; difference +10.0 points (95% interval +5.0 to +15.0)",
        ),
        (
            (0.01, -0.02, 0.04),
            None,
            "adapted 81.0%, aligned 80.0% on 200 labelled images; difference +1.0 points (95% interval -2.0 to +4.0)",
        ),
        (
            (0.05, 0.0, 0.1),
            None,
            "adapted 85.0%, aligned 80.0% on 200 labelled images; difference +5.0 points (95% interval 0.0 to +10.0)",
        ),
        (
            (-0.0004, -0.002, 0.0012),
            None,
            "adapted 80.0%, aligned 80.0% on 200 labelled images; difference -0.04 points (95% interval -0.2 to +0.1)",
        ),
        (
            (0.0, -0.1, 0.1),
            None,
            "adapted 80.0%, aligned 80.0% on 200 labelled images; difference 0.0 points (95% interval -10.0 to +10.0)",
        ),
    ],
)
def test_a_model_is_better_where_the_interval_leaves_out_0(values, better, words):
    found = measured(*values)
    assert found.better == better
    assert found.in_words() == words


@pytest.mark.parametrize(
    ("selection", "reason"),
    [
        (Selection("adapted", "judgement"), "selected without target labels"),
        (Selection("adapted", "user"), "selected by the user"),
        (
            Selection("adapted", "measurement", measured(0.1, 0.05, 0.15, 1)),
            "selected by measurement on 1 labelled image",
        ),
        (Selection("adapted", "measurement"), "selected without target labels"),
    ],
)
def test_the_reason_names_who_selected_it(selection, reason):
    assert selection.reason == reason
    assert selection.sentence == f"The adapted model is the selected model of this run ({reason})"
    assert repr(selection) == f"Selection: adapted model ({reason})"


def test_only_labels_that_selected_a_model_flatter_it():
    by_labels = Selection("adapted", "measurement", measured(0.1, 0.05, 0.15))
    assert by_labels.chosen_on("evaluation", "digits")
    assert not by_labels.chosen_on("labelled", "digits")
    assert not by_labels.chosen_on("evaluation", "usps")
    assert not Selection("adapted", "user", by_labels.measured).chosen_on("evaluation", "digits")
    assert not Selection("adapted", "judgement").chosen_on("evaluation", "digits")


def test_labels_that_selected_a_model_are_the_same_however_their_path_is_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "linked").symlink_to("street", target_is_directory=True)
    by_labels = Selection("adapted", "measurement", replace(measured(0.1, 0.05, 0.15), data="street"))
    assert by_labels.chosen_on("evaluation", "./street/")
    assert by_labels.chosen_on("evaluation", "linked")
    assert by_labels.chosen_on("evaluation", str(tmp_path / "street"))
    assert not any(by_labels.chosen_on("evaluation", other) for other in ("night", "", None))


def test_a_file_of_version_1_measured_adapted_and_source_only():
    measurement = {"data": "digits", "labels": "labelled", "count": 9, "adapted": 0.9, "source_only": 0.8}
    measurement |= {"difference": 0.1, "low": -0.1, "high": 0.3}
    found = Selection.from_json({"model": "adapted", "by": "measurement", "measured": measurement}, "x.json")
    assert found.measured == Measurement("digits", "labelled", 9, "adapted", "source-only", (0.9, 0.8), 0.1, -0.1, 0.3)


def test_a_measurement_has_images():
    with pytest.raises(ValueError, match="count: expected at least 1 image, got 0"):
        measured(0.1, 0.05, 0.15, count=0)
    assert "1,200 labelled images" in measured(0.1, 0.05, 0.15, count=1200).in_words()
