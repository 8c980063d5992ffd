import torch
from two_domains import sure

from dalib.judge.evidence import Evidence
from dalib.judge.failed_models import failures_of, reference_collapsed

LABELS = torch.arange(4).repeat(10)
NOTHING = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
MODELS = {
    "flat": Evidence(*NOTHING, sure(torch.zeros_like(LABELS))),
    "good": Evidence(*NOTHING, sure(LABELS)),
    "other": Evidence(*NOTHING, sure(LABELS.flip(0))),
}


def test_few_classes_beside_the_reference_are_a_collapse():
    found = failures_of(MODELS, "good")
    assert found["flat"].why == "collapsed, it predicts 1.0 classes in effect of 4.0"
    assert not found["flat"].at_chance
    assert found["good"] is found["other"] is None
    assert failures_of(MODELS, None)["flat"] == found["flat"]


def test_a_reference_is_not_accused_of_few_classes_and_accuses_no_other():
    assert reference_collapsed(MODELS, "flat")
    assert not reference_collapsed(MODELS, "good")
    assert failures_of(MODELS, "flat", collapsed=True) == {"flat": None, "good": None, "other": None}
    again = failures_of({**MODELS, "again": MODELS["flat"]}, "flat", collapsed=True)
    assert "collapsed" in again["again"].why


def test_a_model_at_chance_on_the_source_learnt_nothing():
    lost = Evidence(sure(torch.zeros_like(LABELS)), LABELS, sure(LABELS))
    found = failures_of({**MODELS, "lost": lost}, "good")["lost"]
    assert found.at_chance
    assert found.why == "not better than chance, 25.0% right on the source's validation images"


def test_few_images_accuse_no_model():
    few = {name: Evidence(*NOTHING, each.target[:20]) for name, each in MODELS.items()}
    assert failures_of(few, "good") == dict.fromkeys(MODELS)
