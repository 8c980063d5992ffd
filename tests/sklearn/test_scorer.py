import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from dalib.core.errors import UserError
from dalib.sklearn import JudgedScorer


@pytest.fixture
def moved():
    """Two domains of three groups; those of the target are moved, so that the source's border cuts through a group."""
    generator = np.random.default_rng(0)
    y = np.tile([0, 1, 2], 80)
    rows = np.array([[0, 0], [6, 0], [3, 6]])[y] + generator.normal(size=(240, 2))
    domains = np.repeat([1, -2], 120)
    rows[120:] += [2.5, 0]
    return rows, y, np.where(domains >= 0, y, -1), domains


def test_a_better_classifier_scores_higher_and_no_target_label_is_read(moved):
    rows, y, masked, domains = moved
    oracle = KNeighborsClassifier().fit(rows[120:], y[120:])
    wrong = KNeighborsClassifier().fit(rows[120:], np.random.default_rng(1).permutation(y[120:]))
    plain = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(rows[:120], y[:120])
    scores = [JudgedScorer()(each, rows, masked, sample_domain=domains) for each in (oracle, plain, wrong)]
    assert scores[0] > 0.9
    assert scores[1] == pytest.approx(0.5)  # the reference itself
    assert scores[2] < 0.1
    assert JudgedScorer()(oracle, rows, y, sample_domain=domains) == scores[0]
    assert JudgedScorer()(oracle, rows, masked) == scores[0]


def test_an_estimator_may_lack_classes_of_the_reference(moved):
    rows, y, masked, domains = moved
    two = LogisticRegression().fit(rows[:120][y[:120] < 2], y[:120][y[:120] < 2])
    assert 0 < JudgedScorer(reference=LogisticRegression())(two, rows, masked, sample_domain=domains) < 1


def test_a_collapsed_classifier_scores_nothing(moved):
    rows, y, masked, domains = moved
    one = DummyClassifier(strategy="most_frequent").fit(rows[:120], y[:120])
    assert JudgedScorer()(one, rows, masked, sample_domain=domains) == 0.0


def test_features_may_come_from_elsewhere(moved):
    rows, y, masked, domains = moved
    oracle = KNeighborsClassifier().fit(rows[120:], y[120:])
    seen = []
    score = JudgedScorer(features=lambda shown: seen.append(shown.shape) or shown[:, :1] * 0)
    assert 0 < score(oracle, rows, masked, sample_domain=domains) < 1
    assert seen == [(120, 2)]


def test_a_data_frame_stays_one_and_a_sparse_matrix_sparse(moved):
    rows, y, masked, domains = moved
    oracle = KNeighborsClassifier(algorithm="brute").fit(rows[120:], y[120:])
    expected = JudgedScorer()(oracle, rows, masked, sample_domain=domains)
    frame = pd.DataFrame(rows, columns=["a", "b"], index=np.arange(240)[::-1])
    by_name = make_pipeline(make_column_transformer(("passthrough", ["a", "b"])), KNeighborsClassifier())
    by_name.fit(frame[120:], y[120:])
    assert JudgedScorer()(by_name, frame, masked, sample_domain=domains) == expected
    assert JudgedScorer()(oracle, sparse.csr_matrix(rows), masked, sample_domain=domains) == pytest.approx(
        expected, abs=0.05
    )
    seen = []
    score = JudgedScorer(features=lambda shown: seen.append(type(shown)) or shown)
    for given in (frame, sparse.coo_matrix(rows)):
        score(by_name if given is frame else oracle, given, masked, sample_domain=domains)
    assert seen == [pd.DataFrame, sparse.csr_matrix]


def test_it_chooses_among_skadas_pipelines(skada, moved):
    rows, _, masked, domains = moved
    pipeline = skada.make_da_pipeline(
        StandardScaler(), skada.CORALAdapter(), LogisticRegression().set_fit_request(sample_weight=False)
    )
    search = GridSearchCV(
        pipeline,
        {"logisticregression__C": [1e-6, 1.0]},
        scoring=JudgedScorer(),
        cv=skada.model_selection.SourceTargetShuffleSplit(n_splits=2, test_size=0.5, random_state=0),
        error_score="raise",
    ).fit(rows, masked, sample_domain=domains)
    assert search.best_params_ == {"logisticregression__C": 1.0}
    assert 0 < search.best_score_ <= 1
    beside = skada.metrics.PredictionEntropyScorer()
    assert np.isfinite(beside(search.best_estimator_, rows, masked, sample_domain=domains))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": None}, "y: expected the labels of the source rows"),
        ({"sample_domain": np.ones(240)}, "expected at least 30 target rows"),
        ({"sample_domain": np.ones(3)}, "sample_domain: expected a number for each of the 240 rows"),
        ({"sample_domain": np.full(240, np.nan)}, "sample_domain: expected a number for each row, got NaN in row 0"),
        ({"estimator": "svc"}, "estimator: expected one with predict_proba, got LinearSVC"),
        ({"made": {"reference": LinearSVC()}}, "reference: expected one with predict_proba, got LinearSVC"),
        ({"made": {"features": np.ones((240, 2))}}, "features: expected a function that makes .* got ndarray"),
        ({"made": {"features": lambda rows: rows[1:]}}, "features: expected a row for each of the 120 given, got 119"),
    ],
)
def test_mistakes_are_explained(change, message, moved):
    rows, _, masked, domains = moved
    given = {"estimator": None, "y": masked, "sample_domain": domains, "made": {}} | change
    kind = LinearSVC if given.pop("estimator") else LogisticRegression
    fitted = kind().fit(rows[:120], masked[:120])
    scorer = JudgedScorer(**given.pop("made"))
    with pytest.raises(UserError, match=message):
        scorer(fitted, rows, **given)


def test_its_repr_is_how_it_was_made():
    assert repr(JudgedScorer(seed=3)) == "JudgedScorer(reference=None, features=None, seed=3)"
