"""Errors name the setting that an argument of another name was made from."""

import dataclasses

import pytest
from equations import CLASSES, student_of

from dalib.adaptation.inputs import MethodInputs, named_as


def refuse(message: str) -> None:
    raise ValueError(message)


def test_an_error_names_the_setting_in_place_of_the_argument():
    with (
        pytest.raises(ValueError, match=r"^weight: expected at least 0, got -1: it is a factor$"),
        named_as(consistency_weight="weight"),
    ):
        refuse("consistency_weight: expected at least 0, got -1: it is a factor")


@pytest.mark.parametrize("message", ["alpha: expected a decay in [0, 1], got 2", "consistency_weights: off", ""])
def test_other_errors_stay_as_they_are(message):
    with pytest.raises(ValueError) as caught, named_as(consistency_weight="weight"):
        refuse(message)
    assert str(caught.value) == message
    assert caught.value.__cause__ is None


def test_without_an_error_nothing_happens():
    with named_as(alpha="decay"):
        found = 1
    assert found == 1


def test_the_inputs_of_a_method_are_not_changed_by_it():
    inputs = MethodInputs(student_of(), CLASSES, steps=10)
    assert (inputs.prior, inputs.label_smoothing, inputs.compile_mode, inputs.stored_views) == (None, 0.0, None, 0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        inputs.steps = 20
