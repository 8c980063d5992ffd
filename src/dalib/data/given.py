"""Images that are given as objects, kept as files, so that their runs resume and open again like any other.

::

    CACHE/given/KEY/array-of-240-labelled-images.csv    a list of the images, with labels unless they are a target's
    CACHE/given/KEY/000.png                             each image without loss, under its number in what was given;
                                                        a .tif where its numbers are of 32 bits
    CACHE/given/KEY/index.json                          what it was made of, as other caches have it

A run's configuration names the list. KEY is a hash of pixels and labels: the same images are kept once, for all runs.
Labels of a target are not kept. A list of image files holds their paths; the files are not copied.
"""

from __future__ import annotations

import datetime
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from torch import Tensor

from dalib.core.errors import Setting, UserError
from dalib.core.files import NO_URL, Unreadable, csv_text, expanded, is_url, write_json, write_text
from dalib.core.places import GIVEN, is_given, is_place
from dalib.data.cache import default_cache_folder, writable_cache_folder
from dalib.data.decoding import reason
from dalib.data.formats import image_endings
from dalib.data.listing import list_images
from dalib.data.objects import (
    Items,
    as_bytes,
    channels_first,
    column_of_frame,
    columns_of_frame,
    items_of,
    listed,
    names_of_labels,
    numbered,
    picture_of,
)
from dalib.data.shards import ENDING
from dalib.data.spelling import is_missing, require_labels
from dalib.data.tables import LIST_ENDINGS
from dalib.data.unreadable import refuse_unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MOST_IN_VAIN = 32
"""Images of a data set of which none can be read, before the rest is not tried: a wrong transform spoils all."""

_VERSION = 1
_TOGETHER = 64  # images that are written at once


@dataclass(frozen=True)
class Given:
    """Images that were given as objects, as they are kept.

    Attributes:
        list: file that lists them; takes the place of the objects.
        files: the images, in their order.
        unreadable: items that are no images, with the reason.
    """

    list: Path
    files: tuple[Path, ...]
    unreadable: tuple[Unreadable, ...] = ()


def may_leave_its_folder(path: str | Path) -> bool:
    """Returns whether the images of a list may lie anywhere, because dalib wrote the list itself."""
    folder = Path(path).absolute().parent.parent
    return is_given(path) and folder in {each.absolute() / GIVEN for each in _cache_folders()}


def require_kept(path: str | Path, argument: str) -> None:
    """Refuses the list of given images that is no longer there.

    Raises:
        UserError: the cache was emptied, or is elsewhere.
    """
    if is_given(path) and not Path(path).is_file():
        raise UserError(
            Setting(argument, path),
            ": these images were given as objects and kept in the cache, and are gone; give them again with ",
            f"dalib.adapt({argument}=..., resume=...)",
        )


def keep_labelled(
    data: Any,
    *,
    argument: str = "source",
    strict: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
    column: str | None = None,
) -> Given:
    """Keeps labelled images that are objects.

    Args:
        data: ``(images, labels)``, where images are an array, a tensor, a list or a series, a list of pairs (image or
            path, label), a data frame with the columns path and label, or a data set as
            :func:`dalib.data.sources.open_source` takes it.
        argument: name in errors.
        strict: refuse items that are no images, which are left out otherwise.
        on_progress: called with (done, total).
        column: further column that is kept of a data frame which has it, such as one of groups.

    Raises:
        UserError: something else, images without labels, labels that do not fit, or nothing that can be read.
    """
    return _kept(labelled_items(data, argument, column), argument, strict, on_progress, labelled=True)


def keep_unlabelled(
    data: Any,
    *,
    argument: str = "target",
    strict: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
    column: str | None = None,
) -> Given:
    """Keeps images that are objects, without labels: those that are given with them are not read, or dropped.

    Args:
        data: an array, a tensor, a list or series of images, paths or folders, a data frame with the column path, a
            data set, or what :func:`keep_labelled` takes.
        argument, strict, on_progress, column: see :func:`keep_labelled`.

    Raises:
        UserError: something else, or nothing that can be read.
    """
    return _kept(unlabelled_items(data, argument, column), argument, strict, on_progress, labelled=False)


def several_sources(data: Any) -> list[Any] | None:
    """Returns the sources in a list of several: paths, names, pairs of images and labels, data sets; None for one."""
    if not isinstance(data, list | tuple) or _is_pair_of_sequences(data) or not data:
        return None
    return list(data) if all(is_place(each) or _is_source(each) for each in data) else None


def _is_source(value: Any) -> bool:
    data_set = hasattr(value, "__getitem__") and not isinstance(value, list | tuple | np.ndarray | Tensor)
    return data_set or _is_pair_of_sequences(value)


