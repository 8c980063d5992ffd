import math

import numpy as np
import pytest
import torch

from dalib.judge.accuracy import wilson_interval
from dalib.judge.sampling import choose, estimate_difference, estimate_mean, score_interval

IMAGES, CLASSES, DRAWS = 2000, 10, 200


def probabilities(confidence, predicted, classes=CLASSES):
    p = np.repeat(((1 - confidence) / (classes - 1))[:, None], classes, axis=1)
    p[np.arange(len(p)), predicted] = confidence
    return torch.from_numpy(p)


def population(accuracy, *, informative, seed=1):
    """Confidence by image, and which images are right: by their confidence, or whatever it is."""
    rng = np.random.default_rng(seed)
    confidence = np.clip(rng.beta(3 * accuracy, 3 * (1 - accuracy), IMAGES), 0.12, 0.9999)
    right = rng.random(IMAGES) < (confidence if informative else accuracy)
    return probabilities(confidence, np.zeros(IMAGES, dtype=int)), right


def two_models(accuracies, seed=2):
    """Probabilities of two models with these accuracies, about, and which images each has right."""
    rng, (one, two) = np.random.default_rng(seed), accuracies
    confidence = np.clip(rng.beta(3 * one, 3 * (1 - one), IMAGES), 0.12, 0.9999)
    labels = np.where(rng.random(IMAGES) < confidence, 0, rng.integers(1, CLASSES, IMAGES))
    other = np.clip(confidence * two / one + rng.normal(0, 0.08, IMAGES), 0.12, 0.999)
    guesses = np.where((labels != 0) & (rng.random(IMAGES) < 0.6), labels, rng.integers(1, CLASSES, IMAGES))
    predicted = np.where(rng.random(IMAGES) < other, 0, guesses)
    first = probabilities(confidence, np.zeros(IMAGES, dtype=int))
    return first, probabilities(np.where(predicted == 0, other, 0.5), predicted), labels == 0, predicted == labels


def intervals(samples, outcomes, values, strata=None):
    """Value, low and high of each sample, as estimate_mean has them but for rounding."""
    sizes = samples[0].population
    strata = list(sizes) if strata is None else strata
    counts = np.array(
        [
            [[((each.strata == s) & (outcomes[each.rows] == v)).sum() for v in values] for s in strata]
            for each in samples
        ],
        dtype=float,
    )
    of_strata = np.broadcast_to([float(sizes[s]) for s in strata], counts.shape[:-1])
    return score_interval(counts, of_strata, of_strata / IMAGES, np.array(values, dtype=float))


def assert_unbiased_and_covered(value, low, high, truth):
    assert abs(value.mean() - truth) < 3.5 * value.std() / math.sqrt(len(value)) + 1e-9
    assert np.mean((low <= truth + 1e-9) & (truth <= high + 1e-9)) > 0.90  # 95%, less what 200 draws leave to chance


@pytest.mark.parametrize("accuracy", [0.6, 0.9, 0.99])
@pytest.mark.parametrize("count", [20, 50, 100])
def test_accuracy_is_unbiased_and_the_interval_holds_it_and_is_shorter_than_of_a_simple_sample(accuracy, count):
    p, right = population(accuracy, informative=True)
    value, low, high = intervals([choose(p, None, count, seed) for seed in range(DRAWS)], right.astype(int), (0, 1))
    assert_unbiased_and_covered(value, low, high, right.mean())
    simple = np.random.default_rng(0).hypergeometric(right.sum(), (~right).sum(), count, DRAWS)
    widths = [np.diff(wilson_interval(int(each), count)) for each in simple]
    hardly_an_error = count * (1 - accuracy) < 0.5  # there is nothing that confidence could be right about
    assert np.mean(high - low) < np.mean(widths) + (0.006 if hardly_an_error else 0)


@pytest.mark.parametrize("accuracy", [0.6, 0.9, 0.99])
def test_a_confidence_that_means_nothing_costs_no_truth(accuracy):
    p, right = population(accuracy, informative=False)
    value, low, high = intervals([choose(p, None, 50, seed) for seed in range(DRAWS)], right.astype(int), (0, 1))
    assert_unbiased_and_covered(value, low, high, right.mean())


