"""Features of a frozen backbone: several views of each image, computed once and kept on disk under a key of inputs."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.filesize import decimal
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from dalib.core.devices import memory_format
from dalib.core.errors import UserError
from dalib.core.files import put_in_place, read_json, write_json
from dalib.core.seeds import generator_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from torch import Tensor

    from dalib.core.types import Augment
    from dalib.data.rows import Rows

_FILE = "features.f16"  # of a key
_SAVE_EVERY = 64  # batches: some seconds of work, which a kill can cost


def extract_features(
    backbone: Callable[[Tensor], Tensor],
    rows: Rows,
    views: Sequence[Augment] | Mapping[int, Augment],
    *,
    device: torch.device,
    seed: int,
    batch: int = 32,
    begun: tuple[Tensor, int] | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> Tensor:
    """Computes features (N, V, D) float16, on the CPU, of each view of each row; or maps (N, V, ...).

    Args:
        backbone: (B, C, H, W) float32 -> (B, D), or (B, ...) for maps (N, V, ...), in evaluation mode. The last batch
            is filled up by repetition, so that every call is of one shape, as compiled networks like it.
        rows: uint8 images.
        views: each is drawn anew for each image, from a generator of its own that depends on ``seed``, its number (its
            place in the list) and the batch; so some of many views, under their numbers, are the same as among all.
        begun: (N, V, D) float16 to write into, and how many of its rows are there, a multiple of ``batch``; new
            memory by default.
        on_batch: called with the number of rows done.

    No gradient is kept. Half precision: its error is far below the spread between views, and it halves the disk.
    """
    count = len(rows)
    into, start = begun or (None, 0)
    numbered = views if isinstance(views, Mapping) else dict(enumerate(views))
    with torch.no_grad():  # and not in inference_mode: nothing could be learnt from its tensors
        for first in range(start, count, batch):
            indices = torch.arange(first, first + batch).clamp_(max=count - 1)
            images = rows[indices].to(device)
            for place, (number, view) in enumerate(numbered.items()):
                generator = generator_for(device, seed, "features", number, first)
                seen = view(images, generator).contiguous(memory_format=memory_format(device))
                features = backbone(seen)[: count - first].half().cpu()
                if into is None:
                    into = torch.empty(count, len(views), *features.shape[1:], dtype=torch.float16)
                into[first : first + batch, place] = features
            if on_batch is not None:
                on_batch(min(first + batch, count))
    if into is None:
        raise ValueError(f"rows, views: expected at least one of each, got {count} and {len(views)}")
    return into


@dataclass(frozen=True)
class FeatureEntry:
    """The features of one key on the disk."""

    key: str
    source: str
    bytes: int
    complete: bool


@dataclass(frozen=True)
class FeatureStore:
    """Keeps features in files, one for each key, and continues an extraction that was killed.

    ::

        KEY/features.f16    (N, V, D) float16, row by row; (N, V, C, h, w) of maps
        KEY/index.json      {"shape": [N, V, D], "done": rows written, "source": text}
        KEY/rows-FIRST.json {"shape": [N, V, D], "done": row}, while several processes extract: rows from FIRST to done
        KEY/tensors.safetensors  in place of features: a few small tensors

    ``done`` is written after the rows it counts are on disk.
    """

    folder: Path

    def entries(self) -> tuple[FeatureEntry, ...]:
        """Lists the stored features by key."""
        found = []
        for index in sorted(self.folder.glob("*/index.json")):
            size = _bytes_in(index.parent)
            try:
                content = read_json(index)
                entry = FeatureEntry(
                    index.parent.name, str(content["source"]), size, content["done"] == content["shape"][0]
                )
            except (UserError, KeyError, TypeError, IndexError):
                entry = FeatureEntry(index.parent.name, "?", size, False)
            found.append(entry)
        return tuple(found)

    def remove(self, keys: Iterable[str]) -> int:
        """Removes the features under these keys; returns the freed bytes."""
        freed, wanted = 0, set(keys)
        for entry in self.entries():
            if entry.key in wanted:
                with contextlib.suppress(FileNotFoundError):  # another process has removed it
                    shutil.rmtree(self.folder / entry.key)
                freed += entry.bytes
        return freed

    def kept(self, key: str, shape: tuple[int, ...]) -> Tensor | None:
        """Returns the features (N, V, D), or maps (N, V, ...), of that key; None where not all of them are there."""
        place = self.folder / key
        there = self.has_place(key, int(np.prod(shape)) * 2) and _counted(place / "index.json", shape) >= shape[0]
        return _mapped(place / _FILE, shape, writable=False) if there else None

    def sizes(self) -> frozenset[int]:
        """Lists the sizes in bytes of all stored features; features of another size are not stored."""
        return frozenset(each.stat().st_size for each in self.folder.glob(f"*/{_FILE}"))

    def has_place(self, key: str, size: int) -> bool:
        """Returns whether the file of a key has this size in bytes, which extraction reserves before it begins."""
        path = self.folder / key / _FILE
        return path.is_file() and path.stat().st_size == size

    def features(
        self,
        key: str,
        shape: tuple[int, ...],
        extract: Callable[[Tensor, int, Callable[[int], None]], object],
        *,
        source: str,
    ) -> Tensor:
        """Returns the features of that key; extracts those that are missing.

        Args:
            shape: (N, V, D), or (N, V, ...) of maps.
            extract: called as ``extract(into, start, on_batch)``, see :func:`extract_features`.
            source: origin of the features, for people.

        Raises:
            UserError: a disk that is full or a folder that cannot be written.
        """
        place = self.folder / key
        note = {"shape": list(shape), "source": source}  # the key stands for everything else
        features, done = _opened(place, shape, note)
        shares = sorted(place.glob("rows-*.json"))
        if done < shape[0]:
            extract(features, done, _saving(place / _FILE, place / "index.json", note, shape[0]))
        elif shares:
            write_json(place / "index.json", {**note, "done": done})
        for each in shares:
            each.unlink(missing_ok=True)
        return features

    def tensors(self, key: str, compute: Callable[[], dict[str, Tensor]], *, source: str) -> dict[str, Tensor]:
        """Returns the small tensors of that key, such as statistics of images; computes them where they are not kept.

        Args:
            compute: returns them by their names.
            source: what they are of, for people.

        Raises:
            UserError: a disk that is full or a folder that cannot be written.
        """
        place = self.folder / key
        path = place / "tensors.safetensors"
        with contextlib.suppress(OSError, SafetensorError):  # none yet, or damaged
            return load_file(path)
        found = {name: tensor.detach().cpu().clone() for name, tensor in compute().items()}
        try:
            place.mkdir(parents=True, exist_ok=True)
            own = path.with_name(f"{path.name}.{os.getpid()}")  # another process may write the same
            own.write_bytes(save(found))
            put_in_place(own, path)
            write_json(place / "index.json", {"shape": [1], "source": source, "done": 1})
        except OSError as error:
            raise UserError(
                f"{place}: cannot keep statistics here ({error}); free some space, or set DALIB_CACHE to another folder"
            ) from None
        return found

    def extract_part(
        self,
        key: str,
        shape: tuple[int, ...],
        extract: Callable[[Tensor, int, Callable[[int], None]], object],
        *,
        source: str,
        process: tuple[int, int],
        batch: int,
    ) -> None:
        """Extracts the part of one of several processes of a machine; :meth:`features` then finds what is there.

        Args:
            key, shape, source: as for :meth:`features`.
            extract: likewise; what it is called with ends where the part does.
            process: its number, and how many there are.
            batch: rows that are extracted together, which no two processes divide.

        Raises:
            UserError: as :meth:`features`.
        """
        first, end = divided(shape[0], *process, batch)
        place = self.folder / key
        note = {"shape": list(shape), "source": source}
        features, done = _opened(place, shape, note)
        if done >= end or first == end:
            return
        own = place / f"rows-{first}.json"
        start = max(first, done, min(_counted(own, shape), end))
        if start < end:
            extract(features[:end], start, _saving(place / _FILE, own, note, end))


def divided(count: int, number: int, among: int, batch: int) -> tuple[int, int]:
    """Returns the first row of a process and the one behind its last: as many batches for each, to one.

    >>> [divided(5 * 64 + 1, number, 4, 64) for number in range(4)]
    [(0, 128), (128, 192), (192, 320), (320, 321)]
    """
    batches = -(-count // batch)
    first, end = (-(-batches * each // among) * batch for each in (number, number + 1))
    return min(first, count), min(end, count)


def features_key(rows: Rows, *parts: object) -> str:
    """Computes a key from everything that features depend on: the pixels, and others such as weights and views."""
    digest = hashlib.blake2b(repr((len(rows), *parts)).encode(), digest_size=16)
    for first in range(0, len(rows), 1024):  # not all of a mapped file at once
        end = min(first + 1024, len(rows))
        images = rows[first:end] if isinstance(rows, torch.Tensor) else rows[torch.arange(first, end)]  # no copy
        digest.update(repr(tuple(images.shape)).encode())
        digest.update(images.contiguous().numpy().data)
    return digest.hexdigest()


def weights_fingerprint(state: dict[str, Tensor]) -> str:
    """Computes a hash of the values of weights."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in state.items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _bytes_in(folder: Path) -> int:
    """Returns the bytes of a folder's files, without those that another process removes or renames just now."""
    found = 0
    with contextlib.suppress(FileNotFoundError):
        for each in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                found += each.stat().st_size
    return found


