"""What tables are taken for: counts and words."""

# ruff: noqa: N806 - scikit-learn's names

import numpy as np

from dalib.sklearn.readers import Words, are_counts


def test_what_is_taken_for_counts(reviews):
    X = reviews[0]
    assert are_counts(X)
    assert are_counts(X.log1p().toarray())
    assert not are_counts(X * -1)
    assert not are_counts(np.abs(np.random.default_rng(0).normal(size=(9, 9))))


def test_words_are_scikit_learns_tf_idf(reviews):
    from sklearn.feature_extraction.text import TfidfTransformer

    X = reviews[0]
    found = Words.of(X, logarithm=False)(X, "X").matrix
    np.testing.assert_allclose(found.toarray(), TfidfTransformer().fit_transform(X).toarray(), atol=1e-6)
