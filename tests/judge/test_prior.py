import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize, nnls

from dalib.judge.evidence import Evidence
from dalib.judge.prior import (
    _LeastSquares,
    cautious_shares,
    estimate_shares,
    expectation_maximization,
    rlls,
)

ESTIMATORS = {"rlls": rlls}
every_estimator = pytest.mark.parametrize("estimate", ESTIMATORS.values(), ids=ESTIMATORS)
SOURCE, SHIFTED = np.full(4, 0.25), np.array([0.6, 0.25, 0.1, 0.05])
CENTRES = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])


def gaussians(count, prior, seed):
    """Images of four Gaussian classes with the exact posterior under equal shares: label shift and nothing else."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(4, count, p=prior)
    points = generator.normal(CENTRES[labels], 0.8)
    logits = -((points[:, None] - CENTRES) ** 2).sum(axis=2) / (2 * 0.8**2)
    return torch.from_numpy(logits).softmax(dim=1), torch.from_numpy(labels)


def closed_form(n, phase, shift):
    i, k = np.arange(n)[:, None], np.arange(3)[None]
    raised = np.exp(2.5 * np.sin(1.7 * i + 2.3 * k + 0.9 * i * k + phase) + shift * (k == 0))
    return torch.from_numpy(raised / raised.sum(axis=1, keepdims=True))


def closed_form_case():
    validation, target = closed_form(300, 0.0, 0.0), closed_form(200, 0.5, 0.8)
    labels = validation.argmax(dim=1)
    labels[::5] = (labels[::5] + 1) % 3
    return validation, labels, target


def error(estimate, count, seed=0):
    validation, labels = gaussians(count, SOURCE, seed)
    target, _ = gaussians(count, SHIFTED, seed + 100)
    return float((estimate(validation, labels, target) - torch.from_numpy(SHIFTED)).abs().sum())


@every_estimator
def test_a_known_shift_is_found_and_the_error_shrinks_with_the_images(estimate):
    few, many = (np.mean([error(estimate, count, seed) for seed in range(5)]) for count in (100, 5000))
    assert many < 0.05
    assert many < few / 2


@every_estimator
def test_shares_are_float64_on_the_simplex(estimate):
    for seed in range(5):
        validation, labels = gaussians(15, SOURCE, seed)
        shares = estimate(validation.float(), labels, gaussians(7, SHIFTED, seed)[0].float())
        assert shares.dtype == torch.float64
        assert shares.shape == (4,)
        assert (shares >= 0).all()
        assert float(shares.sum()) == pytest.approx(1)


@every_estimator
def test_without_a_shift_the_shares_are_those_of_the_validation_set(estimate):
    validation, labels = gaussians(2000, SHIFTED, 3)
    truth = torch.bincount(labels, minlength=4) / 2000
    torch.testing.assert_close(estimate(validation, labels, validation), truth.double(), atol=0.01, rtol=0)


@every_estimator
def test_renaming_the_classes_renames_the_shares(estimate):
    validation, labels = gaussians(300, SOURCE, 0)
    target, _ = gaussians(300, SHIFTED, 1)
    order = torch.tensor([2, 0, 3, 1])
    renamed = estimate(validation[:, order], order.argsort()[labels], target[:, order])
    torch.testing.assert_close(renamed, estimate(validation, labels, target)[order], atol=1e-4, rtol=0)


@every_estimator
def test_a_class_without_a_validation_image_is_counted_as_predicted(estimate):
    _, labels = gaussians(1000, np.array([0.4, 0.3, 0.3, 0.0]), 0)
    sure = torch.eye(4, dtype=torch.float64)[labels] * 0.96 + 0.01
    target = torch.eye(4, dtype=torch.float64)[torch.arange(400) % 4] * 0.96 + 0.01
    shares = estimate(sure, labels, target)
    assert shares.tolist() == pytest.approx([0.25] * 4, abs=0.02)


@every_estimator
def test_extremes_give_finite_shares(estimate):
    one_hot = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    for target in (one_hot, one_hot[:1]):
        assert estimate(one_hot, torch.tensor([0, 1]), target).isfinite().all()
    same = torch.full((10, 2), 0.5)
    assert estimate(same, torch.arange(10) % 2, same).tolist() == pytest.approx([0.5, 0.5], abs=1e-3)


@every_estimator
def test_bad_arguments_are_refused_in_words(estimate):
    p, labels = torch.full((4, 2), 0.5), torch.tensor([0, 1, 0, 1])
    for arguments, message in [
        ((p, labels[:3], p), "labels"),
        ((p, labels + 1, p), "labels"),
        ((p, labels.double(), p), "integers"),
        ((p, labels, torch.full((4, 3), 1 / 3)), "classes"),
        ((p, labels, p * math.nan), "target"),
    ]:
        with pytest.raises(ValueError, match=message):
            estimate(*arguments)


def test_the_estimate_equals_quapys():
    # QuaPy 0.2.3: RLLS (hard, alpha 0.01, cvxpy 1.9.3)
    case = closed_form_case()
    np.testing.assert_allclose(rlls(*case), [0.5842677296, 0.2531929511, 0.1625393192], atol=2e-5)


@pytest.mark.parametrize("strength", [0.05, 0.3, 2.0])
def test_rlls_minimises_its_objective(strength):
    validation, labels, target = closed_form_case()
    joint = np.zeros((3, 3))
    np.add.at(joint, (validation.argmax(dim=1).numpy(), labels.numpy()), 1 / 300)
    wanted = np.bincount(target.argmax(dim=1).numpy(), minlength=3) / 200

    def objective(theta):
        return np.linalg.norm(joint @ (1 + theta) - wanted) + strength * np.linalg.norm(theta)

    best = min(
        objective(minimize(objective, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12}).x)
        for start in (np.zeros(3), np.array([0.5, -0.3, -0.3]))
    )
    shares = rlls(validation, labels, target, regularisation=strength).numpy()
    ratio = shares / joint.sum(axis=0)
    # the shares are the weights up to their sum
    ours = min(objective(scale * ratio - 1) for scale in np.linspace(0.9, 1.1, 2001))
    assert ours <= best + 1e-4


@pytest.mark.parametrize("pull", [0.0, 1e-6, 0.03, 1.0])
@pytest.mark.parametrize("missing", [False, True])
def test_one_decomposition_solves_what_an_active_set_does(pull, missing):
    rng = np.random.default_rng(0)
    joint = np.eye(6) / 7 + rng.random((6, 6)) / 40
    wanted = rng.dirichlet(np.ones(6))
    if missing:  # of the fewest seen, fewer than the confusion of others explains: its weight would be negative
        wanted[0] = 0.0
    expected, _ = nnls(np.vstack([joint, pull * np.eye(6)]), np.concatenate([wanted, pull * np.ones(6)]))
    np.testing.assert_allclose(_LeastSquares(joint, wanted)(pull), expected, atol=1e-9)


def test_without_a_pull_what_is_undetermined_is_left_to_the_active_set():
    joint = np.array([[0.5, 0.5], [0.0, 0.0]])
    assert np.isfinite(_LeastSquares(joint, np.array([1.0, 0.0]))(0.0)).all()


@pytest.mark.timeout(30)
def test_many_classes_take_no_minutes():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 400, (4000,), generator=generator)
    predicted = torch.where(torch.rand(4000, generator=generator) < 0.8, labels, labels.roll(1))
    shares = rlls(torch.eye(400)[predicted], labels, torch.eye(400)[predicted[:2000]])
    assert shares.sum().item() == pytest.approx(1)


def test_validation_images_that_are_all_taken_for_a_class_without_any_say_nothing():
    validation = torch.tensor([[0.1, 0.1, 0.8]] * 4)
    target = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
    shares = rlls(validation, torch.tensor([0, 1, 0, 1]), target)
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64))


def test_rlls_with_no_trust_or_endless_regularisation_gives_the_source():
    validation, labels, target = closed_form_case()
    source = (torch.bincount(labels) / 300).double()
    torch.testing.assert_close(rlls(validation, labels, target, trust=0), source)
    torch.testing.assert_close(rlls(validation, labels, target, regularisation=100.0), source, atol=1e-4, rtol=0)
    for bad in ({"trust": 2.0}, {"regularisation": -1.0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            rlls(validation, labels, target, **bad)


def test_cautious_shares_keep_every_class_and_change_nothing_that_is_high_enough():
    validation, labels = gaussians(2000, SOURCE, 0)
    target, _ = gaussians(2000, SHIFTED, 1)
    shares = rlls(validation, labels, target)
    torch.testing.assert_close(cautious_shares(validation, labels, target, least=0.1), shares)
    kept = cautious_shares(validation, labels, target, least=0.5)
    assert kept.min().item() == pytest.approx(0.125)
    assert kept.sum().item() == pytest.approx(1)
    assert (kept.argsort() == shares.argsort()).all()
    torch.testing.assert_close(cautious_shares(validation, labels, target, least=1), torch.full((4,), 0.25).double())


@pytest.mark.parametrize("least", [-0.1, 1.1, math.nan])
def test_cautious_shares_refuse_other_settings(least):
    with pytest.raises(ValueError, match="least: expected"):
        cautious_shares(*closed_form_case(), least=least)


def test_expectation_maximization_finds_shifted_shares_of_an_exact_posterior():
    target, _ = gaussians(4000, SHIFTED, seed=1)
    found = expectation_maximization(target, torch.from_numpy(SOURCE))
    np.testing.assert_allclose(found.numpy(), SHIFTED, atol=0.03)


def test_expectation_maximization_raises_the_likelihood_as_an_optimiser_does():
    target, before = gaussians(300, SHIFTED, seed=2)[0].numpy(), SOURCE

    def minus_likelihood(free):
        shares = np.exp(np.append(free, 0.0))
        shares /= shares.sum()
        return -np.log(target @ (shares / before)).mean()

    best = minimize(minus_likelihood, np.zeros(3), method="BFGS")
    found = expectation_maximization(torch.from_numpy(target), torch.from_numpy(before), rounds=3000)
    expected = np.exp(np.append(best.x, 0.0))
    np.testing.assert_allclose(found.numpy(), expected / expected.sum(), atol=1e-3)


def test_expectation_maximization_empties_a_class_that_is_absent():
    target, _ = gaussians(1000, [0.5, 0.5, 0.0, 0.0], seed=3)
    found = expectation_maximization(target, torch.from_numpy(SOURCE))
    assert found[2:].max() < 0.02
    assert torch.equal(found > 0, torch.ones(4, dtype=torch.bool))


@pytest.mark.parametrize(("of_training", "rounds"), [(torch.ones(3), 5), (torch.ones(4), 0)])
def test_expectation_maximization_refuses_another_shape_and_no_round(of_training, rounds):
    with pytest.raises(ValueError, match=r"of_training, rounds: expected shape \(4,\)"):
        expectation_maximization(torch.full((2, 4), 0.25), of_training, rounds=rounds)


def test_intervals_of_shares_hold_the_truth_and_widen_with_fewer_images_and_models_that_disagree():
    nothing = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    many, few = (Evidence(*nothing, gaussians(count, SHIFTED, seed=4)[0]) for count in (2000, 60))
    of_many, of_few = (estimate_shares([each], torch.from_numpy(SOURCE)) for each in (many, few))
    assert bool((of_many.low <= of_many.shares).all() and (of_many.shares <= of_many.high).all())
    assert float(of_many.shares.sum()) == pytest.approx(1)
    assert (of_few.high - of_few.low).mean() > 2 * (of_many.high - of_many.low).mean()
    other = Evidence(*nothing, many.target.flip(1))
    both = estimate_shares([many, other], torch.from_numpy(SOURCE))
    assert (both.high - both.low).mean() > 2 * (of_many.high - of_many.low).mean()
