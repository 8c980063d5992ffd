"""Rows of the image files of a listing, decoded into memory, mapped from the cache, or decoded on access."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Unpack, get_args

import torch

from dalib.core.errors import Setting, UserError
from dalib.data.cache import ImageCache
from dalib.data.decoding import decode, whole_numbers
from dalib.data.depth import describe_outside_range, outside_range
from dalib.data.domain_images import LabelledImages, UnlabelledImages
from dalib.data.frames import note_on_frames
from dalib.data.listing import list_images
from dalib.data.reading_options import CachePolicy, Reading
from dalib.data.rows import StreamedImages, digests_of
from dalib.data.unreadable import refuse_unreadable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from dalib.core.files import Unreadable
    from dalib.data.listing import Listing
    from dalib.data.preprocessing import Preprocessing
    from dalib.data.reading_options import ReadingOptions
    from dalib.data.rows import Rows


def read_folder(
    where: str | Path, preprocessing: Preprocessing, *, argument: str, **options: Unpack[ReadingOptions]
) -> UnlabelledImages:
    """Reads every image below a folder, in the order of the paths, or of a list; folder names mean nothing.

    The options are those of :func:`dalib.data.sources.open_source` that files have a use for.
    """
    reading = Reading(preprocessing, argument, **options)
    return read_unlabelled(list_images(where, argument=argument, allow_outside=reading.may_leave(where)), reading)


def read_labelled(listing: Listing, reading: Reading) -> LabelledImages:
    """Reads files with labels.

    Raises:
        UserError: a class without an image that can be read; see :func:`read_some`.
    """
    assert listing.labels is not None
    assert listing.classes is not None
    images, kept, unreadable = _rows_of_files(listing, reading)
    labels = torch.tensor(listing.labels)[kept]
    present = labels.bincount(minlength=len(listing.classes)).tolist()
    for label, name in enumerate(listing.classes):
        if not present[label]:
            first = next(
                each
                for path, own in zip(listing.paths, listing.labels, strict=True)
                if own == label
                for each in unreadable
                if each.path == str(path)
            )
            raise UserError(
                Setting(reading.argument, listing.where),
                f": no image of the class {name!r} can be read (for instance {first.path}: {first.reason})",
            )
    names = tuple(str(listing.paths[index]) for index in kept.tolist())
    return LabelledImages(images, labels, listing.classes, names, unreadable, listing.left_out)


def read_unlabelled(listing: Listing, reading: Reading) -> UnlabelledImages:
    """Reads files without regard to their labels; errors are those of :func:`read_some`."""
    images, _, names, unreadable = read_some(listing, reading)
    return UnlabelledImages(images, names, unreadable, listing.left_out)


def read_some(listing: Listing, reading: Reading) -> tuple[Rows, Tensor, tuple[str, ...], tuple[Unreadable, ...]]:
    """Reads images, their positions in the listing, their names and the unreadable ones; at least one image.

    Raises:
        UserError: no image can be read, or, with ``strict``, any cannot.
    """
    images, kept, unreadable = _rows_of_files(listing, reading)
    if not len(kept):
        raise UserError(
            Setting(reading.argument, listing.where),
            f": none of its {len(listing.paths)} images can be read (for instance {unreadable[0].path}: ",
            f"{unreadable[0].reason})",
            f"; paths are relative to the list's folder, {listing.root.absolute()}" if listing.of_list else "",
        )
    return images, kept, tuple(str(listing.paths[index]) for index in kept.tolist()), unreadable


def _rows_of_files(listing: Listing, reading: Reading) -> tuple[Rows, Tensor, tuple[Unreadable, ...]]:
    """Reads images, their positions in the listing and the unreadable ones; with ``strict`` none may be unreadable."""
    if reading.on_note is not None:
        for note in (*listing.notes, note_on_frames(listing.paths)):
            if note:
                reading.on_note(note)
    if reading.cache not in get_args(CachePolicy):
        raise ValueError(f"cache: expected 'ram', 'disk' or 'off', got {reading.cache!r}")
    listing = with_whole_numbers(listing, reading.cache, reading.cache_folder, threads=reading.threads)
    _report_outside_range(listing, reading)
    images: Rows
    if reading.cache == "disk":
        cached = ImageCache(reading.cache_folder).rows(
            listing,
            reading.preprocessing,
            on_progress=reading.on_progress,
            on_note=reading.on_note,
            threads=reading.threads,
        )
        images, kept, unreadable = cached.images, cached.kept, cached.unreadable
    elif reading.cache == "off":
        images, kept, unreadable = _streamed(listing, reading)
    else:
        images, kept, unreadable = decode(
            listing.paths, reading.preprocessing, on_progress=reading.on_progress, threads=reading.threads
        )
    # what was listed comes last, so that an image's reason is the example where there is one
    unreadable = (*unreadable, *listing.unreadable)
    refuse_unreadable(unreadable, reading.argument, listing.where, reading.strict)
    return images, kept, unreadable


def with_whole_numbers(
    listing: Listing,
    cache: CachePolicy,
    cache_folder: str | Path | None = None,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    threads: int | None = None,
) -> Listing:
    """Returns the listing with its files' whole numbers beyond 8 bits, looked up unless they are known."""
    if listing.whole_numbers is not None:
        return listing
    if cache == "disk":
        found = ImageCache(cache_folder).whole_numbers(listing, on_progress=on_progress, threads=threads)
    else:
        found = whole_numbers(listing.paths, on_progress=on_progress, threads=threads)
    return replace(listing, whole_numbers=found)


def _report_outside_range(listing: Listing, reading: Reading) -> None:
    """Prints how many images have values outside of the range that they are read with."""
    black_white = reading.preprocessing.range
    if black_white is None or reading.on_note is None:
        return
    if clipped := outside_range(listing.whole_numbers or (), black_white):
        reading.on_note(f"{Setting(reading.argument, listing.where)}: {describe_outside_range(clipped, black_white)}")


def _streamed(listing: Listing, reading: Reading) -> tuple[Rows, Tensor, tuple[Unreadable, ...]]:
    """Returns rows that are decoded on access, of the readable files: the same rows as with the other policies."""
    preprocessing, size = reading.preprocessing, reading.preprocessing.size
    digests, kept, unreadable = digests_of(
        listing.paths, preprocessing, on_progress=reading.on_progress, threads=reading.threads
    )
    if not len(kept):
        return torch.empty((0, preprocessing.channels, size, size), dtype=torch.uint8), kept, unreadable
    paths = [listing.paths[position] for position in kept.tolist()]
    return StreamedImages(paths, preprocessing, reading.threads, digests=digests), kept, unreadable
