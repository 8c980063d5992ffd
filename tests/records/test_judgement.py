"""A judgement in words."""

from dataclasses import replace

import pytest

from dalib.records.estimate import Estimate
from dalib.records.judgement import JudgedModel, Judgement, KeptStep, Prior


def test_an_estimate_is_told_with_its_interval_and_that_it_is_one():
    judged = JudgedModel(estimate=Estimate(0.914, 0.871, 0.948, "atc"))
    assert judged.in_words == "accuracy on the target about 91% (87% to 95%), estimated without its labels"


def test_an_estimate_that_is_not_reliable_says_so():
    judged = JudgedModel(estimate=Estimate(0.914, 0.871, 0.948, "atc", reliable=False, reason="few images"))
    assert judged.in_words.endswith("estimated without its labels, not reliable")


def test_an_estimate_without_an_interval_is_told_alone():
    judged = JudgedModel(estimate=Estimate(0.914))
    assert judged.in_words == "accuracy on the target about 91%, estimated without its labels"


def test_without_an_estimate_the_words_say_so():
    for judged in (JudgedModel(), JudgedModel(estimate=Estimate(reliable=False, reason="few images"))):
        assert judged.in_words == "accuracy on the target not estimated"


def test_headline_reasons_and_models_have_a_line_each():
    judgement = Judgement(
        "adapted",
        "helped",
        "Adaptation helped",
        ("The first reason.", "The second."),
        {"adapted": JudgedModel(), "source-only": JudgedModel()},
    )
    assert repr(judgement).splitlines() == [
        "Judgement: helped",
        "  Adaptation helped.",
        "  The first reason.",
        "  The second.",
        "  adapted     accuracy on the target not estimated",
        "  source-only accuracy on the target not estimated",
    ]


def test_parts_survive_their_file(tmp_path):
    judgement = Judgement(
        "aligned",
        "unclear",
        models={"aligned": JudgedModel({"target_mask_rate": 0.5}, classes=(Estimate(0.5), Estimate()))},
        votes={"aligned": 3, "differ": 5, "count": 9},
        baseline="aligned",
        selection=KeptStep(5, 10, "judged", "the best"),
        prior=Prior("estimate", (0.5, 0.5), (0.25, 0.75)),
    )
    judgement.write(tmp_path / "judgement.json")
    assert Judgement.read(tmp_path / "judgement.json") == judgement


def test_nothing_was_learnt_where_every_model_is_at_chance():
    both = {"adapted": JudgedModel(), "source-only": JudgedModel()}
    assert Judgement("adapted", "unclear", models=both, at_chance=("source-only", "adapted")).nothing_learnt
    assert not Judgement("adapted", "unclear", models=both, at_chance=("adapted",)).nothing_learnt
    assert not Judgement("adapted", "unclear").nothing_learnt  # of an older run nothing is known


def test_models_that_differ_on_no_image_predict_the_same():
    votes = {"adapted": 0, "aligned": 0, "count": 90}
    assert Judgement("adapted", "unclear", votes={**votes, "differ": 0}).same_predictions
    for other in ({**votes, "differ": 1}, votes, None):
        assert not Judgement("adapted", "unclear", votes=other).same_predictions


@pytest.mark.parametrize(
    ("other", "known"),
    [
        ({}, 0.97),
        ({"outcome": "unclear"}, 0.97),
        ({"outcome": "hurt", "probability": 0.0}, 0.0),
        ({"outcome": "collapsed"}, None),
        ({"outcome": "alone"}, None),
        ({"at_chance": ("source-only",)}, None),
        ({"votes": {"differ": 0}}, None),
        ({"probability": None}, None),
        ({"probability": float("nan")}, None),
        ({"probability": 97}, None),
    ],
)
def test_the_probability_of_help_is_known_where_nothing_else_decides(other, known):
    assert replace(Judgement("adapted", "helped", probability=0.97), **other).probability_of_help == known
