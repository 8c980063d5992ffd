"""Named data sets of the literature: their names, their shapes, and arrays from their files.

``mnist`` is a training split and ``mnist-test`` its labelled test set; the domains of ``office31`` have no split.
Files are looked for below one root, in the folders that torchvision uses where it knows the set:

=====================================  ================================================================
``mnist``, ``fashion-mnist``           ``MNIST/raw``, ``FashionMNIST/raw``
``usps``                               ``USPS/usps.bz2``, ``usps.t.bz2``, or these in the root
``svhn``                               ``SVHN/train_32x32.mat``, ``test_32x32.mat``, or these in the root
``cifar10``, ``stl10``                 ``cifar-10-batches-py``, ``stl10_binary``
``mnist-m``                            ``mnist_m``, as its authors distribute it
``office31/amazon`` (dslr, webcam)     ``office31/amazon/images/<class>/*.jpg``
=====================================  ================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dalib.core.errors import Setting, UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Bytes = NDArray[np.uint8]
Labels = NDArray[np.int64]

_SHAPES = {  # (size, channels) as published; the photographs of office31 have many sizes
    "mnist": (28, 1),
    "usps": (16, 1),
    "svhn": (32, 3),
    "mnist-m": (32, 3),
    "fashion-mnist": (28, 1),
    "cifar10": (32, 3),
    "stl10": (96, 3),
    "office31/amazon": (224, 3),
    "office31/dslr": (224, 3),
    "office31/webcam": (224, 3),
}

NAMED_TRAINING = tuple(_SHAPES)
"""Names of possible sources and targets."""
NAMED_TESTS = tuple(f"{name}-test" for name in _SHAPES if not name.startswith("office31/"))
"""Test sets, for evaluation alone."""
NAMED = NAMED_TRAINING + NAMED_TESTS

NAMED_AS_FILES = ("mnist-m", "mnist-m-test", "office31/amazon", "office31/dslr", "office31/webcam")
"""Published as image files; the others are arrays."""

_DIGITS = tuple("0123456789")
_CLASSES = {
    "mnist": _DIGITS,
    "usps": _DIGITS,
    "svhn": _DIGITS,
    "mnist-m": _DIGITS,
    "fashion-mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    "stl10": ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"),
}

SHARED_CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "ship", "truck")
"""Classes that CIFAR-10 and STL-10 share, by STL's names: CIFAR's frog and STL's monkey have no counterpart."""
_SHARING = ("cifar10", "stl10")

_IDX_FOLDERS = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}


@dataclass(frozen=True)
class NamedArrays:
    """A named data set that is published as arrays."""

    pixels: Bytes
    """(N, C, H, W) uint8, the published size and channels."""
    labels: Labels
    """(N,) int64, positions in ``classes``."""
    classes: tuple[str, ...]
    names: tuple[str, ...]
    """``mnist/00012`` is the image at position 12 of the published file."""


def native_size(name: str) -> int:
    """Returns height and width in pixels as published; 224 for office31, whose photographs have many sizes.

    Raises:
        ValueError: no named set.
    """
    return _shape(name)[0]


def native_channels(name: str) -> int:
    """Returns 1 (grey) or 3 (RGB) as published.

    Raises:
        ValueError: no named set.
    """
    return _shape(name)[1]


def shape_of_pair(source: str, target: str) -> tuple[int, int] | None:
    """Returns the default (size, channels) for training on a pair; None if neither is a named set.

    Beside a user's folder the named set keeps its own. Two grey sets meet at 28 pixels and one channel, others at three
    channels and the paper's 32 pixels, or at 224 with office31.

    >>> shape_of_pair("mnist", "usps"), shape_of_pair("svhn", "mnist"), shape_of_pair("photos/", "usps")
    ((28, 1), (32, 3), (16, 1))
    """
    named = [_SHAPES[_set_of(name)] for name in (source, target) if name in NAMED]
    built_in = [name for name in (source, target) if name in ("fonts", "digits")]
    if not named:
        return None
    if len(named) + len(built_in) == 1:
        return named[0]
    channels = max(channels for _, channels in named)
    if channels == 1:
        return 28, 1
    return (32 if any(size in (32, 96) for size, _ in named) else 224), channels


