"""Images and labels that are objects in memory: arrays, tensors, PIL images, data sets of torch and Hugging Face."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dalib.core.errors import Setting, UserError
from dalib.core.words import counted, some_quoted
from dalib.data.decoding import opaque, upright_copy
from dalib.data.spelling import Classes, require_labels, united

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_NO_DATA_SET = (dict, tuple, bytes, bytearray)  # that have a length and items
_RGBA = 4  # channels
_WHITE = 255
_MANY = 100_000  # classes of which more than there are images are a mistake


class Items:
    """A data set of any kind as images and labels by number; each item is read once.

    Attributes:
        name: of what the images came in, for messages and for images without a name.
        again: whether items are the same and cheap when they are read again; those of a data set may be drawn.
        entries: names of what the last item held that was a dictionary.
        column: further column of a data frame, by its name, a cell for each item.
    """

    def __init__(self, dataset: Any, image: Any, label: Any, classes: tuple[str, ...] | None) -> None:
        self.dataset, self.classes, self._image, self._label = dataset, classes, image, label
        self.name, self.count, self.again = type(dataset).__name__, len(dataset), False
        self.entries: tuple[str, ...] = ()
        self.column: tuple[str, Sequence[Any]] | None = None
        self._labels: dict[int, Any] = {}

    def image(self, position: int) -> Any:
        item = self.dataset[position]
        if isinstance(item, Mapping):
            self.entries = tuple(map(str, item))
        self._labels[position] = self._label(item)
        return self._image(item)

    def label(self, position: int) -> Any:
        """Returns the label of an item whose image was read; None if it has none."""
        return self._labels[position]

    def no_labels(self, argument: str) -> UserError:
        """Returns the error of images without any label."""
        entries = f"; its items hold {some_quoted(self.entries)}, and a label is called label" if self.entries else ""
        return UserError(Setting(argument, self.name), f": expected pairs (image, label), got images alone{entries}")


def items_of(dataset: Any, argument: str, *, labelled: bool = True) -> Items:
    """Wraps a data set of torch or Hugging Face; without ``labelled``, no label is read.

    Raises:
        UserError: something else, or no or several columns of images.
    """
    if hasattr(dataset, "column_names") and isinstance(dataset, dict):
        raise UserError(
            Setting(argument, type(dataset).__name__),
            f": expected one data set, got the splits {some_quoted(list(dataset))}; give one of them, such as ",
            f"data[{next(iter(dataset), 'train')!r}]",
        )
    if not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")) or isinstance(dataset, _NO_DATA_SET):
        raise UserError(
            Setting(argument),
            ": expected a folder, a list, a named set, arrays or a data set with a length and items by number, ",
            f"got {kind_of(dataset)}{_remedy(dataset)}",
        )
    if hasattr(dataset, "features") and hasattr(dataset, "column_names"):
        return _items_of_columns(dataset, argument, labelled=labelled)
    classes = _class_names(dataset, argument) if labelled else None
    return Items(
        dataset,
        _image_in,
        lambda item: _part(item, 1, ("label", "labels")) if labelled else None,
        tuple(map(str, classes)) if isinstance(classes, list | tuple) and classes else None,
    )


def _items_of_columns(dataset: Any, argument: str, *, labelled: bool) -> Items:
    """Wraps a data set of Hugging Face: one column of images, and one of labels."""
    features = dict(dataset.features or {})
    kinds = {name: type(feature).__name__ for name, feature in features.items()}
    pictures = [name for name in kinds if kinds[name] == "Image"]
    pictures = pictures or [name for name in dataset.column_names if name in ("image", "img")]
    if len(pictures) != 1:
        raise UserError(
            Setting(argument, type(dataset).__name__),
            f": expected one column of images, found {len(pictures)} in {some_quoted(dataset.column_names)}; ",
            "select or cast the columns first",
        )
    labels = [name for name in kinds if kinds[name] == "ClassLabel"]
    labels = labels or [name for name in dataset.column_names if name in ("label", "labels")]
    labels = labels if labelled else []
    if len(labels) > 1:
        raise UserError(
            Setting(argument, type(dataset).__name__),
            f": expected one column of labels, found {some_quoted(labels)}; remove the others first",
        )
    own = getattr(features.get(labels[0]), "names", None) if labels else None
    return Items(
        dataset,
        lambda item: item[pictures[0]],
        lambda item: item[labels[0]] if labels else None,
        tuple(map(str, own)) if own else None,
    )


def _class_names(dataset: Any, argument: str) -> Any:
    """Returns the names of a data set's classes; those of a subset are of the whole, those of joined ones of each.

    Raises:
        UserError: joined data sets of different classes: number 0 would be two of them.
    """
    while not hasattr(dataset, "classes") and hasattr(dataset, "indices") and hasattr(dataset, "dataset"):
        dataset = dataset.dataset
    if hasattr(dataset, "classes") or not isinstance(getattr(dataset, "datasets", None), list | tuple):
        classes: Any = getattr(dataset, "classes", None)
        # an array or an index of pandas; one of numbers holds the labels and not what they count
        named = classes.tolist() if hasattr(classes, "tolist") else None
        return named if isinstance(named, list) and all(isinstance(each, str) for each in named) else classes
    parts = [_class_names(each, argument) for each in dataset.datasets]
    if any(part is None for part in parts):
        return None
    other = next((part for part in parts if list(part) != list(parts[0])), None)
    if other is not None:
        raise UserError(
            Setting(argument, type(dataset).__name__),
            f": its data sets have different classes, {some_quoted(parts[0])} and {some_quoted(other)}, so that one ",
            "number means two of them; give data sets of the same classes, or each as a source of its own in a list",
        )
    return parts[0]


def _remedy(thing: Any) -> str:
    """Returns how to give what has no length or no items by number, or is a single image."""
    if hasattr(thing, "__next__"):
        return "; give it as a list: list(...)"
    if isinstance(thing, Image.Image | bytes | bytearray):
        return "; give a single image in a list: [image]"
    return "; give its data set: loader.dataset" if hasattr(thing, "dataset") else ""


def _image_in(item: Any) -> Any:
    names = ("image", "img", "pixel_values")
    if isinstance(item, Mapping) and not any(name in item for name in names):
        raise ValueError(f"expected an entry {' or '.join(names)}, got {some_quoted(list(map(str, item)))}")
    return _part(item, 0, names)


def _part(item: Any, position: int, names: Sequence[str]) -> Any:
    """Returns the image or the label of an item: a pair, a dictionary, or the image alone; None if it has none."""
    if isinstance(item, Mapping):
        return next((item[name] for name in names if name in item), None)
    if isinstance(item, tuple | list):
        return item[position] if len(item) > position else None
    return None if position else item


def listed(values: Any) -> list[Any] | None:
    """Returns a list, a series of pandas or an array of paths as a list; None for anything else."""
    if isinstance(values, list | tuple):
        return list(values)
    if isinstance(values, np.ndarray):
        paths = values.ndim == 1 and all(isinstance(each, str | os.PathLike) for each in values)
        return values.tolist() if paths else None
    # a series is counted by its index, which filtering and sorting leave with gaps and out of order
    return list(values.to_numpy()) if hasattr(values, "to_numpy") and getattr(values, "ndim", 0) == 1 else None


def columns_of_frame(data: Any, names: Sequence[str], argument: str) -> list[list[Any]] | None:
    """Returns columns of a data frame as lists; None for anything else.

    Raises:
        UserError: a frame without these columns.
    """
    if not _is_frame(data):
        return None
    found = list(data.columns)
    if any(found.count(name) != 1 for name in names):
        instead = "the column of paths" if len(names) == 1 else "(frame[column of paths], frame[column of labels])"
        raise UserError(
            Setting(argument, type(data).__name__),
            f": expected the columns {some_quoted(names)}, once each, got {some_quoted(list(map(str, found)))}; ",
            f"rename columns, or give {instead}",
        )
    return [list(data[name]) for name in names]


def _is_frame(data: Any) -> bool:
    return (
        not isinstance(data, np.ndarray | Tensor) and hasattr(data, "columns") and len(getattr(data, "shape", ())) == 2
    )


def column_of_frame(data: Any, name: str | None) -> list[Any] | None:
    """Returns a further column of a data frame of images, beside paths and labels; None where there is none."""
    if name in (None, "path", "label") or not _is_frame(data) or list(data.columns).count(name) != 1:
        return None
    return list(data[name])


def one_by_one(images: Any, argument: str) -> list[Any] | None:
    """Returns several images as a list: of a list, a series of pandas, an array of paths, or a batch.

    Args:
        images: a batch is (N, H, W, C) or (N, C, H, W), an array or a tensor, uint8 or floats on the scale [0, 1].
        argument: name in errors.

    Returns:
        None for anything else, which may be one image.

    Raises:
        UserError: a batch of another shape or scale.
    """
    if isinstance(images, np.ndarray | Tensor) and images.ndim == 4 and images.dtype != object:
        return [*channels_first(as_bytes(images, argument), argument).transpose(0, 2, 3, 1)]
    return listed(images)


def picture_of(image: Any) -> Image.Image:
    """Converts a PIL image, array or tensor, as a data set yields, to an opaque PIL image, upright by its EXIF data.

    Raises:
        ValueError: another type, shape or scale.
    """
    if _has_masked(image):
        raise ValueError(_MASKED)
    if isinstance(image, Image.Image):
        if not all(image.size):
            raise ValueError(f"expected an image, got one without pixels, of size {image.size}")
        return opaque(upright_copy(image))  # upright first: what is put on white has no EXIF data any more
    if isinstance(image, Tensor):
        array = _array_of(image)
        if array.ndim == 3:
            array = array.transpose(1, 2, 0)
    elif isinstance(image, np.ndarray):
        array = image
    else:
        encoded = isinstance(image, Mapping) and {"bytes", "path"} <= image.keys()
        remedy = "; decode it, in a Hugging Face data set by cast_column(NAME, Image())" if encoded else ""
        raise ValueError(f"expected a PIL image, an array or a tensor, got {type(image).__name__}{remedy}")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, _RGBA)):
        raise ValueError(
            f"expected an image of 1, 3 or 4 channels, got {tuple(image.shape)}; an array is (H, W, C), "
            "a tensor (C, H, W)"
        )
    if not array.size:
        raise ValueError(f"expected an image, got an array without pixels, of shape {tuple(image.shape)}")
    if array.dtype.kind == "f":
        if not (array.min() >= 0 and array.max() <= 1):
            raise ValueError(
                f"expected floats on the scale [0, 1], got {array.min():g} to {array.max():g}; "
                "leave normalisation out of the data set's transform, or divide values up to 255 by 255"
            )
        array = np.rint(array * 255).astype(np.uint8)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    if array.dtype != np.uint8:  # one image alone does not show its scale: a dark one of 0 to 255 may hold 0 and 1
        raise ValueError(f"expected uint8 or floats, got {array.dtype}; convert values from 0 to 255 to uint8")
    return opaque(Image.fromarray(array))


def _array_of(tensor: Tensor) -> np.ndarray:
    values = tensor.detach().cpu()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()  # NumPy has no bfloat16


def as_bytes(images: np.ndarray | Tensor, argument: str) -> np.ndarray:
    """Returns images as uint8: themselves, floats of the scale [0, 1] times 255, True as 255, or int32 and int64 as is.

    Raises:
        UserError: values of another kind, floats beyond that scale, or whole numbers that are not of the scale
            [0, 255]; where none is above 1, 1 may be white.
    """
    if _has_masked(images):
        raise UserError(Setting(argument), f": {_MASKED}")
    if isinstance(images, Tensor):
        images = images.detach().cpu()
        array = (images.float() if images.is_floating_point() else images).numpy()  # NumPy has no bfloat16
    else:
        array = images
    if array.dtype == np.uint8:
        return array
    if array.dtype == object:
        raise UserError(
            Setting(argument),
            f": expected images of one size in an array, got an array of objects {array.shape}; images of different ",
            "sizes come in a list",
        )
    if array.dtype.kind != "f":
        return _bytes_of_whole_numbers(array, argument)
    found = np.empty(array.shape, np.uint8)
    for number, image in enumerate(array):
        low, high = (float(image.min()), float(image.max())) if image.size else (0.0, 0.0)
        if not (low >= 0 and high <= 1):  # also where either is NaN
            raise UserError(
                Setting(argument),
                f": expected floats on the scale [0, 1], image {number} has {low:g} to {high:g}; give images before ",
                "they are normalised, as uint8 or divided by 255",
            )
        found[number] = np.rint(image * 255)
    return found


def _has_masked(values: Any) -> bool:
    """Returns whether values are an array of numpy.ma, of which some are masked: what lies below is anything."""
    return isinstance(values, np.ma.MaskedArray) and bool(np.ma.is_masked(values))


_MASKED = "expected images without a mask, got an array of which some pixels are masked; give images.filled(VALUE)"


def _bytes_of_whole_numbers(array: np.ndarray, argument: str) -> np.ndarray:
    """Returns bool and whole numbers as uint8, where their scale is known; see :func:`as_bytes`."""
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    found, remedy = str(array.dtype), ""
    if array.dtype.kind in "iu" and array.size:
        low, high = int(array.min()), int(array.max())
        if array.dtype in (np.int32, np.int64) and low >= 0 and 1 < high <= _WHITE:  # NumPy's own for whole numbers
            return array.astype(np.uint8)
        found += f" from {low} to {high}"
        if low >= 0 and high <= 1:
            remedy = "; where 1 is white, give images.astype(bool), else images.astype('uint8')"
        else:
            remedy = "; scale them to 0 to 255, and give images.astype('uint8')"
    raise UserError(
        Setting(argument), f": expected images as uint8, 0 to 255, or as floats, 0 to 1, got {found}{remedy}"
    )


def channels_first(images: Any, argument: str) -> np.ndarray:
    """Converts an array or tensor in one of the three layouts to (N, C, H, W) uint8, C 1 or 3.

    Four channels are red, green, blue and opacity; such images are put on white, as files are.

    Raises:
        UserError: another type, no images, or a shape that is none of them, or two.
    """
    if _has_masked(images):
        raise UserError(Setting(argument), f": {_MASKED}")
    array = images.detach().cpu().numpy() if isinstance(images, Tensor) else np.asarray(images)
    axis = axis_of_channels(array, argument)
    if axis is None:
        return array[:, None]
    array = array if axis == 1 else array.transpose(0, 3, 1, 2)
    return _on_white(array) if array.shape[1] == _RGBA else array


def axis_of_channels(array: np.ndarray, argument: str) -> int | None:
    """Returns the axis of the channels of images, 1 or 3; None for (N, H, W).

    Raises:
        UserError: see :func:`channels_first`.
    """
    shape = array.shape
    if array.dtype != np.uint8:
        raise UserError(
            Setting(argument),
            f": expected images as uint8, 0 to 255, got {array.dtype} {shape}; of values from 0 to 1, give (255 * ",
            "images).round().astype('uint8')",
        )
    layouts = "(N, H, W), (N, H, W, C) or (N, C, H, W) with 1, 3 or 4 channels"
    if array.ndim not in (3, 4) or not array.size:
        raise UserError(Setting(argument), f": expected images {layouts}, got {shape}")
    if array.ndim == 3:
        if shape[2] in (1, 3, _RGBA):
            raise UserError(
                Setting(argument),
                f": {shape} may be one image with channels or {shape[0]} grey images {shape[2]} wide; give (N, H, ",
                "W, C) or (N, C, H, W)",
            )
        return None
    first, last = shape[1] in (1, 3), shape[3] in (1, 3)
    if not first and not last:  # only then, or no image of RGB could be 4 high
        first, last = shape[1] == _RGBA, shape[3] == _RGBA
    if first and last:
        raise UserError(
            Setting(argument),
            f": {shape} may be (N, C, H, W) or (N, H, W, C), both have 1, 3 or 4 channels; pass a data set of ",
            "PIL images",
        )
    if not first and not last:
        raise UserError(Setting(argument), f": expected images {layouts}, got {shape}")
    return 1 if first else 3


def _on_white(array: np.ndarray) -> np.ndarray:
    """Returns (N, 3, H, W) of (N, 4, H, W) red, green, blue and opacity, with PIL's rounding."""
    found = np.empty((len(array), 3, *array.shape[2:]), np.uint8)
    for number, image in enumerate(array.transpose(0, 2, 3, 1)):
        found[number] = np.asarray(opaque(Image.fromarray(np.ascontiguousarray(image)))).transpose(2, 0, 1)
    return found


