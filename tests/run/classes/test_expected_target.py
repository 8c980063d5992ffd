"""Both kinds of an expected target leave everything of a target that is all expected."""

import math

import pytest
import torch

from dalib.judge.evidence import Evidence
from dalib.judge.structure import Representation
from dalib.run.classes.fewer import ExpectedClasses
from dalib.run.classes.unknown import ExpectedKnown

CLASSES = ["a", "b"]
EVERY_CLASS = ExpectedClasses(torch.tensor([0.5, 0.5], dtype=torch.float64), torch.tensor([True, True]))
EVERY_IMAGE = ExpectedKnown(torch.ones(6, dtype=torch.bool))


@pytest.mark.parametrize("expected", [EVERY_CLASS, EVERY_IMAGE], ids=["classes", "images"])
def test_nothing_is_left_out_of_a_target_that_is_as_the_source(expected):
    evidence = Evidence(torch.eye(2)[[0, 1]], torch.tensor([0, 1]), torch.eye(2)[[0, 1, 0, 1, 1, 0]])
    left = expected.among(evidence)
    assert torch.equal(left.target, evidence.target)
    assert torch.equal(left.validation, evidence.validation)
    seen = Representation(torch.rand(6, 3), torch.rand(4, 3), torch.tensor([0, 1, 0, 1]))
    assert torch.equal(expected.seen_in(seen).target, seen.target)


@pytest.mark.parametrize(
    ("expected", "most_classes", "sentence"),
    [
        (EVERY_CLASS, pytest.approx(2.0), "The target seems to have all of the source's 2 classes"),
        (EVERY_IMAGE, math.inf, "0 of the target's 6 images (0.0%) seem to be of none of the 2 classes"),
    ],
)
def test_its_classes_are_counted_and_told(expected, most_classes, sentence):
    assert expected.most_classes == most_classes
    assert expected.in_words(CLASSES).startswith(sentence)
