"""Bars of the accuracies: from 0, with their intervals, of labels before estimates."""

from __future__ import annotations

from dataclasses import replace

from dalib.records.estimate import Estimate
from dalib.records.evaluation import Evaluation, MeasuredModel
from dalib.records.folder import RunRecords
from dalib.records.judgement import JudgedModel, Judgement
from dalib.records.labelled import Labelled, LabelledValue
from dalib.records.selection import Measurement, Selection
from dalib.records.summary import Summary
from dalib.report.accuracy import accuracy_bars

JUDGED = Judgement(
    "adapted",
    "helped",
    models={
        "adapted": JudgedModel(estimate=Estimate(0.9, 0.85, 1.02, reliable=False)),
        "source-only": JudgedModel(estimate=Estimate(None, reason="few images")),
    },
)
RECORDS = RunRecords(Summary(status="done", method="mcc"), judgement=JUDGED)
LABELLED = Labelled(
    "l.csv", 50, {"adapted": LabelledValue(0.8, 0.7, 0.9, 50), "source-only": LabelledValue(0.6, 0.5, 0.7)}
)
EVALUATION = Evaluation(
    "photos", 600, {"adapted": MeasuredModel(0.7, (0.66, 0.74)), "source-only": MeasuredModel(0.5, (0.4, 0.6))}
)


def test_estimates_are_drawn_where_there_are_no_labels() -> None:
    found = accuracy_bars(RECORDS)
    assert found is not None
    assert (found.title, found.what) == ("Estimated accuracy on the target", "estimate")
    assert [bar.model.name for bar in found.bars] == ["source-only", "adapted"]
    missing, known = found.bars
    assert (missing.width, missing.cell.warning) == (None, "no estimate: few images")
    assert (known.width, known.low, known.high, known.cell.warning) == (90.0, 85.0, 100.0, "not reliable")


def test_labels_come_before_estimates_and_an_evaluation_before_both() -> None:
    few = accuracy_bars(replace(RECORDS, labelled=LABELLED))
    assert few is not None
    assert [bar.width for bar in few.bars] == [60.0, 80.0]
    whole = accuracy_bars(replace(RECORDS, labelled=LABELLED, evaluations=(EVALUATION,)))
    assert whole is not None
    assert (whole.title, [bar.width for bar in whole.bars]) == ("Accuracy on photos", [50.0, 70.0])
    assert (whole.bars[1].low, whole.bars[1].high) == (66.0, 74.0)


def test_labels_that_selected_a_model_are_named_on_its_bar() -> None:
    measured = Measurement("photos", "evaluation", 600, "adapted", "source-only", (0.7, 0.5), 0.2, 0.1, 0.3)
    records = replace(RECORDS, evaluations=(EVALUATION,), selection=Selection("adapted", "measurement", measured))
    found = accuracy_bars(records)
    assert found is not None
    assert [bar.chosen for bar in found.bars] == ["", "selected by these labels"]


def test_a_few_labels_that_selected_a_model_come_before_an_evaluation_as_in_the_verdict() -> None:
    measured = Measurement("l.csv", "labelled", 50, "adapted", "source-only", (0.8, 0.6), 0.2, 0.1, 0.3)
    selection = Selection("adapted", "measurement", measured)
    found = accuracy_bars(replace(RECORDS, labelled=LABELLED, evaluations=(EVALUATION,), selection=selection))
    assert found is not None
    assert (found.title, [bar.width for bar in found.bars]) == ("Accuracy on the target", [60.0, 80.0])
    assert [bar.chosen for bar in found.bars] == ["", "selected by these labels"]


def test_nothing_known_draws_no_bars() -> None:
    assert accuracy_bars(RunRecords(Summary())) is None
    unknown = Judgement("source-only", "alone", models={"source-only": JudgedModel()})
    assert accuracy_bars(RunRecords(Summary(), judgement=unknown)) is None


def test_estimates_beside_unknown_images_are_of_those_that_seem_known() -> None:
    summary = Summary(status="done", method="mcc", settings={"classes": "other"})
    found = accuracy_bars(replace(RECORDS, summary=summary))
    assert found is not None
    assert found.title == "Estimated accuracy on the target's images that seem known"