def labelled_items(data: Any, argument: str, column: str | None = None) -> Items:
    """Wraps labelled images of any kind as items, see :func:`keep_labelled`; no image is read.

    Raises:
        UserError: something else, images without labels, or labels that do not fit.
    """
    columns, cells = columns_of_frame(data, ("path", "label"), argument), column_of_frame(data, column)
    if columns is not None:
        data = (columns[0], columns[1])
    if _is_pair_of_sequences(data):
        images, labels = data
        sequence = _sequence_of(images, argument)
        names = names_of_labels(labels, None, len(sequence), argument)
        items = _items([*zip(sequence, names, strict=True)], sequence)
        return _with_column(items, column, cells)
    if isinstance(data, np.ndarray | Tensor):
        raise UserError(Setting(argument), ": images without labels; give a pair (images, labels)")
    if isinstance(data, list | tuple):
        if not data:
            raise UserError(Setting(argument), ": expected at least one image, got none")
        alone = next((number for number, each in enumerate(data) if not _is_labelled(each)), None)
        if alone is not None:
            raise UserError(
                Setting(argument),
                f": expected pairs (image, label), item {alone} is none ({_described(data[alone])}); give ",
                "[(image, label), ...], (images, labels) or a folder with a folder of images for each class",
            )
        return _items(list(data), data)
    return items_of(data, argument)


def unlabelled_items(data: Any, argument: str, column: str | None = None) -> Items:
    """Wraps images of any kind as items without labels; folders and lists of files in a list become their files.

    Raises:
        UserError: something that holds no images.
    """
    if _is_pair_of_sequences(data):
        data = data[0]
    columns, cells = columns_of_frame(data, ("path",), argument), column_of_frame(data, column)
    if columns is not None:
        data = columns[0]
    one_row = listed(data)
    data = data if one_row is None else one_row
    if isinstance(data, np.ndarray | Tensor):
        return _items([(each, None) for each in _sequence_of(data, argument)], data)
    if isinstance(data, list | tuple):
        images = [each[0] if _is_labelled(each) else each for each in data]
        if not images:
            raise UserError(Setting(argument), ": expected at least one image, got none")
        expanded_ones = [[*_expanded(image, argument)] for image in images]
        if cells is not None:
            cells = [cell for cell, files in zip(cells, expanded_ones, strict=True) for _ in files]
        items = _items([(each, None) for files in expanded_ones for each in files], data)
        return _with_column(items, column, cells)
    return items_of(data, argument, labelled=False)


def names_of_items(items: Items) -> tuple[tuple[str, ...], bool]:
    """Returns the names of items, and whether all are files.

    Files of a list, a series or a data frame are named by their paths, other items by their number.
    """
    names = numbered(items.name, items.count)
    if items.name != "list":
        return names, False
    files = [image if isinstance(image, Path) else None for image, _ in items.dataset]
    found = tuple(name if file is None else str(file) for name, file in zip(names, files, strict=True))
    return found, None not in files


def _with_column(items: Items, name: str | None, cells: Sequence[Any] | None) -> Items:
    if name is not None and cells is not None:
        items.column = name, ["" if is_missing(cell) else str(cell).strip() for cell in cells]
    return items


def _items(pairs: list[tuple[Any, Any]], given: Any) -> Items:
    """Returns pairs of image and label as items, named for what they came in."""
    items = Items(pairs, lambda item: item[0], lambda item: item[1], None)
    items.name = "list" if isinstance(given, list | tuple) else "array"
    items.again = items.name == "array"
    return items


def _is_pair_of_sequences(data: Any) -> bool:
    """Returns whether a value is (images, labels), and not a tuple of two images or of two paths."""
    return isinstance(data, tuple) and len(data) == 2 and not any(map(is_place, data)) and _holds_many(data[1])


def _holds_many(labels: Any) -> bool:
    if isinstance(labels, np.ndarray | Tensor):
        return bool(labels.ndim)
    return isinstance(labels, Sequence) or hasattr(labels, "to_numpy")  # a series of pandas


def _is_labelled(item: Any) -> bool:
    """Returns whether a value is (image, label), and not two images."""
    if not (isinstance(item, list | tuple) and len(item) == 2):
        return False
    label = item[1]
    single = isinstance(label, np.ndarray | Tensor) and not label.ndim
    return single or label is None or isinstance(label, str | Integral | np.generic)


def _described(item: Any) -> str:
    return repr(os.fspath(item)) if is_place(item) else type(item).__name__


