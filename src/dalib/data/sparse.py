"""Rows of a sparse table, which are made dense a batch at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class SparseRows:
    """The rows of a matrix of scipy.sparse as :class:`dalib.data.rows.Rows`: float32, dense where they are read.

    Attributes:
        matrix: (N, D) by rows, float32.

    >>> from scipy.sparse import eye_array
    >>> rows = SparseRows(eye_array(3))
    >>> len(rows), rows[torch.tensor([2, 0])]
    (3, tensor([[0., 0., 1.],
            [1., 0., 0.]]))
    """

    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix.tocsr().astype("float32", copy=False)

    @property
    def shape(self) -> tuple[int, int]:
        count, width = self.matrix.shape
        return int(count), int(width)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, indices: Tensor | int, /) -> Tensor:
        chosen = torch.as_tensor(indices)
        dense = torch.from_numpy(self.matrix[chosen.reshape(-1).numpy()].toarray())
        return dense if chosen.ndim else dense[0]
