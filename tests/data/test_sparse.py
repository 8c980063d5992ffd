"""Rows of a sparse table: what is read is what stands there, whatever the format."""

import numpy as np
import pytest
import torch
from scipy import sparse

from dalib.data.sparse import SparseRows


@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.csc_matrix, sparse.coo_array])
def test_rows_are_those_of_the_matrix(kind):
    dense = np.where(np.random.default_rng(0).random((7, 5)) < 0.3, 2.0, 0.0)
    rows = SparseRows(kind(dense))
    indices = torch.tensor([6, 0, 0, 3])
    assert (len(rows), rows.shape) == (7, (7, 5))
    assert rows[indices].dtype == torch.float32
    np.testing.assert_array_equal(rows[indices].numpy(), dense[[6, 0, 0, 3]])
    np.testing.assert_array_equal(rows[2].numpy(), dense[2])
    assert rows[torch.tensor([], dtype=torch.int64)].shape == (0, 5)
