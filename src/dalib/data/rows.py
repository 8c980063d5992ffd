"""Images by row number that are no tensor: a selection, two kinds of joining, marked rows, and files decoded on demand.

Each is a :class:`Rows`: ``len(rows)``, and ``rows[indices]`` for (B,) int64 gives (B, C, H, W) uint8.
A single number gives (C, H, W).
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from dalib.core.errors import ImageChangedError, Message, Setting
from dalib.core.files import Unreadable
from dalib.data.decoding import pillow_warnings_as_errors, read_pixels, reason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from dalib.data.preprocessing import Preprocessing


class Rows(Protocol):
    """Images by number. A uint8 tensor (N, C, H, W) is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: Tensor, /) -> Tensor:
        """Reads rows (B,) int64 -> (B, C, H, W) uint8."""
        ...


class Selected:
    """A selection of rows in the order of ``indices`` (N,) int64; rows are copied only when they are read."""

    def __init__(self, rows: Rows, indices: Tensor) -> None:
        self.rows, self.indices = rows, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, indices: Tensor | int, /) -> Tensor:
        chosen = self.indices[indices]
        return self.rows[chosen] if chosen.ndim else self.rows[chosen[None]][0]


def chosen_rows(rows: Rows, indices: Tensor) -> Rows:
    """Returns rows by their numbers (N,) int64: a copy of a tensor's, a selection of others."""
    return rows[indices] if isinstance(rows, Tensor) else Selected(rows, indices)


class Concatenated:
    """The rows of all parts, one part after the other; all rows have one shape.

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


class SideBySide:
    """Rows of several parts whose last dimensions follow each other, such as the features of several networks.

    Raises:
        ValueError: no part, or parts of different lengths.
    """

    def __init__(self, parts: Sequence[Rows]) -> None:
        if len({len(part) for part in parts}) != 1:
            raise ValueError(f"parts: expected as many rows of each, got {[len(part) for part in parts]}")
        self.parts = tuple(parts)

    def __len__(self) -> int:
        return len(self.parts[0])

    def __getitem__(self, indices: Tensor | int, /) -> Tensor:
        if isinstance(indices, int) or not indices.ndim:
            return self[torch.tensor([int(indices)])][0]
        return torch.cat([part[indices] for part in self.parts], dim=-1)


class Marked:
    """Rows of stored maps (N, V, C, ...) with the domain that each is of: a further channel holds its number.

    Raises:
        ValueError: not a mark for each row.
    """

    def __init__(self, rows: Rows, marks: Tensor) -> None:
        if len(marks) != len(rows):
            raise ValueError(f"marks: expected one for each of the {len(rows)} rows, got {len(marks)}")
        self.rows, self.marks = rows, marks

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: Tensor | int, /) -> Tensor:
        if isinstance(indices, int) or not indices.ndim:
            return self[torch.tensor([int(indices)])][0]
        maps = self.rows[indices]
        marks = self.marks[indices].to(maps.dtype).view(-1, *[1] * (maps.ndim - 1))
        return torch.cat([maps, marks.expand_as(maps[:, :, :1])], dim=2)


class StreamedImages:
    """Image files that are decoded at each access, with the pixels of :func:`dalib.data.decoding.decode`.

    The pixels of a file are those that it had when it was first read, or an error: no other image stands in for it,
    whose label would be wrong. Eight bytes of each file's pixels are kept for the comparison.

    Args:
        paths: at least one.
        threads: None is one for each core.
        digests: of each file's pixels as :func:`digests_of` gives them; None takes those of the first reading.

    Raises:
        ValueError: no paths, or not a digest for each.
        ImageChangedError: on reading, a file that cannot be read any more, or whose pixels have changed.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        preprocessing: Preprocessing,
        threads: int | None = None,
        *,
        digests: np.ndarray | None = None,
    ) -> None:
        if not paths:
            raise ValueError("paths: expected at least one, got none")
        if digests is not None and len(digests) != len(paths):
            raise ValueError(f"digests: expected one for each of the {len(paths)} paths, got {len(digests)}")
        self.paths, self.preprocessing = tuple(paths), preprocessing
        self._digests = np.zeros(len(paths), np.uint64) if digests is None else digests.copy()  # 0: not read yet
        self._pool = ThreadPoolExecutor(threads or os.cpu_count(), thread_name_prefix="decode")

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

    def _read(self, position: int) -> np.ndarray:
        path = self.paths[position]
        try:
            pixels = read_pixels(path, self.preprocessing)
        except Exception as error:  # decoders raise whatever they like
            raise ImageChangedError(f"{path}: it can no longer be read ({reason(error)}). ", _REMEDY) from error
        digest, before = _digest(pixels), self._digests[position]
        if before and digest != before:
            raise ImageChangedError(f"{path}: its pixels are no longer those that were read at first. ", _REMEDY)
        self._digests[position] = digest
        return pixels


_REMEDY = Message(
    "With ",
    Setting("cache", "off"),
    " a file is read whenever it is needed, and no other image stands in for it. Put it back as it was, or take ",
    Setting("cache", "disk"),
    ", which keeps the decoded images",
)

_CHUNK = 1024


def digests_of(
    paths: Sequence[Path],
    preprocessing: Preprocessing,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    threads: int | None = None,
) -> tuple[np.ndarray, Tensor, tuple[Unreadable, ...]]:
    """Decodes every file once and keeps no pixels: a header does not show whether the rest can be read.

    Returns:
        (K,) uint64 digests of the pixels of the files that can be read, (K,) int64 their positions, and the others.
    """

    def digest_or_reason(path: Path) -> np.uint64 | Unreadable:
        try:
            return _digest(read_pixels(path, preprocessing))
        except Exception as error:  # decoders raise whatever they like
            return Unreadable(str(path), reason(error))

    digests: list[np.uint64] = []
    kept: list[int] = []
    unreadable: list[Unreadable] = []
    with pillow_warnings_as_errors(), ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        for first in range(0, len(paths), _CHUNK):  # what waits in a pool takes a hundred times the memory of a digest
            for position, found in enumerate(pool.map(digest_or_reason, paths[first : first + _CHUNK]), start=first):
                if isinstance(found, Unreadable):
                    unreadable.append(found)
                else:
                    digests.append(found)
                    kept.append(position)
                if on_progress is not None:
                    on_progress(position + 1, len(paths))
    return np.array(digests, np.uint64), torch.tensor(kept, dtype=torch.int64), tuple(unreadable)


def _digest(pixels: np.ndarray) -> np.uint64:
    """Computes a hash of one image's pixels; never 0. It costs a hundredth of decoding."""
    content = hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=8).digest()
    return np.uint64(int.from_bytes(content, "little") or 1)


def _in_range(indices: Tensor, size: int) -> Tensor:
    """Converts indices from the end, which a tensor accepts, to indices from the start."""
    if len(indices) and not -size <= int(indices.min()) <= int(indices.max()) < size:
        raise IndexError(f"indices: expected numbers below {size}, got {int(indices.min())} to {int(indices.max())}")
    return torch.where(indices < 0, indices + size, indices)
