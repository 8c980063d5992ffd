"""Rows that are no tensor, to be used like one: a selection, several one after the other, and files decoded on demand.

Each is a :class:`dalib.data.stream.Rows`: ``len(rows)``, and ``rows[indices]`` for (B,) int64 gives (B, C, H, W) uint8.
A single number gives (C, H, W).
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dalib.data.decoding import Unreadable, pillow_warnings_as_errors, read_pixels, reason
from dalib.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np

    from dalib.data.preprocessing import Preprocessing
    from dalib.data.stream import Rows


class Selected:
    """Some of the rows, in the order of ``indices``, which are (N,) int64; nothing is copied until it is asked for."""

    def __init__(self, rows: Rows, indices: Tensor) -> None:
        self.rows, self.indices = rows, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, indices: Tensor | int, /) -> Tensor:
        chosen = self.indices[indices]
        return self.rows[chosen] if chosen.ndim else self.rows[chosen[None]][0]


class Concatenated:
    """The rows of all parts, one part after the other; rows of one shape.

    Raises:
        ValueError: no part.
    """

    def __init__(self, parts: Sequence[Rows]) -> None:
        if not parts:
            raise ValueError("parts: expected at least one, got none")
        self.parts = tuple(parts)
        self.ends = torch.tensor([len(part) for part in parts]).cumsum(0)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, indices: Tensor | int, /) -> Tensor:
        if isinstance(indices, int) or not indices.ndim:
            return self[torch.tensor([int(indices)])][0]
        indices = _in_range(indices, len(self))
        which = torch.bucketize(indices, self.ends, right=True)
        if not len(indices):
            return self.parts[0][indices]
        taken: Tensor | None = None
        for number, part in enumerate(self.parts):
            here = which == number
            if not bool(here.any()):
                continue
            rows = part[indices[here] - (int(self.ends[number]) - len(part))]
            if taken is None:
                taken = rows.new_empty((len(indices), *rows.shape[1:]))
            taken[here] = rows
        assert taken is not None
        return taken


class StreamedImages:
    """Image files decoded whenever they are asked for, with the pixels that :func:`dalib.data.decoding.decode` gives.

    A file that cannot be decoded after all is replaced by the next one that can, the same one each time, and listed in
    ``failures``: a long run does not end because of one file.

    Args:
        paths: at least one.
        threads: None is one for each core.

    Raises:
        ValueError: no paths.
        UserError: on reading, if none of the files can be decoded.
    """

    def __init__(self, paths: Sequence[Path], preprocessing: Preprocessing, threads: int | None = None) -> None:
        if not paths:
            raise ValueError("paths: expected at least one, got none")
        self.paths, self.preprocessing = tuple(paths), preprocessing
        self._failed: dict[int, Unreadable] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(threads or os.cpu_count(), thread_name_prefix="decode")

    @property
    def failures(self) -> tuple[Unreadable, ...]:
        """The files that another one stood in for so far, in their order."""
        with self._lock:
            return tuple(self._failed[position] for position in sorted(self._failed))

    @property
    def shape(self) -> tuple[int, int, int, int]:
        size = self.preprocessing.size
        return len(self), self.preprocessing.channels, size, size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, indices: Tensor | int, /) -> Tensor:
        if isinstance(indices, int) or not indices.ndim:
            return self[torch.tensor([int(indices)])][0]
        positions = _in_range(indices.cpu(), len(self)).tolist()
        rows = torch.empty((len(positions), *self.shape[1:]), dtype=torch.uint8)
        pixels = rows.numpy()

        def read(row: int) -> None:
            pixels[row] = self._read(positions[row])

        with pillow_warnings_as_errors():
            for _ in self._pool.map(read, range(len(positions))):
                pass
        return rows

    def _read(self, first: int) -> np.ndarray:
        for step in range(len(self.paths)):
            position = (first + step) % len(self.paths)
            if position in self._failed:
                continue
            try:
                return read_pixels(self.paths[position], self.preprocessing)
            except Exception as error:  # decoders raise whatever they like
                with self._lock:
                    self._failed[position] = Unreadable(str(self.paths[position]), reason(error))
        some = self.failures[0]
        raise UserError(f"none of the {len(self.paths)} images can be read any more ({some.path}: {some.reason})")


def _in_range(indices: Tensor, size: int) -> Tensor:
    """Indices counted from the start, as a tensor's may be counted from the end."""
    if len(indices) and not -size <= int(indices.min()) <= int(indices.max()) < size:
        raise IndexError(f"indices: expected numbers below {size}, got {int(indices.min())} to {int(indices.max())}")
    return torch.where(indices < 0, indices + size, indices)
