"""Images of none of the classes: two groups of scores, scores over neighbours, and the measures against labels."""

import math

import pytest
import torch

from dalib.judge.structure import Representation
from dalib.judge.unknown import TwoGroups, harmonic_mean, open_set_accuracies, rule_of, scores_of_known, smoothed
from dalib.models.known import certainty


def draws(*groups):
    generator = torch.Generator().manual_seed(0)
    return torch.cat([mean + deviation * torch.randn(count, generator=generator) for count, mean, deviation in groups])


@pytest.mark.parametrize(("low", "high"), [(300, 700), (700, 300), (50, 950)])
def test_two_groups_are_told_apart_whatever_their_sizes(low, high):
    scores = draws((low, 0.0, 0.1), (high, 1.0, 0.15))
    groups = TwoGroups.of(scores)
    assert 0.2 < groups.threshold < 0.8
    upper = groups.upper(scores) > 0.5
    assert int(upper[:low].sum()) <= 2
    assert int((~upper[low:]).sum()) <= 2


def test_the_probability_is_a_half_at_the_threshold_and_rises():
    groups = TwoGroups.of(draws((100, 0.0, 1.0), (100, 3.0, 0.2)))
    at = torch.tensor([-9.0, groups.threshold, 9.0], dtype=torch.float64)
    below, middle, above = groups.upper(at).tolist()
    assert below < 0.01
    assert middle == 0.5
    assert above > 0.99


def test_units_of_the_scores_do_not_matter():
    scores = draws((200, 0.0, 0.2), (300, 1.0, 0.2)).double()
    one, other = TwoGroups.of(scores), TwoGroups.of(100 * scores - 7)
    assert other.threshold == pytest.approx(100 * one.threshold - 7, abs=0.5)
    assert other.slope == pytest.approx(one.slope / 100, rel=0.05)


def test_equal_scores_are_of_one_group_and_none_is_unknown():
    groups = TwoGroups.of(torch.full((30,), 0.7))
    assert bool((groups.upper(torch.full((30,), 0.7)) >= 0.5).all())


@pytest.mark.parametrize("scores", [torch.zeros(9), torch.zeros(20, 1), torch.tensor([math.nan] * 20)])
def test_scores_that_show_nothing_are_refused(scores):
    with pytest.raises(ValueError, match="expected at least 10 finite numbers"):
        TwoGroups.of(scores)


def test_the_rule_of_a_model_separates_sure_from_unsure_predictions():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(300, 6, generator=generator)
    logits[torch.arange(200), torch.arange(200) % 6] += 7
    p = logits.softmax(dim=1)
    rule = rule_of(p)
    known = rule.are_known(p)
    assert int(known[:200].sum()) > 190
    assert int(known[200:].sum()) < 10
    assert 0 < rule.threshold < 1
    assert float(certainty(p[known]).min()) >= rule.threshold


def test_smoothed_scores_follow_the_clusters():
    generator = torch.Generator().manual_seed(2)
    centres = torch.eye(4)[torch.arange(120) % 4]
    features = centres + 0.1 * torch.randn(120, 4, generator=generator)
    truth = (torch.arange(120) % 4 < 2).double()
    noisy = truth + 1.0 * torch.randn(120, generator=generator)
    found = smoothed(noisy, features, neighbours=5)
    assert float((found - truth).abs().mean()) < 0.5 * float((noisy - truth).abs().mean())
    assert torch.allclose(smoothed(torch.ones(120), features), torch.ones(120, dtype=torch.float64))


def test_smoothing_takes_as_many_neighbours_as_there_are():
    assert smoothed(torch.tensor([1.0]), torch.ones(1, 2)).tolist() == [1.0]
    assert len(smoothed(torch.tensor([1.0, 0.0]), torch.eye(2))) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [({"neighbours": 0}, "neighbours, spread"), ({"spread": 1.0}, "neighbours, spread"), ({"rounds": 0}, "rounds")],
)
def test_settings_of_smoothing_out_of_their_range_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        smoothed(torch.zeros(3), torch.eye(3), **change)
    with pytest.raises(ValueError, match=r"shapes \(N,\) and \(N, D\)"):
        smoothed(torch.zeros(3), torch.eye(4))


def test_accuracies_are_means_over_classes_and_unknown_is_the_last():
    predicted, labels = torch.tensor([0, 0, 3, 1, 3, 0]), torch.tensor([0, 0, 0, 1, 3, 3])
    known, unknown = open_set_accuracies(predicted, labels, num_classes=3)  # class 2 has no image
    assert known == pytest.approx((2 / 3 + 1) / 2)
    assert unknown == 0.5
    assert harmonic_mean(known, unknown) == pytest.approx(2 / (1 / known + 1 / unknown))


def test_without_images_there_is_no_accuracy():
    assert math.isnan(open_set_accuracies(torch.tensor([0]), torch.tensor([0]), 2)[1])
    assert math.isnan(open_set_accuracies(torch.tensor([0]), torch.tensor([2]), 2)[0])
    with pytest.raises(ValueError, match="from 0 to 2"):
        open_set_accuracies(torch.tensor([3]), torch.tensor([0]), 2)
    with pytest.raises(ValueError, match="equal shapes"):
        open_set_accuracies(torch.tensor([0]), torch.tensor([0, 1]), 2)


def test_an_unknown_class_is_found_by_features_where_predictions_are_sure_of_everything():
    generator = torch.Generator().manual_seed(3)
    centres = torch.eye(5)[torch.arange(100) % 5]
    target = centres + 0.1 * torch.randn(100, 5, generator=generator)
    source, labels = torch.eye(5)[:4].repeat(6, 1), torch.arange(4).repeat(6)
    predictions = torch.full((100, 4), 0.01)
    predictions[torch.arange(100), torch.arange(100) % 4] = 0.97
    scores = scores_of_known(predictions, Representation(target, source, labels), 4)
    assert float(scores[torch.arange(100) % 5 == 4].max()) < float(scores[torch.arange(100) % 5 < 4].min())


def test_features_of_other_images_are_refused():
    p = torch.full((12, 2), 0.5)
    with pytest.raises(ValueError, match="features of 12 target images, got 3"):
        scores_of_known(p, Representation(torch.eye(3), torch.eye(3), torch.arange(3) % 2), 2)
