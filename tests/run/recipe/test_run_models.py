"""The models of a run by their names, and the classes that its target was taken to have."""

from types import SimpleNamespace

import pytest

from dalib.run.recipe.run_models import FinishedModel, RunModels


def test_models_keep_their_order_and_may_have_no_predictions(made):
    finished = made[0].models["source-only"]
    models = RunModels({"source-only": finished, "adapted": FinishedModel(finished.trained, None)})
    assert list(models.trained) == ["source-only", "adapted"]
    assert list(models.everything) == ["source-only"]  # as in other processes than the first
    assert models.models["adapted"].evaluated is finished.trained.evidence


def test_another_model_makes_other_models(made):
    models, finished = made[0], made[0].source_only
    both = models.with_model("adapted", finished)
    assert (list(both.models), list(models.models)) == (["source-only", "adapted"], ["source-only"])
    assert RunModels().source_only is None


@pytest.mark.parametrize(
    ("asked", "believed", "classes"),
    [("auto", None, "same"), ("auto", "fewer", "fewer"), ("other", None, "other"), ("same", None, "same")],
)
def test_the_target_has_the_classes_that_were_believed_in_or_asked_for(asked, believed, classes):
    kind = None if believed is None else SimpleNamespace(believed=believed)
    assert RunModels(kind=kind).of_classes(asked) == classes