def labels_of(
    labels: Any, classes: tuple[str, ...] | None, count: int, argument: str
) -> tuple[Tensor, tuple[str, ...]]:
    """Returns (N,) int64 labels and the names of the classes; those of numbers are "0" to the greatest of them.

    Raises:
        UserError: not one for each image, neither whole numbers nor names, a missing one, or a number that is no class.
    """
    given = _checked_labels(labels, classes, count, argument)
    if isinstance(given, np.ndarray):
        greatest = int(given.max())
        if classes is None and greatest >= max(len(given), _MANY):  # their names might fill the memory
            raise UserError(
                Setting(argument),
                f": a label of {greatest} means {greatest + 1} classes, and there are ",
                f"{counted(len(given), 'image')}; number the classes from 0 on, or give their names",
            )
        return torch.from_numpy(given), classes or tuple(map(str, range(greatest + 1)))
    numbers, names = _numbers_of_names(given, classes)
    return torch.tensor(numbers), names


def names_of_labels(labels: Any, classes: tuple[str, ...] | None, count: int, argument: str) -> list[str]:
    """Returns the name of each image's class, as :func:`labels_of` has it; numbers may be as large as identifiers.

    Raises:
        UserError: as :func:`labels_of`.

    >>> names_of_labels([2_000_000_000, 7], None, 2, "labels")
    ['2000000000', '7']
    """
    given = _checked_labels(labels, classes, count, argument)
    if isinstance(given, np.ndarray):
        return [str(each) if classes is None else classes[each] for each in given.tolist()]
    numbers, names = _numbers_of_names(given, classes)
    return [names[each] for each in numbers]


