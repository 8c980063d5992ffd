"""Checks of what an estimator is given: the rows of both domains, the source's labels, and which rows are whose."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, column_or_1d, validate_data

from dalib.core.errors import UserError
from dalib.data.objects import axis_of_channels
from dalib.data.spelling import is_missing
from dalib.sklearn.readers import and_more, rows_with, too_large

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from sklearn.base import BaseEstimator

MASKED = -1
"""The label of a row whose label is hidden, in SKADA's convention."""

HOW = "give fit(X_source, y_source, X_target), or fit(X, y, sample_domain=d) with d negative for rows of the target"
"""Ways to give domains, for errors."""


@dataclass(frozen=True)
class GivenRows:
    """The rows of both domains, and where they stand in what was given."""

    source: Any
    labels: NDArray[Any]
    """Labels of the source's rows."""
    target: Any
    source_rows: NDArray[np.intp]
    target_rows: NDArray[np.intp]
    argument_of_target: str


def split_into_domains(
    estimator: BaseEstimator,
    X: ArrayLike,  # noqa: N803
    y: ArrayLike,
    X_target: ArrayLike | None,  # noqa: N803
    sample_domain: ArrayLike | None,
) -> GivenRows:
    """Splits the rows into domains; what ``y`` holds for target rows is dropped here, unread.

    Args:
        estimator: gets the number and names of the features; the other arguments are those of its ``fit``.

    Raises:
        UserError: no target, both ways to give it at once, fewer than two rows of a domain, or labels that are missing,
            hidden, or of two kinds; see :func:`checked_rows`.
    """
    if y is None:
        raise UserError(f"y should be a 1d array of classes, got None; {HOW}")
    if X_target is not None and sample_domain is not None:
        raise UserError(f"X_target, sample_domain: expected one of them, got both; {HOW}")
    if X_target is None and sample_domain is None:
        raise UserError(f"X_target, sample_domain: expected one of them, got none; {HOW}")
    values = checked_rows(estimator, X, "X", reset=True, least=2)
    check_consistent_length(values, y)
    if sample_domain is None:
        if _dimensions(X_target) == 1:
            raise UserError(f"X_target: expected rows, got {np.shape(X_target)}; name sample_domain: {HOW}")  # type: ignore[arg-type]
        if (_dimensions(X_target) > 2) != (values.ndim > 2):
            raise UserError("X, X_target: expected two tables, or images in both, got one of each")
        target = checked_rows(estimator, X_target, "X_target", reset=False, least=2)
        if sparse.issparse(values) != sparse.issparse(target):
            values, target = sparse.csr_array(values), sparse.csr_array(target)
        every, others = np.arange(values.shape[0]), np.arange(target.shape[0])
        return GivenRows(values, _classes_of(np.asarray(y), every), target, every, others, "X_target")
    of_source = source_rows(sample_domain, values.shape[0])
    for what, count in (("source (0 or above)", of_source.sum()), ("target (negative)", (~of_source).sum())):
        if count < 2:
            raise UserError(f"sample_domain: expected at least 2 rows of the {what}, got {count}; {HOW}")
    labels = _classes_of(np.asarray(y)[of_source], np.flatnonzero(of_source))
    if labels.dtype.kind in "iuf" and (labels == MASKED).any():
        raise UserError(
            f"y: {(labels == MASKED).sum()} source rows have the label {MASKED}, which marks a hidden label; leave "
            "these rows out, or rename the class, or give fit(X_source, y_source, X_target), where -1 is a class"
        )
    rows = np.flatnonzero(of_source), np.flatnonzero(~of_source)
    return GivenRows(values[of_source], labels, values[~of_source], *rows, "X")


def warn_of_constant_rows(domains: GivenRows) -> None:
    """Warns where no feature of a table varies among the rows of a domain: its rows are all the same.

    Warns:
        UserWarning: nothing is learnt from such a source, and such target rows all get one class.
    """
    each_domain = (
        ("X", domains.source, "source", "nothing can be learnt from them"),
        (domains.argument_of_target, domains.target, "target", "all of them get the same class"),
    )
    for argument, rows, of, effect in each_domain:
        if rows.ndim == 2 and _are_the_same(rows):
            warnings.warn(
                f"{argument}: no feature varies among the {rows.shape[0]} rows of the {of}, so that {effect}; expected "
                "rows that differ",
                stacklevel=3,
            )


def _are_the_same(rows: Any) -> bool:
    least, most = rows.min(axis=0), rows.max(axis=0)
    if sparse.issparse(least):
        least, most = least.toarray(), most.toarray()
    return bool((least == most).all())


