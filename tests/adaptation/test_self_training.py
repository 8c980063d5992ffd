"""Self-training in closed form: what it wants of the target, and that dense and sparse rows give the same."""

import pytest
import torch
from scipy import sparse

from dalib.adaptation.self_training import SelfTraining, probabilities_of, sharpened
from dalib.models.linear import fit_logistic


@pytest.fixture
def displaced():
    """Source rows and labels, target rows and labels: two blobs that move by most of their distance."""
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 2
    source, target = (torch.randn(200, 3, generator=random) for _ in range(2))
    source[:, 0] += 6 * labels
    target[:, 0] += 6 * labels + 3
    return source, labels, target, labels


@pytest.mark.parametrize("prior", [[0.5, 0.5], [0.2, 0.8]])
def test_sharpened_predictions_have_the_priors_shares(prior):
    probabilities = torch.rand(500, 2, generator=torch.Generator().manual_seed(0)).softmax(dim=1)
    wanted = sharpened(probabilities, torch.tensor(prior))
    torch.testing.assert_close(wanted.sum(dim=1), torch.ones(500, dtype=torch.float64))
    torch.testing.assert_close(wanted.mean(dim=0).float(), torch.tensor(prior), atol=1e-3, rtol=0)


def test_sharpened_predictions_are_the_squares_where_they_are_balanced_already():
    probabilities = torch.tensor([[0.8, 0.2], [0.2, 0.8]])
    expected = torch.tensor([[16 / 17, 1 / 17], [1 / 17, 16 / 17]], dtype=torch.float64)
    torch.testing.assert_close(sharpened(probabilities, torch.tensor([0.5, 0.5])), expected, atol=1e-6, rtol=0)


def test_a_class_without_a_share_is_not_wanted():
    wanted = sharpened(torch.full((10, 3), 1 / 3), torch.tensor([0.5, 0.5, 0.0]))
    assert wanted.isfinite().all()
    assert wanted[:, 2].max() < 1e-3


def test_it_follows_the_target_where_the_source_alone_errs(displaced):
    source, labels, target, truth = displaced
    model = fit_logistic(source, labels, 2, 0.01)
    training = SelfTraining(source, labels, target, 2, l2=0.01)
    before = (probabilities_of(model, target).argmax(dim=1) == truth).float().mean()
    for _ in range(15):
        model = training.after(model)
    after = (probabilities_of(model, target).argmax(dim=1) == truth).float().mean()
    assert before < 0.8
    assert after > 0.95


def test_sparse_rows_give_what_dense_ones_give(displaced):
    source, labels, target, _ = displaced
    source, target = source.relu(), target.relu()
    model = fit_logistic(source, labels, 2, 0.1)
    thin = [sparse.csr_array(each.numpy()) for each in (source, target)]
    one = SelfTraining(source, labels, target, 2, l2=0.1).after(model)
    other = SelfTraining(thin[0], labels, thin[1], 2, l2=0.1).after(model)
    torch.testing.assert_close(probabilities_of(one, target), probabilities_of(other, thin[1]), atol=1e-3, rtol=0)
