"""Rows of images that are objects in memory: arrays, and items of a data set that are read one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dalib.core.errors import Setting, UserError
from dalib.core.files import Unreadable
from dalib.core.words import some_quoted
from dalib.data.decoding import reason, require_memory
from dalib.data.domain_images import LabelledImages, UnlabelledImages
from dalib.data.objects import channels_first, items_of, labels_of, numbered, picture_of
from dalib.data.unreadable import refuse_unreadable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dalib.data.objects import Items
    from dalib.data.preprocessing import Preprocessing
    from dalib.data.reading_options import Reading


def rows_of_arrays(pixels: np.ndarray, preprocessing: Preprocessing) -> Tensor:
    """Converts (N, 1 or 3, H, W) uint8 to (N, C, size, size) uint8, equal to the result for files with these pixels.

    Images that only need their channel repeated, or nothing, do not go through PIL one by one.

    Raises:
        UserError: the rows would not fit the free memory.
    """
    size, channels = preprocessing.size, preprocessing.channels
    require_memory(len(pixels) * channels * size * size)
    whole = preprocessing.fit in ("crop", "stretch")  # these leave an image of the right size as it is
    if whole and pixels.shape[2:] == (size, size) and pixels.shape[1] <= channels:
        same = pixels if pixels.shape[1] == channels else np.repeat(pixels, channels, axis=1)
        return torch.from_numpy(np.require(same, requirements=["C", "W"]))  # of a read-only array torch warns
    # PIL knows a grey image by having no axis for channels
    images = pixels[:, 0] if pixels.shape[1] == 1 else pixels.transpose(0, 2, 3, 1)
    rows = np.empty((len(images), channels, size, size), np.uint8)
    for number, image in enumerate(images):
        rows[number] = preprocessing.pixels(Image.fromarray(image))
    return torch.from_numpy(rows)


def open_object(where: Any, reading: Reading) -> LabelledImages:
    """Opens arrays with labels, or a data set of images and labels."""
    if isinstance(where, tuple) and len(where) == 2:
        images, labels = where
        pixels = channels_first(images, reading.argument)
        numbers, classes = labels_of(labels, None, len(pixels), reading.argument)
        _require_every_class(numbers, classes, f"{Setting(reading.argument)} array")
        names = numbered("array", len(pixels))
        return LabelledImages(rows_of_arrays(pixels, reading.preprocessing), numbers, classes, names)
    if isinstance(where, np.ndarray | Tensor):
        raise UserError(Setting(reading.argument), ": images without labels; give a pair (images, labels)")
    items = items_of(where, reading.argument)
    images, kept, unreadable = _rows_of_items(items, reading)
    labels = [items.label(position) for position in kept.tolist()]
    if all(label is None for label in labels):
        raise items.no_labels(reading.argument)
    numbers, classes = labels_of(labels, items.classes, len(labels), reading.argument)
    _require_every_class(numbers, classes, f"{Setting(reading.argument, items.name)}")
    every = numbered(items.name, items.count)
    return LabelledImages(images, numbers, classes, tuple(every[position] for position in kept.tolist()), unreadable)


def open_object_unlabelled(where: Any, reading: Reading) -> UnlabelledImages:
    """Opens the images alone; labels are not read."""
    if isinstance(where, tuple) and len(where) == 2:
        where = where[0]
    if isinstance(where, np.ndarray | Tensor):
        pixels = channels_first(where, reading.argument)
        return UnlabelledImages(rows_of_arrays(pixels, reading.preprocessing), numbered("array", len(pixels)))
    items = items_of(where, reading.argument, labelled=False)
    images, kept, unreadable = _rows_of_items(items, reading)
    every = numbered(items.name, items.count)
    return UnlabelledImages(images, tuple(every[position] for position in kept.tolist()), unreadable)


def _rows_of_items(items: Items, reading: Reading) -> tuple[Tensor, Tensor, tuple[Unreadable, ...]]:
    """Applies ``preprocessing.pixels`` to every item; failed items are listed like unreadable files."""
    preprocessing, size = reading.preprocessing, reading.preprocessing.size
    require_memory(items.count * preprocessing.channels * size * size)
    rows = np.empty((items.count, preprocessing.channels, size, size), np.uint8)
    kept: list[int] = []
    unreadable: list[Unreadable] = []
    for position, name in enumerate(numbered(items.name, items.count)):
        try:
            rows[len(kept)] = preprocessing.pixels(picture_of(items.image(position)))
            kept.append(position)
        except Exception as error:  # somebody else's code
            unreadable.append(Unreadable(name, reason(error)))
        if reading.on_progress is not None:
            reading.on_progress(position + 1, items.count)
    refuse_unreadable(unreadable, reading.argument, items.name, reading.strict)
    if not kept:
        example = f" (for instance {unreadable[0].path}: {unreadable[0].reason})" if unreadable else ""
        raise UserError(
            Setting(reading.argument, items.name), f": none of its {items.count} images can be read{example}"
        )
    return torch.from_numpy(rows[: len(kept)]), torch.tensor(kept), tuple(unreadable)


def _require_every_class(labels: Tensor, classes: Sequence[str], what: str) -> None:
    counts = labels.bincount(minlength=len(classes)).tolist()
    absent = [name for name, count in zip(classes, counts, strict=True) if not count]
    if absent:
        raise UserError(f"{what}: no image, or none that can be read, of the classes {some_quoted(absent)}")
