"""Predictions for images of any kind, as Python gets them: a row for each image, and those that cannot be read."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch

from dalib.core.errors import Setting, UserError
from dalib.core.files import Unreadable, expanded, required_path
from dalib.core.places import is_place
from dalib.core.words import UNKNOWN, counted, largest, share_in_words
from dalib.data.decoding import reason
from dalib.data.read_ahead import read_ahead
from dalib.run.finished.load import BATCH, prediction_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor

    from dalib.models.saved import ModelDescription
    from dalib.run.finished.load import Predictor

SHOWN_ROWS = 10
"""Predictions that are shown in a notebook."""


@dataclass(frozen=True)
class ImagePrediction:
    """A model's prediction for one image.

    Attributes:
        path: the file; of an image that is an object, what it came in and its number there, such as array/07.
        label: the most probable class; ``unknown`` for an image that seems to be of none of them.
        confidence: the probability of the most probable class, given that the image is of one of them.
        probabilities: of each class, the most probable first.
        known: probability that the image is of one of the classes; None for a model that was not trained for images of
            other classes (``classes="other"``).
    """

    path: str
    label: str
    confidence: float
    probabilities: dict[str, float]
    known: float | None = None

    def __repr__(self) -> str:
        said = f"label={self.label!r}, confidence={self.confidence:.3f}"
        known = "" if self.known is None else f", known={self.known:.3f}"
        return f"ImagePrediction(path={self.path!r}, {said}, probabilities={largest(self.probabilities)}{known})"


@dataclass(frozen=True, eq=False)
class Predictions(Sequence[ImagePrediction]):
    """Predictions for images, in their order: a sequence of :class:`ImagePrediction`, each made when it is asked for.

    Attributes:
        paths: of the N images that can be read.
        probabilities: (N, C) float32, columns in the order of ``classes``.
        description: of the model that predicted.
        unreadable: the images that cannot be read, with the reason.
    """

    paths: tuple[str, ...]
    probabilities: Tensor
    description: ModelDescription
    unreadable: tuple[Unreadable, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, in the order of the columns of ``probabilities``."""
        return self.description.classes

    @property
    def rows(self) -> tuple[ImagePrediction, ...]:
        """All predictions at once."""
        return tuple(self)

    @property
    def labels(self) -> list[str]:
        """The label of each image, a class's name; :meth:`numbers` has those that were given as whole numbers."""
        names = [self.classes[each] for each in self.probabilities.argmax(dim=1).tolist()]
        if (rule := self.description.known) is None:
            return names
        known = rule.are_known(self.probabilities).tolist()
        return [name if each else UNKNOWN for name, each in zip(names, known, strict=True)]

    def numbers(self, classes: Sequence[str] | None = None) -> Tensor:
        """Returns the labels (N,) int64 as the whole numbers that the source's labels were.

        The columns of ``probabilities`` are sorted by the classes' names, where 10 stands before 2, so that their
        positions are other numbers.

        Args:
            classes: names in the order of their numbers, such as ``dataset.classes`` of a data set of torch; without
                these, the classes' names are the numbers themselves, as those of arrays are.

        Returns:
            The numbers; -1 for an image that seems to be of none of the classes.

        Raises:
            UserError: a class whose number is not known.
        """
        given = {name: number for number, name in enumerate(classes or ())}
        numbers = {UNKNOWN: -1}
        for name in self.classes:
            if classes is None and name.isdecimal():
                numbers[name] = int(name)
            elif name in given:
                numbers[name] = given[name]
            else:
                remedy = "give their names in the order of their numbers, as numbers(dataset.classes)"
                lacking = "is no number" if classes is None else "is none of those given"
                raise UserError(f"numbers: the class {name!r} {lacking}; {remedy}")
        return torch.tensor([numbers[label] for label in self.labels], dtype=torch.int64)

    @overload
    def __getitem__(self, index: int) -> ImagePrediction: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ImagePrediction]: ...
    def __getitem__(self, index: int | slice) -> ImagePrediction | Sequence[ImagePrediction]:
        if isinstance(index, slice):
            return replace(self, paths=self.paths[index], probabilities=self.probabilities[index], unreadable=())
        found = prediction_of(self.probabilities[index], self.description)
        return ImagePrediction(self.paths[index], found.label, found.confidence, found.probabilities, found.known)

    def __len__(self) -> int:
        return len(self.paths)

    def to_pandas(self) -> Any:
        """Returns a data frame: path, label, confidence, and a column of probabilities for each class.

        Where the model expects images of none of the classes, the column known stands before these. A class of the
        name of one of the other columns has the column ``class NAME``.

        Raises:
            UserError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise UserError("to_pandas: the package pandas is not installed; pip install pandas") from None
        p, rule = self.probabilities, self.description.known
        columns = {"path": self.paths, "label": self.labels, "confidence": p.amax(dim=1).tolist()}
        if rule is not None:
            columns["known"] = rule.probability_of_known(p).tolist()
        by_class = sorted(zip(self.classes, p.T.tolist(), strict=True))
        own = {f"class {name}" if name in columns else name: shares for name, shares in by_class}
        return pd.DataFrame({**columns, **own})

    def __repr__(self) -> str:
        most = Counter(self.labels).most_common(6)
        lost = f", {len(self.unreadable)} unreadable" if self.unreadable else ""
        classes = ", ".join(f"{name} {count}" for name, count in most)
        return f"<Predictions: {counted(len(self), 'image')}{lost}{classes and f'; {classes}'}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(row.path)}</td><td>{html.escape(row.label)}</td>"
            f"<td>{share_in_words(row.confidence, 0)}</td></tr>"
            for row in self[:SHOWN_ROWS]
        )
        more = f"<p>and {len(self) - SHOWN_ROWS} more</p>" if len(self) > SHOWN_ROWS else ""
        head = "<tr><th>image</th><th>class</th><th>confidence</th></tr>"
        return f"<div><p>{html.escape(repr(self)[1:-1])}</p><table>{head}{rows}</table>{more}</div>"


def predict_images(images: Any, predictor: Predictor, on_progress: Callable[[int, int], None]) -> Predictions:
    """Predicts images of any kind; lists those that cannot be read. Files are read while others are predicted."""
    computed = compute_of_images(images, predictor, lambda count: predictor.prepared(count).probabilities, on_progress)
    description = predictor.model.description
    found = torch.cat([torch.zeros(0, len(description.classes)), *computed.parts])
    return Predictions(computed.paths, found, description, computed.unreadable)


@dataclass(frozen=True)
class Computed:
    """What was computed of images of any kind.

    Attributes:
        paths: of the N images that can be read.
        parts: tensors of N rows together.
        unreadable: the images that cannot be read, with the reason.
    """

    paths: tuple[str, ...]
    parts: tuple[Tensor, ...]
    unreadable: tuple[Unreadable, ...]


def compute_of_images(
    images: Any,
    predictor: Predictor,
    prepared: Callable[[int], Callable[[Tensor], Tensor]],
    on_progress: Callable[[int, int], None],
) -> Computed:
    """Computes something of images of any kind, batch by batch. Files are read while others are computed.

    Args:
        images: as :meth:`dalib.run.opened.Run.predict` takes them.
        predictor: reads them.
        prepared: number of images -> what computes a row for each of the pixels (N, C, size, size) uint8.
        on_progress: called with (done, total).

    Raises:
        UserError: one place is given, and it is not there.
    """
    given, unreadable = _given(images)
    paths, parts, count = list[str](), list[torch.Tensor](), len(given.names)
    compute = prepared(count)

    def read(first: int, end: int) -> list[tuple[str, np.ndarray | Exception]]:
        return _read(given, range(first, end), predictor)

    ranges = [(first, min(first + BATCH, count)) for first in range(0, count, BATCH)]
    batches = read_ahead(read, 0, count, BATCH) if given.are_files else starmap(read, ranges)
    for (_, done), batch in zip(ranges, batches, strict=True):
        unreadable += [Unreadable(name, reason(each)) for name, each in batch if isinstance(each, Exception)]
        readable = [(name, each) for name, each in batch if not isinstance(each, Exception)]
        if readable:
            paths += [name for name, _ in readable]
            parts.append(compute(torch.from_numpy(np.stack([pixels for _, pixels in readable]))))
        on_progress(done, count)
    return Computed(tuple(paths), tuple(parts), tuple(unreadable))


@dataclass(frozen=True)
class _Given:
    """Images to predict: their names, and what gives one of them by its number."""

    names: Sequence[str]
    image: Callable[[int], Any]
    are_files: bool = False
    """Whether another thread may read them; data sets are somebody else's code."""


