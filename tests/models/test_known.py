"""The rule that tells images of none of the classes: its score, its probability, and its place on disk."""

import json

import pytest
import torch

from dalib.core.errors import UserError
from dalib.data.preprocessing import Preprocessing
from dalib.models.architecture import Architecture
from dalib.models.known import KnownRule, certainty
from dalib.models.saved import ModelDescription, content_of, description_of

ARCHITECTURE = Architecture(backbones=("small",), bottleneck_dim=8, channels=1, size=8)
DESCRIPTION = ModelDescription(ARCHITECTURE, ("cat", "dog"), Preprocessing(8, 1), KnownRule(0.4, 0.05))


def test_certainty_is_one_less_the_entropy_in_units_of_its_maximum():
    p = torch.tensor([[0.7, 0.2, 0.1]])
    by_hand = 1 + float((p * p.log()).sum() / torch.tensor(3.0).log())
    assert float(certainty(p)) == pytest.approx(by_hand)
    assert certainty(torch.full((1, 7), 1 / 7)).tolist() == [pytest.approx(0, abs=1e-6)]


def test_the_decision_is_that_of_the_probability():
    p = torch.rand(200, 5).softmax(dim=1)
    rule = KnownRule(float(certainty(p).median()), 0.01)
    known = rule.are_known(p)
    assert 0 < int(known.sum()) < 200
    assert torch.equal(known, rule.probability_of_known(p) >= 0.5)


@pytest.mark.parametrize("numbers", [(1.5, 0.1), (0.5, 0.0), (0.5, float("nan"))])
def test_a_rule_out_of_its_range_is_refused(numbers):
    with pytest.raises(ValueError, match="expected a number"):
        KnownRule(*numbers)


def test_the_rule_comes_back_from_a_file_and_models_without_one_are_as_before(tmp_path):
    content = content_of(DESCRIPTION)
    assert content["known"] == {"score": "certainty", "threshold": 0.4, "scale": 0.05}
    assert description_of(json.loads(json.dumps(content)), tmp_path) == DESCRIPTION
    assert "known" not in content_of(ModelDescription(ARCHITECTURE, ("cat", "dog"), Preprocessing(8, 1)))


@pytest.mark.parametrize("known", [{}, {"score": "other", "threshold": 0.1, "scale": 1}, "x", None])
def test_a_damaged_rule_is_an_error_of_the_file(tmp_path, known):
    with pytest.raises(UserError, match="not a model of dalib's"):
        description_of({**json.loads(json.dumps(content_of(DESCRIPTION))), "known": known}, tmp_path)