@pytest.mark.parametrize("accuracies", [(0.6, 0.5), (0.9, 0.8), (0.95, 0.6), (0.99, 0.97)])
@pytest.mark.parametrize("count", [20, 50])
def test_two_accuracies_and_their_difference_are_unbiased_and_held(accuracies, count):
    first, second, right, other = two_models(accuracies)
    samples = [choose(first, second, count, seed) for seed in range(DRAWS)]
    differ = (first.argmax(dim=1) != second.argmax(dim=1)).numpy()
    for each in (right, other):
        assert_unbiased_and_covered(*intervals(samples, each.astype(int), (0, 1)), each.mean())
    apart = [s for s in samples[0].population if differ[samples[0].rows[samples[0].strata == s]].all()]
    difference = right.astype(int) - other
    value, low, high = intervals(samples, difference, (-1, 0, 1), apart)
    assert_unbiased_and_covered(value, low, high, difference.mean())
    assert np.mean(high - low) < 4 * difference.std() / math.sqrt(count)  # of a simple sample, by the normal interval


def test_strata_part_the_target_and_never_mix_agreement_with_difference():
    first, second, *_ = two_models((0.9, 0.8))
    sample = choose(first, second, 40)
    differ = (first.argmax(dim=1) != second.argmax(dim=1)).numpy()
    assert sum(sample.population.values()) == IMAGES
    kinds = {s: set(differ[sample.rows[sample.strata == s]].tolist()) for s in sample.population}
    assert all(len(kind) == 1 for kind in kinds.values())
    assert sum(sample.population[s] for s, kind in kinds.items() if kind == {True}) == differ.sum()
    assert differ[sample.rows].mean() > 1.2 * differ.mean()
    assert len(set(sample.rows.tolist())) == 40
    assert math.isclose(sample.weights.sum(), IMAGES)


def test_the_seed_alone_decides():
    p, _ = population(0.9, informative=True)
    one, same, other = choose(p, None, 20, 3), choose(p, None, 20, 3), choose(p, None, 20, 4)
    assert one.rows.tolist() == same.rows.tolist() != other.rows.tolist()


@pytest.mark.parametrize("count", [1, 2, 3, 7, 24, 100])
@pytest.mark.parametrize("images", [1, 2, 24])
def test_few_images_and_few_labels(images, count):
    p = torch.rand(images, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).softmax(dim=1)
    sample = choose(p, p.roll(1, dims=1), count)
    assert len(sample.rows) == min(images, count) == len(set(sample.rows.tolist()))
    estimate = estimate_mean([1] * len(sample.rows), sample.strata, sample.population)
    assert 0 <= estimate.low <= estimate.high <= 1
    if images <= count:
        assert (estimate.low, estimate.high) == (1, 1)


def test_constant_confidence_is_fine():
    assert len(choose(torch.full((100, 2), 0.5), torch.full((100, 2), 0.5), 20).rows) == 20
    certain = torch.tensor([[1.0, 0.0]]).repeat(100, 1)
    assert len(choose(certain, certain, 20).rows) == 20


# estimates


@pytest.mark.parametrize(("right", "count"), [(0, 5), (5, 5), (16, 20), (20, 20), (5, 50), (60, 100)])
def test_one_large_stratum_is_wilson(right, count):
    estimate = estimate_mean([1] * right + [0] * (count - right), [0] * count, {0: 10**8})
    assert estimate.value == right / count
    assert np.allclose((estimate.low, estimate.high), wilson_interval(right, count), atol=1e-4)


def test_a_rare_error_may_be_rarer_than_wilson_says():
    estimate = estimate_mean([1] * 19 + [0], [0] * 20, {0: 10**8})
    assert estimate.high == pytest.approx(1 + math.log(0.95) / 20, abs=1e-6)
    assert estimate.high > wilson_interval(19, 20)[1]
    mirrored = estimate_mean([0] * 19 + [1], [0] * 20, {0: 10**8})
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - estimate.high, 1 - estimate.low), abs=1e-6)


def test_the_value_is_the_weighted_mean_of_strata():
    estimate = estimate_mean([1, 1, 0, 0, 1], [0, 0, 0, 7, 7], {0: 300, 7: 700})
    assert math.isclose(estimate.value, 0.3 * 2 / 3 + 0.7 / 2)


