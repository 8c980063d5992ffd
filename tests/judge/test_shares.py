import numpy as np
import pytest
import torch

from dalib.judge.sampling import choose
from dalib.judge.shares import shares_with_labels

IMAGES, SHARES = 1000, np.array([0.5, 0.25, 0.15, 0.06, 0.04])


def domain(seed, signal=2.0):
    """Labels of images, and predictions whose errors lean to some classes."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(len(SHARES), IMAGES, p=SHARES)
    logits = rng.normal(0, 1, (IMAGES, len(SHARES))) + rng.normal(0, 1, (len(SHARES),) * 2)[labels]
    logits[np.arange(IMAGES), labels] += signal
    return torch.from_numpy(labels), torch.from_numpy(1.5 * logits).softmax(dim=1)


def estimated(labels, p, count=100, seed=0):
    sample = choose(p, None, count, seed)
    rows, strata = torch.from_numpy(sample.rows), torch.from_numpy(sample.strata)
    return shares_with_labels(p, rows, labels[rows], strata, sample.population), rows


def true_shares(labels):
    return torch.bincount(labels, minlength=len(SHARES)).double() / len(labels)


def test_intervals_cover_and_predictions_sharpen_the_count():
    covered, off, off_of_count, off_of_predictions = [], [], [], []
    for seed in range(40):
        labels, p = domain(seed)
        found, _ = estimated(labels, p, seed=seed)
        true = true_shares(labels)
        covered.append(((found.low <= true) & (true <= found.high)).double().mean())
        drawn = torch.from_numpy(np.random.default_rng(seed).permutation(IMAGES)[:100])
        off.append((found.shares - true).abs().sum())
        off_of_count.append((true_shares(labels[drawn]) - true).abs().sum())
        off_of_predictions.append((p.mean(dim=0) - true).abs().sum())
    assert np.mean(covered) >= 0.93
    assert np.mean(off) < 0.75 * np.mean(off_of_count)
    assert np.mean(off) < 0.75 * np.mean(off_of_predictions)


def test_predictions_that_know_nothing_leave_the_count():
    labels, _ = domain(0)
    rows = torch.arange(200)
    found = shares_with_labels(torch.full((IMAGES, 5), 0.2), rows, labels[rows], torch.zeros(200).long(), {0: IMAGES})
    assert torch.allclose(found.shares, true_shares(labels[rows]), atol=2e-3)


def test_strata_count_as_many_as_they_are():
    p = torch.full((100, 2), 0.5)
    rows, labels, strata = torch.arange(40), torch.tensor([0] * 20 + [1] * 20), torch.tensor([0] * 20 + [1] * 20)
    found = shares_with_labels(p, rows, labels, strata, {0: 75, 1: 25})
    assert found.shares[0] == pytest.approx(0.75, abs=1e-3)


def test_a_class_that_no_label_shows_may_still_be_there():
    p = torch.eye(3)[torch.tensor([0, 1] * 300)]
    rows = torch.arange(50)
    found = shares_with_labels(p, rows, p[rows].argmax(dim=1), torch.zeros(50).long(), {0: 600})
    assert found.shares.sum().item() == pytest.approx(1)
    assert 0 < found.shares[2] < 0.03
    assert 0.02 < found.high[2] < 0.1
    assert found.low[2] == 0


def test_groups_widen_the_intervals():
    labels, p = domain(0)
    rows, strata = torch.arange(100), torch.zeros(100).long()
    labels[:100] = labels[:10].repeat_interleave(10)
    alone = shares_with_labels(p, rows, labels[rows], strata, {0: IMAGES})
    together = shares_with_labels(p, rows, labels[rows], strata, {0: IMAGES}, np.arange(100) // 10)
    assert ((together.high - together.low) > 1.5 * (alone.high - alone.low)).double().mean() > 0.5


@pytest.mark.parametrize(("rows", "labels"), [([], []), ([0], [0, 1]), ([0], [5])])
def test_labels_that_do_not_fit_are_refused(rows, labels):
    with pytest.raises(ValueError, match=r"labels.*: expected"):
        shares_with_labels(
            torch.full((9, 2), 0.5),
            torch.tensor(rows).long(),
            torch.tensor(labels).long(),
            torch.tensor(rows).long(),
            {0: 9},
        )
