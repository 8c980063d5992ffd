"""A backbone for rows of a table."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence


class TableBackbone(nn.Module):
    """Linear, normalisation, ReLU for each hidden width: (N, features) -> (N, out_features).

    Args:
        features: D, the columns.
        hidden: widths; none of them leaves the rows as they are, which makes a classifier around it linear.
        by_batch: normalise by BatchNorm1d, which aligns domains that pass one after the other, as all methods here
            let them; else by LayerNorm, which knows one row alone.

    Raises:
        ValueError: a width below 1.

    >>> TableBackbone(4, (16, 8)).out_features, TableBackbone(4, ()).out_features
    (8, 4)
    """

    def __init__(self, features: int, hidden: Sequence[int], *, by_batch: bool = True) -> None:
        super().__init__()
        widths = (features, *hidden)
        if min(widths) < 1:
            raise ValueError(f"features, hidden: expected widths of at least 1, got {widths}")
        self.out_features = widths[-1]
        self.layers = nn.Sequential()
        norm: type[nn.BatchNorm1d | nn.LayerNorm] = nn.BatchNorm1d if by_batch else nn.LayerNorm
        for width, following in pairwise(widths):
            self.layers.extend([nn.Linear(width, following), norm(following), nn.ReLU()])

    def forward(self, rows: Tensor) -> Tensor:
        features: Tensor = self.layers(rows)
        return features
