"""What a user points at, brought to rows of uint8 images: folders, built-in digits, named data sets.

Labels come from the source's folder names. A target's folders are read as a heap of images, whatever their names.
A bare name such as ``mnist`` is always the data set of that name; a folder called so is given as ``./mnist``.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dalib.data.digits import handwritten_digits, render_digits
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
from dalib.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dalib.data.preprocessing import Preprocessing

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")

BUILT_IN_SOURCES = ("fonts",)
BUILT_IN_TARGETS = ("digits",)
BUILT_IN_LABELLED = ("digits-held-out",)

_DIGIT_CLASSES = tuple("0123456789")
_RENDERED = 12_000


@dataclass(frozen=True)
class Unreadable:
    """An image file that could not be decoded."""

    path: str
    reason: str


@dataclass(frozen=True)
class UnlabelledImages:
    """Images of the target: there is no field for labels."""

    images: Tensor
    """(N, C, size, size) uint8."""
    names: tuple[str, ...]
    """N paths, or names where there are no files."""
    unreadable: tuple[Unreadable, ...] = ()


@dataclass(frozen=True)
class LabelledImages:
    """Images of the source, or of a labelled set to evaluate on."""

    images: Tensor
    """(N, C, size, size) uint8."""
    labels: Tensor
    """(N,) int64, positions in ``classes``."""
    classes: tuple[str, ...]
    names: tuple[str, ...]
    unreadable: tuple[Unreadable, ...] = ()


def open_source(
    where: str,
    preprocessing: Preprocessing,
    *,
    seed: int = 0,
    strict: bool = False,
    root: str | Path | None = None,
    download: bool = False,
    partner: str | None = None,
) -> LabelledImages:
    """The labelled source: ``fonts`` (rendered digits), a named set, or a folder with a folder for each class.

    Args:
        where: a bare name is never a folder; ``./mnist`` is one.
        root: the folder that holds the named sets; None is ``data`` in the current directory.
        download: fetch a named set that is absent.
        partner: the target; CIFAR-10 and STL-10 together are read with the classes that both have.

    Raises:
        UserError: no such folder, fewer than two classes, a class without readable images, or, with ``strict``,
            any unreadable image; a named set that is absent or damaged, or one to test on.
    """
    if where in BUILT_IN_SOURCES:
        pixels, digits = render_digits(_RENDERED, seed)
        return LabelledImages(
            rows_of_arrays(pixels[:, None], preprocessing),
            torch.from_numpy(digits),
            _DIGIT_CLASSES,
            tuple(f"fonts/{digit}/{number:05d}" for number, digit in enumerate(digits)),
        )
    if where in NAMED:
        _refuse_test_set(where, "--source")
        shared = have_shared_classes(where, partner)
        return _open_named(
            where, preprocessing, data_root(root), argument="--source", strict=strict, download=download, shared=shared
        )
    labelled = read_class_folders(Path(where), preprocessing, argument="--source", strict=strict)
    if len(labelled.classes) < 2:
        raise UserError(
            f"--source {where}: expected at least two class folders, found one ({labelled.classes[0]}); "
            "give a folder that holds one folder of images for each class"
        )
    return labelled


def open_target(
    where: str,
    preprocessing: Preprocessing,
    *,
    strict: bool = False,
    root: str | Path | None = None,
    download: bool = False,
    partner: str | None = None,
) -> UnlabelledImages:
    """The unlabelled target: ``digits`` (handwritten), a named set, or any folder of images, flat or nested.

    Args:
        where, root, download: as for :func:`open_source`.
        partner: the source; CIFAR-10 and STL-10 together are read without the class that the other lacks. This looks
            at the target's labels, as the paper's experiment does, and is all that they are used for.

    Raises:
        UserError: no such folder, no readable image in it, or, with ``strict``, any unreadable one; a named set that is
            absent or damaged, or one to test on.
    """
    if where in BUILT_IN_TARGETS:
        pixels, _, _ = handwritten_digits()
        names = tuple(f"digits/{number:04d}" for number in range(len(pixels)))
        return UnlabelledImages(rows_of_arrays(pixels[:, None], preprocessing), names)
    if where in NAMED:
        _refuse_test_set(where, "--target")
        if where in NAMED_AS_FILES:
            folder = image_folder(where, data_root(root), argument="--target")
            return read_folder(folder, preprocessing, argument="--target", strict=strict)
        shared = have_shared_classes(where, partner)
        labelled = _open_named(
            where, preprocessing, data_root(root), argument="--target", strict=strict, download=download, shared=shared
        )
        return UnlabelledImages(labelled.images, labelled.names, labelled.unreadable)
    return read_folder(Path(where), preprocessing, argument="--target", strict=strict)


def open_labelled(
    where: str,
    preprocessing: Preprocessing,
    classes: Sequence[str],
    *,
    argument: str = "--data",
    strict: bool = False,
    root: str | Path | None = None,
    download: bool = False,
) -> LabelledImages:
    """A labelled set to evaluate a model with ``classes`` on: ``digits-held-out``, a named set, or class folders.

    Labels are positions in the model's ``classes``, matched by name; classes may be missing. For a model of the classes
    that CIFAR-10 and STL-10 share, images of these two that are of another class are left out.

    Args:
        where, root, download: as for :func:`open_source`.
        argument: the argument that errors name.

    Raises:
        UserError: as :func:`open_source`, and a class whose name the model does not know.
    """
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
        labelled = _open_named(
            where, preprocessing, data_root(root), argument=argument, strict=strict, download=download, shared=shared
        )
    else:
        labelled = read_class_folders(Path(where), preprocessing, argument=argument, strict=strict)
    unknown = [name for name in labelled.classes if name not in classes]
    if unknown:
        raise UserError(
            f"{argument} {where}: the model does not know the class folders {_some(unknown)}; "
            f"it was trained on {_some(classes)}. Rename or remove them"
        )
    positions = torch.tensor([classes.index(name) for name in labelled.classes])
    return LabelledImages(
        labelled.images, positions[labelled.labels], tuple(classes), labelled.names, labelled.unreadable
    )


def _refuse_test_set(name: str, argument: str) -> None:
    if name in NAMED_TESTS:
        raise UserError(f"{argument} {name}: a test set is for evaluation alone; train on {name.removesuffix('-test')}")


def _open_named(
    name: str,
    preprocessing: Preprocessing,
    root: Path,
    *,
    argument: str,
    strict: bool,
    download: bool,
    shared: bool,
) -> LabelledImages:
    """A named set with its own classes, or, ``shared``, those that CIFAR-10 and STL-10 have in common."""
    if name not in NAMED_AS_FILES:
        arrays = read_arrays(name, root, argument=argument, download=download, shared=shared)
        pixels = arrays.pixels
        if pixels.shape[2:] == (28, 28) and preprocessing.size == 32:  # the paper pads MNIST for pairs of 32 pixels
            pixels = np.pad(pixels, ((0, 0), (0, 0), (2, 2), (2, 2)))
        images = rows_of_arrays(pixels, preprocessing)
        return LabelledImages(images, torch.from_numpy(arrays.labels), arrays.classes, arrays.names)
    folder = image_folder(name, root, argument=argument)
    if name not in ("mnist-m", "mnist-m-test"):
        return read_class_folders(folder, preprocessing, argument=argument, strict=strict)
    paths, digits = read_label_list(folder, argument=argument)
    images, kept, names, unreadable = _read_some(paths, preprocessing, argument, folder, strict)
    return LabelledImages(images, torch.from_numpy(digits)[kept], _DIGIT_CLASSES, names, unreadable)


def read_class_folders(
    root: Path, preprocessing: Preprocessing, *, argument: str, strict: bool = False
) -> LabelledImages:
    """Images of ``root/<class>/...``, with the folders' names, sorted, as classes."""
    _require_folder(root, argument)
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not folders:
        raise UserError(
            f"{argument} {root}: expected one folder of images for each class, found no folder in it; "
            "move the images of each class into a folder with the class's name"
        )
    paths: list[Path] = []
    labels: list[int] = []
    for label, folder in enumerate(folders):
        found = list(image_files(folder))
        if not found:
            raise UserError(
                f"{argument} {root}: the class folder {folder.name!r} holds no image "
                f"({', '.join(IMAGE_ENDINGS)}); add some or remove the folder"
            )
        paths += found
        labels += [label] * len(found)
    images, kept, unreadable = decode(paths, preprocessing)
    _judge_unreadable(unreadable, argument, root, strict)
    kept_labels = torch.tensor(labels)[kept]
    for label, folder in enumerate(folders):
        if not bool((kept_labels == label).any()):
            raise UserError(
                f"{argument} {root}: no image of the class folder {folder.name!r} can be read "
                f"(for instance {unreadable[0].path}: {unreadable[0].reason})"
            )
    names = tuple(str(paths[index]) for index in kept.tolist())
    return LabelledImages(images, kept_labels, tuple(folder.name for folder in folders), names, unreadable)


