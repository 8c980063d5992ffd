"""The first lines of the report: what is measured, what is estimated, and what went wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from dalib.commands.flags import FlagSpelling
from dalib.core.errors import spelled
from dalib.judge.paired import paired_difference_interval
from dalib.records.estimate import Estimate, OpenSet, Share
from dalib.records.folder import RunRecords
from dalib.records.judgement import JudgedModel
from dalib.records.labelled import Labelled, LabelledValue
from dalib.records.selection import Measurement, Selection
from dalib.records.summary import RecordedKind, Stopped, Summary
from dalib.report.verdict import judged, sampled, verdict_of
from told_verdicts import evaluation, judgement, said, verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dalib.records.evaluation import Evaluation


@pytest.fixture(autouse=True)
def typed() -> Iterator[None]:
    """Steps are spelled as commands, as for all that the command line runs."""
    with spelled(FlagSpelling()):
        yield


@pytest.mark.parametrize(
    ("paired", "tone", "words"),
    [
        ((40, 10), "helped", "p < 0.001"),
        ((10, 40), "hurt", "p < 0.001"),
        ((21, 9), "helped", "p = 0.043"),
        ((20, 14), "unclear", "p = 0.39 (the exact McNemar test). The difference may be chance"),
        (
            (5, 0),
            "helped",
            "By that test the difference may be chance; the interval decides, here and for the selected model",
        ),
        ((0, 0), "unclear", "right on the same images"),
    ],
)
def test_images_that_one_model_alone_gets_right_decide(paired: tuple[int, int], tone: str, words: str) -> None:
    first, second = paired
    found = judged(evaluation(0.80 + (first - second) / 600, 0.80, paired=paired))
    assert found.tone == tone
    assert words in said(found)


@pytest.mark.parametrize("paired", [(5, 0), (6, 0), (8, 1), (9, 2), (0, 5), (2, 9), (3, 1), (21, 9)])
def test_the_headline_says_what_the_selection_follows(paired: tuple[int, int]) -> None:
    first, second = paired
    low, high = paired_difference_interval(first, second, 600)
    difference = (first - second) / 600
    accuracies = (0.8 + difference, 0.8)
    measured = Measurement("d", "evaluation", 600, "adapted", "source-only", accuracies, difference, low, high)
    tone = {"adapted": "helped", "source-only": "hurt", None: "unclear"}[measured.better]
    assert judged(evaluation(0.8 + difference, 0.8, paired=paired)).tone == tone


def test_measures_of_unknown_images_are_told_where_a_run_expects_such() -> None:
    known = evaluation(0.85, 0.82, paired=(20, 2))
    open_set = OpenSet(Share(0.75, 0.64, 0.83), 0.75, 0.5, 0.6)
    models = {name: replace(each, open_set=open_set) for name, each in known.models.items()}
    found = judged(replace(known, models=models, unknown=Share(0.33, 0.25, 0.42)))
    assert "33.0% (25.0% to 42.0%) of the images are of none of the classes" in said(found)
    assert (
        "adapted 75.0% (64.0% to 83.0%) of the known ones, 50.0% of the unknown ones, HOS 60.0%; source-only"
        in said(found)
    )
    assert "HOS" not in said(judged(known))


def test_a_few_labels_tell_of_unknown_images_too() -> None:
    open_set = OpenSet(Share(0.75, 0.64, 0.83), 0.75, 0.5, 0.6)
    models = {"adapted": LabelledValue(0.8, 0.7, 0.9, 50), "source-only": LabelledValue(0.6, 0.5, 0.7)}
    few = Labelled("l.csv", 50, models, difference=LabelledValue(0.2, 0.1, 0.3, 20))
    found = sampled(replace(few, unknown=Share(0.33, 0.25, 0.42), open_sets={"adapted": open_set}))
    assert "33.0% (25.0% to 42.0%) of the images are of none of the classes. Right are adapted 75.0%" in said(found)
    assert "HOS" not in said(sampled(few))


def test_what_the_target_seems_to_be_is_told_beside_a_measurement() -> None:
    seems = "The target seems to have 2 of the source's 3 classes: a, b; the other one weighs little in the adaptation"
    about = replace(judgement("helped", "Adaptation seems to have helped", adapted=JudgedModel()), target=seems)
    records = RunRecords(Summary(status="done"), (evaluation(0.85, 0.8),), judgement=about)
    assert f"{seems}." in verdict_of(records, "run").notes


def test_pairs_see_what_overlapping_intervals_miss() -> None:
    assert judged(evaluation(0.85, 0.82)).tone == "unclear"
    assert judged(evaluation(0.85, 0.82, paired=(20, 2))).tone == "helped"


def test_the_difference_has_its_interval() -> None:
    assert "6.7 points more (95% interval of the difference: +3.8 to +9.5 points)" in said(
        judged(evaluation(0.867, 0.8, paired=(60, 20)))
    )


@pytest.mark.parametrize("paired", [None, (500, 500), (-1, 0)])
def test_pairs_that_cannot_be_are_not_used(paired: tuple[int, int] | None) -> None:
    assert "confidence intervals" in said(judged(evaluation(0.9, 0.8, paired=paired)))


@pytest.mark.parametrize(("status", "measured"), [("diverged", True), ("diverged", False), ("collapsed", False)])
def test_what_went_wrong_comes_first(status: str, measured: bool) -> None:
    evaluations = [evaluation(0.9, 0.8)] if measured else []
    stopped = Stopped(1200, "few classes are left")
    found = verdict({"status": status, "stopped": stopped}, *evaluations)
    assert found.tone == "unfinished"
    assert found.headline.startswith(f"Training {status} at step 1,200")
    assert found.notes[0] == "Few classes are left."
    assert ("Adaptation helped" in said(found)) == measured


def test_labels_overrule_the_signs_of_a_collapse() -> None:
    found = verdict({"status": "collapsed", "stopped": Stopped(1200, "few classes are left")}, evaluation(0.9, 0.8))
    assert found.tone == "helped"
    assert found.headline.startswith("Training was stopped at step 1,200. Adaptation helped: adapted 90.0%")
    assert found.notes[0] == "Few classes are left."
    assert "not reliable" not in said(found)


def test_a_collapse_tells_its_reason_once_and_which_model_is_selected() -> None:
    reason = "a reason"
    found = verdict(
        {"status": "collapsed", "stopped": Stopped(5, reason)},
        judgement=judgement("collapsed", "Adaptation collapsed: the source-only model predicts", "source-only"),
    )
    assert said(found).count("A reason.") == 1
    assert "The source-only model is the selected model of this run." in said(found)
    assert "dalib eval RUN --data FOLDER" in found.command


def test_a_run_that_was_stopped_but_is_done_says_so() -> None:
    found = verdict({"stopped": Stopped(40, "out of time")}, evaluation(0.9, 0.8))
    assert found.headline.startswith("Training was stopped at step 40. Adaptation helped")
    assert found.notes[0] == "Out of time."


@pytest.mark.parametrize(
    ("outcome", "headline", "start"),
    [
        ("hurt", "Adaptation seems to have hurt: the source-only model predicts", "Adaptation seems to have hurt"),
        ("hurt", "the other one is better", "Adaptation hurt: the other one is better"),
        ("collapsed", "Two classes are left", "Adaptation collapsed: Two classes are left"),
    ],
)
def test_an_estimated_harm_is_in_the_first_line(outcome: str, headline: str, start: str) -> None:
    found = verdict(judgement=judgement(outcome, headline, "source-only"))
    assert found.headline.startswith(start)
    assert found.headline.endswith("(an estimate, not a measurement)")
    assert (found.tone, found.kind) == ("hurt", "estimated")


@pytest.mark.parametrize("outcome", ["hurt", "collapsed"])
@pytest.mark.parametrize(("adapted", "tone"), [(0.9, "helped"), (0.8, "unclear"), (0.7, "hurt")])
def test_a_judged_harm_stays_in_the_first_line_with_labels(outcome: str, adapted: float, tone: str) -> None:
    found = verdict(None, evaluation(adapted, 0.8), judgement=judgement(outcome, "x", "source-only"))
    assert (found.tone, found.kind) == (tone, "measured")
    assert outcome in found.headline


def test_a_shipped_model_that_labels_speak_against_is_told() -> None:
    worse = verdict(None, evaluation(0.9, 0.8), judgement=judgement("hurt", "x", "source-only"))
    assert "it is in adapted/model/" in said(worse)
    worse = verdict(None, evaluation(0.7, 0.8), judgement=judgement("helped", "x", "adapted"))
    assert "it is in source-only/model/" in said(worse)


@pytest.mark.parametrize(
    ("outcome", "headline", "tone", "probability", "words"),
    [
        ("helped", "Adaptation probably helped", "helped", 0.974, "is 97%"),
        ("hurt", "Adaptation probably hurt", "hurt", 0.0, "is under 1%"),
        ("unclear", "Can't tell whether adaptation helped", "unclear", 0.5, "is 50%"),
        ("helped", "Adaptation probably helped", "helped", 1, "is over 99%"),
    ],
)
def test_a_probability_stands_in_the_first_lines(
    outcome: str, headline: str, tone: str, probability: float, words: str
) -> None:
    found = verdict(judgement=replace(judgement(outcome, headline), probability=probability))
    assert (found.headline, found.tone) == (headline, tone)
    assert f"The probability that the adapted model is better than source-only {words}." in found.notes[0]
    assert "This is an estimate without target labels, not a measurement" in found.notes[0]


@pytest.mark.parametrize("probability", [None, float("nan"), -0.1, 97])
def test_what_is_no_probability_is_not_told(probability: float | None) -> None:
    found = verdict(judgement=replace(judgement("helped", "It helped"), probability=probability))
    assert found == verdict(judgement=judgement("helped", "It helped"))


def test_an_unclear_judgement_says_that_it_cannot_tell_and_asks_for_labels() -> None:
    found = verdict(judgement=judgement("unclear", "Without labels no clear change can be seen"))
    assert found.headline == (
        "Can't tell which model is better. Without labels no clear change can be seen (an estimate, not a measurement)"
    )
    assert found.steps[0].text.startswith("Label 30 target images: only labels can tell the models apart.")
    assert found.steps[0].command == ("dalib query RUN --n 30 --out to_label.csv\ndalib eval RUN --labels to_label.csv")


@pytest.mark.parametrize(("differ", "told"), [(0, "to know how good the model is"), (1, "can tell the models apart")])
def test_labels_are_not_to_tell_models_apart_that_agree_on_every_image(differ: int, told: str) -> None:
    votes = {"adapted": differ, "aligned": 0, "differ": differ, "count": 90}
    found = verdict(judgement=replace(judgement("unclear", "Can't tell"), votes=votes, probability=0.5))
    assert told in found.steps[0].text
    assert ("is 50%" in said(found)) == bool(differ)  # identical models need no probability


def test_the_better_model_has_the_larger_probability() -> None:
    found = verdict(judgement=replace(judgement("unclear", "x"), probability=0.3, baseline="aligned"))
    assert found.headline == "Can't tell whether the aligned model is better than adapted: the probability is 70%"


def test_a_headline_with_its_probability_is_not_told_twice() -> None:
    helped = "Adaptation seems to have helped: the adapted model is better with a probability of 97%"
    found = verdict(judgement=replace(judgement("helped", helped), probability=0.97))
    assert found.headline == helped
    assert said(found).count("97%") == 1
    assert found.notes[0].startswith("This is an estimate without target labels, not a measurement")


def test_an_unclear_probability_is_told_in_plain_words() -> None:
    apart = "Without labels the models cannot be told apart: adapted is better with a probability of 63%"
    found = verdict(judgement=replace(judgement("unclear", apart), probability=0.63))
    assert found.headline == "Can't tell whether the adapted model is better than source-only: the probability is 63%"
    assert said(found).count("63%") == 1


@pytest.mark.parametrize(
    "other", [{"outcome": "collapsed"}, {"outcome": "hurt", "at_chance": ("adapted",)}, {"at_chance": ("source-only",)}]
)
def test_no_probability_contradicts_a_collapse_or_a_model_at_chance(other: dict[str, Any]) -> None:
    found = verdict(judgement=replace(judgement("unclear", "x"), probability=0.97, **other))
    assert "97%" not in said(found)
    assert "Can't tell" not in said(found)


def test_a_model_alone_gets_its_estimate_as_headline() -> None:
    estimate = Estimate(0.9, 0.8, 1.0, reliable=False, reason="only 20 images")
    found = verdict(judgement=judgement("alone", "nothing to compare", adapted=JudgedModel(estimate=estimate)))
    assert found.headline == "The adapted model is estimated to reach 90.0% on the target"
    assert "not reliable: only 20 images" in said(found)
    assert found.tone == "unknown"


def test_a_model_alone_without_estimate_has_a_headline() -> None:
    nothing = judgement("alone", "nothing to compare", adapted=JudgedModel())
    assert verdict(judgement=nothing).headline == "nothing to compare"
    assert verdict(judgement=judgement("alone", "nothing to compare")).headline == "nothing to compare"


@pytest.mark.parametrize(
    ("low", "high", "tone"), [(0.01, 0.2, "helped"), (-0.2, -0.01, "hurt"), (-0.01, 0.2, "unclear")]
)
def test_labels_of_a_few_images_judge_by_the_interval_of_the_difference(low: float, high: float, tone: str) -> None:
    model = LabelledValue(0.9, 0.8, 1.0, 50)
    labelled = Labelled(
        "labels.csv",
        50,
        {"adapted": model, "source-only": model},
        target=900,
        notes=("a note",),
        difference=LabelledValue((low + high) / 2, low, high, 20),
    )
    found = sampled(labelled)
    assert (found.tone, found.kind) == (tone, "measured")
    assert "A note." in said(found)
    assert verdict(labelled=labelled, judgement=judgement("helped", "x")).kind == "measured"
    alone = replace(labelled, difference=None)
    assert sampled(alone).headline == ("About 90.0% adapted, 90.0% source-only, from the labels of 50 target images")


def measurement(data: str = "photos", labels: Any = "evaluation") -> Measurement:
    return Measurement(data, labels, 600, "adapted", "source-only", (0.9, 0.8), 0.1, 0.05, 0.15)


def test_the_selected_model_is_named_and_who_selected_it() -> None:
    hurt = judgement("hurt", "Adaptation seems to have hurt: the source-only model predicts", "source-only")
    found = said(verdict(None, evaluation(0.9, 0.8), judgement=hurt, selection=Selection("adapted", "user")))
    assert "The adapted model is the selected model of this run (selected by the user)." in found
    assert "source-only model predicts" not in found, "what was selected before does not stand beside it"
    assert "is better; it is in" not in found


def test_labels_of_a_few_images_tell_of_a_third_model_as_an_evaluation_does() -> None:
    models = {name: LabelledValue(value, 0.4, 0.95, 60) for name, value in (("adapted", 0.7), ("aligned", 0.5))}
    few = Labelled("l.csv", 60, models, 1200, difference=LabelledValue(0.2, 0.1, 0.3, 60), baseline="aligned")
    third = replace(few, models=models | {"source-only": LabelledValue(0.9, 0.8, 0.95, 60)})
    assert "The source-only model reaches about 90.0% from the labels of 60 target images." in sampled(third).notes
    assert "reaches" not in said(sampled(few))


@pytest.mark.parametrize(("data", "told"), [("photos", True), ("elsewhere", False)])
def test_the_accuracy_on_the_labels_that_selected_is_called_too_high(data: str, told: bool) -> None:
    selection = Selection("adapted", "measurement", measurement(data))
    found = verdict(None, evaluation(0.9, 0.8), judgement=judgement("helped", "x"), selection=selection)
    assert ("These labels have selected the adapted model, so its accuracy" in said(found)) == told


@pytest.mark.parametrize("measured", [True, False])
def test_that_nothing_was_learnt_is_the_first_line_and_no_estimate(measured: bool) -> None:
    headline = "Nothing was learnt: neither model is better than chance"
    nothing = replace(judgement("unclear", headline, adapted=JudgedModel()), at_chance=("adapted",))
    found = verdict(None, *([evaluation(0.1, 0.1)] if measured else []), judgement=nothing)
    assert found.headline.startswith("Nothing was learnt")
    assert "estimate" not in found.headline
    assert "A reason." in said(found)
    contradicted = verdict(None, evaluation(0.9, 0.8, paired=(60, 0)), judgement=nothing)
    assert contradicted.headline.startswith("Adaptation helped")


KIND = RecordedKind("same", 0.95, 0.05, 0.0)
KIND_IN_WORDS = (
    "the source's classes 95%, fewer of them 5%, nothing to tell other images by; "
    "the adaptation expects the same classes."
)


@pytest.mark.parametrize("status", ["done", "collapsed"])
@pytest.mark.parametrize("measured", [(), (evaluation(0.8, 0.6, paired=(130, 10)),)])
def test_what_the_target_seems_to_be_is_told_with_its_probabilities(status: str, measured: tuple[Evaluation]) -> None:
    known: dict[str, Any] = {"status": status, "target_kind": KIND}
    found = verdict(known, *measured, judgement=judgement("helped", "x"))
    assert said(found).count(KIND_IN_WORDS) == 1
    doubtful = replace(judgement("helped", "x"), reasons=(f"{RecordedKind.OPENING}, told with the reasons",))
    assert said(verdict(known, *measured, judgement=doubtful)).count(RecordedKind.OPENING) == 1


@pytest.mark.parametrize("kind", [None, RecordedKind()])
def test_a_default_is_no_estimate_of_what_the_target_is(kind: RecordedKind | None) -> None:
    assert RecordedKind.OPENING not in said(verdict({"target_kind": kind}, judgement=judgement("helped", "x")))


def test_estimates_that_are_unreliable_for_one_reason_share_a_sentence() -> None:
    models = {
        name: JudgedModel(estimate=Estimate(0.5, 0.4, 0.6, reliable=False, reason=reason))
        for name, reason in (("source-only", "few images"), ("aligned", "far"), ("adapted", "far"))
    }
    notes = verdict(judgement=replace(judgement("helped", "x"), models=models)).notes
    assert "The estimate for source-only is not reliable: few images." in notes
    assert "The estimates for aligned and adapted are not reliable: far." in notes
