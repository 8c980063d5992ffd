"""What an estimator is given is refused where it is wrong, in the words of the arguments."""

# ruff: noqa: N806 - scikit-learn's names

import numpy as np
import pytest
from scipy import sparse

from dalib.core.errors import UserError
from dalib.sklearn import SelfEnsembleClassifier
from dalib.sklearn.given_rows import numbered_classes, source_rows
from stacked_domains import stacked

QUICK = {"steps": 20, "batch": 16, "lr": 0.01, "hidden": (16,), "random_state": 0, "device": "cpu"}


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_missing_class_among_names_is_refused(shifted, missing):
    X, y, X_target, _ = shifted
    names = np.where(y == 0, "a", "b").astype(object)
    names[3] = missing
    with pytest.raises(UserError, match="y: expected a class for each source row, got None or NaN"):
        SelfEnsembleClassifier(**QUICK).fit(X, names, X_target)


@pytest.mark.parametrize("kind", [object, str])
def test_what_stands_for_a_missing_class_is_refused(shifted, kind):
    X, y, X_target, _ = shifted
    names = np.where(y == 0, "abc", "b").astype(kind)
    names[3] = "nan"
    with pytest.raises(UserError, match=r"y: expected a class for each source row, got what stands for .* in row 3"):
        SelfEnsembleClassifier(**QUICK).fit(X, names, X_target)


def test_classes_of_two_kinds_are_refused(shifted):
    X, y, X_target, _ = shifted
    mixed = np.where(y == 0, 1, 0).astype(object)
    mixed[y == 1] = "neg"
    with pytest.raises(UserError, match="got both strings and numbers"):
        SelfEnsembleClassifier(**QUICK).fit(X, mixed, X_target)


def test_fit_tells_what_is_wrong_with_the_domains(shifted):
    X, y, X_target, y_target = shifted
    rows, labels, domains = stacked(X, y, X_target, np.full_like(y_target, -1))
    fit = SelfEnsembleClassifier(**QUICK).fit
    for match, arguments, named in (
        ("got none; give fit", (X, y), {}),
        ("got both", (X, y, X_target), {"sample_domain": domains}),
        ("X_target: expected rows.*name sample_domain", (rows, labels, domains), {}),
        ("2 rows of the target.*got 0", (rows, labels), {"sample_domain": np.abs(domains)}),
        ("2 rows of the source.*got 0", (rows, labels), {"sample_domain": -np.abs(domains)}),
        ("a whole number for each of the 240 rows", (rows, labels), {"sample_domain": domains[1:]}),
        ("source rows have the label -1", (rows, labels), {"sample_domain": domains[::-1]}),
        ("one class alone", (X, np.zeros(len(X)), X_target), {}),
        ("images in both", (X, y, np.zeros((9, 8, 8), np.uint8)), {}),
    ):
        with pytest.raises(UserError, match=match):
            fit(*arguments, **named)
    with pytest.raises(ValueError, match=r"2 features.*3 features"):
        fit(X, y, X_target[:, :2])


def test_domains_are_split_as_skada_splits_them(skada, shifted):
    domains = np.array([2, 1, 0, -1, -2])
    np.testing.assert_array_equal(source_rows(domains, 5), skada.utils.extract_source_indices(domains))


class NoAnswer:
    """Compares as pandas' NA does: the answer is neither yes nor no."""

    def __ne__(self, other):
        return self

    __eq__ = __ne__
    __hash__ = None

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")


@pytest.mark.parametrize(
    "missing", [NoAnswer(), None, float("nan"), np.float64("nan")], ids=["NA", "None", "nan", "numpy"]
)
@pytest.mark.parametrize("kind", [str, int])
def test_a_row_without_a_label_is_named(missing, kind):
    X, y = np.random.default_rng(0).normal(size=(12, 2)), np.array([kind(n % 2) for n in range(12)], dtype=object)
    y[[3, 7]] = missing
    classifier = SelfEnsembleClassifier(steps=1)
    with pytest.raises(UserError, match=r"y: expected a class .* in row 3 \(and 1 more\)"):
        classifier.fit(X, y, X)
    domains = np.array([-1] * 5 + [0] * 7)
    # what is hidden, of the target, is not looked at
    with pytest.raises(UserError, match=r"y: expected a class .* in row 7;"):
        classifier.fit(X, y, sample_domain=domains)


@pytest.mark.parametrize("value", [1e300, -1e39, 1e30, np.inf, np.nan, NoAnswer(), None])
def test_a_row_that_the_network_cannot_take_is_named(value):
    X, y = np.random.default_rng(0).normal(size=(40, 2)), np.arange(40) % 2
    wrong = X.astype(object)
    wrong[7, 1] = value
    if not isinstance(value, NoAnswer):
        wrong = wrong.astype(float)
    fitted = SelfEnsembleClassifier(steps=1, batch=4, random_state=0).fit(X, y, X)
    with pytest.raises(ValueError, match="X: row 7, column 1: "):
        fitted.predict_proba(wrong)
    with pytest.raises(UserError, match="X_target: row 7, column 1: "):
        SelfEnsembleClassifier(steps=1).fit(X, y, wrong)
    with pytest.raises(UserError, match="X: row 7, column 1: "):
        SelfEnsembleClassifier(steps=1, standardize=False).fit(wrong, y, X)
    domains = np.where(np.arange(40) == 7, -1, np.arange(40) % 3 - 1)
    with pytest.raises(UserError, match="X: row 7, column 1: "):
        SelfEnsembleClassifier(steps=1).fit(wrong, y, sample_domain=domains)


def test_classes_are_numbered_in_their_order():
    classes, numbers = numbered_classes(np.array(["b", "a", "c", "a"]))
    assert classes.tolist() == ["a", "b", "c"]
    assert numbers.tolist() == [1, 0, 2, 0]


@pytest.mark.parametrize("kind", [np.array, sparse.csr_array])
def test_rows_that_are_all_the_same_are_warned_of(shifted, kind):
    X, y, X_target, _ = (np.array(each) for each in shifted)
    same = np.repeat(X[:1], len(X), axis=0)
    with pytest.warns(UserWarning, match=rf"^X: no feature varies among the {len(X)} rows of the source, so that noth"):
        SelfEnsembleClassifier(**QUICK).fit(kind(same), y, kind(X_target))
    same = np.zeros_like(X_target)
    with pytest.warns(UserWarning, match="^X_target: no feature varies among .* target, so that all of them get the"):
        SelfEnsembleClassifier(**QUICK).fit(kind(X), y, kind(same))
    both, domains = np.r_[X, same], np.r_[np.ones(len(X)), -np.ones(len(same))]
    with pytest.warns(UserWarning, match="^X: no feature varies among .* target"):
        SelfEnsembleClassifier(**QUICK).fit(kind(both), np.r_[y, -np.ones(len(same))], sample_domain=domains)
