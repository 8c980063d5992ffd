"""Predictions for images of any kind, as Python gets them: a row for each image, and those that cannot be read."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from dalib.core.errors import Setting, UserError
from dalib.core.files import Unreadable, expanded
from dalib.core.words import largest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dalib.run.load import Prediction, Predictor

SHOWN_ROWS = 10
"""Predictions that are shown in a notebook."""

_PREDICTED_TOGETHER = 64


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


@dataclass(frozen=True)
class Predictions(Sequence[ImagePrediction]):
    """Predictions for image files, in their order.

    Attributes:
        rows: one for each image that can be read.
        unreadable: the others, with the reason.
    """

    rows: tuple[ImagePrediction, ...]
    unreadable: tuple[Unreadable, ...] = ()

    @overload
    def __getitem__(self, index: int) -> ImagePrediction: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ImagePrediction]: ...
    def __getitem__(self, index: int | slice) -> ImagePrediction | Sequence[ImagePrediction]:
        return self.rows[index]

    def __len__(self) -> int:
        return len(self.rows)

    def to_pandas(self) -> Any:
        """Returns a data frame: path, label, confidence, and a column of probabilities for each class.

        Where the model expects images of none of the classes, the column known stands before these.

        Raises:
            UserError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise UserError("to_pandas: the package pandas is not installed; pip install pandas") from None
        return pd.DataFrame(
            [
                {
                    "path": row.path,
                    "label": row.label,
                    "confidence": row.confidence,
                    **({} if row.known is None else {"known": row.known}),
                    **dict(sorted(row.probabilities.items())),
                }
                for row in self.rows
            ]
        )

    def __repr__(self) -> str:
        counts: dict[str, int] = {}
        for row in self.rows:
            counts[row.label] = counts.get(row.label, 0) + 1
        most = sorted(counts.items(), key=lambda each: -each[1])[:6]
        lost = f", {len(self.unreadable)} unreadable" if self.unreadable else ""
        return f"<Predictions: {len(self.rows)} images{lost}; {', '.join(f'{name} {count}' for name, count in most)}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(row.path)}</td><td>{html.escape(row.label)}</td><td>{row.confidence:.0%}</td></tr>"
            for row in self.rows[:SHOWN_ROWS]
        )
        more = f"<p>and {len(self.rows) - SHOWN_ROWS} more</p>" if len(self.rows) > SHOWN_ROWS else ""
        head = "<tr><th>image</th><th>class</th><th>confidence</th></tr>"
        return f"<div><p>{html.escape(repr(self)[1:-1])}</p><table>{head}{rows}</table>{more}</div>"


def predict_images(images: Any, predictor: Predictor, on_progress: Callable[[int, int], None]) -> Predictions:
    """Predicts images of any kind; lists those that cannot be read."""
    names, read, unreadable = _images_by_number(images)
    rows: list[ImagePrediction] = []
    for first in range(0, len(names), _PREDICTED_TOGETHER):
        some: list[tuple[str, Any]] = []
        for number in range(first, min(first + _PREDICTED_TOGETHER, len(names))):
            try:
                some.append((names[number], read(number)))
            except Exception as error:  # a data set is somebody else's code
                unreadable.append(Unreadable(names[number], " ".join(str(error).split()) or type(error).__name__))
        found = _predict_or_explain(predictor, [image for _, image in some])
        for (name, _), each in zip(some, found, strict=True):
            if isinstance(each, str):
                unreadable.append(Unreadable(name, each))
            else:
                rows.append(ImagePrediction(name, each.label, each.confidence, each.probabilities, each.known))
        on_progress(min(first + _PREDICTED_TOGETHER, len(names)), len(names))
    return Predictions(tuple(rows), tuple(unreadable))


def _images_by_number(images: Any) -> tuple[Sequence[str], Callable[[int], Any], list[Unreadable]]:
    """Returns the names of images, what reads one of them by its number, and those that a list names in vain.

    Raises:
        UserError: one place is given, and it is not there.
    """
    from dalib.data.given import is_place, unlabelled_items
    from dalib.data.objects import numbered

    if is_place(images) and not Path(expanded(images)).exists():
        raise UserError(Setting("images", images), ": no such file or folder")
    places = [images] if is_place(images) else list(images) if isinstance(images, Iterator) else images
    if isinstance(places, list | tuple) and all(map(is_place, places)):
        paths, unreadable = _image_files(places)
        return [str(path) for path in paths], paths.__getitem__, unreadable
    items = unlabelled_items(places, "images")
    return numbered(items.name, items.count), items.image, []


def _image_files(places: Iterable[str | Path]) -> tuple[list[Path], list[Unreadable]]:
    """Returns the image files of folders, list files, shards and single paths, and those that a list names in vain."""
    from dalib.data.given import is_several
    from dalib.data.listing import list_images

    files: list[Path] = []
    unreadable: list[Unreadable] = []
    for place in places:
        path = Path(expanded(place))
        if is_several(path):
            listing = list_images(path, argument="images")
            files += listing.paths
            unreadable += listing.unreadable
        else:
            files.append(path)
    return files, unreadable


def _predict_or_explain(predictor: Predictor, images: Sequence[Any]) -> list[Prediction | str]:
    """Returns the prediction of each image, or why it cannot be read."""
    try:
        return list(predictor(list(images)))
    except UserError:  # one of them: each by itself
        pass
    found: list[Prediction | str] = []
    for image in images:
        try:
            found.append(predictor(image))
        except UserError as error:
            found.append(str(error))
    return found
