"""A measurement: its pairs of models, the baseline in it, and its words."""

import pytest

from dalib.core.errors import UserError
from dalib.records.evaluation import Evaluation, MeasuredModel, Paired


def evaluation(*pairs: Paired, **accuracies: float) -> Evaluation:
    models = {
        name.replace("_", "-"): MeasuredModel(share, (share - 0.1, share + 0.1)) for name, share in accuracies.items()
    }
    return Evaluation("digits", 100, models, paired=pairs or None)


def test_the_baseline_is_the_most_accurate_of_the_others():
    assert evaluation(adapted=0.9, aligned=0.7, source_only=0.8).baseline == "source-only"
    assert evaluation(adapted=0.9, aligned=0.8, source_only=0.7).baseline == "aligned"
    assert evaluation(adapted=0.9).baseline is None
    assert evaluation(source_only=0.9).baseline is None


def test_a_pair_is_found_in_either_order():
    found = evaluation(Paired("adapted", "source-only", 7, 2), adapted=0.9, source_only=0.8)
    assert found.compared("adapted", "source-only") == Paired("adapted", "source-only", 7, 2)
    assert found.compared("source-only", "adapted") == Paired("source-only", "adapted", 2, 7)
    assert found.compared("adapted", "aligned") is None
    assert evaluation(adapted=0.9).compared("adapted", "source-only") is None


def test_a_file_of_version_1_has_its_pair_by_the_models_names():
    content = {"data": "digits", "count": 9, "models": {}, "paired": {"adapted": 4, "source_only": 1}, "version": 1}
    assert Evaluation.from_json(content, "x.json").paired == (Paired("adapted", "source-only", 4, 1),)
    with pytest.raises(UserError, match=r"x\.json: expected a list at paired.*Delete it and measure again"):
        Evaluation.from_json({**content, "paired": {"adapted": 4}}, "x.json")


def test_models_and_pairs_have_a_line_each():
    told = repr(evaluation(Paired("adapted", "source-only", 7, 2), adapted=0.9, source_only=0.8))
    assert told.splitlines() == [
        "Evaluation: 100 labelled images of digits",
        "  adapted     90.0% are right (80.0% to 100.0%)",
        "  source-only 80.0% are right (70.0% to 90.0%)",
        "  only adapted is right on 7 images, only source-only on 2",
    ]


def test_an_accuracy_of_nearly_all_images_is_not_told_as_all_of_them():
    told = repr(evaluation(adapted=0.9996, source_only=0.0004))
    assert "adapted     99.96% are right" in told
    assert "source-only 0.04% are right" in told
