"""Rows of two domains in one table, as SKADA gives them."""

# ruff: noqa: N803 - scikit-learn's names

import numpy as np


def stacked(X, y, X_target, y_target):
    domains = np.repeat([1, -2], [len(X), len(X_target)])
    return np.concatenate([X, X_target]), np.concatenate([y, y_target]), domains