def read_folder(root: Path, preprocessing: Preprocessing, *, argument: str, strict: bool = False) -> UnlabelledImages:
    """Every image below ``root``, in the order of the paths; folder names mean nothing."""
    _require_folder(root, argument)
    paths = list(image_files(root))
    if not paths:
        raise UserError(
            f"{argument} {root}: expected images ({', '.join(IMAGE_ENDINGS)}), found none in it or below it"
        )
    images, _, names, unreadable = _read_some(paths, preprocessing, argument, root, strict)
    return UnlabelledImages(images, names, unreadable)


def image_files(root: Path) -> Iterator[Path]:
    """Files below ``root`` with an image's ending, sorted, without hidden ones; follows links, but no loop of them."""
    seen: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        status = os.stat(folder)  # noqa: PTH116
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(IMAGE_ENDINGS) and not name.startswith("."):
                yield Path(folder) / name


def decode(
    paths: Sequence[Path], preprocessing: Preprocessing, on_decoded: Callable[[], None] | None = None
) -> tuple[Tensor, Tensor, tuple[Unreadable, ...]]:
    """Read image files with a pool of threads (PIL releases the GIL while it decodes).

    Returns:
        (K, C, size, size) uint8 images, (K,) int64 positions in ``paths`` of those that could be read, in order, and
        the others with the reason. A truncated file counts as unreadable.

    Raises:
        UserError: the decoded images would not fit the free memory.
    """
    shape = (len(paths), preprocessing.channels, preprocessing.size, preprocessing.size)
    _require_memory(int(np.prod(shape)))
    pixels = np.empty(shape, dtype=np.uint8)

    def read(position: int) -> Unreadable | None:
        try:
            with Image.open(paths[position]) as image:
                pixels[position] = preprocessing.pixels(image)
        except Exception as error:  # decoders raise whatever they like: every failure is listed, none stops the run
            return Unreadable(str(paths[position]), str(error) or type(error).__name__)
        finally:
            if on_decoded is not None:
                on_decoded()
        return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        failures = list(pool.map(read, range(len(paths))))
    kept = torch.tensor([index for index, failure in enumerate(failures) if failure is None], dtype=torch.int64)
    unreadable = tuple(failure for failure in failures if failure is not None)
    images = torch.from_numpy(pixels)
    return (images[kept] if unreadable else images), kept, unreadable


