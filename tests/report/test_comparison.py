"""The models side by side: each number in its column, marked as what it is."""

from __future__ import annotations

from dalib.records.estimate import Estimate
from dalib.records.folder import RunRecords
from dalib.records.judgement import JudgedModel, Judgement, MaskThreshold
from dalib.records.summary import RecordedKind, SummarizedModel, Summary
from dalib.report.comparison import MOST_CLASSES, Cell, class_estimates, comparison, estimate_cell, estimated_on


def estimate(value: float | None, reliable: bool = True) -> Estimate:
    return Estimate(value, 0.1, 0.9, "atc", reliable, "few images")


def judgement(shipped: str = "adapted", **models: JudgedModel) -> Judgement:
    return Judgement(shipped, "helped", models={name.replace("_", "-"): each for name, each in models.items()})  # type: ignore[arg-type]


def test_an_estimate_carries_its_interval_and_its_warning() -> None:
    assert estimate_cell(estimate(0.5)) == Cell("50.0%", "10.0% to 90.0%", "")
    assert estimate_cell(estimate(0.5, reliable=False)).warning == "not reliable"
    assert estimate_cell(estimate(None, reliable=False)) == Cell(warning="no estimate: few images")
    assert estimate_cell(None) == Cell()


def test_nothing_known_is_no_table() -> None:
    assert comparison(RunRecords(Summary())) is None


def test_scores_are_named_in_a_fixed_order_and_unknown_ones_come_last() -> None:
    scores = {"target_new_one": 3.0, "target_mean_entropy": 0.1, "target_mask_rate": 0.5}
    said = judgement("source-only", adapted=JudgedModel(scores), source_only=JudgedModel())
    found = comparison(RunRecords(Summary(method="self-ensemble"), judgement=said))
    assert found is not None
    assert ([model.name for model in found.models], found.shipped) == (["source-only", "adapted"], "source-only")
    assert [model.title for model in found.models] == ["Source-only", "Adapted"]
    rows = found.scores
    assert [row.name for row in rows] == ["Mask rate", "Mean entropy", "New one"]
    assert [cell.value for cell in rows[0].cells] == ["\N{EN DASH}", "50.0%"]
    assert [cell.value for cell in rows[2].cells] == ["\N{EN DASH}", "3"]


def test_a_mask_rate_stands_beside_the_threshold_that_its_method_has() -> None:
    scored = JudgedModel({"target_mask_rate": 0.5})

    def note(threshold: MaskThreshold | None) -> str:
        said = Judgement("adapted", "helped", models={"adapted": scored}, mask_threshold=threshold)
        found = comparison(RunRecords(Summary(method="self-ensemble"), judgement=said))
        assert found is not None
        return found.scores[0].note

    assert "above 0.95;" in note(MaskThreshold(0.95))
    assert "above 0.9 times the mean confidence on the source;" in note(MaskThreshold(0.9, of_source=True))
    assert "above" not in note(None)  # of an older run, whose judgement does not have it


def test_without_a_judgement_the_adapted_model_ships() -> None:
    found = comparison(RunRecords(Summary(method="self-ensemble", models={"adapted": SummarizedModel()})))
    assert found is not None
    assert found.shipped == "adapted"


def test_of_many_classes_the_lowest_estimates_come_first() -> None:
    classes = [f"class {number}" for number in range(MOST_CLASSES + 3)]
    estimates = [estimate(number / 100) for number in reversed(range(len(classes) - 1))] + [estimate(None)]
    found = class_estimates(classes, judgement(adapted=JudgedModel(classes=tuple(estimates))))
    assert found is not None
    assert len(found.worst) == MOST_CLASSES
    assert found.worst[0].name == classes[-2]
    assert found.others[-1].name == classes[-1]  # without a value
    assert found.others[-1].cells[0].warning == "no estimate: few images"
    assert found.caution == "Those marked “not reliable” rest on too few images."


def test_what_holds_for_every_class_is_said_once() -> None:
    unsure = [estimate(0.5, reliable=False), estimate(None, reliable=False)]
    found = class_estimates(["a", "b"], judgement(adapted=JudgedModel(classes=tuple(unsure))))
    assert found is not None
    assert [row.cells[0].warning for row in found.worst] == ["", "no estimate: few images"]
    assert found.caution == "None of them is reliable: for the adapted model, few images."


def test_estimates_of_other_classes_are_not_shown() -> None:
    assert class_estimates(["a", "b"], judgement(adapted=JudgedModel(classes=(estimate(0.5),)))) is None
    assert class_estimates([], judgement(adapted=JudgedModel(classes=()))) is None


def test_a_target_that_auto_took_for_one_with_other_images_is_treated_as_such() -> None:
    asked = {"settings": {"classes": "auto"}, "counts": {"target": 400}}
    models = {"adapted": SummarizedModel(target_unknown=100), "source-only": SummarizedModel()}
    records = RunRecords(Summary(models=models, target_kind=RecordedKind("other"), **asked))
    assert estimated_on(records) == "the target's images that seem known"
    (row,) = next(group for group in comparison(records).groups if group.title == "Predictions on the target").rows
    assert row.cells == [Cell(), Cell("100", "25.0%")]
    assert estimated_on(RunRecords(Summary(target_kind=RecordedKind("fewer"), **asked))) == "the target"