def default_evaluation(target: str) -> str | None:
    """Returns the labelled set of a target: its test set, for office31 the domain itself, None for a folder.

    >>> default_evaluation("usps"), default_evaluation("office31/webcam"), default_evaluation("photos/")
    ('usps-test', 'office31/webcam', None)
    """
    if target == "digits":
        return "digits-held-out"
    if f"{target}-test" in NAMED_TESTS:
        return f"{target}-test"
    return target if target in NAMED_TRAINING else None


def have_shared_classes(name: str, partner: str | None) -> bool:
    """Returns whether the two are CIFAR-10 and STL-10, which are trained on :data:`SHARED_CLASSES` alone."""
    return partner is not None and {_set_of(name), _set_of(partner)} == set(_SHARING)


def is_judged_on_shared_classes(name: str, classes: Sequence[str]) -> bool:
    """Returns whether ``name`` is CIFAR-10 or STL-10 and a model with ``classes`` was trained on that pair."""
    return _set_of(name) in _SHARING and set(classes) == set(SHARED_CLASSES)


def data_root(root: str | Path | None) -> Path:
    """Returns the folder of named data sets: ``root``, or ``data`` in the current directory."""
    return Path("data" if root is None else root).expanduser()


def read_arrays(name: str, root: Path, *, argument: str, download: bool = False, shared: bool = False) -> NamedArrays:
    """Reads a named set that is published as arrays: all but mnist-m and office31.

    Args:
        root: the folder that holds the data sets.
        argument: the argument that errors name, such as ``source``.
        download: let torchvision fetch what is absent, and what it finds damaged.
        shared: keep :data:`SHARED_CLASSES` alone, under STL's names. Of a target this uses the labels, to leave out the
            class that the source lacks as the paper does, and for nothing else.

    Raises:
        UserError: files that are absent, not as published, unreadable or cannot be downloaded, or no torchvision.
    """
    datasets = _torchvision(name, argument)
    files = _published_files(datasets, name, root)
    missing = [path for path in files if not path.is_file()]
    if missing and not download:
        raise _absent(name, argument, missing, root, downloadable=True)
    try:
        pixels, labels = _load(datasets, name, root, list(files), download)
        _check_arrays(name, pixels, labels)
    except Exception as error:  # torchvision and damaged files raise whatever they like
        damaged = [path for path, md5 in files.items() if not _is_published(datasets, path, md5)]
        raise UserError(Setting(argument, name), f": {_reason(error, files, damaged, download)}") from error
    classes = _CLASSES[_set_of(name)]
    digits = len(str(len(labels) - 1))
    names = tuple(f"{name}/{number:0{digits}d}" for number in range(len(labels)))
    if shared:
        own = ["car" if each == "automobile" else each for each in classes]
        moved = [SHARED_CLASSES.index(each) if each in SHARED_CLASSES else -1 for each in own]
        labels = np.array(moved, np.int64)[labels]
        kept = labels >= 0
        names = tuple(names[number] for number in np.flatnonzero(kept))
        pixels, labels, classes = pixels[kept], labels[kept], SHARED_CLASSES
    return NamedArrays(pixels, labels, classes, names)


def require_files(name: str, root: Path, *, argument: str, download: bool = False) -> None:
    """Refuses a named set whose files are not there, without reading them; with ``download`` they may be absent.

    Raises:
        UserError: that, or no torchvision.
    """
    if name in NAMED_AS_FILES:
        image_folder(name, root, argument=argument)
        return
    missing = [path for path in _published_files(_torchvision(name, argument), name, root) if not path.is_file()]
    if missing and not download:
        raise _absent(name, argument, missing, root, downloadable=True)


