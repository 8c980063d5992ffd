"""Logistic regression: against scikit-learn's, dense and sparse, and what it refuses."""

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from dalib.models.linear import Validated, cross_validate, fit_logistic, least_loss


@pytest.fixture
def iris():
    features, labels = load_iris(return_X_y=True)
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    return torch.from_numpy(features).float(), torch.from_numpy(labels).long()


def chosen(features, labels) -> Validated:
    return least_loss(cross_validate(features, labels, 3))


@pytest.mark.parametrize("l2", [1.0, 0.01])
@pytest.mark.parametrize("classes", [2, 3])
def test_it_is_scikit_learns(iris, classes, l2):
    features, labels = (each[iris[1] < classes] for each in iris)
    weight, bias = fit_logistic(features, labels, classes, l2)
    theirs = LogisticRegression(C=(2 if classes == 2 else 1) / (l2 * len(labels)), max_iter=2000)
    expected = theirs.fit(features.numpy(), labels.numpy()).predict_proba(features.numpy())
    found = (features @ weight.T + bias).softmax(dim=1)
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-3)


def test_sparse_rows_give_what_dense_ones_give(iris):
    features, labels = iris
    features = features.where(features > 0.5, 0.0)
    dense, thin = (fit_logistic(each, labels, 3, 0.01) for each in (features, sparse.csr_matrix(features.numpy())))
    torch.testing.assert_close(dense[0], thin[0], atol=1e-2, rtol=1e-2)
    dense, thin = chosen(features, labels), chosen(sparse.csc_array(features.numpy()), labels)
    assert (dense.l2, dense.accuracy) == pytest.approx((thin.l2, thin.accuracy), rel=1e-4)


def test_a_class_without_a_label_is_improbable(iris):
    features, labels = iris
    weight, bias = fit_logistic(features, labels, 5, 0.01)
    assert (features @ weight.T + bias).softmax(dim=1)[:, 3:].max() < 0.05


@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e3])
def test_the_chosen_penalty_follows_the_scale(iris, factor):
    features, labels = iris
    noise = torch.randn(len(features), 60, generator=torch.Generator().manual_seed(0))
    rows = torch.cat([features, noise], dim=1)
    found = chosen(rows * factor, labels)
    assert found.l2 == pytest.approx(chosen(rows, labels).l2 * factor**2, rel=1e-3)
    assert found.accuracy > 0.7


@pytest.mark.parametrize("shift", [10.0, 1e4])
def test_columns_far_from_zero_are_learnt_as_well(iris, shift):
    features, labels = iris
    found, expected = chosen(features + shift, labels), chosen(features, labels)
    assert found.accuracy == pytest.approx(expected.accuracy, abs=0.01)
    weight, bias = fit_logistic(features + shift, labels, 3, 0.01)
    own = fit_logistic(features, labels, 3, 0.01)
    torch.testing.assert_close(weight, own[0], atol=0.02, rtol=0.02)
    named = ((features + shift) @ weight.T + bias).argmax(dim=1)
    assert float((named == (features @ own[0].T + own[1]).argmax(dim=1)).double().mean()) > 0.98


def test_noise_asks_for_a_larger_penalty(iris):
    features, labels = iris
    noise = torch.randn(len(features), 300, generator=torch.Generator().manual_seed(0))
    few, many = chosen(features, labels).l2 / 4, chosen(torch.cat([features, noise], 1), labels).l2 / 304
    assert many > few


@pytest.mark.parametrize(
    ("labels", "l2", "named"),
    [([0, 1], 0.1, "labels"), ([0, 1, 3], 0.1, "labels"), ([0, 1, -1], 0.1, "labels"), ([0, 1, 2], 0.0, "l2")],
)
def test_what_does_not_fit_is_refused(labels, l2, named):
    with pytest.raises(ValueError, match=named):
        fit_logistic(torch.zeros(3, 2), torch.tensor(labels), 3, l2)
