"""A judgement in words."""

from dalib.records.estimate import Estimate
from dalib.records.judgement import JudgedModel, Judgement, KeptStep, Prior


def test_an_estimate_is_told_with_its_interval_and_that_it_is_one():
    judged = JudgedModel(estimate=Estimate(0.914, 0.871, 0.948, "atc"))
    assert judged.in_words == "accuracy on the target about 91% (87% to 95%), estimated without its labels"


def test_an_estimate_that_is_not_reliable_says_so():
    judged = JudgedModel(estimate=Estimate(0.914, 0.871, 0.948, "atc", reliable=False, reason="few images"))
    assert judged.in_words.endswith("estimated without its labels, not reliable")


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