def test_strata_whose_images_are_all_right_leave_doubt():
    estimate = estimate_mean([1] * 20, [0] * 10 + [1] * 10, {0: 500, 1: 500})
    assert estimate.value == estimate.high == 1
    assert 0.75 < estimate.low < 0.88  # Wilson's, of 20 images: 0.839


def test_more_labels_shorten_the_interval_to_nothing():
    widths = []
    for count in (10, 40, 90, 100):
        outcomes = [1] * (count * 9 // 10) + [0] * (count - count * 9 // 10)
        estimate = estimate_mean(outcomes, [0] * count, {0: 100})
        widths.append(estimate.high - estimate.low)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] == 0


def test_an_image_that_was_not_looked_at_may_be_wrong():
    assert estimate_mean([1] * 9, [0] * 9, {0: 10}).low <= 0.9


def test_a_stratum_without_labels_counts_from_all_wrong_to_all_right():
    whole = estimate_mean([1] * 10, [0] * 10, {0: 600})
    part = estimate_mean([1] * 10, [0] * 10, {0: 600, 1: 400})
    assert part.unlabelled == pytest.approx(0.4)
    assert (part.value, part.high) == (1, 1)
    assert part.low == pytest.approx(0.6 * whole.low, abs=2e-3)


def test_the_likeliest_shares_are_those_of_a_search():
    # an oracle: of all shares of two strata with this mean, those with the largest likelihood
    counts, weights = np.array([[3.0, 7.0], [1.0, 9.0]]), np.array([0.4, 0.6])
    _, low, high = score_interval(counts, np.full(2, 1e12), weights, np.array([0.0, 1.0]))
    value, spread = weights @ counts[:, 1] / 10, 1.959964**2 * 20 / 19
    for end, slope in ((float(low), 1), (float(high), -1)):
        first = np.linspace(max(0, (end - 0.6) / 0.4), min(1, end / 0.4), 200001)[1:-1]
        shares = np.stack([first, (end - 0.4 * first) / 0.6], axis=1).clip(1e-12, 1 - 1e-12)
        likelihood = (counts[:, 1] * np.log(shares) + counts[:, 0] * np.log1p(-shares)).sum(axis=1)
        best = shares[likelihood.argmax()]
        variance = (weights**2 * best * (1 - best) / 10).sum()
        assert (value - end) ** 2 / variance == pytest.approx(spread, rel=2e-3)
        assert slope * (value - end) > 0


def test_the_difference_needs_labels_only_where_models_differ():
    estimate = estimate_difference([True] * 10, [False] * 10, [0] * 10, {0: 100}, agreeing=900)
    assert estimate.value == pytest.approx(0.1)
    assert 0 < estimate.low < estimate.high == pytest.approx(0.1)
    none = estimate_difference([], [], [], {}, agreeing=1000)
    assert (none.value, none.low, none.high) == (0, 0, 0)
    unknown = estimate_difference([], [], [], {0: 100}, agreeing=900)
    assert math.isnan(unknown.value)
    assert (unknown.low, unknown.high) == (-0.1, 0.1)


def test_the_difference_changes_sign_with_the_order():
    one, two = [True, True, False, True, False], [False, True, True, False, False]
    first = estimate_difference(one, two, [0] * 5, {0: 50}, 50)
    second = estimate_difference(two, one, [0] * 5, {0: 50}, 50)
    assert (first.value, first.low, first.high) == pytest.approx((-second.value, -second.high, -second.low))


def test_bad_input_is_told():
    p = torch.full((4, 2), 0.5)
    with pytest.raises(ValueError, match="count"):
        choose(p, None, 0)
    with pytest.raises(ValueError, match="other"):
        choose(p, p[:3], 2)
    with pytest.raises(ValueError, match="softmax"):
        choose(p * 3, None, 2)
    with pytest.raises(ValueError, match="strata"):
        estimate_mean([1, 0], [0], {0: 10})
    with pytest.raises(ValueError, match="outcomes"):
        estimate_mean([2], [0], {0: 10})
    with pytest.raises(ValueError, match="strata"):
        estimate_mean([1], [1], {0: 10})
    with pytest.raises(ValueError, match="population"):
        estimate_mean([1, 1], [0, 0], {0: 1})
