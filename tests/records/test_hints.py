"""The record of hints: one sentence for each way that they can have been used."""

from dalib.records.hints import HintedClass, Hints


def test_a_sentence_says_how_far_hints_were_trusted(tmp_path):
    trusted = Hints(2, 2, gain=0.1, right=0.75, classes=(HintedClass("a", 2, 1.0, 0.5, "a"),))
    assert "Hints for 2 of 2 target images were trusted to 50%; about 75% of them seem right" in trusted.sentence
    nearly = Hints(2, 2, gain=0.1, right=0.998, classes=(HintedClass("a", 2, 1.0, 0.996, "a"),))
    assert "were trusted to 99.6%; about 99.8% of them seem right" in nearly.sentence, "and not to 100%"
    copied = Hints(2, 2, gain=0.1, copied={"aligned": 0.9})
    assert "mostly repeat the predictions of the aligned model" in copied.sentence
    assert "they were not used" in Hints(2, 2).sentence
    trusted.write(tmp_path / "hints.json")
    assert Hints.read(tmp_path / "hints.json") == trusted
