import math
from dataclasses import replace

import pytest
import torch
from two_domains import noisy, sure, two_domains

from dalib.judge.better import WEIGHTS, Signs, pairwise, probability_better, signs_of, vote_ratio, votes_of
from dalib.judge.neighbours import Votes
from dalib.judge.structure import structure_of

EVEN = Votes(0, 0, 0, 100)


@pytest.fixture(scope="module")
def world():
    representation, labels = two_domains()
    return structure_of(representation, 4), labels


def test_the_probability_by_hand():
    # 0.5 * (2 * 0.1 + 3 * 0.02 + log(12.5 / 2.5))
    weights = {"neighbours": 2.0, "names": 3.0, "votes": 1.0}
    found = probability_better(Signs(0.8, 0.1, 0.5), Signs(0.7, 0.08, 0.5), Votes(10, 0, 12, 100), weights)
    assert found == pytest.approx(1 / (1 + math.exp(-0.5 * (0.2 + 0.06 + 1.6094379))))


def test_equal_models_have_even_chances_and_exchanged_ones_the_rest():
    one, other = Signs(0.9, 0.2, 0.6), Signs(0.5, 0.25, 0.6)
    assert probability_better(one, one, EVEN) == 0.5
    there, back = (
        probability_better(one, other, Votes(7, 3, 10, 50)),
        probability_better(other, one, Votes(3, 7, 10, 50)),
    )
    assert there + back == pytest.approx(1.0)


def test_what_is_expected_beforehand_decides_where_the_images_tell_nothing():
    one, other = Signs(0.9, 0.2, 0.0), Signs(0.5, 0.25, 0.0)
    assert probability_better(one, other, Votes(7, 3, 10, 50), prior=2.0) == pytest.approx(1 / (1 + math.exp(-2.0)))


def test_a_prior_of_models_is_their_difference(world):
    structure, labels = world
    same = [sure(labels)] * 3
    found = pairwise(same, same[0], structure, priors=[0.0, 1.5, 1.0])
    assert found[1, 0] == pytest.approx(1 / (1 + math.exp(-1.5)))
    assert found[2, 1] == pytest.approx(1 / (1 + math.exp(0.5)))


@pytest.mark.parametrize("name", ["neighbours", "names"])
def test_a_better_sign_is_a_larger_probability(name):
    start = Signs(0.5, 0.0, 0.5)
    assert probability_better(replace(start, **{name: 0.2 + getattr(start, name)}), start, EVEN) > 0.5


def test_no_weight_speaks_against_its_sign():
    assert set(WEIGHTS) == {"neighbours", "names", "votes"}
    assert all(weight > 0 for weight in WEIGHTS.values())


def test_few_votes_say_little():
    ratios = [vote_ratio(Votes(count, 0, count, 100)) for count in (0, 1, 10, 100)]
    assert ratios[0] == 0.0
    assert ratios == sorted(ratios)
    assert ratios[1] < 0.4
    assert vote_ratio(Votes(0, 10, 10, 100)) == -ratios[2]


def test_models_are_ranked_by_how_right_they_are_however_many(world):
    structure, labels = world
    shares = [0.5, 0.0, 0.9, 0.2]
    candidates = [sure(noisy(labels, share, seed)) for seed, share in enumerate(shares)]
    worth = pairwise(candidates, sure(noisy(labels, 0.6, 9)), structure).sum(dim=1)
    assert worth.argsort(descending=True).tolist() == [1, 3, 0, 2]


def test_one_model_has_no_other_to_be_better_than(world):
    structure, labels = world
    assert pairwise([sure(labels)], sure(labels), structure).tolist() == [[0.0]]


def test_a_witness_that_does_not_follow_the_images_says_little(world):
    structure, labels = world
    right, exchanged = sure(labels), sure((labels + 1) % 4)
    by_good, by_noise = (
        pairwise([right, exchanged], sure(noisy(labels, share)), structure)[0, 1] for share in (0.1, 1.0)
    )
    assert by_good > 0.99
    assert by_noise == pytest.approx(0.5, abs=0.2)


def test_where_the_witness_is_at_chance_nothing_can_be_told(world):
    structure, labels = world
    chances = pairwise([sure(labels), sure(noisy(labels, 0.5))], sure(torch.zeros_like(labels)), structure)
    assert chances[0, 1] == chances[1, 0] == 0.5


def test_votes_are_those_of_the_images_on_which_the_models_differ(world):
    structure, labels = world
    votes = votes_of(sure(labels), sure(noisy(labels, 0.3)), structure)
    assert votes.count == 120
    assert votes.first == votes.differ > votes.second == 0


@pytest.mark.parametrize("shape", [(119, 4), (120, 3)])
def test_other_images_or_classes_are_refused(world, shape):
    structure, labels = world
    with pytest.raises(ValueError, match=r"target, witness: expected \(120, 4\)"):
        signs_of(torch.full(shape, 1 / shape[1]), sure(labels), structure)
