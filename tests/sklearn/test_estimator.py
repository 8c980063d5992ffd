"""The estimator of scikit-learn: its conventions, SKADA's, and what it must not look at."""

# ruff: noqa: N803, N806 - scikit-learn's names

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits, make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from dalib.core.errors import UserError
from dalib.sklearn import SelfEnsembleClassifier, judged_score
from dalib.sklearn.readers import Table
from stacked_domains import stacked

QUICK = {"steps": 20, "batch": 16, "lr": 0.01, "hidden": (16,), "random_state": 0, "device": "cpu"}


class ItsOwnTarget(SelfEnsembleClassifier):
    """For scikit-learn's checks, which know of one domain: adapts to the rows that it learns from."""

    def fit(self, X, y):
        return super().fit(X, y, X)


EXPECTED_FAILURES: dict[str, str] = {}
"""By name of the check, with the reason; none so far."""


@parametrize_with_checks(
    [ItsOwnTarget(steps=10, batch=32, lr=0.02, hidden=(16,))],
    expected_failed_checks=lambda _: EXPECTED_FAILURES,
)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("value", [0.0, 0.1, 0.7, 3.3, -1e9])
def test_a_feature_that_does_not_vary_is_only_centred(shifted, value):
    X = np.column_stack([shifted[0], np.full(len(shifted[0]), value)])
    table = Table.of(X)
    assert table.std[-1] == 1
    assert table(X, "X")[:, -1].abs().max() < 1e-6
    assert (Table.of(X * 1e-3).std[:-1] < 0.1).all()  # what is small and varies is standardised


def test_adapts_where_the_source_alone_errs(shifted):
    X, y, X_target, y_target = shifted
    fitted = SelfEnsembleClassifier(**QUICK | {"steps": 60}).fit(X, y, X_target)
    assert fitted.score(X_target, y_target) == 1.0
    assert fitted.adapted_.score(X_target, y_target) == 1.0
    assert fitted.source_only_.score(X_target, y_target) < 0.6
    assert fitted.source_only_.score(X, y) == 1.0
    assert fitted.score(X, y, sample_domain=np.ones(len(X)), allow_source=True) == 1.0


def test_both_ways_to_give_domains_are_the_same(shifted):
    X, y, X_target, y_target = shifted
    apart = SelfEnsembleClassifier(**QUICK).fit(X, y, X_target)
    rows, labels, domains = stacked(X, y, X_target, np.full_like(y_target, -1))
    together = SelfEnsembleClassifier(**QUICK).fit(rows, labels, sample_domain=domains)
    np.testing.assert_array_equal(apart.predict_proba(X_target), together.predict_proba(X_target))
    several = np.where(domains > 0, np.arange(len(domains)) % 3, -1 - np.arange(len(domains)) % 2)
    again = SelfEnsembleClassifier(**QUICK).fit(rows, labels, sample_domain=several)
    np.testing.assert_array_equal(apart.predict_proba(X_target), again.predict_proba(X_target))


class Secret:
    """A label that tells when it is looked at."""

    def _seen(self, *_):
        raise AssertionError("a target label was looked at")

    __eq__ = __lt__ = __gt__ = __hash__ = __float__ = __int__ = __index__ = __str__ = __repr__ = __bool__ = _seen


@pytest.mark.parametrize("hidden", ["masked", "right", "wrong", "unknown classes", "NaN", "secret"])
@pytest.mark.parametrize("prior", ["source", "estimate"])
def test_labels_of_the_target_decide_nothing(shifted, hidden, prior):
    X, y, X_target, y_target = shifted
    rows, labels, domains = stacked(X, y, X_target, np.full_like(y_target, -1))
    settings = {**QUICK, "prior": prior}
    masked = SelfEnsembleClassifier(**settings).fit(rows, labels, sample_domain=domains)
    there = {
        "masked": np.full_like(y, -1),
        "right": y_target,
        "wrong": 1 - y_target,
        "unknown classes": y_target + 7,
        "NaN": np.full(len(y), np.nan),
        "secret": np.array([Secret() for _ in y], dtype=object),
    }[hidden]
    given = np.concatenate([y.astype(there.dtype), there])
    told = SelfEnsembleClassifier(**settings).fit(rows, given, sample_domain=domains)
    np.testing.assert_array_equal(masked.predict_proba(X_target), told.predict_proba(X_target))
    assert told.judgement_ == masked.judgement_
    np.testing.assert_array_equal(told.classes_, [0, 1])


