"""The order of images and the batches made of them: pure functions of the step, with no state to save."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dalib.core.seeds import derive_seed, generator_for
from dalib.core.types import Augment, Batch
from dalib.data.rows import Rows, Selected

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Generator


def indices_at(step: int, size: int, batch: int, seed: int, rank: int = 0, world: int = 1) -> Tensor:
    """Returns the images of one step: (batch,) int64 in [0, size), each image once an epoch, in a new order each epoch.

    Batches are always full and run across the end of an epoch. With several ranks, the batches of one step together are
    the batch that a single rank would see with ``batch * world``.

    Costs O(batch) time and memory for any size: the shuffled order is a keyed permutation, evaluated where needed. The
    order of a small domain is evaluated once an epoch and kept.

    >>> sorted(indices_at(step=0, size=6, batch=6, seed=0).tolist())
    [0, 1, 2, 3, 4, 5]
    """
    if size < 1:
        raise ValueError(f"size: expected at least one image, got {size}")
    first = (step * world + rank) * batch
    positions = np.arange(first, first + batch, dtype=np.int64)
    epochs, within = positions // size, positions % size
    indices = np.empty(batch, dtype=np.int64)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        key = derive_seed(seed, "order", int(epoch))
        indices[here] = permuted(within[here], size, key) if size > MOST_KEPT else _whole_order(size, key)[within[here]]
    return torch.from_numpy(indices)


MOST_KEPT = 1 << 16
"""Images of a domain whose order of an epoch is kept, half a megabyte."""


@lru_cache(maxsize=8)  # of each domain of a training and the next epoch's
def _whole_order(size: int, key: int) -> np.ndarray:
    order = permuted(np.arange(size, dtype=np.int64), size, key)
    order.flags.writeable = False
    return order


def permuted(positions: np.ndarray, size: int, key: int) -> np.ndarray:
    """Applies the random permutation of [0, size) chosen by ``key`` to positions; int64 -> int64, same shape.

    A Feistel network permutes the next power of four above ``size``; values that land outside walk on until they are
    inside, so that what is left is a permutation of [0, size).
    Source: format-preserving encryption by cycle walking (Black & Rogaway 2002); the round function is ours.
    """
    half_bits = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
    half_mask = np.uint64((1 << int(half_bits)) - 1)
    round_keys = [np.uint64(derive_seed(key, "round", number)) for number in range(6)]

    def encrypt(values: np.ndarray) -> np.ndarray:
        left, right = values >> half_bits, values & half_mask
        for round_key in round_keys:
            mixed = (right ^ round_key) * np.uint64(0x9E3779B97F4A7C15)  # unsigned arithmetic wraps
            mixed ^= mixed >> np.uint64(29)
            mixed *= np.uint64(0xBF58476D1CE4E5B9)
            left, right = right, left ^ ((mixed >> np.uint64(32)) & half_mask)
        return (left << half_bits) | right

    values = encrypt(positions.astype(np.uint64))
    while (outside := values >= size).any():
        values[outside] = encrypt(values[outside])
    return values.astype(np.int64)


def drawn(count: int, size: int, key: int) -> Tensor:
    """Draws ``count`` numbers of [0, size) without repetition, (count,) int64, in an order chosen by ``key``."""
    return torch.from_numpy(permuted(np.arange(count), size, key))


@dataclass(frozen=True)
class DomainViews:
    """Augmentations of both domains."""

    source: Augment
    target: Sequence[Augment]
    """One for each view that the method wants; each is drawn independently."""
    common: Callable[[Tensor, Generator], Tensor] | None = None
    """Drawn once for each target image, before its views, which then have it in common."""


@dataclass(frozen=True)
class Sampling:
    """Everything that the images of a batch depend on, besides the step."""

    batch: int
    """Images of each domain per step and rank."""
    seed: int
    rank: int = 0
    world: int = 1


class TwoDomainStream:
    """Batches of labelled source and unlabelled target images, augmented on the device; ``batch_at(step)`` is pure.

    Rows of any shape and type serve, such as features, if the views take them.

    Args:
        source, labels: rows and their (N,) int64 classes.
        target: rows, without labels.
        views: augmentations.
        outside: rows of the target that seem to be of none of the classes, which batches hold apart, half as many as
            of the others; None where no image is set apart.
        sampling: size and seed of the batches, and this process's part of them.
        device: device of augmentation and of the batch.
        channels_last: memory format of the views.
    """

    def __init__(
        self,
        source: Rows,
        labels: Tensor,
        target: Rows,
        *,
        views: DomainViews,
        sampling: Sampling,
        device: torch.device,
        channels_last: bool = False,
        outside: Rows | None = None,
    ) -> None:
        if len(labels) != len(source):
            raise ValueError(f"labels: expected one for each of the {len(source)} source images, got {len(labels)}")
        if sampling.batch < 1:
            raise ValueError(f"batch: expected at least 1, got {sampling.batch}")
        self.source, self.labels = _place(source, device), labels.to(device)
        self.target = _place(target, device) if views.target else target
        self.outside = outside if outside is not None and len(outside) and views.target else None
        self.hints: Rows | None = None
        self.views, self.sampling, self.device = views, sampling, device
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format

    def with_hints(self, hints: Tensor) -> TwoDomainStream:
        """Returns the same stream, whose batches also have the rows (K, L) of ``hints`` (N, K, L) of their images.

        Raises:
            ValueError: not as many rows as the target has.
        """
        if len(hints) != len(self.target):
            raise ValueError(f"hints: expected one for each of the {len(self.target)} target images, got {len(hints)}")
        stream = copy(self)
        stream.hints = _place(hints, self.device)
        return stream

    @property
    def rank(self) -> int:
        """Number of this process among those of the training."""
        return self.sampling.rank

    @property
    def images_per_step(self) -> int:
        """Distinct images that one step reads, over all ranks."""
        of_domains = self.sampling.batch * (2 if self.views.target else 1)
        return self.sampling.world * (of_domains + (0 if self.outside is None else self._outside_batch))

    @property
    def in_memory(self) -> bool:
        """True if all rows are tensors, in memory or mapped, so that no image has to be decoded."""
        return all(isinstance(rows, Tensor) for rows in (self.source, self.target, self.outside) if rows is not None)

    def batch_at(self, step: int) -> Batch:
        source = self._indices("source", step, len(self.source))
        views: list[Tensor] = []
        hints: Tensor | None = None
        if self.views.target:
            rows = self._indices("target", step, len(self.target))
            target = self._rows(self.target, rows)
            hints = None if self.hints is None else self._rows(self.hints, rows)
            if self.views.common is not None:
                target = self.views.common(target, self._generator("target", step))
            views = [
                self._augment(view, target, f"target view {number}", step)
                for number, view in enumerate(self.views.target)
            ]
        source_images = self._rows(self.source, source)
        return Batch(
            source=self._augment(self.views.source, source_images, "source view", step),
            labels=self._rows(self.labels, source),
            target=tuple(views),
            outside=None if self.outside is None else self._outside(self.outside, step),
            hints=hints,
        )

    @property
    def _outside_batch(self) -> int:
        return max(1, self.sampling.batch // 2)

    def _outside(self, rows: Rows, step: int) -> Tensor:
        images = self._rows(rows, self._indices("outside", step, len(rows), self._outside_batch))
        if self.views.common is not None:
            images = self.views.common(images, self._generator("outside", step))
        return self._augment(self.views.target[0], images, "outside view", step)

    def _indices(self, domain: str, step: int, size: int, batch: int | None = None) -> Tensor:
        seed = derive_seed(self.sampling.seed, domain)
        return indices_at(step, size, batch or self.sampling.batch, seed, self.sampling.rank, self.sampling.world)

    def _rows(self, rows: Rows, indices: Tensor) -> Tensor:
        """Returns rows on the device, without making the host wait for it."""
        if isinstance(rows, Tensor) and rows.device.type == self.device.type:
            return rows[_send(indices, self.device)]
        return _send(rows[indices], self.device)

    def _augment(self, view: Augment, images: Tensor, purpose: str, step: int) -> Tensor:
        views = view(images, self._generator(purpose, step))
        return views.contiguous(memory_format=self.memory_format) if views.ndim == 4 else views

    def _generator(self, purpose: str, step: int) -> Generator:
        return generator_for(self.device, self.sampling.seed, purpose, step, self.sampling.rank)


def _place(rows: Rows, device: torch.device) -> Rows:
    """Returns the rows, on a GPU if they take at most a quarter of its free memory."""
    if device.type != "cuda":
        return rows
    free, _ = torch.cuda.mem_get_info(device)
    return move_rows(rows, device, at_most=free // 4)


def move_rows(rows: Rows, device: torch.device, at_most: int) -> Rows:
    """Moves rows to a device, all or a selection, if they take at most that many bytes; else returns them unchanged."""
    tensor = rows.rows if isinstance(rows, Selected) else rows
    if not isinstance(tensor, Tensor) or not len(rows) or tensor[:1].nbytes * len(rows) > at_most:
        return rows
    there = torch.empty((len(rows), *tensor.shape[1:]), dtype=tensor.dtype, device=device)
    for part in torch.split(torch.arange(len(rows)), 1024):  # a selection is not copied as a whole here as well
        there[part[0] : part[-1] + 1] = rows[part]
    return there


def _send(values: Tensor, device: torch.device) -> Tensor:
    """Copies ``values`` to the device. Only a copy from pinned memory leaves the host free to continue."""
    if device.type != "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)