def rows_of_arrays(pixels: np.ndarray, preprocessing: Preprocessing) -> Tensor:
    """(N, 1 or 3, H, W) uint8 -> (N, C, size, size) uint8, equal to what files with these pixels become.

    Images that only need their channel repeated, or nothing, do not go through PIL one by one.

    Raises:
        UserError: the rows would not fit the free memory.
    """
    size, channels = preprocessing.size, preprocessing.channels
    _require_memory(len(pixels) * channels * size * size)
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


def _read_some(
    paths: Sequence[Path], preprocessing: Preprocessing, argument: str, root: Path, strict: bool
) -> tuple[Tensor, Tensor, tuple[str, ...], tuple[Unreadable, ...]]:
    """Images, their positions in ``paths``, their names and the others; at least one image, with ``strict`` all."""
    images, kept, unreadable = decode(paths, preprocessing)
    _judge_unreadable(unreadable, argument, root, strict)
    if not len(kept):
        raise UserError(
            f"{argument} {root}: none of its {len(paths)} images can be read "
            f"(for instance {unreadable[0].path}: {unreadable[0].reason})"
        )
    return images, kept, tuple(str(paths[index]) for index in kept.tolist()), unreadable


def _require_folder(root: Path, argument: str) -> None:
    if not root.exists():
        raise UserError(f"{argument} {root}: no such folder")
    if not root.is_dir():
        raise UserError(f"{argument} {root}: expected a folder, this is a file")


def _judge_unreadable(unreadable: Sequence[Unreadable], argument: str, root: Path, strict: bool) -> None:
    if unreadable and strict:
        listed = "; ".join(f"{each.path}: {each.reason}" for each in unreadable[:5])
        more = f"; and {len(unreadable) - 5} more" if len(unreadable) > 5 else ""
        raise UserError(
            f"{argument} {root}: {len(unreadable)} images cannot be read: {listed}{more}. "
            "Mend or remove them, or leave out --strict to skip them"
        )


def _require_memory(needed: int) -> None:
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):  # not every system tells
        return
    if needed > 0.9 * free:
        raise UserError(
            f"the decoded images need {needed / 2**30:.1f} GiB of memory and {free / 2**30:.1f} GiB are free; "
            "use a smaller --data.size or fewer images"
        )


def _some(names: Sequence[str], most: int = 10) -> str:
    return ", ".join(map(repr, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")