def test_names_of_classes_and_columns_are_kept(shifted):
    X, y, X_target, _ = shifted
    pandas = pytest.importorskip("pandas")
    names = np.array(["cat", "dog"])[y]
    source, target = (pandas.DataFrame(each, columns=["a", "b", "c"]) for each in (X, X_target))
    fitted = SelfEnsembleClassifier(**QUICK).fit(source, names, target)
    assert fitted.classes_.tolist() == ["cat", "dog"]
    assert fitted.feature_names_in_.tolist() == ["a", "b", "c"]
    assert fitted.n_features_in_ == 3
    assert set(fitted.predict(target)) <= {"cat", "dog"}
    with pytest.raises(ValueError, match="feature names"):
        SelfEnsembleClassifier(**QUICK).fit(source, names, target[["b", "a", "c"]])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("batch", 1),
        ("lr", 0.0),
        ("hidden", 8),
        ("hidden", (0,)),
        ("hidden", ""),
        ("noise", -1),
        ("masking", 1.0),
        ("standardize", "both"),
        ("threshold", 2),
        ("weight", float("nan")),
        ("alpha", 1.5),
        ("prior", "target"),
        ("select", "best"),
        ("keep", "worse"),
        ("validation_share", 1),
    ],
)
def test_settings_out_of_their_range_are_named(shifted, name, value):
    X, y, X_target, _ = shifted
    with pytest.raises(UserError, match=f"^{name}="):
        SelfEnsembleClassifier(**QUICK | {name: value}).fit(X, y, X_target)


def test_an_estimated_prior_needs_rows_that_judge(shifted):
    X, y, X_target, _ = shifted
    with pytest.raises(UserError, match=r"prior='estimate'.*keeps none"):
        SelfEnsembleClassifier(**QUICK, prior="estimate", validation_share=0).fit(X, y, X_target)


def test_rows_of_the_source_are_to_be_announced(shifted):
    X, y, X_target, _ = shifted
    fitted = SelfEnsembleClassifier(**QUICK).fit(X, y, X_target)
    with pytest.raises(UserError, match="allow_source=True"):
        fitted.predict(X, sample_domain=np.ones(len(X)))


def test_a_pickle_predicts_the_same_and_a_clone_is_unfitted(shifted):
    X, y, X_target, y_target = shifted
    fitted = SelfEnsembleClassifier(**QUICK).fit(X, y, X_target)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(X_target), fitted.predict_proba(X_target))
    assert again.source_only_.score(X_target, y_target) == fitted.source_only_.score(X_target, y_target)
    assert clone(fitted).get_params() == fitted.get_params()
    assert not hasattr(clone(fitted), "judgement_")
    assert len(pickle.dumps(fitted.fit(X, y, X_target))) < 1.1 * len(pickle.dumps(again))  # a second fit keeps no first


def test_fit_writes_no_file_and_leaves_torch_and_its_rows_alone(shifted, tmp_path, monkeypatch):
    import torch

    monkeypatch.chdir(tmp_path)
    X, y, X_target, _ = shifted
    before, copies = torch.random.get_rng_state(), (X.copy(), y.copy(), X_target.copy())
    SelfEnsembleClassifier(**QUICK).fit(X, y, X_target)
    assert not list(tmp_path.iterdir())
    assert torch.equal(before, torch.random.get_rng_state())
    for now, then in zip((X, y, X_target), copies, strict=True):
        np.testing.assert_array_equal(now, then)


def test_what_is_said_of_the_training(shifted, capsys):
    X, y, X_target, _ = shifted
    fitted = SelfEnsembleClassifier(**QUICK | {"validation_share": 0.25}, verbose=True).fit(X, y, X_target)
    assert fitted.judgement_["shipped"] in ("source-only", "adapted")
    assert 0 <= fitted.judgement_["models"]["adapted"]["estimate"]["value"] <= 1
    assert [line["step"] for line in fitted.history_["adapted"]] == list(range(2, 21, 2))
    assert fitted.judgement_["selection"]["step"] in range(2, 21, 2)
    shown = capsys.readouterr().out
    for name in ("source-only", "adapted"):
        assert f"{name}  20/20  done  loss" in shown, "the progress that a run shows"
    assert 0 <= judged_score(fitted) <= 1


def test_the_last_step_and_the_adapted_model_can_be_asked_for(shifted):
    X, y, X_target, _ = shifted
    fitted = SelfEnsembleClassifier(**QUICK, select="last", keep="adapted").fit(X, y, X_target)
    assert fitted.judgement_["selection"]["step"] == 20
    assert fitted.predicts_ == "adapted"