def _read(given: _Given, numbers: Iterable[int], predictor: Predictor) -> list[tuple[str, np.ndarray | Exception]]:
    """Returns the name of each image with its pixels, or with why it cannot be read."""
    got: dict[int, Any] = {}
    failed: dict[int, Exception] = {}
    for number in numbers:
        try:
            got[number] = given.image(number)
        except Exception as error:
            failed[number] = error
    read = dict(zip(got, predictor.read([*got.values()]), strict=True))
    return [(given.names[number], failed[number] if number in failed else read[number]) for number in numbers]


def _given(images: Any) -> tuple[_Given, list[Unreadable]]:
    """Returns the images, and those that a list names in vain.

    Raises:
        UserError: one place is given, and it is not there.
    """
    from dalib.data.given import names_of_items, unlabelled_items
    from dalib.data.shards import are_shards

    # a pattern of shards is no file itself
    if is_place(images) and not Path(expanded(images)).exists() and not are_shards(expanded(images)):
        raise UserError(Setting("images", images), ": no such file or folder")
    places = [images] if is_place(images) else list(images) if isinstance(images, Iterator) else images
    if isinstance(places, list | tuple) and all(map(is_place, places)):
        paths, unreadable = _image_files(places)
        return _Given([str(path) for path in paths], paths.__getitem__, are_files=True), unreadable
    items = unlabelled_items(places, "images")
    names, are_files = names_of_items(items)
    return _Given(names, items.image, are_files), []


def _image_files(places: Iterable[str | Path]) -> tuple[list[Path], list[Unreadable]]:
    """Returns the image files of folders, list files, shards and single paths, and those that a list names in vain.

    Raises:
        UserError: an empty path.
    """
    from dalib.data.given import is_several
    from dalib.data.listing import list_images

    files: list[Path] = []
    unreadable: list[Unreadable] = []
    for place in places:
        path = Path(required_path(place, "images"))
        if is_several(path):
            listing = list_images(path, argument="images")
            files += listing.paths
            unreadable += listing.unreadable
        else:
            files.append(path)
    return files, unreadable