def _sequence_of(images: Any, argument: str) -> Sequence[Any]:
    """Returns images one by one: of an array (N, ...), each as (H, W) or (H, W, C) uint8."""
    several = listed(images)
    if several is None and isinstance(images, np.ndarray | Tensor):
        pixels = channels_first(as_bytes(images, argument), argument)
        return pixels[:, 0] if pixels.shape[1] == 1 else pixels.transpose(0, 2, 3, 1)  # type: ignore[return-value]
    if several is not None:
        if not several:
            raise UserError(Setting(argument), ": expected at least one image, got none")
        return [Path(expanded(each)) if is_place(each) and not _is_empty(each) else each for each in several]
    stream = hasattr(images, "__iter__") and not hasattr(images, "__len__")
    remedy = "; images are read several times, and a stream is not: give a list of them" if stream else ""
    raise UserError(
        Setting(argument), f": expected images as an array, a tensor or a list, got {type(images).__name__}{remedy}"
    )


def _expanded(image: Any, argument: str) -> Iterable[Any]:
    """Yields the files of a folder or a list file; anything else as it is."""
    if not is_place(image) or _is_empty(image):
        return [image]
    path = Path(expanded(image))
    return list_images(path, argument=argument).paths if is_several(path) else [path]


def _is_empty(place: str | os.PathLike[str]) -> bool:
    """Returns whether a path is an empty text, which would be the folder one is in."""
    return not os.fspath(place).strip()


def is_several(path: Path) -> bool:
    """Returns whether a path is a folder, a list or a shard of images, and not one image."""
    return path.is_dir() or path.suffix.lower() in (*LIST_ENDINGS, ENDING)


def are_image_files(places: Iterable[Any]) -> bool:
    """Returns whether all are paths of image files, by their endings."""
    return all(is_place(each) and Path(each).suffix.lower() in image_endings() for each in places)


