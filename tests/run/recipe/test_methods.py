"""The method of a run: built with its settings, and refused with the argument's name."""

from dataclasses import replace

import pytest
import torch

from dalib.adaptation.methods import method_class
from dalib.core.errors import UserError
from dalib.run.recipe.recipe import make_method
from dalib.run.settings.config import TrainConfig
from dalib.run.settings.presets import changed

CONFIG = TrainConfig(source="source", target="target")


class Student(torch.nn.Module):
    """A linear classifier of 4 numbers."""

    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(4, 3)

    def forward(self, inputs):
        return self.head(inputs)


@pytest.mark.parametrize("name", ["source-only", "self-ensemble", "mean-teacher", "fixmatch", "adamatch", "mcc"])
def test_each_method_is_built_around_the_student(name):
    student = Student()
    method = make_method(replace(CONFIG, method=name), student, 3, steps=10)
    assert isinstance(method, method_class(name))
    assert method.student is student


def test_a_setting_out_of_its_range_is_named_with_its_group():
    config = changed(CONFIG, ["self_ensemble", "alpha"], 1.5, "self_ensemble.alpha")
    with pytest.raises(UserError, match=r"self_ensemble\.alpha"):
        make_method(config, Student(), 3)


def test_a_method_that_expects_no_shares_says_so():
    with pytest.raises(UserError, match=r"prior='source': fixmatch expects no class shares; use prior='uniform'"):
        make_method(replace(CONFIG, method="fixmatch", prior="source"), Student(), 3)


def test_the_shares_of_a_preset_need_no_method_that_expects_any():
    assert make_method(replace(CONFIG, method="fixmatch", prior="halfway"), Student(), 3).class_prior is None


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("method", "source-only", r"leave it out with method='source-only', which does not adapt$"),
        ("features", 2, r"leave it out with features=2, by which no image reaches the training$"),
        ("prior", "estimate", r"leave it out with prior='estimate', with which it is not combined$"),
    ],
)
def test_masking_goes_beside_a_method_that_adapts_on_images(setting, value, told):
    config = changed(CONFIG, ["masked_consistency", "weight"], 1.0, "masked_consistency.weight")
    with pytest.raises(UserError, match=rf"masked_consistency\.weight.*{told}"):
        make_method(replace(config, **{setting: value}), Student(), 3)
