import math

import pytest
import torch

from dalib.judge import scores
from dalib.judge.evidence import Confidence, Evidence, effective_classes, quick_scores, slow_scores


def evidence(validation=60, target=80, classes=4, features=True, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(validation) % classes
    centres = 4 * torch.eye(classes, 6)
    of_source = centres[labels] + torch.randn(validation, 6, generator=generator)
    of_target = centres[torch.arange(target) % classes] + torch.randn(target, 6, generator=generator) + 0.5
    return Evidence(
        of_source[:, :classes].softmax(dim=1),
        labels,
        of_target[:, :classes].softmax(dim=1),
        (of_target[:, :classes] / 2).softmax(dim=1),
        of_source if features else None,
        of_target if features else None,
    )


def test_the_quick_scores_are_those_of_the_target():
    given = evidence()
    found = quick_scores(given, threshold=0.9)
    assert found["source_validation_accuracy"] == given.validation_accuracy
    assert found["target_mask_rate"] == scores.mask_rate(given.target, 0.9)
    assert found["target_mutual_information"] == scores.mutual_information(given.target)
    assert found["target_agreement"] == scores.agreement(given.target, given.student)
    assert all(math.isfinite(value) for value in found.values())
    shares = torch.tensor([0.7, *[0.3 / (given.target.shape[1] - 1)] * (given.target.shape[1] - 1)])
    assert quick_scores(given, 0.9, shares)["target_corr_c"] == scores.corr_c(given.target, shares)
    assert quick_scores(given, 0.9, shares)["target_corr_c"] != found["target_corr_c"]


def test_a_threshold_relative_to_the_source_is_a_share_of_its_mean_confidence():
    given = evidence()
    mean = given.validation.amax(dim=1).mean().item()
    assert Confidence(0.8, of_source=True).threshold_for(given) == pytest.approx(0.8 * mean)
    assert Confidence(0.8).threshold_for(given) == 0.8
    unsure = Evidence(given.validation.sqrt(), given.labels, given.target)
    assert Confidence(0.8, of_source=True).threshold_for(unsure) != pytest.approx(0.8 * mean)


def test_without_validation_images_the_source_counts_as_certain():
    given = evidence()
    alone = Evidence(given.validation[:0], given.labels[:0], given.target)
    assert Confidence(0.8, of_source=True).threshold_for(alone) == 0.8


def test_without_validation_images_or_a_student_their_scores_are_left_out():
    given = evidence()
    alone = Evidence(given.validation[:0], given.labels[:0], given.target)
    assert {"source_validation_accuracy", "target_agreement"} == quick_scores(given, 0.5).keys() - quick_scores(
        alone, 0.5
    ).keys()
    assert math.isnan(alone.validation_accuracy)
    assert slow_scores(alone).keys() == {"target_density"}


def test_the_slow_scores_tell_a_model_that_collapsed():
    good = evidence()
    bad = Evidence(
        good.validation,
        good.labels,
        torch.eye(4)[torch.zeros(80, dtype=torch.long)] * 0.97 + 0.0075,
        None,
        good.validation_features,
        good.target_features,
    )
    ours, collapsed = slow_scores(good), slow_scores(bad)
    assert ours.keys() == {"target_density", "target_class_ami", "target_dev_risk"}
    assert ours["target_class_ami"] > 0.5 > collapsed["target_class_ami"]
    assert collapsed["target_density"] > ours["target_density"]  # the known failure of this score


def test_features_of_one_point_have_scores():
    good = evidence()
    point = Evidence(good.validation, good.labels, good.target, None, torch.zeros(60, 6), torch.zeros(80, 6))
    found = slow_scores(point)
    assert found["target_class_ami"] == 0
    assert math.isfinite(found["target_dev_risk"])


@pytest.mark.parametrize(
    ("shares", "expected"),
    [([1.0, 0.0, 0.0], 1), ([0.5, 0.5, 0.0], 2), ([1 / 3] * 3, 3), ([0.9, 0.05, 0.05], math.exp(0.39439769))],
)
def test_effective_classes_by_hand(shares, expected):
    assert effective_classes(torch.tensor(shares)) == pytest.approx(expected, rel=1e-5)


def test_the_histogram_is_of_the_predicted_classes():
    given = Evidence(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), torch.eye(3)[[0, 0, 2, 0]])
    assert given.histogram.tolist() == [0.75, 0.0, 0.25]
