"""Numbers that matter: only those that are known."""

from dalib.records.evaluation import Evaluation, MeasuredModel
from dalib.records.folder import RunRecords
from dalib.records.judgement import Judgement
from dalib.records.labelled import Labelled, LabelledValue
from dalib.records.selection import Measurement, Selection
from dalib.records.summary import SummarizedModel, Summary
from dalib.report.tiles import Tile, tiles
from dalib.report.verdict import verdict_of

HYPHEN, SPACE = "\N{NON-BREAKING HYPHEN}", "\N{NO-BREAK SPACE}"


def test_a_run_that_has_begun_has_none():
    assert tiles(RunRecords(Summary())) == []


def test_the_gain_is_measured_against_the_best_other_model():
    models = {name: MeasuredModel(share, (0.0, 1.0)) for name, share in (("adapted", 0.9), ("aligned", 0.75))}
    (found,) = tiles(RunRecords(Summary(), evaluations=(Evaluation("digits", 100, models),)))
    assert (found.name, found.value, found.note) == ("Gain over aligned", "+15.0", "percentage points")


def test_a_gain_is_the_difference_of_the_accuracies_as_they_are_shown():
    shares = {"adapted": 0.99962, "source-only": 0.9994}
    models = {name: MeasuredModel(share, (0.0, 1.0)) for name, share in shares.items()}
    records = RunRecords(Summary(status="done"), evaluations=(Evaluation("digits", 100_000, models),))
    shown = verdict_of(records, "RUN")
    assert "adapted 99.96%, source-only 99.9%" in shown.headline
    assert "That is 0.06 points more" in shown.notes[0]
    assert tiles(records)[0].value == "+0.06"


def test_no_gain_of_an_evaluation_stands_beside_the_verdict_of_other_labels():
    models = {name: MeasuredModel(share, (0.0, 1.0)) for name, share in (("adapted", 0.7), ("source-only", 0.75))}
    values = {"adapted": LabelledValue(0.8, 0.7, 0.9), "source-only": LabelledValue(0.6, 0.5, 0.7)}
    measured = Measurement("l.csv", "labelled", 50, "adapted", "source-only", (0.8, 0.6), 0.2, 0.1, 0.3)
    records = RunRecords(
        Summary(status="done"),
        evaluations=(Evaluation("digits", 100, models),),
        labelled=Labelled("l.csv", 50, values, difference=LabelledValue(0.2, 0.1, 0.3), baseline="source-only"),
        selection=Selection("adapted", "measurement", measured),
    )
    assert verdict_of(records, "RUN").headline.startswith("Adaptation helped: adapted about 80.0%")
    assert tiles(records) == []


def test_sizes_and_seconds_of_the_run():
    summary = Summary(changed=0.25, counts={"target": 12000}, seconds={"source-only": 30.0, "adapted": 60.0})
    changed, images, seconds = tiles(RunRecords(summary))
    assert changed == Tile("Changed class", "25.0%", "of the target images")
    beside = Judgement("adapted", "helped", baseline="aligned")
    assert tiles(RunRecords(summary, judgement=beside))[0].note == "of the target images, compared with aligned"
    assert images == Tile("Target images", "12,000", "without labels")
    assert (seconds.name, seconds.value) == ("Training time", "1 min 30 s")
    # names and numbers stay together where the line breaks
    assert seconds.note.startswith(f"source{HYPHEN}only 30")
    assert ", adapted" in seconds.note


def test_a_run_with_labels_says_what_they_are_for():
    models = {name: MeasuredModel(share, (0.0, 1.0)) for name, share in (("adapted", 0.9), ("source-only", 0.75))}
    measured = RunRecords(Summary(counts={"target": 12}), evaluations=(Evaluation("digits", 100, models),))
    assert tiles(measured)[-1] == Tile("Target images", "12", "labels only to evaluate, not to train")
    few = Summary(counts={"target": 1200, "target_labelled": 20, "target_held_out": 10})
    assert tiles(RunRecords(few))[-1] == Tile("Target images", "1,200", "30 of them with a label")


def test_one_training_has_its_seconds_alone():
    (found,) = tiles(RunRecords(Summary(seconds={"source-only": 30.0})))
    assert found.note == ""


def test_models_that_predict_the_same_have_no_probability():
    votes = {"adapted": 0, "aligned": 0, "differ": 0, "count": 90}
    same = Judgement("adapted", "unclear", probability=0.5, votes=votes)
    (found,) = tiles(RunRecords(Summary(), judgement=same))
    assert (found.name, found.value) == ("Effect of adaptation", "none")
    differ = Judgement("adapted", "unclear", probability=0.5, votes={**votes, "differ": 1})
    (found,) = tiles(RunRecords(Summary(), judgement=differ))
    assert (found.name, found.value) == ("Probability that adaptation helped", "50%")


def test_images_that_the_selected_model_predicts_as_unknown_have_a_tile():
    models = {name: SummarizedModel(target_unknown=count) for name, count in (("adapted", 81), ("aligned", 70))}
    summary = Summary(models=models, counts={"target": 400})
    found, _ = tiles(RunRecords(summary, selection=Selection("aligned", "labels")))
    assert (found.name, found.value) == ("Predicted as unknown", "70")
    assert found.note.replace(SPACE, " ") == "of 400 target images, by aligned; adapted 81"