def _kept(
    items: Items,
    argument: str,
    strict: bool,
    on_progress: Callable[[int, int], None] | None,
    *,
    labelled: bool,
) -> Given:
    if not items.count:
        raise UserError(Setting(argument, items.name), ": expected at least one image, got none")
    folder = writable_cache_folder(default_cache_folder()) / GIVEN
    if items.again and (there := _read(folder / _key(items, labelled))) is not None:
        return there
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=".", dir=folder))
        try:
            return _published(_write(items, part, argument, strict, on_progress, labelled), folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise UserError(
            Setting(argument, items.name),
            f": its images are kept in {folder}, {'whose disk is full' if full else 'which cannot be written'} ",
            f"({reason(error)}); name a folder elsewhere with DALIB_CACHE",
        ) from error


def _key(items: Items, labelled: bool) -> str:
    """Computes the key of items that are the same each time they are read."""
    digest = _Digest(items)
    for position in range(items.count):
        digest.add(position, picture_of(items.image(position)), items.label(position) if labelled else None)
    return digest.hexdigest()


class _Digest:
    """A hash of images and labels in their order."""

    def __init__(self, items: Items) -> None:
        self._digest = hashlib.blake2b(
            repr((_VERSION, items.name, items.count, items.classes)).encode(), digest_size=16
        )

    def add(self, position: int, image: Image.Image | Path, label: Any) -> None:
        self._digest.update(f"{position} ".encode())
        if isinstance(image, Path):
            self._digest.update(os.fsencode(image) + b"\0")
        else:
            self._digest.update(f"{image.mode} {image.size} ".encode())
            self._digest.update(image.tobytes())
        self._digest.update(f"{label}\0".encode(errors="surrogateescape"))

    def add_column(self, name: str, cells: Sequence[str]) -> None:
        self._digest.update(repr((name, list(cells))).encode(errors="surrogateescape"))

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


@dataclass(frozen=True)
class _Written:
    part: Path
    key: str
    name: str


def _write(
    items: Items,
    part: Path,
    argument: str,
    strict: bool,
    on_progress: Callable[[int, int], None] | None,
    labelled: bool,
) -> _Written:
    """Writes the images, and then their list, into a folder."""
    rows: list[tuple[str, Any, int]] = []
    column = None if items.column is None else (items.column[0], list[str]())
    pictures = _Digest(items)
    unreadable: list[Unreadable] = []
    numbers = numbered(items.name, items.count)
    with ThreadPoolExecutor() as pool:
        waiting: list[Any] = []
        for position, number in enumerate(numbers):
            try:
                image = _image_or_path(items.image(position))
            except Exception as error:  # somebody else's code
                unreadable.append(Unreadable(number, reason(error)))
                if len(unreadable) == MOST_IN_VAIN and not rows:
                    break
            else:
                label = items.label(position) if labelled else None
                name = f"{number.rpartition('/')[2]}{_ending_for(image)}"
                pictures.add(position, image, _plain(label))
                rows.append((str(image) if isinstance(image, Path) else name, label, position))
                if column is not None and items.column is not None:
                    column[1].append(items.column[1][position])
                if not isinstance(image, Path):
                    waiting.append(pool.submit(_save, image, part / name))
            if len(waiting) == _TOGETHER:
                _await(waiting)
            if on_progress is not None:
                on_progress(position + 1, items.count)
        _await(waiting)
    _require_some(rows, unreadable, items, argument, strict)
    labels = _names_of_labels([each[1:] for each in rows], items, argument) if labelled else None
    kind = "".join(letter if letter.isalnum() else "-" for letter in items.name)
    write_text(
        part / f"{kind}-of-{len(rows)}-{'labelled-' if labelled else ''}images.csv",
        _list_text([each[0] for each in rows], labels, column),
    )
    if column is not None:
        pictures.add_column(*column)
    write_json(part / "index.json", _index(items, len(rows), unreadable))
    return _Written(part, pictures.hexdigest(), items.name)


def _image_or_path(image: Any) -> Image.Image | Path:
    if is_place(image):
        if _is_empty(image):
            raise ValueError("expected the path of an image, got an empty text")
        if is_url(str(image)):
            raise ValueError(NO_URL)
        path = Path(expanded(image)).absolute()
        if "\0" in str(path):
            raise ValueError("a path with a null byte in it, which names no file")
        return path
    return picture_of(image)


def _plain(label: Any) -> Any:
    if label is np.ma.masked:  # a missing one, whose number would be 0
        return None
    return label.item() if isinstance(label, np.generic | np.ndarray | Tensor) and not label.ndim else label


def _ending_for(image: Image.Image | Path) -> str:
    """Returns the ending of the format that keeps an image without loss: PNG has no whole numbers of 32 bits."""
    return ".tif" if isinstance(image, Image.Image) and image.mode == "I" else ".png"


def _save(image: Image.Image, path: Path) -> None:
    clean = image.copy()
    clean.info.clear()  # a transparency, or colours, that were used already
    clean.save(path, compress_level=1)


def _await(waiting: list[Any]) -> None:
    for each in waiting:
        each.result()
    waiting.clear()


def _require_some(
    rows: Sequence[object], unreadable: Sequence[Unreadable], items: Items, argument: str, strict: bool
) -> None:
    example = "; ".join(f"{each.path}: {each.reason}" for each in islice(unreadable, 1))
    if not rows:
        tried = f"none of the first {len(unreadable)}" if len(unreadable) < items.count else "none"
        raise UserError(
            Setting(argument, items.name),
            f": {tried} of its {items.count} images can be read (for instance {example})",
        )
    refuse_unreadable(unreadable, argument, items.name, strict)


def _names_of_labels(labelled: list[tuple[Any, int]], items: Items, argument: str) -> list[str]:
    """Returns the name of each label that came with the number of its item."""
    if all(label is None for label, _ in labelled):
        raise items.no_labels(argument)
    labels = [_plain(label) for label, _ in labelled]
    # here, as what cannot be read is left out already
    require_labels(labels, argument, items.classes or (), [number for _, number in labelled])
    return names_of_labels(labels, items.classes, len(labels), argument)


def _list_text(paths: Sequence[str], labels: Sequence[str] | None, column: tuple[str, Sequence[str]] | None) -> str:
    columns: list[tuple[str, Sequence[str]]] = [("path", paths)]
    columns += [] if labels is None else [("label", labels)]
    columns += [] if column is None else [column]
    return csv_text([[name for name, _ in columns], *zip(*(cells for _, cells in columns), strict=True)])


def _index(items: Items, kept: int, unreadable: Sequence[Unreadable]) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "source": f"{items.name} of {items.count} images",
        "count": items.count,
        "kept": kept,
        "unreadable": [[each.path, each.reason] for each in unreadable],
        "created": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _published(written: _Written, folder: Path) -> Given:
    """Moves the written folder into its place, unless the same is there already."""
    place = folder / written.key
    written.part.chmod(0o755)  # which mkdtemp keeps to its owner
    try:
        written.part.rename(place)
    except OSError:  # the same is there, or what is left of it
        if (there := _read(place)) is not None:
            return there
        shutil.rmtree(place, ignore_errors=True)
        written.part.rename(place)
    found = _read(place)
    if found is None:
        raise OSError(errno.EIO, f"what was written to {place} is not what is there")
    return found


def _read(place: Path) -> Given | None:
    """Reads what is kept in a folder; None without the folder, or where files of it are gone or damaged.

    Whoever clears temporary files or caches by age may remove some of them.
    """
    try:
        (listed,) = place.glob("*.csv")
        index = json.loads((place / "index.json").read_text(encoding="utf-8"))
        unreadable = tuple(Unreadable(*each) for each in index["unreadable"])
        files = list_images(listed, argument="given", allow_outside=True).paths
        kept = {each.name for each in place.iterdir()}
    except (OSError, ValueError, LookupError, TypeError, UserError):
        return None
    whole = all(file.name in kept for file in files if file.parent == place)  # users' own files are told when read
    return Given(listed, files, unreadable) if whole else None


def _cache_folders() -> Iterator[Path]:
    yield default_cache_folder()
    yield writable_cache_folder(default_cache_folder())
