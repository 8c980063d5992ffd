"""What tests of the estimator and the scorers share."""

# ruff: noqa: N806 - scikit-learn's names

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import make_blobs

import sklearn


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


@pytest.fixture
def skada():
    before = sklearn.get_config()["enable_metadata_routing"]
    found = pytest.importorskip("skada")  # switches routing on
    sklearn.set_config(enable_metadata_routing=True)
    yield found
    sklearn.set_config(enable_metadata_routing=before)


@pytest.fixture
def shifted():
    """Source rows and labels, target rows and labels: two blobs that move as far as they are apart."""
    X, y = make_blobs(120, centers=[[0, 0, 0], [6, 0, 1]], random_state=0)
    return X, y, X + np.array([8, 0, 0]), y
