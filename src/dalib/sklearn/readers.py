"""Arrays and tables as rows that a network takes: standardised, as weighted words, or as images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from dalib.core.errors import PythonSpelling, UserError
from dalib.data.objects import axis_of_channels
from dalib.data.preprocessing import Preprocessing
from dalib.data.sources import open_target
from dalib.data.sparse import SparseRows

if TYPE_CHECKING:
    from numpy.typing import NDArray

SMALLEST_IMAGE, LARGEST_IMAGE = 16, 64
"""Pixels: images are brought to their own longer side, within these."""

LARGEST_VALUE = 1e16
"""Largest value of a table that a network takes: normalisation sums squares, which float32 holds up to 3e38."""

MIN_ZEROS = 0.8
"""Share of zeros from which a table without negative values is taken for counts of words."""


@dataclass(frozen=True)
class Table:
    """Tables as float32 rows, standardised. In double precision before, so that large offsets cost nothing.

    A sparse table is divided by each column's root mean square, and not centred, which would fill it.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    @classmethod
    def of(cls, values: Any) -> Table:
        """Standardises by the mean and deviation of these values; a feature that does not vary is only centred."""
        if sparse.issparse(values):
            std = np.sqrt(np.asarray(values.multiply(values).mean(axis=0), dtype=np.float64).ravel())
            return cls(np.zeros(values.shape[1]), np.where(std > 0, std, 1.0))
        mean, std = values.mean(axis=0), values.std(axis=0)
        # at most this is rounding, as scikit-learn has it: a column of 0.1 has a deviation of 1e-16
        noise = len(values) * np.finfo(np.float64).eps * np.abs(mean)
        return cls(mean, np.where(std > noise, std, 1.0))

    @classmethod
    def unchanged(cls, features: int) -> Table:
        return cls(np.zeros(features), np.ones(features))

    def __call__(self, values: Any, argument: str, rows: NDArray[np.intp] | None = None) -> Tensor | SparseRows:
        """Returns rows of float32; ``rows`` are their numbers among what was given, to be named in an error."""
        if sparse.issparse(values) and self.mean.any():  # of a dense table, which was centred
            values = values.toarray()
        if sparse.issparse(values):
            scaled: Any = (values @ sparse.diags_array(1 / self.std)).tocsr()
        else:
            scaled = (values - self.mean) / self.std
        large = rows_with(scaled, LARGEST_VALUE)
        if large.any():
            rows = np.arange(values.shape[0]) if rows is None else rows
            raise too_large(
                argument, values, large, rows, f"values of at most {LARGEST_VALUE:.0e} after standardisation"
            )
        return SparseRows(scaled) if sparse.issparse(scaled) else torch.from_numpy(scaled.astype(np.float32))

    def plain(self, rows: Tensor) -> Tensor:
        return rows


@dataclass(frozen=True)
class Words:
    """Tables of counts, such as those of words, as sparse rows of length 1: tf-idf with a logarithm.

    Attributes:
        weights: (D,) of the columns: 1 + log((1 + N) / (1 + n)) for a column that n of N rows have.
        logarithm: whether values x become log(1 + x): where they are counts, and not weights already.

    Source: Salton & Buckley 1988, smoothed as scikit-learn's ``TfidfTransformer(sublinear_tf=True)`` is, but for its
    1 + log(x).
    """

    weights: NDArray[np.float64]
    logarithm: bool

    @classmethod
    def of(cls, values: Any, *, logarithm: bool) -> Words:
        table = sparse.csr_array(values)
        rows, having = table.shape[0], np.bincount(table.nonzero()[1], minlength=table.shape[1])
        return cls(1 + np.log((1 + rows) / (1 + having)), logarithm)

    def __call__(self, values: Any, argument: str, rows: NDArray[np.intp] | None = None) -> SparseRows:
        table = sparse.csr_array(values)
        if len(table.data) and table.data.min() < 0:
            row, column = (int(each[0]) for each in (table < 0).nonzero())
            number = row if rows is None else rows[row]
            raise UserError(
                f"{argument}: row {number}, column {column}: expected no negative values in a table of counts, got "
                f"{table[row, column]:g}; mend it, or give counts=False, which standardises"
            )
        weighted = table.log1p() if self.logarithm else table
        weighted = (weighted @ sparse.diags_array(self.weights)).tocsr()
        length = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
        return SparseRows(sparse.diags_array(1 / np.where(length > 0, length, 1.0)) @ weighted)

    def plain(self, rows: Tensor) -> Tensor:
        return rows


def are_counts(values: Any) -> bool:
    """Returns whether a table looks like counts of words, or weights of such: none negative, and most of them 0.

    >>> are_counts(np.eye(10)), are_counts(-np.eye(10)), are_counts(np.ones((2, 2)))
    (True, False, False)
    """
    data = values.data if sparse.issparse(values) else values
    cells = values.shape[0] * values.shape[1]
    return bool(np.count_nonzero(data) <= (1 - MIN_ZEROS) * cells and (not data.size or data.min() >= 0))


def are_whole(values: Any) -> bool:
    """Returns whether all values of a table are whole numbers."""
    data = values.data if sparse.issparse(values) else values
    return bool((data == np.floor(data)).all())


@dataclass(frozen=True)
class Pixels:
    """Images as uint8 rows."""

    preprocessing: Preprocessing

    def __call__(self, values: NDArray[Any], argument: str, rows: NDArray[np.intp] | None = None) -> Tensor:
        try:
            images = open_target(values, self.preprocessing).images
        except UserError as error:
            raise UserError(error.text(PythonSpelling(target=argument))) from None
        assert isinstance(images, Tensor)
        return images

    def plain(self, rows: Tensor) -> Tensor:
        return self.preprocessing.normalize(rows)


Reader = Table | Words | Pixels


@dataclass(frozen=True)
class Readers:
    """The readers of both domains for one model."""

    of_source: Reader
    of_target: Reader


def preprocessing_of(images: NDArray[Any]) -> Preprocessing:
    """Returns the preprocessing of images in one of the three layouts."""
    axis = axis_of_channels(images, "X")
    channels = 1 if axis is None else images.shape[axis]
    height, width = images.shape[2:4] if axis == 1 else images.shape[1:3]
    size = min(LARGEST_IMAGE, max(SMALLEST_IMAGE, height, width))
    return Preprocessing(size, 1 if channels == 1 else 3, fit="stretch")


def rows_with(table: Any, above: float) -> NDArray[np.bool_]:
    """(N,) which rows of a table, dense or sparse, have a value that is larger than ``above``, whatever its sign."""
    large = abs(table) > above
    return np.asarray(large.sum(axis=1)).ravel() > 0 if sparse.issparse(large) else np.asarray(large.any(axis=1))


def too_large(argument: str, values: Any, large: Any, rows: NDArray[np.intp], expected: str) -> UserError:
    first = np.flatnonzero(large)[0]
    row = np.asarray(values[[first]].todense() if sparse.issparse(values) else values[[first]]).ravel()
    column = np.abs(row).argmax()
    return UserError(
        f"{argument}: row {rows[first]}, column {column}: expected {expected}, got {row[column]:g}"
        f"{and_more(large)}; mend or leave out such rows"
    )


def and_more(wrong: Any) -> str:
    return f" (and {wrong.sum() - 1} more)" if wrong.sum() > 1 else ""