def image_folder(name: str, root: Path, *, argument: str) -> Path:
    """Returns the image folder of a named set that is published as image files: mnist-m and office31.

    office31 has a folder of images for each class in it; mnist-m keeps its labels in a list beside it.

    Raises:
        UserError: it is absent, or the list beside it.
    """
    base = _set_of(name)
    if base != "mnist-m":
        folder = root / base / "images"
        if not folder.is_dir():
            raise _absent(name, argument, [folder / "<class>" / "*.jpg"], root, downloadable=False)
        return folder
    folder = _mnist_m_folder(name, root)
    absent = [folder / "*.png"] if not folder.is_dir() else []
    if not _label_list(folder).is_file():
        absent.append(_label_list(folder))
    if absent:
        raise _absent(name, argument, absent, root, downloadable=False)
    return folder


def read_label_list(folder: Path, *, argument: str) -> tuple[list[Path], Labels]:
    """Returns the images of mnist-m and their (N,) int64 digits, from the list beside their folder.

    A line is a file's name and its digit: ``00000000.png 5``.

    Raises:
        UserError: a list that cannot be read, is empty, or has another line; a name that leaves the folder.
    """
    path = _label_list(folder)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(Setting(argument, path), f": cannot be read ({error})") from error
    paths, labels = [], []
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if (
            len(fields) != 2
            or fields[0] in (".", "..")
            or Path(fields[0]).name != fields[0]
            or fields[1] not in _DIGITS
        ):
            raise UserError(
                Setting(argument, path),
                f", line {number}: expected the name of a file in {folder.name} and a digit, such as ",
                f"'00000000.png 5'; got {line!r}",
            )
        paths.append(folder / fields[0])
        labels.append(int(fields[1]))
    if not paths:
        raise UserError(Setting(argument, path), ": expected lines such as '00000000.png 5', found none")
    return paths, np.array(labels, np.int64)


def _set_of(name: str) -> str:
    return name.removesuffix("-test")


def _shape(name: str) -> tuple[int, int]:
    if name not in NAMED:
        raise ValueError(f"name: expected one of {', '.join(NAMED)}; got {name!r}")
    return _SHAPES[_set_of(name)]


def _torchvision(name: str, argument: str) -> Any:
    try:
        from torchvision import datasets  # here, because it takes two seconds
    except ImportError as error:
        raise UserError(
            Setting(argument, name),
            f": torchvision reads this set and cannot be imported ({error}); ",
            "pip install -U torchvision, in the version for this torch, or give a folder of images",
        ) from error
    return datasets


def _published_files(datasets: Any, name: str, root: Path) -> dict[Path, str | None]:
    """Returns the files that torchvision needs, each with the md5 that it verifies before it reads the file.

    It verifies the archives of MNIST and Fashion-MNIST when it downloads them, and not the files that it unpacks from
    them; of USPS what it downloads, and not what is there. These formats hold numbers and no code.
    """
    base, train = _set_of(name), name not in NAMED_TESTS
    if base in _IDX_FOLDERS:
        raw = root / _IDX_FOLDERS[base] / "raw"
        return {raw / f"{'train' if train else 't10k'}-{kind}-ubyte": None for kind in ("images-idx3", "labels-idx1")}
    if base == "usps":
        return {_beside(root, "USPS", "usps.bz2" if train else "usps.t.bz2"): None}
    if base == "svhn":
        _, file, md5 = datasets.SVHN.split_list["train" if train else "test"]
        return {_beside(root, "SVHN", file): md5}
    published = datasets.CIFAR10 if base == "cifar10" else datasets.STL10
    listed = [*published.train_list, *published.test_list]
    if base == "cifar10":
        listed.append((published.meta["filename"], published.meta["md5"]))
    return {root / published.base_folder / file: md5 for file, md5 in listed}


def _beside(root: Path, folder: str, file: str) -> Path:
    """Returns ``root/folder/file``, or ``root/file`` if only that exists."""
    usual, direct = root / folder / file, root / file
    return direct if direct.is_file() and not usual.is_file() else usual