def _numbers_of_names(given: Sequence[str], classes: tuple[str, ...] | None) -> tuple[list[int], tuple[str, ...]]:
    """Returns the number of each name among the classes, all of which are known, and the classes; None unites names."""
    if classes is None:
        names, (numbers,) = united([given])
        return numbers, names
    known = Classes(classes)
    return [number for each in given if (number := known.find(each)) is not None], classes


def _checked_labels(
    labels: Any, classes: tuple[str, ...] | None, count: int, argument: str
) -> NDArray[np.int64] | list[str]:
    """Returns labels as numbers of classes, or as names of them; errors are those of :func:`labels_of`."""
    if isinstance(labels, list | tuple):
        labels = [None if each is np.ma.masked else each for each in labels]
    values = _array_of(labels) if isinstance(labels, Tensor) else np.asarray(labels)
    if values.shape != (count,):
        raise UserError(
            Setting(argument),
            f": expected one label for each of the {count} images, got {values.shape}{_remedy_of_shape(values, count)}",
        )
    # of an array of numpy.ma, what is masked is None, whatever lies below
    given: list[Any] = (labels if isinstance(labels, np.ma.MaskedArray) else values).tolist()
    require_labels(given, argument, classes or ())
    if values.dtype.kind in "UO" and all(isinstance(each, str) for each in given):
        if classes is not None:
            known = Classes(classes)
            if missing := sorted({each for each in given if known.find(each) is None}):
                raise UserError(
                    Setting(argument),
                    f": the labels {some_quoted(missing)} are none of the classes {some_quoted(classes)}",
                )
        return given
    if values.dtype.kind not in "iu":
        whole = values.dtype.kind == "b" or (values.dtype.kind == "f" and bool((values == np.rint(values)).all()))
        numbers = "labels.long()" if isinstance(labels, Tensor) else "labels.astype(int)"
        remedy = f"; give {numbers}" if whole else ""
        remedy = "; give labels.astype(str)" if values.dtype.kind == "S" else remedy  # as h5py reads text
        raise UserError(Setting(argument), f": expected labels as whole numbers or names, got {values.dtype}{remedy}")
    low, high = int(values.min()), int(values.max())
    if low < 0 or (classes is not None and high >= len(classes)):
        most = "" if classes is None else f" to {len(classes) - 1} ({some_quoted(classes)})"
        raise UserError(Setting(argument), f": expected labels from 0{most}, got {low} to {high}")
    if high > np.iinfo(np.int64).max:
        raise UserError(Setting(argument), f": expected labels below 2**63, got {high}; give them as text")
    return values.astype(np.int64)


def _remedy_of_shape(labels: np.ndarray, count: int) -> str:
    """Returns how to make labels of columns, or of one column for each class, one label for each image."""
    if labels.ndim != 2 or len(labels) != count:
        return ""
    return "; give labels.ravel()" if labels.shape[1] == 1 else "; of one column for each class, give labels.argmax(1)"


def numbered(name: str, count: int) -> tuple[str, ...]:
    """Returns names for images that have none: the name of their data set and their number in it.

    >>> numbered("array", 11)[9:]
    ('array/09', 'array/10')
    """
    digits = len(str(max(0, count - 1)))
    return tuple(f"{name}/{number:0{digits}d}" for number in range(count))


def kind_of(thing: Any) -> str:
    """Returns the type of an object in words for a message; of a tuple, those of its parts."""
    return f"({', '.join(map(kind_of, thing))})" if isinstance(thing, tuple) else type(thing).__name__
