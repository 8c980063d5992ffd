import json

import pytest
import torch
from two_domains import noisy, sure, two_domains

from dalib.judge.evidence import Evidence
from dalib.judge.ranking import judge_predictions
from dalib.judge.structure import structure_of

CLASSES = ("ant", "bee", "cat", "dog")


@pytest.fixture
def judgement():
    representation, labels = two_domains()
    nothing = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    models = {"<b>": Evidence(*nothing, sure(labels)), "rough": Evidence(*nothing, sure(noisy(labels, 0.5, 1)))}
    names = [f"{number}.png" for number in range(len(labels))]
    return judge_predictions(models, CLASSES, structure_of(representation, 4), "rough", names)


def test_a_judgement_reads_as_text_as_html_and_as_json(judgement):
    assert "1. <b>, better than another" in repr(judgement)
    assert "&lt;b&gt;" in judgement._repr_html_()
    assert "<b>" not in judgement._repr_html_().replace("<p><b>", "")
    content = json.loads(json.dumps(judgement.as_dict()))
    assert content["version"] == 1
    assert content["pairs"][0][0] is None


def test_models_and_pairs_are_found_by_name(judgement):
    assert judgement.ranking == ("<b>", "rough")
    assert judgement["rough"].name == "rough"
    assert judgement.probability("<b>", "rough") == pytest.approx(1 - judgement.probability("rough", "<b>"))


def test_images_on_which_the_best_two_differ_are_listed(judgement):
    assert 0 < len(judgement.differing) <= 20
    name, one, other = judgement.differing[0]
    assert name.endswith(".png")
    assert one != other
    assert {one, other} <= set(CLASSES)
