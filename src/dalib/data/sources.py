"""Opens what a user names as rows of uint8 images: folders, lists, named data sets, arrays, data sets in memory.

Labels come from the source's folder names, or from its list. A target's folders are read as a heap of images, whatever
their names, and its labels, if it has any, are not kept.
A bare name such as ``mnist`` is always the data set of that name; a folder called so is given as ``./mnist``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import torch
from torch import Tensor

from dalib.core.errors import Setting, UserError
from dalib.core.words import meant, some_quoted, with_unknown
from dalib.data.digits import handwritten_digits, render_digits
from dalib.data.domain_images import LabelledImages, UnlabelledImages
from dalib.data.file_rows import read_labelled, read_some, read_unlabelled
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
from dalib.data.object_rows import open_object, open_object_unlabelled, rows_of_arrays
from dalib.data.objects import kind_of
from dalib.data.reading_options import Reading
from dalib.data.rows import Concatenated
from dalib.data.spelling import Classes, united

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dalib.data.preprocessing import Preprocessing
    from dalib.data.reading_options import CachePolicy, ReadingOptions
    from dalib.data.rows import Rows

__all__ = (
    "BUILT_IN_LABELLED",
    "BUILT_IN_SOURCES",
    "BUILT_IN_TARGETS",
    "listing_of",
    "open_labelled",
    "open_source",
    "open_target",
)

BUILT_IN_SOURCES = ("fonts",)
BUILT_IN_TARGETS = ("digits",)
BUILT_IN_LABELLED = ("digits-held-out",)

_DIGIT_CLASSES = tuple("0123456789")
_RENDERED_DIGITS = 12_000


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
        on_note: called with a sentence about what is worth knowing and no error.
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
    if len(classes) >= 2:
        return
    setting = Setting("source", _described(where))
    if not any(map(_is_folder, where if isinstance(where, list) else [where])):
        raise UserError(
            setting, f": expected images of at least two classes, found one ({classes[0]}); add images of another class"
        )
    raise UserError(
        setting,
        f": expected at least two class folders, found one ({classes[0]}); give a folder that holds ",
        f"one folder of images for each class{_instead(where)}",
    )


def _is_folder(where: Any) -> bool:
    """Returns whether a source is a folder, whose folders are the classes, and no list of files or objects."""
    place = where.where if isinstance(where, Listing) else where
    return isinstance(place, str | Path) and Path(place).is_dir()


def _instead(where: Any) -> str:
    only = where[0] if isinstance(where, list) and len(where) == 1 else where
    folder = only.where if isinstance(only, Listing) else only
    return hint_at_class_folders(Path(folder)) if isinstance(folder, str) and Path(folder).is_dir() else ""


def _open_one_source(where: Any, reading: Reading, seed: int, partner: Any) -> LabelledImages:
    if isinstance(where, Listing):
        return read_labelled(where, reading)
    if not isinstance(where, str):
        return open_object(where, reading)
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
    return read_labelled(listing, reading)


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
        return read_unlabelled(where, reading)
    if not isinstance(where, str):
        return open_object_unlabelled(where, reading)
    if where in BUILT_IN_TARGETS:
        pixels, _, _ = handwritten_digits()
        names = tuple(f"digits/{number:04d}" for number in range(len(pixels)))
        return UnlabelledImages(rows_of_arrays(pixels[:, None], reading.preprocessing), names)
    if where in NAMED:
        refuse_test_set(where, "target")
        if where in NAMED_AS_FILES:
            folder = image_folder(where, data_root(reading.root), argument="target")
            return read_unlabelled(list_images(folder, argument="target"), reading)
        labelled = _open_named(where, reading, shared=_shared(where, partner))
        return UnlabelledImages(labelled.images, labelled.names, labelled.unreadable)
    require_kept(where, "target")
    return read_unlabelled(list_images(where, argument="target", allow_outside=reading.may_leave(where)), reading)


def open_labelled(
    where: str,
    preprocessing: Preprocessing,
    classes: Sequence[str],
    *,
    argument: str = "data",
    others: bool = False,
    of_run: bool = True,
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
        of_run: the classes are those of a run, and not of models of other origin.

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
        labelled = read_labelled(listing, reading)
    if others:
        known, classes = Classes(classes), with_unknown(classes)
        found = [known.find(name) for name in labelled.classes]
        positions = torch.tensor([len(classes) - 1 if each is None else each for each in found])
    else:
        positions = torch.tensor(positions_of_classes(labelled.classes, classes, argument, where, of_run=of_run))
    return LabelledImages(
        labelled.images,
        positions[labelled.labels],
        tuple(classes),
        labelled.names,
        labelled.unreadable,
        labelled.left_out,
    )


def positions_of_classes(
    names: Sequence[str], classes: Sequence[str], argument: str, where: str, *, of_run: bool = True
) -> list[int]:
    """Returns the positions in a model's ``classes`` of the classes of a labelled set, by their names.

    Args:
        argument, where: name and value in errors.
        of_run: the model is that of a run; False for several of other origin, which no run was trained for.

    Raises:
        UserError: a class that the model does not know.
    """
    known = Classes(classes)
    unknown = [name for name in names if known.find(name) is None]
    if unknown:
        near = next((f" ({name!r}{nearest})" for name in unknown if (nearest := meant(name, classes))), "")
        what, remedy = "class folders", "Rename or remove them"
        if not _is_folder(where):
            what = "classes" if len(unknown) > 1 else "class"
            remedy = "Give these images one of its classes, or leave them out"
        if not of_run:
            raise UserError(
                Setting(argument, where),
                f": the models do not know the {what} {some_quoted(unknown)}; their classes are "
                f"{some_quoted(classes)}. {remedy}{near}",
            )
        raise UserError(
            Setting(argument, where),
            f": the model does not know the {what} {some_quoted(unknown)}; it was trained on ",
            f"{some_quoted(classes)}. {remedy}{near}. Images of none of them take a run that was trained with ",
            Setting("classes", "other"),
        )
    return [position for name in names if (position := known.find(name)) is not None]


def listing_of(where: str, *, argument: str, labelled: bool, root: str | Path | None = None) -> Listing | None:
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
    return opener(where, argument=argument, allow_outside=may_leave_its_folder(where))


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
        return read_labelled(list_labelled(folder, argument=argument), reading)
    listing = _mnist_m(folder, argument, labelled=True)
    images, kept, names, unreadable = read_some(listing, reading)
    return LabelledImages(images, torch.tensor(listing.labels)[kept], _DIGIT_CLASSES, names, unreadable)