def _mapped(path: Path, shape: tuple[int, ...], *, writable: bool) -> Tensor:
    """Returns the rows of a file; what is written to those that are not writable does not reach it."""
    return torch.from_file(str(path), shared=writable, size=int(np.prod(shape)), dtype=torch.float16).view(shape)


def _counted(index: Path, shape: tuple[int, ...]) -> int:
    """Returns how many rows are done according to an index of this shape; 0 if it has another or is damaged."""
    try:
        content = read_json(index)
        return int(content["done"]) if content["shape"] == list(shape) else 0
    except (UserError, KeyError, TypeError, ValueError):
        return 0


def _opened(place: Path, shape: tuple[int, ...], note: Mapping[str, object]) -> tuple[Tensor, int]:
    """Returns the features of a folder, which is made if it is not there, and how many rows from the first are done.

    Args:
        place: the folder of a key.
        shape: (N, V, D), or (N, V, ...) of maps.
        note: content of the index besides the number of rows done.

    Raises:
        UserError: a disk that is full or a folder that cannot be written.
    """
    path, index, size, done = place / _FILE, place / "index.json", int(np.prod(shape)) * 2, 0
    try:
        if path.is_file() and path.stat().st_size == size and index.is_file():
            done = _done(place, shape)
        else:
            place.mkdir(parents=True, exist_ok=True)
            for each in place.glob("rows-*.json"):
                each.unlink(missing_ok=True)
            # before the file takes room, or a kill would leave what nobody lists or removes, or a count of other rows
            write_json(index, {**note, "done": 0})
        if done < shape[0]:
            _reserve(path, size)
    except OSError as error:
        raise UserError(
            f"{place}: cannot keep {decimal(size)} of features here ({error.strerror or error}); free some space, or "
            "set DALIB_CACHE to another folder"
        ) from None
    return _mapped(path, shape, writable=done < shape[0]), done  # whole ones may be another user's


def _done(place: Path, shape: tuple[int, ...]) -> int:
    """Returns how many rows from the first are done, by one process or by several."""
    done = _counted(place / "index.json", shape)
    for first, index in sorted((int(each.stem[5:]), each) for each in place.glob("rows-*.json")):
        if first <= done:
            done = max(done, _counted(index, shape))
    return done


def _saving(path: Path, index: Path, note: Mapping[str, object], end: int) -> Callable[[int], None]:
    """Returns a callback for the number of rows done, which syncs rows and index every so many batches."""
    batches = 0

    def on_batch(rows: int) -> None:
        nonlocal batches
        batches += 1
        if rows == end or batches % _SAVE_EVERY == 0:
            with contextlib.suppress(FileNotFoundError):  # another process has removed it; what is mapped stays
                _flush(path)
                write_json(index, {**note, "done": rows})

    return on_batch


def _reserve(path: Path, size: int) -> None:
    with path.open("ab") as file:  # without cutting it to nothing: another process may have it mapped
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)  # a full disk is told now, and not by a signal while writing
        file.truncate(size)  # a file that was longer would never be taken for whole


def _flush(path: Path) -> None:
    with path.open("r+b") as file:  # Windows syncs only what may be written
        os.fsync(file.fileno())
