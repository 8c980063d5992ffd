import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from dalib.judge.scores import (
    agreement,
    class_ami,
    class_vanishing,
    corr_c,
    density_ratio,
    dev_risk,
    ensemble_agreement,
    mask_rate,
    mean_entropy,
    mutual_information,
    nuclear_norm,
    soft_neighbourhood_density,
)


def probabilities(n=40, classes=5, seed=0, dtype=torch.float64):
    return torch.from_numpy(np.random.default_rng(seed).dirichlet(np.full(classes, 0.5), size=n)).to(dtype)


def closed_form(n, classes):
    """Probabilities without a generator, the same in every version of NumPy."""
    i, k = np.arange(n)[:, None], np.arange(classes)[None]
    raised = np.exp(2.5 * np.sin(1.7 * i + 2.3 * k + 0.9 * i * k))
    return torch.from_numpy(raised / raised.sum(axis=1, keepdims=True))


def collapsed(n=12, classes=4):
    return torch.eye(classes)[torch.zeros(n, dtype=torch.long)]


def balanced(n=12, classes=4):
    return torch.eye(classes)[torch.arange(n) % classes]


def numpy_snd(p, temperature=0.05):
    unit = p / np.linalg.norm(p, axis=1, keepdims=True)
    entropies = []
    for i in range(len(p)):
        similarity = np.delete(unit @ unit[i], i) / temperature
        weight = np.exp(similarity) / np.exp(similarity).sum()
        entropies.append(-(weight * np.log(weight)).sum())
    return np.mean(entropies)


SCORES = {
    "mask": lambda p: mask_rate(p, 0.8),
    "entropy": mean_entropy,
    "information": mutual_information,
    "nuclear": nuclear_norm,
    "corr": corr_c,
    "snd": soft_neighbourhood_density,
}
NUMPY = {
    "mask": lambda p: (p.max(axis=1) > 0.8).mean(),
    "entropy": lambda p: -(p * np.log(p)).sum() / len(p),
    "information": lambda p: (p * np.log(p)).sum() / len(p) - (p.mean(0) * np.log(p.mean(0))).sum(),
    "nuclear": lambda p: np.sqrt(np.linalg.eigvalsh(p.T @ p)).sum() / math.sqrt(len(p) * min(p.shape)),
    "corr": lambda p: (p**2).sum() / math.sqrt(p.shape[1]) / np.sqrt(((p.T @ p) ** 2).sum()),
    "snd": numpy_snd,
}
every_score = pytest.mark.parametrize("name", SCORES)


def test_class_correlation_takes_the_shares_that_are_expected():
    u = torch.tensor([0.5, 0.3, 0.2])
    right = torch.eye(3)[torch.tensor([0] * 5 + [1] * 3 + [2] * 2)]
    even = torch.eye(3)[torch.arange(9) % 3]
    collapsed = torch.eye(3)[torch.zeros(9, dtype=torch.int64)]
    assert corr_c(right, u) == pytest.approx(1)
    assert corr_c(even, u) == pytest.approx(1 / 3 / (u.norm().item() * math.sqrt(3) / 3))
    assert corr_c(collapsed, u) == pytest.approx(0.5 / u.norm().item())
    assert corr_c(even) > corr_c(right) > corr_c(collapsed)
    p = probabilities()
    assert corr_c(p, torch.full((p.shape[1],), 1 / p.shape[1])) == pytest.approx(corr_c(p))


@pytest.mark.parametrize("prior", [torch.ones(3) / 3, torch.tensor([1.5, -0.5]), torch.tensor([0.5, 0.4])])
def test_class_correlation_refuses_what_is_no_distribution(prior):
    with pytest.raises(ValueError, match="prior: expected 2 shares"):
        corr_c(torch.full((4, 2), 0.5), prior)


@every_score
def test_scores_equal_the_numpy_oracle(name):
    p = probabilities()
    assert SCORES[name](p) == pytest.approx(NUMPY[name](p.numpy()), rel=1e-9)


@every_score
def test_scores_do_not_depend_on_the_order_of_images_or_classes(name):
    p = probabilities()
    assert SCORES[name](p.flip(0)) == pytest.approx(SCORES[name](p))
    assert SCORES[name](p[:, [3, 1, 4, 0, 2]]) == pytest.approx(SCORES[name](p))


@every_score
def test_scores_of_float32_are_near_those_of_float64(name):
    assert SCORES[name](probabilities().float()) == pytest.approx(SCORES[name](probabilities()), rel=1e-5)


