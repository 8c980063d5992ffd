"""Votes of held-back hints for one of two models: hints that are right count, noise and copies do not."""

import math

import pytest
import torch

from dalib.judge.annotator import Annotator, fit_annotator
from dalib.judge.hint_votes import MOST_LOG_ODDS, HintVotes, hint_votes

CLASSES, IMAGES = 4, 400


def one_hot(labels):
    return torch.nn.functional.one_hot(labels, CLASSES).double()


def drawn(truth, share, seed):
    """Labels of which a share is right, and the others any other class."""
    generator = torch.Generator().manual_seed(seed)
    other = (truth + torch.randint(1, CLASSES, truth.shape, generator=generator)) % CLASSES
    return torch.where(torch.rand(len(truth), generator=generator) < share, truth, other)


@pytest.fixture(scope="module")
def made():
    """True classes, a model that is right for 85% and one for 55%."""
    truth = torch.arange(IMAGES) % CLASSES
    return truth, one_hot(drawn(truth, 0.85, seed=1)), one_hot(drawn(truth, 0.55, seed=2))


def votes_for(first, second, hints):
    """Every tenth hint votes, the others tell what hints are worth; the second model is what they may copy."""
    rows = torch.arange(IMAGES) % 10 == 0
    seen = torch.where(rows[:, None], 0.0, hints)
    originals = second[:, None]
    annotator = fit_annotator((first + second) / 2, seen, originals)
    return hint_votes(first[rows], second[rows], hints[rows], originals[rows], annotator)


def trusting(copied=0.0, trust=1.0):
    even = torch.full((2,), 0.5, dtype=torch.float64)
    confusion = torch.tensor([[0.75, 0.25], [0.25, 0.75]], dtype=torch.float64)
    return Annotator(confusion, even, torch.tensor([copied]), trust * torch.ones(2).double(), 1.0, 1.0)


def test_votes_are_hints_that_name_the_class_of_exactly_one_model():
    eye = torch.eye(2, dtype=torch.float64)
    first, second = eye[[0, 0, 1, 1, 0]], eye[[1, 1, 1, 0, 1]]
    hints = torch.cat([eye[[0, 1, 0, 1]], torch.zeros(1, 2)])  # models agree on the third, the last has none
    found = hint_votes(first, second, hints, torch.zeros(5, 1, 2).double(), trusting(trust=0.5))
    assert (found.first, found.second, found.count) == (2, 1, 4)
    assert found.weights == pytest.approx((1.0, 0.5))


def test_a_hint_that_may_be_a_copy_of_one_model_weighs_by_hand_less_for_it():
    eye = torch.eye(2, dtype=torch.float64)
    found = hint_votes(eye[[0, 0]], eye[[1, 1]], eye[[0, 1]], eye[[1, 1]][:, None], trusting(copied=0.2))
    own, copy = 0.8 * (0.75 + 0.25) / 2 / 0.5, 0.2 / 0.5
    assert found.weights == pytest.approx((0.8, 0.8 * own / (own + copy)))


def test_the_log_odds_by_hand_are_antisymmetric_and_capped():
    # P(p > 1/2) of Beta(3, 1) is 1 - 1/8
    assert HintVotes(2, 0, (2.0, 0.0), 9).log_odds == pytest.approx(math.log(7))
    assert HintVotes(0, 2, (0.0, 2.0), 9).log_odds == pytest.approx(-math.log(7))
    assert HintVotes(4, 0, (4.0, 0.0), 9, effect=2.0).log_odds == pytest.approx(math.log(7))
    assert HintVotes(9000, 0, (9000.0, 0.0), 9000).log_odds == MOST_LOG_ODDS
    assert HintVotes(7, 7, (3.0, 3.0), 20).log_odds == pytest.approx(0.0)


@pytest.mark.parametrize("share", [0.6, 0.9])
def test_hints_that_are_right_speak_for_the_better_model(made, share):
    truth, better, worse = made
    hints = one_hot(drawn(truth, share, seed=3))
    assert votes_for(better, worse, hints).log_odds > 1
    assert votes_for(worse, better, hints).log_odds < 0.2  # they look like copies of the better one, its original


def test_noise_and_copies_of_a_model_say_nothing(made):
    _, better, worse = made
    noise = one_hot(torch.randint(CLASSES, (IMAGES,), generator=torch.Generator().manual_seed(5)))
    assert votes_for(better, worse, noise).log_odds == 0
    copies = votes_for(better, worse, worse)
    assert copies.second > 10
    assert abs(copies.log_odds) < 1


def test_images_of_one_group_vote_as_one():
    eye = torch.eye(2, dtype=torch.float64)
    said = [eye[[each] * 20] for each in (0, 1, 0)]
    hints, groups = torch.cat([eye[[0] * 10], eye[[1] * 10]]), torch.arange(20) // 10
    alone, together = (
        hint_votes(*said[:2], hints, said[2][:, None], trusting(), groups) for groups in (torch.arange(20), groups)
    )
    assert alone.effect == 1
    assert together.effect > 5
