"""Cautions of a judgement by few images: what is not estimated, what was never tried, and the remedy."""

import pytest
import torch

from dalib.engine.train import Trained
from dalib.judge.evidence import Confidence, Evidence
from dalib.run.classes.fewer import ExpectedClasses
from dalib.run.classes.unknown import ExpectedKnown
from dalib.run.judge import judge
from dalib.run.recipe.recipe import JudgeSettings


@pytest.mark.parametrize(("count", "said"), [(19, True), (20, False), (0, True)])
def test_too_few_validation_images_for_an_estimate_are_told(count, said):
    labels = torch.arange(count) % 2
    evidence = Evidence(torch.eye(2)[labels], labels, torch.eye(2)[torch.arange(30) % 2])
    trained = {"source-only": Trained(torch.nn.Identity(), evidence, 1, 1, "", None)}
    settings = JudgeSettings(Confidence(0.9), "better", "uniform", "last", 1)
    reasons = " ".join(judge(trained, {"source-only": evidence}, settings, ("a", "b")).reasons)
    assert (f"takes 20 validation images of the source, and there are {count}" in reasons) == said
    assert ("data.validation_share" in reasons) == said


def test_one_image_is_one():
    labels = torch.tensor([1])
    evidence = Evidence(torch.eye(2)[labels], labels, torch.eye(2)[labels])
    trained = {"source-only": Trained(torch.nn.Identity(), evidence, 1, 1, "", None)}
    settings = JudgeSettings(Confidence(0.9), "better", "uniform", "last", 1)
    reasons = " ".join(judge(trained, {"source-only": evidence}, settings, ("a", "b")).reasons)
    assert "that takes 30 target images, and there is 1" in reasons


@pytest.mark.parametrize(("count", "said"), [(31, True), (32, False)])
def test_estimates_of_few_images_of_a_class_are_said_to_be_low(count, said):
    labels = torch.arange(40) % 4
    evidence = Evidence(torch.eye(4)[labels], labels, torch.eye(4)[torch.arange(count) % 4])
    trained = {"source-only": Trained(torch.nn.Identity(), evidence, 1, 1, "", None)}
    settings = JudgeSettings(Confidence(0.9), "better", "uniform", "last", 1)
    reasons = " ".join(judge(trained, {"source-only": evidence}, settings, ("a", "b", "c", "d")).reasons)
    assert ("8 target images for each class (32 for 4 classes), and there are 31" in reasons) == said


def test_the_remedy_for_few_validation_images_of_a_kit_is_another_kit():
    labels = torch.arange(15) % 2
    evidence = Evidence(torch.eye(2)[labels], labels, torch.eye(2)[torch.arange(30) % 2])
    trained = {"source-only": Trained(torch.nn.Identity(), evidence, 1, 1, "", None)}
    settings = JudgeSettings(Confidence(0.9), "better", "uniform", "last", 1, of_kit=True)
    reasons = " ".join(judge(trained, {"source-only": evidence}, settings, ("a", "b")).reasons)
    assert "there are 15; ask for a kit of a run with a larger data.validation_share" in reasons
    assert "give more source images" not in reasons


def test_images_that_judge_are_counted_by_what_they_are_where_others_are_left_out():
    labels = torch.arange(24) % 3
    evidence = Evidence(torch.eye(3)[labels], labels, torch.eye(3)[torch.arange(90) % 2])
    trained = {name: Trained(torch.nn.Identity(), evidence, 1, 1, "", None) for name in ("source-only", "adapted")}

    def reasons(expected):
        settings = JudgeSettings(Confidence(0.9), "better", "uniform", "last", 1, expected)
        return " ".join(judge(trained, dict.fromkeys(trained, evidence), settings, ("a", "b", "c")).reasons)

    assert "There are 60 target images that seem to be of known classes, and" in reasons(
        ExpectedKnown(torch.arange(90) < 60)
    )
    fewer = ExpectedClasses(torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64), torch.tensor([True, True, False]))
    told = reasons(fewer)
    assert "20 validation images of the source in the classes that the target seems to have, and there are 16" in told
    assert "There are 90 target images, and" in told


@pytest.mark.parametrize(
    ("count", "told", "selected"),
    [
        (9, "Comparing models takes 30 target images", "source-only"),
        (12, "Comparing models takes 30 target images", "adapted"),
        (60, "There are 60 target images, and the judgement was never tried on fewer than 100", "adapted"),
        (100, "", "adapted"),
    ],
)
def test_a_target_smaller_than_any_that_was_tried_gets_a_caution(count, told, selected):
    nothing = torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64)
    evidence = Evidence(*nothing, torch.eye(2)[torch.arange(count) % 2])
    trained = {name: Trained(torch.nn.Identity(), evidence, 1, 1, "", None) for name in ("source-only", "adapted")}
    settings = JudgeSettings(Confidence(0.9), "better", "uniform", "last", 1)
    found = judge(trained, dict.fromkeys(trained, evidence), settings, ("a", "b"))
    reasons = " ".join(found.reasons)
    assert told in reasons
    assert ("Label some of them" in reasons) == bool(told)
    assert found.shipped == selected
    assert ("images are too few" in found.headline) == (count < 30) == (found.probability is None)
    alone = judge({"source-only": trained["source-only"]}, {"source-only": evidence}, settings, ("a", "b"))
    assert "never tried" not in " ".join(alone.reasons)  # one model is compared with none


@pytest.mark.parametrize(("stopped", "keep"), [("the mask rate rose", "better"), ("", "adapted")])
def test_a_caution_names_no_model_by_the_number_of_images_where_another_is_selected(stopped, keep):
    """A training that collapsed ships source-only on 12 images; of 9, adapted is kept where that is asked for."""
    nothing = torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64)
    evidence = Evidence(*nothing, torch.eye(2)[torch.arange(12 if stopped else 9) % 2])
    trained = {
        "source-only": Trained(torch.nn.Identity(), evidence, 1, 1, "", None),
        "adapted": Trained(torch.nn.Identity(), evidence, 1, 1, stopped, None),
    }
    settings = JudgeSettings(Confidence(0.9), keep, "uniform", "last", 1)
    found = judge(trained, dict.fromkeys(trained, evidence), settings, ("a", "b"))
    assert found.shipped == ("source-only" if stopped else "adapted")
    reasons = " ".join(found.reasons)
    assert "Comparing models takes 30 target images, and there are" in reasons
    assert "Of fewer" not in reasons