@pytest.mark.parametrize("standardize", ["each domain", "source", False])
def test_large_offsets_and_constant_columns_do_no_harm(standardize, shifted):
    X, y, X_target, y_target = shifted
    offset = np.array([1e9, 0, 5]) if standardize else 0
    X, X_target = (np.column_stack([each + offset, np.ones(len(each))]) for each in (X, X_target - [8, 0, 0]))
    fitted = SelfEnsembleClassifier(**QUICK | {"steps": 60}, standardize=standardize).fit(X, y, X_target)
    assert fitted.score(X_target, y_target) > 0.95


def test_by_the_sources_scale_other_class_shares_do_no_harm():
    X, y = make_blobs(200, centers=[[0, 0, 0], [4, 0, 1]], random_state=0)
    rows = np.flatnonzero(y == 0)[:8], np.flatnonzero(y == 1)
    X_target, y_target = X[np.concatenate(rows)] + 0.1, y[np.concatenate(rows)]  # 8 and 100 of the same two blobs
    settings = QUICK | {"steps": 100, "information": 0.0}
    by_source = SelfEnsembleClassifier(**settings, standardize="source").fit(X, y, X_target)
    by_itself = SelfEnsembleClassifier(**settings).fit(X, y, X_target)
    assert by_source.adapted_.score(X_target, y_target) > 0.97
    assert by_itself.adapted_.score(X_target, y_target) < 0.9  # half of the target is pushed over to the other class


def test_a_linear_model(shifted):
    X, y, X_target, _ = shifted
    fitted = SelfEnsembleClassifier(**QUICK | {"hidden": ()}).fit(X, y, X_target)
    assert sum(each.numel() for each in fitted.models_["adapted"].network.parameters()) == 3 * 2 + 2


@pytest.mark.parametrize("hidden", [(), (16, 8)])
def test_widths_may_be_an_array(shifted, hidden):
    X, y, X_target, _ = shifted
    given = [hidden, np.array(hidden, dtype=int)]
    fitted = [SelfEnsembleClassifier(**QUICK | {"hidden": each}).fit(X, y, X_target) for each in given]
    np.testing.assert_array_equal(*(each.predict_proba(X_target) for each in fitted))


def test_a_pipeline_and_a_search_without_labels(shifted):
    X, y, X_target, y_target = shifted
    rows, labels, domains = stacked(X, y, X_target, np.full_like(y_target, -1))
    pipeline = make_pipeline(StandardScaler(), SelfEnsembleClassifier(**QUICK))
    pipeline.fit(rows, labels, selfensembleclassifier__sample_domain=domains)
    assert pipeline.predict_proba(X_target).shape == (120, 2)
    search = GridSearchCV(
        pipeline,
        {"selfensembleclassifier__threshold": [0.6, 0.9]},
        scoring=judged_score,
        cv=StratifiedKFold(2),
        error_score="raise",
    )
    search.fit(rows, labels, selfensembleclassifier__sample_domain=domains)
    assert search.best_estimator_.predict(X_target).shape == (120,)


@pytest.mark.parametrize("layout", ["grey", "channels last", "channels first", "opacity last", "opacity first"])
def test_images(layout):
    digits = load_digits()
    images = (digits.images[:120] * 15).astype(np.uint8)
    images = {
        "grey": images,
        "channels last": np.repeat(images[..., None], 3, axis=3),
        "channels first": images[:, None],
        "opacity last": np.repeat(images[..., None], 4, axis=3),
        "opacity first": np.repeat(images[:, None], 4, axis=1),
    }[layout]
    settings = {**QUICK, "steps": 3, "batch": 8}
    fitted = SelfEnsembleClassifier(**settings).fit(images, digits.target[:120], 255 - images)
    assert fitted.predict_proba(images[:5]).shape == (5, 10)
    assert not hasattr(fitted, "n_features_in_")
    np.testing.assert_allclose(
        pickle.loads(pickle.dumps(fitted)).predict_proba(images[:5]), fitted.predict_proba(images[:5])
    )
    with pytest.raises(UserError, match="expected images"):
        fitted.predict(images.reshape(120, -1))
    with pytest.raises(UserError, match=r"^X: expected images as uint8") as refused:
        SelfEnsembleClassifier(**settings).fit(images / 255.0, digits.target[:120], images)
    assert str(images.shape) in str(refused.value)  # and not that of the split to train on
    with pytest.raises(UserError, match=r"^X_target: expected images as uint8"):
        SelfEnsembleClassifier(**settings).fit(images, digits.target[:120], images / 255.0)


