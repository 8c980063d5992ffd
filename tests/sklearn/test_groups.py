"""Rows that belong together in the scikit-learn estimator."""

import numpy as np
import pytest

from dalib.data.split import split_by_groups
from dalib.sklearn import SelfEnsembleClassifier, estimator
from dalib.sklearn.given_rows import GivenRows
from dalib.sklearn.groups import numbered_groups

SMALL = {"steps": 4, "batch": 8, "hidden": (), "validation_share": 0.25, "random_state": 0}


def rows(seed=0):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(16) % 2, 5)
    return rng.normal(labels[:, None], 0.5, (80, 3)), labels, np.repeat([f"p{each}" for each in range(16)], 5)


def test_the_validation_split_keeps_groups_whole(monkeypatch):
    values, labels, groups = rows()
    seen = []

    def split(labels, numbers, *settings):
        seen.append((numbers, split_by_groups(labels, numbers, *settings)))
        return seen[-1][1]

    monkeypatch.setattr(estimator, "split_by_groups", split)
    SelfEnsembleClassifier(**SMALL).fit(values, labels, values + 1, groups=groups)
    ((numbers, (train, held)),) = seen
    assert len(held) == 20
    assert not set(numbers[train].tolist()) & set(numbers[held].tolist())


@pytest.mark.parametrize(
    "given",
    [
        np.array([1.0, np.nan, 1.0, np.nan]),
        np.array(["a", None, "a", None], dtype=object),
        ["a", "", "a", ""],
        ["a", "NA", " a", "NA"],
    ],
)
def test_rows_whose_group_is_missing_do_not_belong_together(given):
    rows = np.arange(4)
    domains = GivenRows(np.zeros((4, 1)), np.array([0, 1, 0, 1]), np.zeros((4, 1)), rows, rows, "X_target")
    first, second, third, fourth = numbered_groups(given, domains).source.tolist()
    assert first == third
    assert len({first, second, fourth}) == 3


def test_rows_of_both_domains_have_their_groups():
    values, labels, groups = rows()
    domain = np.repeat([1, -1], 80)
    both = np.concatenate([values, values + 1])
    fitted = SelfEnsembleClassifier(**SMALL)
    fitted.fit(both, np.tile(labels, 2), sample_domain=domain, groups=np.tile(groups, 2))
    assert fitted.predict(values).shape == (80,)


def test_groups_of_other_rows_are_refused():
    values, labels, groups = rows()
    with pytest.raises(ValueError, match="groups: expected one for each of the 80 rows of X"):
        SelfEnsembleClassifier(**SMALL).fit(values, labels, values, groups=groups[:-1])