def checked_rows(estimator: BaseEstimator, rows: Any, argument: str, *, reset: bool, least: int) -> Any:
    """Returns rows as an array of images, or as a table (N, D) of finite float64, sparse by rows if it came sparse.

    Args:
        estimator: has the number and names of the features, which ``reset`` sets.
        argument: name in errors.
        least: number of rows that are needed.

    Raises:
        UserError: rows of another kind or width than those of ``fit``, too few, or missing or too large values.
    """
    known = None if reset else hasattr(estimator, "n_features_in_")
    if _dimensions(rows) > 2:
        if known:
            raise UserError(f"{argument}: expected a table (N, {estimator.n_features_in_}), got {np.shape(rows)}")
        if reset:
            estimator.__dict__.pop("n_features_in_", None)
            estimator.__dict__.pop("feature_names_in_", None)
        values = np.asarray(rows)
        if len(values) < least:
            raise UserError(f"{argument}: expected at least {least} images, got {len(values)}")
        axis_of_channels(values, argument)  # here, where the shape in an error is that of what was given
        return values
    if known is False:
        raise UserError(f"{argument}: expected images (N, H, W) or with channels, got {np.shape(rows)}")
    try:
        table = validate_data(
            estimator, rows, reset=reset, accept_sparse="csr", dtype=np.float64, ensure_min_samples=least
        )
    except (ValueError, TypeError) as error:  # TypeError: pandas' NA is no number
        where = _first_missing(rows)
        if where is None and (argument == "X" or isinstance(error, TypeError)):  # as scikit-learn words it
            raise
        raise UserError(": ".join([argument, *([where] if where else []), str(error)])) from None
    large = rows_with(table, float(np.finfo(np.float32).max))
    if large.any():
        raise too_large(argument, table, large, np.arange(table.shape[0]), "a number that float32 can hold")
    return table


def source_rows(sample_domain: ArrayLike, count: int) -> NDArray[np.bool_]:
    """Returns which rows (N,) are of the source.

    Raises:
        UserError: not a finite number for each of the ``count`` rows.
    """
    domains = np.asarray(sample_domain)
    if domains.shape != (count,) or domains.dtype.kind not in "iuf" or not np.isfinite(domains).all():
        raise UserError(
            f"sample_domain: expected a whole number for each of the {count} rows, negative for the target, got "
            f"{domains.dtype} {domains.shape}"
        )
    return np.asarray(domains >= 0)  # SKADA counts 0 to the source


def _classes_of(labels: NDArray[Any], rows: NDArray[np.intp]) -> NDArray[Any]:
    """Returns the labels (N,) of source rows, which have these numbers among what was given."""
    if labels.dtype == object:  # numbers and strings as what they are, for which an object is no obstacle
        each = labels.ravel().tolist()
        _require_labels(np.array([_is_missing(label) for label in each]), "None or NaN", rows)
        if len({isinstance(label, str) for label in each}) > 1:
            raise UserError("y: expected classes of one kind, got both strings and numbers")
        labels = np.array(labels.tolist())
    labels = column_or_1d(labels, warn=True)
    if labels.dtype.kind == "f":
        _require_labels(~np.isfinite(labels), "NaN or infinity", rows)
    if labels.dtype.kind == "U":
        written = np.array([is_missing(label) for label in labels.tolist()])
        _require_labels(written, "what stands for a missing one, such as 'nan',", rows)
    check_classification_targets(labels)
    return labels


def _require_labels(missing: Any, what: str, rows: NDArray[np.intp]) -> None:
    if missing.any():
        raise UserError(
            f"y: expected a class for each source row, got {what} in row {rows[np.flatnonzero(missing)[0]]}"
            f"{and_more(missing)}; leave out rows without a class, or give them as rows of the target"
        )


def _dimensions(rows: Any) -> int:
    # sparse matrices and data frames know it, and would be no plain array
    return rows.ndim if isinstance(getattr(rows, "ndim", None), int) else np.asarray(rows).ndim


def _is_missing(value: Any) -> bool:
    """Returns whether a value is None, a NaN of any kind, or pandas' NA, for which comparing gives no yes or no."""
    differs = None if value is None else value != value
    return not isinstance(differs, bool | np.bool_) or bool(differs)


def _first_missing(rows: Any) -> str | None:
    """Returns in words where a table has its first value that is missing or infinite."""
    table = np.asarray(rows)
    if table.ndim != 2:  # a sparse matrix, for instance
        return None
    if table.dtype.kind == "f":
        wrong = ~np.isfinite(table)
    elif table.dtype == object:
        wrong = np.array([[_is_missing(each) or each in (np.inf, -np.inf) for each in row] for row in table.tolist()])
    else:
        return None
    if not wrong.any():
        return None
    row, column = np.argwhere(wrong)[0]
    return f"row {row}, column {column}"


def numbered_classes(labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Returns the classes (C,), in order, and (N,) the number of each label's class.

    Raises:
        UserError: one class alone.
    """
    classes, numbers = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        alone = classes.tolist()[0]
        raise UserError(f"y: expected at least 2 classes in the source, got one class alone, {alone!r}")
    return classes, numbers
