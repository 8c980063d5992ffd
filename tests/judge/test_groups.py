"""Images of one group count as what they are worth, in every interval and test of judge/."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dalib.judge.accuracy import accuracy_interval, wilson_interval
from dalib.judge.better import vote_ratio
from dalib.judge.chance import is_at_chance
from dalib.judge.evidence import Evidence
from dalib.judge.groups import design_effect, sign_test
from dalib.judge.neighbours import neighbour_votes
from dalib.judge.paired import mcnemar, paired_difference_interval, paired_test
from dalib.judge.prior import estimate_shares
from dalib.judge.sampling import choose, estimate_difference, estimate_mean
from dalib.judge.scores import class_vanishing
from dalib.judge.structure import Representation, structure_of

COPIES = 10
JITTER = 0.003
"""The share of copies on which the models do as on another image."""


def jittered(groups: np.ndarray, seed: int) -> np.ndarray:
    """Returns for each copy the image that the models take it for: nearly always its original."""
    generator = np.random.default_rng(seed)
    return np.where(generator.random(len(groups)) < JITTER, generator.permutation(groups), groups)


def originals(seed: int, count: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns what two models get right, and the groups of their copies."""
    generator = np.random.default_rng(seed)
    second = generator.random(count) < 0.75
    first = second ^ (generator.random(count) < np.where(second, 0.08, 0.3))
    return first, second, np.arange(count * COPIES) // COPIES


def width(low_high: tuple[float, float]) -> float:
    return low_high[1] - low_high[0]


@pytest.mark.parametrize("seed", range(5))
def test_copies_leave_intervals_and_tests_as_they_are(seed: int) -> None:
    first, second, groups = originals(seed)
    taken_for = jittered(groups, seed)
    few, many = paired_test(first, second), paired_test(first[taken_for], second[taken_for], groups)
    assert many.p == pytest.approx(few.p, rel=0.1)
    assert many.interval == pytest.approx(few.interval, abs=0.1 * width(few.interval))
    of_few, of_many = (
        accuracy_interval(torch.from_numpy(first[each]), of) for each, of in ((slice(None), None), (taken_for, groups))
    )
    assert of_many == pytest.approx(of_few, abs=0.1 * width(of_few))


def test_exact_copies_leave_p_values_as_they_are() -> None:
    for seed in range(5):
        first, second, groups = originals(seed)
        many = paired_test(np.repeat(first, COPIES), np.repeat(second, COPIES), groups)
        assert many.p == pytest.approx(paired_test(first, second).p, rel=1e-9)


@pytest.mark.parametrize("labelled", [60, 300])
def test_copies_leave_estimates_from_few_labels_as_they_are(labelled: int) -> None:
    first, second, _ = originals(1, labelled)
    strata = np.arange(labelled) % 3
    groups = np.arange(labelled * COPIES) // COPIES
    few_population, many_population = (dict.fromkeys(range(3), size * times) for size, times in ((500, 1), (500, 10)))
    few = estimate_mean(first.astype(int), strata, few_population)
    many_first, many_strata = first[jittered(groups, 0)], np.repeat(strata, COPIES)
    many = estimate_mean(many_first.astype(int), many_strata, many_population, groups=groups)
    assert many.high - many.low == pytest.approx(few.high - few.low, rel=0.1)
    apart = estimate_difference(first.tolist(), second.tolist(), strata, few_population)
    many_second = np.repeat(second, COPIES).tolist()
    together = estimate_difference(many_first.tolist(), many_second, many_strata, many_population, groups=groups)
    assert together.high - together.low == pytest.approx(apart.high - apart.low, rel=0.1)


def grouped_outcomes(generator: np.random.Generator, share: float, alike: float) -> tuple[np.ndarray, np.ndarray]:
    """Draws 60 groups of unequal sizes; ``alike`` is the correlation of two images of one."""
    sizes = generator.geometric(0.15, 60)
    spread = (1 - alike) / alike
    of_group = generator.beta(share * spread, (1 - share) * spread, 60)
    groups = np.repeat(np.arange(60), sizes)
    return generator.random(len(groups)) < of_group[groups], groups


@pytest.mark.parametrize("share", [0.7, 0.95])
@pytest.mark.parametrize("alike", [0.1, 0.6])
def test_intervals_hold_the_truth(share: float, alike: float) -> None:
    generator = np.random.default_rng(3)
    held = 0
    for _ in range(200):
        right, groups = grouped_outcomes(generator, share, alike)
        low, high = accuracy_interval(torch.from_numpy(right), groups)
        held += low <= share <= high
    assert held >= 0.93 * 200


def test_intervals_of_differences_and_sign_tests_hold_their_promise() -> None:
    generator = np.random.default_rng(4)
    held, rejected = 0, 0
    for _ in range(200):
        groups = np.repeat(np.arange(80), generator.geometric(0.2, 80))
        hard = generator.beta(0.7, 0.3, 80)[groups]
        lean = generator.beta(0.4, 0.4, 80)[groups]  # which of two equal models a group suits
        first = generator.random(len(groups)) < hard * lean
        second = generator.random(len(groups)) < hard * (1 - lean)
        found = paired_test(first, second, groups)
        held += found.interval[0] <= 0 <= found.interval[1]
        rejected += found.p < 0.05
    assert held >= 0.93 * 200
    assert rejected <= 0.07 * 200


