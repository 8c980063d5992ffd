"""What tables are taken for: counts and words."""

# ruff: noqa: N806 - scikit-learn's names

import numpy as np
import pytest
from scipy import sparse

from dalib.sklearn.readers import Words, are_counts


@pytest.fixture
def reviews():
    """Counts of 300 words in made texts of two classes, half of whose words are the domain's own: sparse."""
    random = np.random.default_rng(0)
    labels = np.arange(400) % 2

    def texts(own):
        shares = np.full((2, 300), 1.0)
        shares[0, :20] = shares[1, 20:40] = 5.0  # of both domains
        shares[0, own : own + 30] = shares[1, own + 30 : own + 60] = 8.0
        return sparse.csr_array([random.multinomial(25, (share := shares[label]) / share.sum()) for label in labels])

    return texts(100), labels, texts(200), labels


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
