"""Bars of predicted classes, what a prior expects beside them, and classes that nothing is predicted as."""

from dalib.records.folder import RunRecords
from dalib.records.judgement import Judgement, Prior
from dalib.records.summary import SummarizedModel, Summary
from dalib.report.histogram import MOST_BARS, MOST_NAMED, Bar, ClassBars, histogram


def records(counts: dict[str, tuple[int, ...]], prior: Prior | None = None) -> RunRecords:
    classes = tuple(f"c{number}" for number in range(len(next(iter(counts.values())))))
    models = {name: SummarizedModel(each) for name, each in counts.items()}
    judgement = Judgement("adapted", "helped", prior=prior)
    return RunRecords(Summary(classes=classes, models=models), judgement=judgement)


def test_without_a_model_there_is_no_histogram():
    assert histogram(RunRecords(Summary(classes=("a",)))) is None
    assert histogram(RunRecords(Summary(classes=("a",), models={"adapted": SummarizedModel()}))) is None


def test_each_class_has_a_bar_for_each_model_whose_widths_share_one_scale():
    found = histogram(records({"adapted": (8, 2), "source-only": (10, 0)}))
    assert [(key.name, key.look) for key in found.legend] == [("source-only",) * 2, ("adapted",) * 2]
    assert [row.bars for row in found.classes] == [
        [Bar("source-only", "source-only", 10, "100.0"), Bar("adapted", "adapted", 8, "80.0")],
        [Bar("source-only", "source-only", 0, "0.0"), Bar("adapted", "adapted", 2, "20.0")],
    ]
    assert (found.model, found.vanished, found.vanished_count) == ("adapted", [], 0)


def test_a_prior_is_drawn_as_images_and_one_of_other_classes_is_not():
    found = histogram(records({"adapted": (8, 2)}, Prior("estimate", (0.5, 0.5), (1.0,))))
    assert found.priors
    assert [(key.name, key.look) for key in found.legend] == [
        ("adapted", "adapted"),
        ("prior used (estimate)", "prior"),
    ]
    assert [row.bars[1].count for row in found.classes] == [5, 5]
    assert not histogram(records({"adapted": (8, 2)}, Prior())).priors


def test_of_many_classes_the_largest_are_drawn_and_the_first_vanished_ones_named():
    counts = tuple(range(MOST_BARS + 5, 0, -1)) + (0,) * (MOST_NAMED + 3)
    found = histogram(records({"adapted": counts}))
    assert [row.bars[0].count for row in found.classes] == list(counts[:MOST_BARS])
    assert found.left_out == len(counts) - MOST_BARS
    assert (len(found.vanished), found.vanished_count) == (MOST_NAMED, MOST_NAMED + 3)


def test_no_prediction_at_all_has_bars_of_no_width():
    found = histogram(records({"adapted": (0, 0)}))
    assert {bar.width for row in found.classes for bar in row.bars} == {"0.0"}


def test_unknown_images_have_bars_behind_those_of_the_classes_also_of_many():
    models = {"adapted": SummarizedModel((8, 2), target_unknown=16), "source-only": SummarizedModel((10, 0))}
    found = histogram(RunRecords(Summary(classes=("a", "b"), models=models)))
    assert found.classes[-1] == ClassBars("unknown", [Bar("adapted", "adapted", 16, "100.0")])
    assert found.classes[0].bars[1].width == "50.0"
    assert (found.shown, found.left_out, found.vanished) == (2, 0, [])
    many = {"adapted": SummarizedModel((3,) * (MOST_BARS + 5), target_unknown=0)}
    found = histogram(RunRecords(Summary(classes=tuple(map(str, range(MOST_BARS + 5))), models=many)))
    assert [(row.name, len(row.bars)) for row in found.classes[MOST_BARS:]] == [("unknown", 1)]
    assert (found.shown, found.left_out) == (MOST_BARS, 5)