@every_score
@pytest.mark.parametrize(
    ("p", "message"),
    [
        (torch.full((3, 2), math.nan), "NaN"),
        (torch.tensor([[2.0, -1.0]]), "sum to 1"),
        (torch.tensor([[2.0, 3.0]]), "softmax"),
        (torch.ones(3), "shape"),
        (torch.ones(3, 1), "shape"),
        (torch.ones(0, 2), "shape"),
        (torch.ones(3, 2, dtype=torch.long), "floating-point"),
    ],
)
def test_what_are_no_probabilities_is_refused_in_words(name, p, message):
    with pytest.raises(ValueError, match=message):
        SCORES[name](p)


@pytest.mark.parametrize(
    ("name", "of_collapsed", "of_balanced"),
    [
        ("mask", 1.0, 1.0),
        ("entropy", 0.0, 0.0),
        ("information", 0.0, math.log(4)),
        ("nuclear", 0.5, 1.0),
        ("corr", 0.5, 1.0),
        ("snd", math.log(11), math.log(2)),  # the documented failure: collapse is its maximum
    ],
)
def test_scores_of_certain_predictions_computed_by_hand(name, of_collapsed, of_balanced):
    assert SCORES[name](collapsed()) == pytest.approx(of_collapsed, abs=1e-6)
    assert SCORES[name](balanced()) == pytest.approx(of_balanced, abs=1e-6)


@pytest.mark.parametrize("name", sorted(set(SCORES) - {"snd"}))
def test_one_image_of_two_classes_has_a_score(name):
    assert math.isfinite(SCORES[name](torch.tensor([[1.0, 0.0]])))


def test_snd_needs_a_neighbour_and_a_temperature():
    with pytest.raises(ValueError, match="2 images"):
        soft_neighbourhood_density(torch.tensor([[1.0, 0.0]]))
    with pytest.raises(ValueError, match="temperature"):
        soft_neighbourhood_density(balanced(), temperature=0)


def test_snd_in_blocks_is_snd(monkeypatch):
    p = probabilities(50)
    whole = soft_neighbourhood_density(p)
    monkeypatch.setattr("dalib.judge.scores.BLOCK_ENTRIES", 350)
    assert soft_neighbourhood_density(p) == pytest.approx(whole, rel=1e-12)


def test_entropy_and_snd_equal_skadas():
    # skada 0.6.0 (PredictionEntropyScorer, which divides by N * C; SoftNeighborhoodDensity), NumPy 2.4.6
    p = closed_form(12, 4)
    assert mean_entropy(p) / 4 == pytest.approx(0.20046213347364905, rel=1e-9)
    assert soft_neighbourhood_density(p) == pytest.approx(0.46041585462390233, rel=1e-6)


def test_dev_equals_skadas():
    # skada 0.6.0 (DeepEmbeddedValidation, random_state 0), scikit-learn 1.9.1: the rows that it held out and its risk,
    # with a loss that returns a column; its default loss returns a row, which broadcasts against the weights
    held = [26, 35, 59, 28, 11, 2, 34, 58, 40, 22, 4, 10, 30, 41, 33, 43, 49, 7, 14, 32]

    def features(n, phase, shift):
        i, k = np.arange(n)[:, None], np.arange(3)[None]
        return np.sin(phase + 1.3 * i * (k + 1) + 0.7 * i) + shift

    source, target = features(60, 0.0, 0.0), features(40, 1.0, 0.6)
    train = np.delete(source, held, axis=0)
    domain = LogisticRegression().fit(np.concatenate([train, target]), np.repeat([0, 1], [40, 40]))
    logits = np.concatenate([source, -source.sum(axis=1, keepdims=True)], axis=1)[held]
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(20), np.array(held) % 4]
    weights = np.exp(domain.decision_function(source[held]))
    risk = dev_risk(torch.from_numpy(losses), torch.from_numpy(weights))
    assert risk == pytest.approx(1.2261943201520142, abs=1e-6)


def test_dev_finds_the_risk_under_the_targets_distribution():
    generator = np.random.default_rng(0)
    train, held = generator.normal(0, 1, (4000, 1)), generator.normal(0, 1, (4000, 1))
    target = generator.normal(0.7, 1, (4000, 1))
    weights = density_ratio(*(torch.from_numpy(each) for each in (train, target, held)))
    losses = torch.from_numpy((held[:, 0] > 0.5).astype(np.float64))
    assert dev_risk(losses, weights) == pytest.approx((target > 0.5).mean(), abs=0.04)
    assert float(weights.mean()) == pytest.approx(1, abs=0.1)


