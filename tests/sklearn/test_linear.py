"""Tables of the estimator: counts and sparse matrices, and a source-only model that is at least logistic regression."""

# ruff: noqa: N803, N806 - scikit-learn's names

import pickle
import tracemalloc

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_wine, make_blobs
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from dalib.core.errors import UserError
from dalib.sklearn import SelfEnsembleClassifier, judged_score

QUICK = {"steps": 20, "batch": 16, "lr": 0.01, "random_state": 0, "device": "cpu"}


class ItsOwnTarget(SelfEnsembleClassifier):
    """For scikit-learn's checks, which know of one domain: adapts to the rows that it learns from."""

    def fit(self, X, y):
        return super().fit(X, y, X)


@parametrize_with_checks([ItsOwnTarget(hidden=()), ItsOwnTarget(steps=10, batch=32, lr=0.02)])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def test_counts_adapt_without_being_made_dense(reviews):
    X, y, X_target, y_target = reviews
    fitted = SelfEnsembleClassifier(**QUICK).fit(X, y, X_target)
    before, after = (each.score(X_target, y_target) for each in (fitted.source_only_, fitted.adapted_))
    assert after > before + 0.05
    assert [line["step"] for line in fitted.history_["adapted"]] == list(range(1, len(fitted.history_["adapted"]) + 1))
    assert fitted.judgement_["selection"]["step"] == len(fitted.history_["adapted"])
    assert 0 <= judged_score(fitted) <= 1
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(X_target), fitted.predict_proba(X_target))


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_array, sparse.coo_array, lambda X: X.toarray()])
def test_every_format_gives_the_same(reviews, kind):
    X, y, X_target, _ = reviews
    one = SelfEnsembleClassifier(**QUICK).fit(X, y, X_target)
    other = SelfEnsembleClassifier(**QUICK).fit(kind(X), y, kind(X_target))
    np.testing.assert_allclose(one.predict_proba(X_target), other.predict_proba(kind(X_target)), atol=1e-6)
    stacked, labels = sparse.vstack([X, X_target]), np.concatenate([y, np.full(len(y), -1)])
    domains = np.repeat([1, -1], [X.shape[0], X_target.shape[0]])
    together = SelfEnsembleClassifier(**QUICK).fit(kind(stacked.tocsr()), labels, sample_domain=domains)
    np.testing.assert_allclose(one.predict_proba(X_target), together.predict_proba(X_target), atol=1e-6)
    found = together.predict_proba(kind(stacked.tocsr()), sample_domain=domains, allow_source=True)
    np.testing.assert_allclose(found[X.shape[0] :], one.predict_proba(X_target), atol=1e-6)


def test_a_wide_sparse_table_is_never_dense_as_a_whole():
    random = np.random.default_rng(0)
    X = sparse.random_array((3000, 20000), density=0.001, rng=random, format="csr")
    X.data = np.ceil(X.data * 3)
    y = np.asarray(X[:, :10000].sum(axis=1)).ravel() > np.asarray(X[:, 10000:].sum(axis=1)).ravel()
    dense = 3000 * 20000 * 4
    tracemalloc.start()
    try:
        fitted = SelfEnsembleClassifier(**QUICK, validation_share=0.02).fit(X, y, X[:2500])
        fitted.predict(X)
        assert tracemalloc.get_traced_memory()[1] < dense
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("prior", ["source", "uniform", "estimate"])
def test_labels_of_the_target_decide_nothing_of_a_linear_model(reviews, prior):
    X, y, X_target, y_target = reviews
    stacked, domains = sparse.vstack([X, X_target]).tocsr(), np.repeat([1, -1], [X.shape[0], X_target.shape[0]])
    found = [
        SelfEnsembleClassifier(**QUICK, prior=prior).fit(stacked, np.concatenate([y, there]), sample_domain=domains)
        for there in (np.full_like(y, -1), y_target, 1 - y_target)
    ]
    for other in found[1:]:
        np.testing.assert_array_equal(found[0].predict_proba(X_target), other.predict_proba(X_target))
        assert found[0].judgement_ == other.judgement_


def test_the_perceptron_takes_sparse_rows_too(reviews):
    X, y, X_target, y_target = reviews
    fitted = SelfEnsembleClassifier(**QUICK | {"steps": 60}, hidden=(16,)).fit(X, y, X_target)
    assert fitted.source_only_.score(X_target, y_target) > 0.7
    for counts in (False, "auto"):
        scaled = SelfEnsembleClassifier(**QUICK, hidden=(16,), counts=counts).fit(X * -1.5, y, X_target * -1.5)
        assert scaled.predict_proba(X_target * -1.5).shape == (400, 2)


def test_what_sparse_tables_may_not_hold_is_named(reviews):
    X, y, X_target, _ = reviews
    fitted = SelfEnsembleClassifier(**QUICK).fit(X, y, X_target)
    wrong = X_target.tolil()
    wrong[7, 3] = -2
    with pytest.raises(UserError, match=r"X: row 7, column 3: expected no negative .* got -2; .*counts=False"):
        fitted.predict(wrong.tocsr())
    with pytest.raises(UserError, match=r"X_target: row 7, column 3: expected no negative"):
        SelfEnsembleClassifier(**QUICK, counts=True).fit(X, y, wrong.tocsr())
    for value, named in ((np.nan, "NaN"), (np.inf, "infinity"), (1e300, "a number that float32 can hold")):
        wrong = X_target.astype(float).tolil()
        wrong[7, 3] = value
        with pytest.raises(UserError, match=rf"X_target: .*{named}"):
            SelfEnsembleClassifier(**QUICK).fit(X, y, wrong.tocsr())
    with pytest.raises(ValueError, match=r"200 features.*300 features"):
        fitted.predict(X_target[:, :200])
    with pytest.raises(UserError, match=r"^counts="):
        SelfEnsembleClassifier(**QUICK, counts="yes").fit(X, y, X_target)


@pytest.mark.parametrize("chosen", [1, np.True_])
def test_whether_a_table_holds_counts_may_be_a_truth_of_any_kind(reviews, chosen):
    X, y, X_target, _ = reviews
    told, meant = (SelfEnsembleClassifier(**QUICK, counts=each).fit(X, y, X_target) for each in (chosen, True))
    np.testing.assert_array_equal(told.predict_proba(X_target), meant.predict_proba(X_target))


def test_source_only_is_logistic_regression_where_the_perceptron_is_not_clearly_better():
    X, y = load_wine(return_X_y=True)
    fitted = SelfEnsembleClassifier(**QUICK).fit(X[::2], y[::2], X[1::2])
    theirs = make_pipeline(StandardScaler(), LogisticRegression()).fit(X[::2], y[::2])
    assert fitted.source_only_.score(X[1::2], y[1::2]) > theirs.score(X[1::2], y[1::2]) - 0.03
    assert not list(fitted.models_["source-only"].network.backbone.parameters())
    assert list(fitted.models_["adapted"].network.backbone.parameters())


def test_source_only_is_the_perceptron_where_no_line_parts_the_classes():
    X, parts = make_blobs(400, centers=[[0, 0], [4, 4], [0, 4], [4, 0]], random_state=0)
    y = parts // 2
    fitted = SelfEnsembleClassifier(**QUICK | {"steps": 150}, validation_share=0.25).fit(X, y, X + 0.1)
    assert fitted.source_only_.score(X, y, sample_domain=np.ones(len(X)), allow_source=True) > 0.9
    assert list(fitted.models_["source-only"].network.backbone.parameters())