def test_skadas_pipeline_and_scorers(skada, shifted):
    from skada.metrics import (
        ImportanceWeightedScorer,
        MixValScorer,
        PredictionEntropyScorer,
        SoftNeighborhoodDensity,
        SupervisedScorer,
    )

    X, y, X_target, y_target = shifted
    rows, labels, domains = stacked(X, y, X_target, np.full_like(y_target, -1))
    plain = SelfEnsembleClassifier(**QUICK).set_score_request(sample_weight=True)
    for estimator in (plain, skada.make_da_pipeline(StandardScaler(), plain)):
        fitted = clone(estimator).fit(rows, labels, sample_domain=domains)
        for scorer in (
            PredictionEntropyScorer(),
            SoftNeighborhoodDensity(),
            MixValScorer(),
            SupervisedScorer(),
            *([ImportanceWeightedScorer()] if estimator is plain else []),
        ):
            more = {"target_labels": np.concatenate([y, y_target])} if isinstance(scorer, SupervisedScorer) else {}
            assert np.isfinite(scorer(fitted, rows, labels, sample_domain=domains, **more))
    search = GridSearchCV(
        plain,
        {"threshold": [0.6, 0.9]},
        scoring=PredictionEntropyScorer(),
        cv=skada.model_selection.SourceTargetShuffleSplit(n_splits=2, random_state=0),
        error_score="raise",
    )
    search.fit(rows, labels, sample_domain=domains)
    assert search.best_score_ <= 0


def test_judged_score_refuses_other_classifiers_though_they_are_fitted():
    other = make_pipeline(StandardScaler(), LogisticRegression()).fit([[0.0], [1.0]], [0, 1])
    with pytest.raises(
        UserError, match=r"estimator: expected a SelfEnsembleClassifier.* got LogisticRegression; Judged"
    ):
        judged_score(other)


def test_judged_score_looks_into_skadas_pipelines(skada, shifted):
    X, y, X_target, y_target = shifted
    rows, labels, domains = stacked(X, y, X_target, np.full_like(y_target, -1))
    pipeline = skada.make_da_pipeline(StandardScaler(), SelfEnsembleClassifier(**QUICK))
    with pytest.raises(NotFittedError):
        judged_score(clone(pipeline))
    search = GridSearchCV(
        pipeline,
        {"selfensembleclassifier__steps": [1, 60]},
        scoring=judged_score,
        cv=skada.model_selection.SourceTargetShuffleSplit(n_splits=2, random_state=0),
        error_score="raise",
    ).fit(rows, labels, sample_domain=domains)
    assert search.best_params_ == {"selfensembleclassifier__steps": 60}
    assert search.best_score_ == pytest.approx(max(search.cv_results_["mean_test_score"]))


@pytest.mark.parametrize(
    ("settings", "change", "expected"),
    [
        ({}, lambda X, y, T: (X, y, T[:, :2]), r"^X_target: .*2 features"),
        ({}, lambda X, y, T: (X, y, np.where(T > 0, np.nan, T)), r"^X_target: .*NaN"),
        ({}, lambda X, y, T: (X, y * 0.0, T), r"one class alone, 0\.0"),
        ({"device": "tpu"}, lambda X, y, T: (X, y, T), r"^device='tpu': expected auto, cpu, cuda or mps"),
    ],
)
def test_a_mistake_is_told_in_the_arguments_names(settings, change, expected, shifted):
    X, y, X_target, _ = shifted
    with pytest.raises(ValueError, match=expected):
        SelfEnsembleClassifier(**QUICK | settings).fit(*change(X, y, X_target))


def test_the_pages_programs_run(capsys):
    page = Path(__file__).parents[2] / "docs" / "api" / "sklearn.md"
    counts, search = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(counts, str(page), "exec"), {})
    assert float(capsys.readouterr().out) > 0.9
    exec(compile(search, str(page), "exec"), {})
    assert capsys.readouterr().out.endswith("[0 1]\n")


def test_probabilities_that_are_no_numbers_are_refused_and_the_row_named(monkeypatch):
    X, y = np.random.default_rng(0).normal(size=(40, 2)), np.arange(40) % 2
    fitted = SelfEnsembleClassifier(steps=1, batch=4, random_state=0).fit(X, y, X)
    said = torch.full((40, 2), 0.5)
    said[[5, 6]] = float("nan")
    monkeypatch.setattr("dalib.sklearn.estimator.predict_probabilities", lambda *args, **settings: said)
    with pytest.raises(UserError, match=r"X: row 5: .*\(and 1 more\)"):
        fitted.predict(X)
