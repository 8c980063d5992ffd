"""A scorer without target labels for any classifier of scikit-learn or SKADA: the judgement of a run, as a number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.metadata_routing import MetadataRequest

from dalib.core.errors import UserError
from dalib.engine.evaluate import MOST_EVALUATED
from dalib.judge.better import pairwise
from dalib.judge.checked import as_probabilities
from dalib.judge.collapse import MIN_CLASSES_KEPT
from dalib.judge.comparison import MIN_IMAGES
from dalib.judge.evidence import Evidence, effective_classes
from dalib.judge.structure import Representation, structure_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor


class JudgedScorer:
    """Scores a classifier by the probability that it is better on the target than a reference without adaptation.

    It is called as SKADA's scorers are, ``scorer(estimator, X, y, sample_domain=d)``, and is a ``scoring`` for
    ``GridSearchCV`` and ``cross_validate``. Scores of all candidates on the same rows are comparable, because the
    reference is the same. No target label is read.

    Args:
        reference: a classifier with ``predict_proba`` that is fitted anew to the source rows; by default standardised
            logistic regression.
        features: what makes features (M, D) of rows, of a network that no candidate trains; by default the rows as
            they are.
        seed: seed of the draw of at most 2000 target rows.

    Misleads: as :func:`dalib.judge.better.probability_better`, whose weights were fitted on image features. Rows of a
    table whose neighbours do not share a class are no evidence.
    Source: ours.

    >>> rows, labels = np.array([[0.0], [9.0]] * 40) + np.linspace(0, 1, 80)[:, None], np.array([0, 1] * 40)
    >>> fitted = LogisticRegression().fit(rows, labels)
    >>> JudgedScorer()(fitted, rows, labels, sample_domain=np.repeat([1, -2], 40))
    0.5
    """

    def __init__(
        self, reference: Any = None, features: Callable[[Any], ArrayLike] | None = None, seed: int = 0
    ) -> None:
        self.reference, self.features, self.seed = reference, features, seed

    def __repr__(self) -> str:
        return f"JudgedScorer(reference={self.reference!r}, features={self.features!r}, seed={self.seed!r})"

    def get_metadata_routing(self) -> MetadataRequest:
        """Asks scikit-learn's routing for ``sample_domain``, as SKADA's scorers do."""
        requests = MetadataRequest(owner=self)
        requests.score.add_request(param="sample_domain", alias=True)
        return requests

    def __call__(
        self,
        estimator: Any,
        X: Any,  # noqa: N803
        y: ArrayLike | None = None,
        sample_domain: ArrayLike | None = None,
    ) -> float:
        """Returns the probability that the fitted estimator is better on the target than the reference.

        A collapsed one, which predicts few of the classes that the reference does, gets 0.

        Args:
            estimator: fitted, with ``predict_proba``.
            X: rows of both domains: an array, a data frame or a sparse matrix.
            y: labels; those of target rows are not read.
            sample_domain: a whole number for each row, negative for the target. Without it, rows whose label is -1 are
                the target, which is how SKADA masks them.

        Raises:
            UserError: rows of one domain alone, fewer than 30 target rows, or an estimator without ``predict_proba``.
        """
        if y is None:
            raise UserError("y: expected the labels of the source rows, got None")
        if self.features is not None and not callable(self.features):
            raise UserError(
                f"features: expected a function that makes features of rows, got {type(self.features).__name__}; of a "
                "transformer give its transform"
            )
        for name, each in (("estimator", estimator), ("reference", self.reference)):
            if each is not None and not hasattr(each, "predict_proba"):
                raise UserError(f"{name}: expected one with predict_proba, got {type(each).__name__}")
        # a data frame stays one: a pipeline may ask for its columns by name
        X, labels = X if hasattr(X, "iloc") or sparse.issparse(X) else np.asarray(X), np.asarray(y)  # noqa: N806
        X = X.tocsr() if sparse.issparse(X) else X  # noqa: N806
        source = _source_rows(sample_domain, labels)
        target = np.flatnonzero(~source)
        if len(target) < MIN_IMAGES or len(np.unique(labels[source])) < 2:
            raise UserError(
                f"sample_domain: expected at least {MIN_IMAGES} target rows (negative numbers) and source rows of two "
                f"classes, got {len(target)} and {len(np.unique(labels[source]))}"
            )
        if len(target) > MOST_EVALUATED:
            target = np.sort(np.random.default_rng(self.seed).permutation(target)[:MOST_EVALUATED])
        domains = None if sample_domain is None else np.asarray(sample_domain)[target]
        by_row = X.iloc if hasattr(X, "iloc") else X
        of_source, of_target = by_row[np.flatnonzero(source)], by_row[target]
        reference = self._reference(X)
        reference.fit(of_source, labels[source])
        classes = np.union1d(_classes_of(estimator, labels[source]), reference.classes_)
        told = _probabilities(estimator, of_target, classes, labels[source], domains)
        witness = _probabilities(reference, of_target, classes, labels[source], None)
        in_use, expected = (
            effective_classes(Evidence(each[:0], torch.zeros(0, dtype=torch.int64), each).histogram)
            for each in (told, witness)
        )
        if in_use <= MIN_CLASSES_KEPT * expected:
            return 0.0
        shown = self._shown(of_target)
        representation = Representation(shown, shown[:0], torch.zeros(0, dtype=torch.int64))
        return float(pairwise([told, witness], witness, structure_of(representation, len(classes)))[0, 1])

    def _shown(self, rows: Any) -> Tensor:
        """Returns features (M, D) float32 of rows."""
        found = _flat(rows if self.features is None else self.features(rows))
        found = found.astype(np.float32).toarray() if sparse.issparse(found) else found
        if len(found) != rows.shape[0]:
            raise UserError(f"features: expected a row for each of the {rows.shape[0]} given, got {len(found)}")
        return torch.from_numpy(np.require(found, np.float32, "W"))

    def _reference(self, rows: Any) -> Any:
        """Returns the unfitted reference; a sparse table is not centred, which would make it dense."""
        if self.reference is not None:
            return clone(self.reference)
        scaler = StandardScaler(with_mean=not sparse.issparse(rows))
        return make_pipeline(FunctionTransformer(_flat), scaler, LogisticRegression(max_iter=1000))


def _flat(rows: Any) -> Any:
    """Returns rows as a table (N, D): itself where it is sparse, else an array, of images too."""
    return rows if sparse.issparse(rows) else np.asarray(rows).reshape(len(rows), -1)


def _source_rows(sample_domain: ArrayLike | None, labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Returns which rows (N,) are of the source."""
    if sample_domain is None:
        return np.asarray(labels != -1)
    domains = np.asarray(sample_domain)
    if domains.shape != labels.shape[:1] or domains.dtype.kind not in "iuf":
        raise UserError(
            f"sample_domain: expected a number for each of the {len(labels)} rows, negative for the target, got "
            f"{domains.dtype} {domains.shape}"
        )
    if np.isnan(domains).any():  # it is not at least 0 either
        raise UserError(f"sample_domain: expected a number for each row, got NaN in row {np.isnan(domains).argmax()}")
    return np.asarray(domains >= 0)  # SKADA counts 0 to the source


def _classes_of(estimator: Any, labels: NDArray[Any]) -> NDArray[Any]:
    found = getattr(estimator, "classes_", None)
    return np.unique(labels) if found is None else np.asarray(found)


def _probabilities(
    estimator: Any,
    rows: Any,
    classes: NDArray[Any],
    labels: NDArray[Any],
    domains: NDArray[Any] | None,
) -> Tensor:
    """Returns probabilities (M, C) of these rows, with 0 for classes that the estimator does not know."""
    try:
        told = estimator.predict_proba(rows, sample_domain=domains) if domains is not None else None
    except (TypeError, ValueError) as error:  # scikit-learn's own take no domains, and pipelines refuse what none asks
        if "sample_domain" not in str(error):
            raise
        told = None
    told = np.asarray(estimator.predict_proba(rows) if told is None else told)
    own = _classes_of(estimator, labels)
    count = rows.shape[0]  # a sparse matrix has no length
    if told.shape != (count, len(own)):
        raise UserError(f"estimator: expected probabilities {(count, len(own))}, got {told.shape}")
    whole = np.zeros((count, len(classes)))
    whole[:, np.searchsorted(classes, own)] = told
    return as_probabilities(torch.from_numpy(whole), "estimator")
