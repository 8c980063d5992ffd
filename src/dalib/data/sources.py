"""Opens what a user names as rows of uint8 images: folders, lists, named data sets, arrays, data sets in memory.

Labels come from the source's folder names, or from its list. A target's folders are read as a heap of images, whatever
their names, and its labels, if it has any, are not kept.
A bare name such as ``mnist`` is always the data set of that name; a folder called so is given as ``./mnist``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dalib.core.errors import Setting, UserError
from dalib.core.files import Unreadable
from dalib.core.words import meant, some_of, with_unknown
from dalib.data.cache import ImageCache
from dalib.data.decoding import decode, reason, require_memory, whole_numbers
from dalib.data.depth import describe_outside_range, outside_range
from dalib.data.digits import handwritten_digits, render_digits
from dalib.data.folders import hint_at_class_folders
from dalib.data.given import may_leave_its_folder, require_kept
from dalib.data.listing import Listing, list_images, list_labelled
from dalib.data.named import (
    NAMED,
    NAMED_AS_FILES,
    NAMED_TESTS,
    data_root,
    have_shared_classes,
    image_folder,
    is_judged_on_shared_classes,
    read_arrays,
    read_label_list,
)
from dalib.data.objects import (
    Items,
    channels_first,
    items_of,
    kind_of,
    labels_of,
    numbered,
    picture_of,
    some_names,
)
from dalib.data.rows import Concatenated, StreamedImages, digests_of
from dalib.data.spelling import Classes, united

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dalib.data.preprocessing import Preprocessing
    from dalib.data.rows import Rows

__all__ = (
    "BUILT_IN_LABELLED",
    "BUILT_IN_SOURCES",
    "BUILT_IN_TARGETS",
    "CachePolicy",
    "LabelledImages",
    "ReadingOptions",
    "UnlabelledImages",
    "listing_of",
    "open_labelled",
    "open_source",
    "open_target",
    "read_folder",
    "rows_of_arrays",
    "with_whole_numbers",
)

CachePolicy = Literal["ram", "disk", "off"]
"""Storage of decoded image files: in memory, in a file that is mapped and kept for the next run, or nowhere, each being
decoded once to see that it can be, and again whenever it is needed. Images that are no files are in memory under any
policy."""

BUILT_IN_SOURCES = ("fonts",)
BUILT_IN_TARGETS = ("digits",)
BUILT_IN_LABELLED = ("digits-held-out",)

_DIGIT_CLASSES = tuple("0123456789")
_RENDERED_DIGITS = 12_000
_MOST_IN_REPR = 10  # classes


@dataclass(frozen=True)
class UnlabelledImages:
    """Images of the target; there is no field for labels."""

    images: Rows
    """N rows of (C, size, size) uint8: a tensor, but where :func:`open_source` says otherwise."""
    names: tuple[str, ...]
    """N paths, or names where there are no files."""
    unreadable: tuple[Unreadable, ...] = ()
    left_out: tuple[Unreadable, ...] = ()
    """Files and folders that are no images by their names."""
    outside: Rows | None = None
    """Rows of further images that seem to be of none of the classes, where such are set apart for a training."""

    def __repr__(self) -> str:
        return f"UnlabelledImages({_rows_in_short(self.images)})"


@dataclass(frozen=True)
class LabelledImages:
    """Images of the source, or of a labelled evaluation set."""

    images: Rows
    """N rows of (C, size, size) uint8: a tensor, but where :func:`open_source` says otherwise."""
    labels: Tensor
    """(N,) int64, positions in ``classes``."""
    classes: tuple[str, ...]
    names: tuple[str, ...]
    unreadable: tuple[Unreadable, ...] = ()
    left_out: tuple[Unreadable, ...] = ()
    """Files and folders that are no images by their names."""

    def __repr__(self) -> str:
        counts = self.labels.bincount(minlength=len(self.classes)).tolist()
        each = some_of([f"{name} {count}" for name, count in zip(self.classes, counts, strict=False)], _MOST_IN_REPR)
        return f"LabelledImages({_rows_in_short(self.images)}, {len(self.classes)} classes: {each})"


def _rows_in_short(rows: Rows) -> str:
    """Returns how many rows there are, and their shape where it is known."""
    shape = getattr(rows, "shape", None)
    return f"{len(rows)} images" if shape is None else f"{len(rows)} images of {tuple(shape[1:])}"


class ReadingOptions(TypedDict, total=False):
    """Options that the open functions share, each with the default of :class:`Reading`."""

    strict: bool
    root: str | Path | None
    download: bool
    cache: CachePolicy
    cache_folder: str | Path | None
    allow_outside: bool
    on_progress: Callable[[int, int], None] | None
    on_note: Callable[[str], None] | None
    threads: int | None


@dataclass(frozen=True)
class Reading:
    """Options of one call; :func:`open_source` describes them.

    Attributes:
        argument: the argument that errors name.
    """

    preprocessing: Preprocessing
    argument: str
    strict: bool = False
    root: str | Path | None = None
    download: bool = False
    cache: CachePolicy = "ram"
    cache_folder: str | Path | None = None
    allow_outside: bool = False
    on_progress: Callable[[int, int], None] | None = None
    on_note: Callable[[str], None] | None = None
    threads: int | None = None

    def may_leave(self, where: str | Path) -> bool:
        """Returns whether the paths of a list may leave its folder."""
        return self.allow_outside or may_leave_its_folder(where)


def open_source(
    where: Any,
    preprocessing: Preprocessing,
    *,
    seed: int = 0,
    partner: Any = None,
    **options: Unpack[ReadingOptions],
) -> LabelledImages:
    """Opens the labelled source, or several: their images one after the other, their classes united by name.

    Args:
        where: one of these, or a list of them:

            * ``fonts`` (rendered digits) or a named set; a bare name is never a folder, ``./mnist`` is one;
            * a folder with a folder of images for each class, a list of files (:mod:`dalib.data.listing`),
              or shards (:mod:`dalib.data.shards`);
            * a pair ``(images, labels)`` of arrays or tensors: uint8 (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 or
              3 channels, and (N,) whole numbers, whose classes are then "0" to "K-1", or names;
            * a map-style data set of torch, of pairs (image, number of the class), with class names in ``.classes`` or
              none. An image is a PIL image, a uint8 array (H, W) or (H, W, C), a uint8 tensor (H, W) or (C, H, W), or
              floats on the scale [0, 1] in the same layout. Each is read once: random transforms are drawn once.
            * a :class:`dalib.data.listing.Listing` of files, as :func:`listing_of` gives it;
            * a data set of Hugging Face's ``datasets``, with one column of images and one of ``ClassLabel``, or one
              called ``label``.
        seed: seed of the digits that ``fonts`` draws.
        partner: the target; CIFAR-10 and STL-10 together are read with the classes that both have.
        strict: refuse unreadable images, which are left out otherwise.
        root: the folder that holds the named sets; None is ``data`` in the current directory.
        download: fetch a named set that is absent.
        cache: where decoded files are; ``'off'`` gives :class:`dalib.data.rows.StreamedImages` for ``images``, and
            several sources with ``'disk'`` or ``'off'`` a :class:`dalib.data.rows.Concatenated`.
        cache_folder: of ``cache='disk'``; None is :func:`dalib.data.cache.default_cache_folder`.
        allow_outside: let the paths of a list leave its folder.
        on_progress: called with (done, total) while files are decoded, from the first for each source.
        on_note: told what is worth knowing and no error, a sentence each.
        threads: threads that decode; None is one for each core.

    Raises:
        UserError: no such folder, fewer than two classes, a class without readable images, or, with ``strict``,
            any unreadable image; a named set that is absent or damaged, or one to test on; arrays of another shape.
    """
    reading = Reading(preprocessing, "source", **options)
    labelled = _unite(
        [_open_one_source(each, reading, seed, partner) for each in _as_list(where, "source")], reading.cache
    )
    require_two_classes(labelled.classes, where)
    return labelled


def require_two_classes(classes: Sequence[str], where: Any) -> None:
    """Refuses a source of one class; ``where`` is what :func:`open_source` takes.

    Raises:
        UserError: that.
    """
    if len(classes) < 2:
        raise UserError(
            Setting("source", _described(where)),
            f": expected at least two class folders, found one ({classes[0]}); give a folder that holds ",
            f"one folder of images for each class{_instead(where)}",
        )


def _instead(where: Any) -> str:
    only = where[0] if isinstance(where, list) and len(where) == 1 else where
    folder = only.where if isinstance(only, Listing) else only
    return hint_at_class_folders(Path(folder)) if isinstance(folder, str) and Path(folder).is_dir() else ""


def _open_one_source(where: Any, reading: Reading, seed: int, partner: Any) -> LabelledImages:
    if isinstance(where, Listing):
        return _read_labelled(where, reading)
    if not isinstance(where, str):
        return _open_object(where, reading)
    if where in BUILT_IN_SOURCES:
        pixels, digits = render_digits(_RENDERED_DIGITS, seed)
        return LabelledImages(
            rows_of_arrays(pixels[:, None], reading.preprocessing),
            torch.from_numpy(digits),
            _DIGIT_CLASSES,
            tuple(f"fonts/{digit}/{number:05d}" for number, digit in enumerate(digits)),
        )
    if where in NAMED:
        refuse_test_set(where, "source")
        return _open_named(where, reading, shared=_shared(where, partner))
    require_kept(where, "source")
    listing = list_labelled(where, argument="source", allow_outside=reading.may_leave(where))
    return _read_labelled(listing, reading)


def open_target(
    where: Any,
    preprocessing: Preprocessing,
    *,
    partner: Any = None,
    **options: Unpack[ReadingOptions],
) -> UnlabelledImages:
    """Opens the unlabelled target: ``digits`` (handwritten), a named set, or any folder of images, flat or nested.

    Args:
        where: as for :func:`open_source`, but labels are neither needed nor kept: a folder may be flat, a list may have
            paths alone, arrays come as ``images`` or ``(images, labels)``, and a data set may yield images alone.
        partner: the source; CIFAR-10 and STL-10 together are read without the class that the other lacks. This looks
            at the target's labels, as the paper's experiment does, and is all that they are used for.
        options: see :func:`open_source`.

    Raises:
        UserError: no such folder, no readable image in it, or, with ``strict``, any unreadable one; a named set that is
            absent or damaged, or one to test on; arrays of another shape.
    """
    reading = Reading(preprocessing, "target", **options)
    parts = [_open_one_target(each, reading, partner) for each in _as_list(where, "target")]
    if len(parts) == 1:
        return parts[0]
    return UnlabelledImages(
        _concatenate([part.images for part in parts], reading.cache),
        tuple(name for part in parts for name in part.names),
        tuple(each for part in parts for each in part.unreadable),
        tuple(each for part in parts for each in part.left_out),
    )


def _open_one_target(where: Any, reading: Reading, partner: Any) -> UnlabelledImages:
    if isinstance(where, Listing):
        return _read_unlabelled(where, reading)
    if not isinstance(where, str):
        return _open_object_unlabelled(where, reading)
    if where in BUILT_IN_TARGETS:
        pixels, _, _ = handwritten_digits()
        names = tuple(f"digits/{number:04d}" for number in range(len(pixels)))
        return UnlabelledImages(rows_of_arrays(pixels[:, None], reading.preprocessing), names)
    if where in NAMED:
        refuse_test_set(where, "target")
        if where in NAMED_AS_FILES:
            folder = image_folder(where, data_root(reading.root), argument="target")
            return _read_unlabelled(list_images(folder, argument="target"), reading)
        labelled = _open_named(where, reading, shared=_shared(where, partner))
        return UnlabelledImages(labelled.images, labelled.names, labelled.unreadable)
    require_kept(where, "target")
    return _read_unlabelled(list_images(where, argument="target", allow_outside=reading.may_leave(where)), reading)


def open_labelled(
    where: str,
    preprocessing: Preprocessing,
    classes: Sequence[str],
    *,
    argument: str = "data",
    others: bool = False,
    **options: Unpack[ReadingOptions],
) -> LabelledImages:
    """Opens a labelled set to evaluate a model with ``classes`` on: ``digits-held-out``, a named set, class folders,
    a list or shards.

    Labels are positions in the model's ``classes``, matched by name; classes may be missing. For a model of the classes
    that CIFAR-10 and STL-10 share, images of these two that are of another class are left out.

    Args:
        where: one set, by its name or path, as for :func:`open_source`; so are the options.
        argument: the argument that errors name.
        others: images of classes that the model does not know are of a class ``unknown``, after the model's.

    Raises:
        UserError: as :func:`open_source`, and a class whose name the model does not know, but with ``others``.
    """
    reading = Reading(preprocessing, argument, **options)
    if where in BUILT_IN_LABELLED:
        _, pixels, digits = handwritten_digits()
        labelled = LabelledImages(
            rows_of_arrays(pixels[:, None], preprocessing),
            torch.from_numpy(digits),
            _DIGIT_CLASSES,
            tuple(f"digits-held-out/{number:04d}" for number in range(len(pixels))),
        )
    elif where in NAMED:
        shared = is_judged_on_shared_classes(where, classes)
        labelled = _open_named(where, reading, shared=shared)
    else:
        require_kept(where, argument)
        listing = list_labelled(where, argument=argument, allow_outside=reading.may_leave(where), known=classes)
        labelled = _read_labelled(listing, reading)
    if others:
        known, classes = Classes(classes), with_unknown(classes)
        found = [known.find(name) for name in labelled.classes]
        positions = torch.tensor([len(classes) - 1 if each is None else each for each in found])
    else:
        positions = torch.tensor(positions_of_classes(labelled.classes, classes, argument, where))
    return LabelledImages(
        labelled.images,
        positions[labelled.labels],
        tuple(classes),
        labelled.names,
        labelled.unreadable,
        labelled.left_out,
    )


def positions_of_classes(names: Sequence[str], classes: Sequence[str], argument: str, where: str) -> list[int]:
    """Returns the positions in a model's ``classes`` of the classes of a labelled set, by their names.

    Raises:
        UserError: a class that the model does not know.
    """
    known = Classes(classes)
    unknown = [name for name in names if known.find(name) is None]
    if unknown:
        near = next((f" ({name!r}{nearest})" for name in unknown if (nearest := meant(name, classes))), "")
        raise UserError(
            Setting(argument, where),
            f": the model does not know the class folders {some_names(unknown)}; it was trained on ",
            f"{some_names(classes)}. Rename or remove them{near}",
        )
    return [position for name in names if (position := known.find(name)) is not None]


def listing_of(
    where: str, *, argument: str, labelled: bool, root: str | Path | None = None, allow_outside: bool = False
) -> Listing | None:
    """Lists the image files of a name or path, without decoding one; None if it has no files.

    Raises:
        UserError: as :func:`open_source` and :func:`open_target` of files.
    """
    if where in NAMED_AS_FILES:
        folder = image_folder(where, data_root(root), argument=argument)
        if where in ("mnist-m", "mnist-m-test"):
            return _mnist_m(folder, argument, labelled=labelled)
        return list_labelled(folder, argument=argument) if labelled else list_images(folder, argument=argument)
    if where in (*NAMED, *BUILT_IN_SOURCES, *BUILT_IN_TARGETS, *BUILT_IN_LABELLED):
        return None
    require_kept(where, argument)
    opener = list_labelled if labelled else list_images
    return opener(where, argument=argument, allow_outside=allow_outside or may_leave_its_folder(where))


def _mnist_m(folder: Path, argument: str, *, labelled: bool) -> Listing:
    if not labelled:
        return list_images(folder, argument=argument)
    paths, digits = read_label_list(folder, argument=argument)
    return Listing(str(folder), folder, tuple(paths), tuple(digits.tolist()), _DIGIT_CLASSES)


def _as_list(where: Any, argument: str) -> list[Any]:
    """Returns the things to open as a list; a list of them is several, and so is a tuple of names."""
    names = isinstance(where, tuple) and all(isinstance(each, str | os.PathLike) for each in where)
    several = list(where) if isinstance(where, list) or names else [where]
    if not several:
        raise UserError(Setting(argument), ": expected at least one folder, list or data set, got none")
    return [os.fspath(each) if isinstance(each, os.PathLike) else each for each in several]


def _described(where: Any) -> str:
    if isinstance(where, list):
        return ", ".join(map(_described, where))
    if isinstance(where, Listing):
        return where.where
    return where if isinstance(where, str) else str(where) if isinstance(where, os.PathLike) else kind_of(where)


def _shared(where: str, partner: Any) -> bool:
    return isinstance(partner, str) and have_shared_classes(where, partner)


def _unite(parts: Sequence[LabelledImages], cache: CachePolicy) -> LabelledImages:
    """Concatenates the parts, with all of their classes, sorted by name unless there is only one part."""
    if len(parts) == 1:
        return parts[0]
    classes, positions = united([part.classes for part in parts])
    labels = [torch.tensor(own)[part.labels] for own, part in zip(positions, parts, strict=True)]
    return LabelledImages(
        _concatenate([part.images for part in parts], cache),
        torch.cat(labels),
        classes,
        tuple(name for part in parts for name in part.names),
        tuple(each for part in parts for each in part.unreadable),
        tuple(each for part in parts for each in part.left_out),
    )


def _concatenate(parts: Sequence[Rows], cache: CachePolicy) -> Rows:
    """Concatenates the rows of all parts. It loads nothing that is mapped or streamed; a mapped tensor looks like any
    other.
    """
    tensors = [part for part in parts if isinstance(part, Tensor)]
    return torch.cat(tensors) if cache == "ram" and len(tensors) == len(parts) else Concatenated(parts)


def refuse_test_set(name: str, argument: str) -> None:
    """Refuses to train on a named set that is one to test on.

    Raises:
        UserError: that.
    """
    if name in NAMED_TESTS:
        raise UserError(
            Setting(argument, name), f": a test set is for evaluation alone; train on {name.removesuffix('-test')}"
        )


def _open_named(name: str, reading: Reading, *, shared: bool) -> LabelledImages:
    """Opens a named set with its own classes, or, if ``shared``, with those that CIFAR-10 and STL-10 have in common."""
    preprocessing, argument, root = reading.preprocessing, reading.argument, data_root(reading.root)
    if name not in NAMED_AS_FILES:
        arrays = read_arrays(name, root, argument=argument, download=reading.download, shared=shared)
        pixels = arrays.pixels
        if pixels.shape[2:] == (28, 28) and preprocessing.size == 32:  # the paper pads MNIST for pairs of 32 pixels
            pixels = np.pad(pixels, ((0, 0), (0, 0), (2, 2), (2, 2)))
        rows = rows_of_arrays(pixels, preprocessing)
        return LabelledImages(rows, torch.from_numpy(arrays.labels), arrays.classes, arrays.names)
    folder = image_folder(name, root, argument=argument)
    if name not in ("mnist-m", "mnist-m-test"):
        return _read_labelled(list_labelled(folder, argument=argument), reading)
    listing = _mnist_m(folder, argument, labelled=True)
    images, kept, names, unreadable = _read_some(listing, reading)
    return LabelledImages(images, torch.tensor(listing.labels)[kept], _DIGIT_CLASSES, names, unreadable)


def read_folder(
    where: str | Path, preprocessing: Preprocessing, *, argument: str, **options: Unpack[ReadingOptions]
) -> UnlabelledImages:
    """Reads every image below a folder, in the order of the paths, or of a list; folder names mean nothing.

    The options are those of :func:`open_source` that files have a use for.
    """
    reading = Reading(preprocessing, argument, **options)
    return _read_unlabelled(list_images(where, argument=argument, allow_outside=reading.may_leave(where)), reading)


def _read_labelled(listing: Listing, reading: Reading) -> LabelledImages:
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


def _read_unlabelled(listing: Listing, reading: Reading) -> UnlabelledImages:
    images, _, names, unreadable = _read_some(listing, reading)
    return UnlabelledImages(images, names, unreadable, listing.left_out)


def _read_some(listing: Listing, reading: Reading) -> tuple[Rows, Tensor, tuple[str, ...], tuple[Unreadable, ...]]:
    """Reads images, their positions in the listing, their names and the unreadable ones; at least one image."""
    images, kept, unreadable = _rows_of_files(listing, reading)
    if not len(kept):
        raise UserError(
            Setting(reading.argument, listing.where),
            f": none of its {len(listing.paths)} images can be read (for instance {unreadable[0].path}: ",
            f"{unreadable[0].reason})",
        )
    return images, kept, tuple(str(listing.paths[index]) for index in kept.tolist()), unreadable


def _rows_of_files(listing: Listing, reading: Reading) -> tuple[Rows, Tensor, tuple[Unreadable, ...]]:
    """Reads images, their positions in the listing and the unreadable ones; with ``strict`` none may be unreadable."""
    for note in listing.notes:
        if reading.on_note is not None:
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
    _judge_unreadable(unreadable, reading.argument, listing.where, reading.strict)
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
        return torch.from_numpy(np.ascontiguousarray(same))
    # PIL knows a grey image by having no axis for channels
    images = pixels[:, 0] if pixels.shape[1] == 1 else pixels.transpose(0, 2, 3, 1)
    rows = np.empty((len(images), channels, size, size), np.uint8)
    for number, image in enumerate(images):
        rows[number] = preprocessing.pixels(Image.fromarray(image))
    return torch.from_numpy(rows)


def _open_object(where: Any, reading: Reading) -> LabelledImages:
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


def _open_object_unlabelled(where: Any, reading: Reading) -> UnlabelledImages:
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
    _judge_unreadable(unreadable, reading.argument, items.name, reading.strict)
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
        raise UserError(f"{what}: no image, or none that can be read, of the classes {some_names(absent)}")


def _judge_unreadable(unreadable: Sequence[Unreadable], argument: str, where: str, strict: bool) -> None:
    if unreadable and strict:
        listed = "; ".join(f"{each.path}: {each.reason}" for each in unreadable[:5])
        more = f"; and {len(unreadable) - 5} more" if len(unreadable) > 5 else ""
        raise UserError(
            Setting(argument, where),
            f": {len(unreadable)} images cannot be read: {listed}{more}. Mend or remove them, or leave out ",
            Setting("strict"),
            " to skip them",
        )
