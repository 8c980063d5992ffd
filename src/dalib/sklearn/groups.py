"""Groups of rows that belong together, such as those of one patient, in what an estimator is given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from dalib.core.errors import UserError
from dalib.data.spelling import is_missing
from dalib.engine.evaluate import of_evaluated

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor

    from dalib.judge.evidence import Evidence
    from dalib.sklearn.given_rows import GivenRows


@dataclass(frozen=True)
class RowGroups:
    """Numbers of the groups of source rows and, where they are given, of target rows."""

    source: Tensor
    target: Tensor | None

    def of_evidence(self, kept: NDArray[np.bool_], evidence: Evidence) -> Evidence:
        """Returns the evidence with the groups of its rows."""
        of_target = None if self.target is None else of_evaluated(self.target, len(evidence.target))
        of_validation = None
        if len(evidence.labels):
            of_validation = of_evaluated(self.source[torch.from_numpy(kept)], len(evidence.labels))
        return replace(evidence, validation_groups=of_validation, target_groups=of_target)


def numbered_groups(groups: ArrayLike | None, domains: GivenRows) -> RowGroups | None:
    """Returns the groups of the rows as numbers; None without groups. A row whose group is missing is one of its own.

    Raises:
        UserError: not one for each row of X.
    """
    if groups is None:
        return None
    several = domains.argument_of_target == "X"  # X has the rows of both domains
    count = len(domains.source_rows) + (len(domains.target_rows) if several else 0)
    given = np.asarray(groups)
    if given.shape != (count,):
        raise UserError(f"groups: expected one for each of the {count} rows of X, got shape {given.shape}")
    if given.dtype.kind in "OU":
        given = np.char.strip(given.astype(str))  # spreadsheets leave spaces behind
    missing = np.array([is_missing(each) for each in given.tolist()], dtype=bool)
    found = np.unique(given, return_inverse=True)[1].reshape(-1).astype(np.int64)
    found[missing] = count + np.arange(missing.sum())  # NaN is equal to no other
    numbers = torch.from_numpy(found)
    return RowGroups(numbers[domains.source_rows], numbers[domains.target_rows] if several else None)
