"""Whether a model has learnt anything: against guessing."""

import math

import pytest
import torch
from scipy.stats import binom

from dalib.judge.chance import chance_of, guessing_rate, has_lost, is_at_chance, without_chance
from dalib.judge.comparison import Comparison
from dalib.judge.evidence import Evidence

ACCURACIES = {"adapted": 0.14, "source-only": 0.9}


def test_the_test_is_the_exact_binomial_one():
    assert chance_of(9, 10, 0.5) == pytest.approx(11 / 1024)
    assert chance_of(7, 28, 1 / 7) == pytest.approx(binom.sf(6, 28, 1 / 7))
    assert chance_of(10, 10, 1.0) == 1.0
    assert math.isclose(chance_of(3, 3, 0.2), 0.008)


@pytest.mark.parametrize(("correct", "count", "rate"), [(0, 0, 0.5), (3, 2, 0.5), (-1, 2, 0.5), (1, 2, 1.5)])
def test_counts_that_cannot_be_are_refused(correct, count, rate):
    with pytest.raises(ValueError, match="correct, count, rate"):
        chance_of(correct, count, rate)


def test_the_rate_of_guessing_is_one_in_c_where_classes_are_equally_frequent():
    labels = torch.arange(7).repeat(4)
    for predicted in (torch.full_like(labels, 3), labels, labels.flip(0)):
        assert guessing_rate(labels, predicted) == pytest.approx(1 / 7)
    with pytest.raises(ValueError, match="labels, predicted"):
        guessing_rate(labels, labels[:3])


def test_a_model_that_names_one_class_is_at_chance_however_frequent_it_is():
    labels = torch.tensor([0] * 95 + [1] * 5)
    assert is_at_chance(labels, torch.zeros_like(labels))


def test_a_model_that_finds_a_rare_class_is_not_though_it_is_right_less_often_than_the_largest_class_is_frequent():
    labels = torch.tensor([0] * 190 + [1] * 10)
    predicted = torch.tensor([0] * 179 + [1] * 11 + [1] * 10)  # finds all rare ones, and 11 that are none
    assert (predicted == labels).float().mean() < 0.95
    assert not is_at_chance(labels, predicted)


def test_random_predictions_pass_about_once_in_twenty():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(7).repeat(20)
    passed = [not is_at_chance(labels, torch.randint(7, (140,), generator=generator)) for _ in range(400)]
    assert sum(passed) / 400 < 0.08


def test_few_images_accuse_no_model():
    labels = torch.arange(7).repeat(2)
    assert not is_at_chance(labels, torch.zeros_like(labels))
    assert not is_at_chance(labels[:0], labels[:0])


def test_nothing_changes_where_no_model_is_at_chance():
    comparison = Comparison("adapted", "helped", "It helped", ("a reason",))
    assert without_chance(comparison, [], ACCURACIES) == comparison


@pytest.mark.parametrize("outcome", ["helped", "unclear", "hurt", "collapsed"])
def test_an_adapted_model_at_chance_is_not_the_better_one(outcome):
    found = without_chance(Comparison("adapted", outcome, "It helped", ("a reason",)), ["adapted"], ACCURACIES)
    assert found.better == "source-only"
    assert found.outcome == ("collapsed" if outcome == "collapsed" else "hurt")
    assert any("14.0% of the source's validation images" in reason for reason in found.reasons)
    assert ("a reason" in found.reasons) == (outcome in ("hurt", "collapsed"))


@pytest.mark.parametrize("outcome", ["helped", "unclear", "hurt"])
def test_an_adapted_model_at_chance_on_few_images_has_not_been_shown_to_have_hurt(outcome):
    comparison = Comparison("adapted", outcome, "It seems so", ("a reason",))
    found = without_chance(comparison, ["adapted"], {"aligned": 0.75, "adapted": 0.625}, lost=False)
    assert found.better == "aligned"
    assert found.outcome == ("hurt" if outcome == "hurt" else "unclear")
    assert "lost" not in found.headline
    assert any("62.5% of the source's validation images" in reason for reason in found.reasons)


def test_a_loss_counts_where_it_is_no_accident_of_few_images():
    def right_on(correct, count, groups=None):
        labels = torch.arange(count) % 2
        said = torch.where(torch.arange(count) < correct, labels, 1 - labels)
        return Evidence(torch.nn.functional.one_hot(said, 2).float(), labels, torch.eye(2), validation_groups=groups)

    assert not has_lost(right_on(18, 24), right_on(15, 24))
    assert has_lost(right_on(180, 240), right_on(150, 240))
    assert not has_lost(right_on(150, 240), right_on(180, 240))
    groups = torch.arange(240) // 20
    assert not has_lost(right_on(180, 240, groups), right_on(150, 240, groups))


def test_a_source_only_model_at_chance_is_not_either_and_nothing_is_said_to_have_hurt():
    accuracies = {"source-only": 0.14, "adapted": 0.9}
    found = without_chance(Comparison("source-only", "hurt", "It hurt", ("a reason",)), ["source-only"], accuracies)
    assert (found.better, found.outcome) == ("adapted", "unclear")
    assert "The source-only model learnt nothing" in found.headline


@pytest.mark.parametrize("names", [["adapted", "source-only"], ["source-only"]])
def test_where_all_are_at_chance_it_says_that_nothing_was_learnt_and_what_to_do(names):
    comparison = Comparison(names[0], "helped" if len(names) > 1 else "alone", "It helped", ("a reason",))
    found = without_chance(comparison, names, dict.fromkeys(names, 0.14))
    assert found.headline.startswith("Nothing was learnt")
    assert found.outcome == ("unclear" if len(names) > 1 else "alone")
    assert "from a larger pretrained network" in found.reasons[-1]
    assert len(found.reasons) == len(names) + 1