def test_density_ratio_is_finite_for_separable_domains_and_constant_features():
    source = torch.zeros(20, 2)
    weights = density_ratio(source, source + torch.tensor([100.0, 0.0]), source)
    assert weights.isfinite().all()
    assert (weights < 1).all()
    with pytest.raises(ValueError, match="number of features"):
        density_ratio(source, torch.zeros(3, 4), source)


@pytest.mark.parametrize("weights", [[-1.0, 2.0], [0.0, 0.0], [math.nan, 1.0], []])
def test_dev_refuses_bad_weights(weights):
    with pytest.raises(ValueError, match="weights"):
        dev_risk(torch.zeros(len(weights)), torch.tensor(weights))


def test_dev_refuses_losses_of_another_shape_or_nan():
    with pytest.raises(ValueError, match="shape"):
        dev_risk(torch.zeros(3), torch.ones(2))
    with pytest.raises(ValueError, match="NaN"):
        dev_risk(torch.tensor([math.nan, 0.0]), torch.ones(2))


def test_class_ami_tells_matching_predictions_from_random_and_collapsed_ones():
    generator = np.random.default_rng(0)
    truth = np.arange(150) % 3
    features = torch.from_numpy(generator.normal(0, 0.3, (150, 2)) + np.array([[0, 0], [5, 0], [0, 5]])[truth])
    truth = torch.from_numpy(truth)
    assert class_ami(features, (truth + 1) % 3, 3) == pytest.approx(1)
    assert abs(class_ami(features, torch.from_numpy(generator.permutation(truth)), 3)) < 0.05
    assert class_ami(features, torch.zeros(150, dtype=torch.long), 3) == 0
    assert class_ami(torch.zeros(150, 2), truth, 3) == 0
    noisy = torch.from_numpy(generator.integers(0, 3, 150))
    assert class_ami(features, noisy, 3, seed=4) == class_ami(features, noisy, 3, seed=4)


def test_class_ami_refuses_other_shapes():
    for features, predictions in [
        (torch.zeros(3, 2), torch.zeros(4, dtype=torch.long)),
        (torch.zeros(3), torch.zeros(3)),
    ]:
        with pytest.raises(ValueError, match="shape"):
            class_ami(features, predictions, 2)
    with pytest.raises(ValueError, match=r"\[0, 2\)"):
        class_ami(torch.zeros(3, 2), torch.tensor([0, 1, 2]), 2)


def test_agreement_is_symmetric_and_ignores_confidence():
    p, q = probabilities(seed=1), probabilities(seed=2)
    assert agreement(p, q) == agreement(q, p) == (p.numpy().argmax(1) == q.numpy().argmax(1)).mean()
    assert agreement(p, p.square() / p.square().sum(dim=1, keepdim=True)) == 1
    with pytest.raises(ValueError, match="one shape"):
        agreement(p, q[:3])


def test_ensemble_agreement_ranks_by_accuracy_when_the_errors_are_independent():
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 4, 500)
    runs = []
    for error in (0.05, 0.2, 0.5):
        predicted = np.where(generator.random(500) < error, generator.integers(0, 4, 500), truth)
        runs.append(torch.eye(4)[torch.from_numpy(predicted)] * 0.6 + 0.1)
    scores = ensemble_agreement([*runs, collapsed(500)])
    assert scores[:3].tolist() == sorted(scores[:3].tolist(), reverse=True)
    assert scores.argmin() == 3
    with pytest.raises(ValueError, match="at least 2"):
        ensemble_agreement(runs[:1])
    with pytest.raises(ValueError, match="one shape"):
        ensemble_agreement([runs[0], runs[1][:3]])


def test_class_vanishing_names_what_is_missing_but_not_what_chance_or_the_prior_explains():
    predictions = torch.tensor([0] * 60 + [1] * 39 + [2])
    assert class_vanishing(predictions, 4) == [2, 3]
    assert class_vanishing(predictions, 4, torch.tensor([0.6, 0.38, 0.01, 0.01])) == []
    assert class_vanishing(predictions[:3], 4) == []
    assert class_vanishing(torch.tensor([1]), 2) == []
    with pytest.raises(ValueError, match="prior"):
        class_vanishing(predictions, 4, torch.ones(3) / 3)
    with pytest.raises(ValueError, match="floor"):
        class_vanishing(predictions, 4, floor=0)


def test_mask_rate_is_strict_at_its_threshold():
    assert mask_rate(torch.tensor([[0.75, 0.25]]), 0.75) == 0
    with pytest.raises(ValueError, match="threshold"):
        mask_rate(balanced(), 1.5)