def test_estimates_from_labels_of_drawn_groups_hold_the_truth() -> None:
    generator = np.random.default_rng(5)
    held = 0
    for draw in range(40):
        right, groups = grouped_outcomes(generator, 0.8, 0.6)
        confidence = torch.full((len(right), 1), 0.8)
        sample = choose(torch.cat([confidence, 1 - confidence], dim=1), None, 40, draw, groups)
        outcomes = right[sample.rows].astype(int)
        found = estimate_mean(outcomes, sample.strata, sample.population, groups=groups[sample.rows])
        held += found.low <= right.mean() <= found.high
    assert held >= 0.93 * 40


def test_groups_of_one_change_nothing() -> None:
    first, second, _ = originals(0)
    alone = np.arange(len(first))
    assert accuracy_interval(torch.from_numpy(first), alone) == wilson_interval(int(first.sum()), len(first))
    found = paired_test(first, second, alone)
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    assert found.p == pytest.approx(mcnemar(only_first, only_second))
    assert found.interval == paired_difference_interval(only_first, only_second, len(first))
    assert estimate_mean([1, 0, 1], [0, 0, 0], {0: 30}, groups=np.arange(3)) == estimate_mean(
        [1, 0, 1], [0, 0, 0], {0: 30}
    )


def test_outcomes_that_never_vary_count_as_one_a_group() -> None:
    groups = np.arange(50) // 10
    assert design_effect(np.zeros(50), groups) == 10
    low, high = accuracy_interval(torch.ones(50, dtype=torch.bool), groups)
    assert (low, high) == (pytest.approx(wilson_interval(5, 5)[0], abs=1e-6), 1.0)


def test_one_group_is_one_image() -> None:
    assert design_effect([0.5, -0.5, 0.5, -0.5], [7, 7, 7, 7]) == 4


def test_a_group_on_which_models_are_even_is_no_sign() -> None:
    assert sign_test([1, -1, 1, -1], [0, 0, 1, 1]) == 1


def test_groups_of_another_number_are_refused() -> None:
    with pytest.raises(ValueError, match="groups: expected one for each of 3 images"):
        design_effect([1, 0, -1], [0, 1])


def test_no_group_is_drawn_twice_before_all_are_drawn() -> None:
    groups = np.random.default_rng(0).permutation(np.arange(200) // COPIES)
    same = torch.tensor([[0.8, 0.2]]).repeat(200, 1)
    for seed in range(20):
        sample = choose(same, None, 15, seed, groups)
        assert len(np.unique(groups[sample.rows])) == 15
    assert sorted(choose(same, None, 200, 0, groups).rows.tolist()) == list(range(200))


def test_each_image_is_as_likely_to_be_drawn_whatever_the_size_of_its_group() -> None:
    groups = np.array([0] * 20 + [1] * 4 + list(range(2, 18)))
    same = torch.tensor([[0.8, 0.2]]).repeat(40, 1)
    drawn = np.zeros(40)
    for seed in range(2000):
        drawn[choose(same, None, 4, seed, groups).rows] += 1
    assert np.abs(drawn / 2000 - 0.1).max() < 0.03


def test_copies_vote_as_their_originals_do() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(60, 8, generator=generator)
    first, second = (torch.randint(2, (60,), generator=generator) for _ in range(2))
    groups = torch.arange(60).repeat_interleave(3)
    few = neighbour_votes([features], first, second, neighbours=1)
    near = features.repeat_interleave(3, dim=0)
    many = neighbour_votes([near], *(each.repeat_interleave(3) for each in (first, second)), 1, groups)
    assert (many.first, many.second) == (3 * few.first, 3 * few.second)
    assert many.effect == pytest.approx(3, rel=0.1)
    assert vote_ratio(many) == pytest.approx(vote_ratio(few), rel=0.1)


def test_copies_are_no_neighbours_of_each_other() -> None:
    features = torch.randn(20, 4, generator=torch.Generator().manual_seed(0)).repeat_interleave(4, dim=0)
    groups = torch.arange(20).repeat_interleave(4)
    empty = Representation(features, features[:0], groups[:0])
    found = structure_of(empty, 2, groups)
    assert not bool((groups[found.neighbours] == groups[:, None]).any())


def test_copies_of_few_images_accuse_no_model_of_chance() -> None:
    labels = torch.arange(4).repeat(6)
    predicted = torch.zeros_like(labels)
    many, many_predicted = labels.repeat_interleave(5), predicted.repeat_interleave(5)
    assert is_at_chance(labels, predicted)
    assert is_at_chance(many, many_predicted, torch.arange(24).repeat_interleave(5))
    few = torch.arange(4).repeat_interleave(30)
    assert not is_at_chance(few, torch.zeros_like(few), few)


def test_copies_of_few_images_lose_no_class() -> None:
    predicted = torch.tensor([0, 1] * 8)
    many, groups = predicted.repeat_interleave(10), torch.arange(16).repeat_interleave(10)
    assert class_vanishing(many, 3) == [2]
    assert class_vanishing(many, 3, groups=groups) == class_vanishing(predicted, 3)


def test_bootstrap_intervals_are_of_groups() -> None:
    generator = torch.Generator().manual_seed(1)
    p = torch.rand(200, 2, generator=generator).softmax(dim=1)
    labels = torch.randint(2, (200,), generator=generator)
    groups = torch.arange(200).repeat_interleave(10)
    many = p.repeat_interleave(10, dim=0)
    shares = torch.tensor([0.5, 0.5])
    no_images, no_labels = p[:0], labels[:0]
    few = estimate_shares([Evidence(no_images, no_labels, p)], shares)
    copies = estimate_shares([Evidence(no_images, no_labels, many, target_groups=groups)], shares)
    assert float(copies.high[0] - copies.low[0]) == pytest.approx(float(few.high[0] - few.low[0]), rel=0.5)