def _load(datasets: Any, name: str, root: Path, files: Sequence[Path], download: bool) -> tuple[Bytes, Labels]:
    """Loads (N, C, H, W) and (N,), from the files or, with ``download``, from the network."""
    base, train = _set_of(name), name not in NAMED_TESTS
    if base in _IDX_FOLDERS:
        # The class would rather load what an old torchvision left in MNIST/processed, and wants both splits:
        # it is asked to download alone, and without that preference.
        if download and not all(path.is_file() for path in files):
            published = getattr(datasets, _IDX_FOLDERS[base])
            type(published.__name__, (published,), {"_check_legacy_exist": lambda self: False})(root, download=True)
        images, labels = files
        return datasets.mnist.read_image_file(images).numpy()[:, None], datasets.mnist.read_label_file(labels).numpy()
    if base == "usps":
        usps = datasets.USPS(files[0].parent, train, download=download)
        return usps.data[:, None], np.array(usps.targets, np.int64)
    if base == "svhn":
        svhn = datasets.SVHN(files[0].parent, "train" if train else "test", download=download)
        return svhn.data, svhn.labels
    if base == "cifar10":
        # These files are pickles, which can run code: torchvision unpickles them only after their md5 was found right.
        cifar = datasets.CIFAR10(root, train, download=download)
        return cifar.data.transpose(0, 3, 1, 2), np.array(cifar.targets, np.int64)
    stl = datasets.STL10(root, "train" if train else "test", download=download)
    return stl.data, stl.labels.astype(np.int64)


def _check_arrays(name: str, pixels: Bytes, labels: Labels) -> None:
    """Raises ValueError if this cannot be the set: other shapes, no images, labels out of range."""
    size, channels = native_size(name), native_channels(name)
    classes = len(_CLASSES[_set_of(name)])
    if pixels.dtype != np.uint8 or pixels.shape[1:] != (channels, size, size):
        raise ValueError(f"expected uint8 images of {channels}x{size}x{size}, got {pixels.dtype} {pixels.shape[1:]}")
    if not len(pixels) or labels.shape != (len(pixels),):
        raise ValueError(f"expected images and one label for each, got {len(pixels)} and {labels.shape}")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"expected {classes} classes, got labels from {labels.min()} to {labels.max()} (from 0)")


def _is_published(datasets: Any, path: Path, md5: str | None) -> bool:
    """Returns whether the file exists, with this md5 if one is given; True if it is not readable."""
    try:
        return bool(datasets.utils.check_integrity(path, md5))
    except OSError:
        return True


def _reason(error: Exception, files: Iterable[Path], damaged: Sequence[Path], download: bool) -> str:
    """Describes why files could not be read, and the remedy."""
    text = " ".join(str(error).split()) or type(error).__name__
    if damaged and download:
        return (
            f"cannot be downloaded ({text}); check the network and the space on disk, or put the files there yourself: "
            f"{_listed(damaged)}"
        )
    if damaged:
        return (
            f"not the published file, its md5 differs: {_listed(damaged)}. "
            f"Replace it, or have it downloaded again with {Setting('download', True)}"
        )
    return f"cannot be read ({text}): {_listed(files)}. Remove what is damaged and get it again"


def _absent(name: str, argument: str, missing: Sequence[Path], root: Path, *, downloadable: bool) -> UserError:
    direct = f" or directly in {root.absolute()}" if _set_of(name) in ("usps", "svhn") else ""
    adding = f", or add {Setting('download', True)}"
    download = adding if downloadable else "; there is no automatic download of this set"
    own = f". A folder of your own is given as ./{name}" if Path(name).is_dir() else ""
    return UserError(
        Setting(argument, name),
        f": expected and not found: {_listed(missing)}. Put them there{direct}, name the folder that holds your ",
        "data sets with ",
        Setting("root"),
        f"{download}{own}",
    )


def _listed(paths: Iterable[Path]) -> str:
    return ", ".join(str(path.absolute()) for path in paths)


def _mnist_m_folder(name: str, root: Path) -> Path:
    return root / "mnist_m" / ("mnist_m_test" if name in NAMED_TESTS else "mnist_m_train")


def _label_list(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}_labels.txt")
