"""Fingerprints of data, to detect changes."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from dalib.data.rows import Rows

HASHED_ROWS = 256
"""Rows whose pixels count, spread evenly: reading all would take longer than training."""


def fingerprint(rows: Rows, names: Sequence[str], labels: Tensor | None = None) -> str:
    """Computes 32 hexadecimal digits from the number of rows, names without folders, labels, and pixels of some rows.

    An image that is added, removed, renamed, reordered or labelled anew shows; so does another way to scale images. One
    that is changed in place shows if it is among the 256 that are looked at. A folder that is moved does not show.
    """
    digest = hashlib.blake2b(repr(len(rows)).encode(), digest_size=16)
    for name in names:
        digest.update(os.fsencode(os.path.basename(name)) + b"\0")  # noqa: PTH119 - names need not be paths
    if labels is not None:
        digest.update(labels.cpu().numpy().tobytes())
    chosen = torch.linspace(0, len(rows) - 1, min(HASHED_ROWS, len(rows)), dtype=torch.float64).round().long()
    for part in torch.split(chosen, 32):
        digest.update(rows[part].contiguous().numpy().tobytes())
    return digest.hexdigest()
