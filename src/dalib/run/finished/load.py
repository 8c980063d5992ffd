"""A model, from wherever it was left, as a function of images: what ``dalib.load`` gives."""

from __future__ import annotations

import hashlib
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from PIL import Image

from dalib.core.devices import choose_device
from dalib.core.errors import Call, Setting, UserError
from dalib.core.files import expanded, required_path
from dalib.core.words import UNKNOWN, largest
from dalib.data.decoding import pillow_warnings_as_errors, read_pixels, reason, whole_numbers
from dalib.data.depth import describe_outside_range, outside_range
from dalib.data.objects import one_by_one, picture_of
from dalib.models.exported import OpenedModel, PixelsToProbabilities, read_onnx, read_program
from dalib.models.network import load_classifier, make_predictor
from dalib.models.timm_folder import is_timm_folder, read_timm_folder
from dalib.records.folder import RunFolder, models_of
from dalib.run.features.fastest import LARGE, fastest_classifier, in_batches
from dalib.run.features.representation import representation_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from dalib.data.preprocessing import Preprocessing
    from dalib.models.classifier import ImageClassifier
    from dalib.models.representation import FeatureNetwork
    from dalib.models.saved import ModelDescription

COLUMNS = ("path", "class", "confidence", "runner_up", "runner_up_confidence")

KNOWN, KNOWN_CLASS = "known", "known_class"
"""Further columns, of models that expect images of none of their classes (``--classes other``): the probability that an
image is of one of them, and the most probable of them, which ``class`` does not name for an unknown image."""

MANY = 128
"""Images for which a faster way to compute the same is prepared; for fewer, that takes longer than it saves."""

BATCH = 64
"""Images that are read, and then predicted, together."""

_ENDINGS = (".onnx", ".pt2")


@dataclass(frozen=True)
class Prediction:
    """A model's prediction for one image."""

    label: str
    """The most probable class; ``unknown`` for an image that seems to be of none of the classes."""
    confidence: float
    """The probability of the most probable class, given that the image is of one of the classes."""
    probabilities: dict[str, float]
    """Probabilities of all classes, the most probable first."""
    known: float | None = None
    """Probability that the image is of one of the classes; below 0.5 its label is ``unknown``. None for a model that
    was not trained for images of other classes (``--classes other``)."""

    def __repr__(self) -> str:
        known = "" if self.known is None else f", known={self.known:.3f}"
        most = largest(self.probabilities)
        return f"Prediction(label={self.label!r}, confidence={self.confidence:.3f}, probabilities={most}{known})"


class Predictor:
    """Predicts images; make one with :func:`load`.

    Call it with one image, for a :class:`Prediction`, or with several, for a list: a list of images, a series of
    pandas, or a batch (N, H, W, C) or (N, C, H, W). An image is a path, the bytes of a file, a PIL image, or an array
    (H, W) or (H, W, C) or a tensor (H, W) or (C, H, W), uint8 or floats on the scale [0, 1].

    An image file of whole numbers beyond 8 bits is read with the range that the model was trained with; a UserWarning
    names one with values outside of it.

    A pickle of what :func:`load` gives holds no weights but the place of the model, and opens it again from there, so
    that other processes of this machine can have it.

    Raises:
        UserError: an image that cannot be read.
    """

    def __init__(self, model: OpenedModel, name: str = "", *, place: ModelPlace | None = None) -> None:
        self.model = model
        self.classes = model.description.classes
        self._seen = 0
        self._representation: FeatureNetwork | None = None
        self._place = place
        self.name = name
        """Which model it is, and who selected it: ``adapted model (selected by measurement on 200 labelled images)``;
        empty for one that is not of a run."""

    def __repr__(self) -> str:
        return f"<Predictor: {self.name or 'model'}, {len(self.classes)} classes>"

    def __getstate__(self) -> dict[str, Any]:
        # what computes is made of closures and of a session of ONNX Runtime, which no pickle can hold
        state = dict(vars(self))
        if self._place is not None:
            del state["model"]
            state["_representation"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if self._place is not None:
            self.model = open_model(self._place.path, device=self._place.device)

    @overload
    def __call__(self, images: list[Any] | tuple[Any, ...]) -> list[Prediction]: ...
    @overload
    def __call__(self, images: str | Path | bytes | Image.Image) -> Prediction: ...
    @overload
    def __call__(self, images: np.ndarray | Tensor) -> Prediction | list[Prediction]: ...
    def __call__(self, images: Any) -> Prediction | list[Prediction]:
        several = one_by_one(images, "images")
        if several is None:
            return self([images])[0]
        model, found = self.prepared(len(several)), list[Prediction]()
        for rows in self._batches(several):
            found += [prediction_of(each, model.description) for each in model.probabilities(rows)]
        return found

    def features(self, images: Any) -> Tensor:
        """Returns the features (N, D) float32 of N images, as ``dalib features`` writes them; one image is N = 1.

        Args:
            images: as for a call.

        Raises:
            UserError: an image that cannot be read, or an exported graph, which gives probabilities alone.
        """
        several = one_by_one(images, "images")
        several = [images] if several is None else several
        network = self.representation(len(several))
        return torch.cat([torch.zeros(0, network.width), *map(network.features, self._batches(several))])

    def _batches(self, images: Sequence[Any]) -> Iterator[Tensor]:
        """Yields the pixels (N, C, size, size) uint8 of images, some at a time.

        Raises:
            UserError: an image that cannot be read.
        """
        for first in range(0, len(images), BATCH):
            some, rows = images[first : first + BATCH], []
            for image, read in zip(some, self.read(some), strict=True):
                if isinstance(read, Exception):
                    raise _unreadable(image if isinstance(image, str | Path) else type(image).__name__, read)
                rows.append(read)
            yield torch.from_numpy(np.stack(rows))

    def representation(self, count: int) -> FeatureNetwork:
        """Returns what computes features of stored images, prepared for many where ``count`` are many.

        Raises:
            UserError: an exported graph, which gives probabilities alone.
        """
        if self._representation is None:
            self._representation = representation_in(self.model, "" if self._place is None else self._place.path)
        if count >= MANY:
            self._representation = self._representation.for_many()
        return self._representation

    def prepared(self, count: int) -> OpenedModel:
        """Returns the model, prepared for many images where ``count`` are many."""
        if count >= MANY:
            self.model = self.model.for_many()
        return self.model

    def table(
        self, images: Sequence[Any], names: Sequence[str] | None = None, *, strict: bool = False
    ) -> dict[str, np.ndarray]:
        """Predicts a batch of images as columns of ``dalib predict``'s table: a batch function for Ray Data and others.

        Args:
            images: as for a call.
            names: of the column ``path``; by default the images, which are then paths.
            strict: refuse an image that cannot be read; by default it has no row, and a UserWarning names it.

        Returns:
            (N,) arrays by column: texts, and float32 for probabilities of four decimals, as the table has them.

        Raises:
            UserError: with ``strict``, an image that cannot be read.
        """
        names = [str(each) for each in images] if names is None else [str(each) for each in names]
        if len(names) != len(images):
            raise ValueError(f"names: expected one for each of the {len(images)} images, got {len(names)}")
        self._seen += len(images)
        model = self.prepared(self._seen)
        rows, kept = [], []
        for name, read in zip(names, self.read(images), strict=True):
            if not isinstance(read, Exception):
                rows.append(read)
                kept.append(name)
            elif strict:
                raise _unreadable(name, read)
            else:
                warnings.warn(str(_unreadable(name, read)), stacklevel=2)
        description = model.description
        pixels = torch.from_numpy(np.stack(rows)) if rows else None
        cells = [] if pixels is None else cells_of(kept, model.probabilities(pixels), description)
        columns = zip(*cells, strict=True) if cells else iter([()] * len(columns_of(description)))
        return {
            name: np.array(column, np.float32 if is_number(name) else object)
            for name, column in zip(columns_of(description), columns, strict=True)
        }

    def read(self, images: Sequence[Any]) -> list[np.ndarray | Exception]:
        """Returns the pixels (C, size, size) uint8 of each image, or why it cannot be read.

        Files are read by a thread for each core, other images one after the other: two may be one object.

        Args:
            images: as for a call.
        """
        self._warn_beyond([each for each in images if isinstance(each, str | Path)])
        with pillow_warnings_as_errors():
            if len(images) < 2 or not all(isinstance(each, str | Path | bytes) for each in images):
                return [*map(self._pixels_or_error, images)]
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                return [*pool.map(self._pixels_or_error, images)]

    def _pixels_or_error(self, image: Any) -> np.ndarray | Exception:
        try:
            return self._pixels(image)
        except Exception as error:  # decoders raise whatever they like
            return error

    def _warn_beyond(self, paths: Sequence[str | Path]) -> None:
        black_white = self.model.description.preprocessing.range
        if black_white is None:
            return
        files = [path for path in map(Path, map(expanded, paths)) if not path.is_dir()]
        if clipped := outside_range(whole_numbers(files), black_white):
            warnings.warn(describe_outside_range(clipped, black_white), stacklevel=6)

    def _pixels(self, image: Any) -> np.ndarray:
        """Returns the pixels (C, size, size) uint8."""
        preprocessing = self.model.description.preprocessing
        if isinstance(image, bytes):
            return read_pixels(image, preprocessing)
        if isinstance(image, str | Path):
            path = Path(expanded(image))
            if path.is_dir():
                raise ValueError("a folder; give the paths of its images in a list")
            return read_pixels(path, preprocessing)
        if not isinstance(image, Image.Image | np.ndarray | torch.Tensor):
            raise ValueError(
                "expected a path, the bytes of a file, a PIL image, an array or a tensor, "
                f"got {type(image).__name__}; give several images in a list"
            )
        return preprocessing.pixels(picture_of(image))


def _unreadable(image: object, error: Exception) -> UserError:
    found = UserError(f"image {image}: {reason(error)}")
    found.__cause__ = error
    return found


def prediction_of(probabilities: Tensor, description: ModelDescription) -> Prediction:
    """Returns the prediction that probabilities (C,) of a model are."""
    classes, rule = description.classes, description.known
    order = probabilities.argsort(descending=True, stable=True).tolist()
    values = probabilities.tolist()
    shares = {classes[number]: values[number] for number in order}
    if rule is None:
        return Prediction(classes[order[0]], values[order[0]], shares)
    label = classes[order[0]] if bool(rule.are_known(probabilities[None])) else UNKNOWN
    return Prediction(label, values[order[0]], shares, float(rule.probability_of_known(probabilities[None])))


def columns_of(description: ModelDescription) -> tuple[str, ...]:
    """Returns the columns of a model's predictions."""
    return COLUMNS if description.known is None else (*COLUMNS, KNOWN, KNOWN_CLASS)


def is_number(column: str) -> bool:
    """Returns whether a column of predictions holds probabilities, and no text."""
    return column.endswith(("confidence", KNOWN))


def cells_of(names: Sequence[str], probabilities: Tensor, description: ModelDescription) -> list[list[str]]:
    """Returns the rows of a table of predictions as it is written, probabilities (N, C) with four decimals."""
    classes, rule = description.classes, description.known
    # of equal ones the first, as everywhere else; topk takes any of them
    values, places = probabilities.sort(dim=1, descending=True, stable=True)
    rows = zip(names, places[:, :2].tolist(), values[:, :2].tolist(), strict=True)
    cells = [
        [name, classes[first], f"{share:.4f}", classes[second], f"{next_share:.4f}"]
        for name, (first, second), (share, next_share) in rows
    ]
    if rule is not None:
        known = rule.probability_of_known(probabilities).tolist()
        for row, is_known, probability in zip(cells, rule.are_known(probabilities).tolist(), known, strict=True):
            row += [f"{probability:.4f}", row[1]]
            row[1] = row[1] if is_known else UNKNOWN
    return cells


def load(path: str | Path, *, model: str | None = None, device: str = "auto") -> Predictor:
    """Loads the model of a run's folder, or of what ``dalib export`` wrote.

    Args:
        path: the folder of a run or of an exported model, or a file that ends in .onnx or .pt2.
        model: of a run: ``adapted``, ``aligned`` or ``source-only``; by default the selected one. The predictor's
            ``name``, and what it prints, name the model and who selected it.
        device: auto, cpu, cuda or mps.

    Raises:
        UserError: no such model, or files that are damaged.
    """
    chosen = chosen_model(path, model)
    opened = open_model(path, model=chosen.model, device=device)
    # of the model and not of its run: another model may be selected before a pickle is opened
    place = ModelPlace(_place_of(Path(expanded(path)), chosen.model).absolute(), device)
    return Predictor(opened, chosen.in_words, place=place)


@dataclass(frozen=True)
class ModelPlace:
    """Where one model lies, and the device that it was asked for."""

    path: Path
    device: str


@dataclass(frozen=True)
class ChosenModel:
    """One model, of a run or alone: ``model`` is its name in the run, ``in_words`` names it and the reason of the
    choice.

    Both are None and empty where a path is not a run's.
    """

    model: str | None = None
    in_words: str = ""


def chosen_model(path: str | Path, model: str | None) -> ChosenModel:
    """Returns the model of that name, or the selected one: looked up once, so that a switch meanwhile changes nothing.

    Raises:
        UserError: not a run nor a model, or no model of that name.
    """
    place = Path(required_path(path, "run"))
    if _is_one_model(place):
        _place_of(place, model)  # refuses a name
        return ChosenModel()
    run = RunFolder.existing(place)
    model_folder(run, model)  # refuses a name that the run does not have
    models, selection = models_of(run), run.selection()
    name = model or next(iter(models))
    if len(models) == 1:
        return ChosenModel(name, f"{name} model (the only one of this run)")
    if selection.model not in models:
        return ChosenModel(name, f"{name} model (training has not finished: there is no {selection.model} model)")
    if name == selection.model:
        return ChosenModel(name, f"{name} model ({selection.reason})")
    return ChosenModel(name, f"{name} model (asked for; {selection.model} is {selection.reason})")


def open_model(path: str | Path, *, model: str | None = None, device: str = "auto") -> OpenedModel:
    """Opens a model as :func:`load` does, for rows of stored images.

    Where what it gives is not a probability for each class, it raises a UserError.
    """
    place = _place_of(Path(expanded(path)), model)
    opened = _opened(place, device)
    faster, sure = opened.faster, partial(_checked, place, len(opened.description.classes))
    return replace(
        opened,
        probabilities=sure(opened.probabilities),
        faster=None if faster is None else lambda: sure(faster()),
    )


def _checked(place: Path, classes: int, probabilities: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Wraps a model, so that output of the wrong shape, or NaN, of a damaged one raises an error."""

    def checked(images: Tensor) -> Tensor:
        found = probabilities(images)
        if found.shape != (len(images), classes):
            raise UserError(
                f"{place}: the model gives {tuple(found.shape)} for {len(images)} images and {classes} classes; "
                "its parts do not fit each other, get it again"
            )
        if bool(found.isnan().any()):
            raise UserError(f"{place}: the model gives NaN in place of probabilities; it is damaged, get it again")
        return found

    return checked


def _opened(place: Path, device: str) -> OpenedModel:
    where = choose_device(device)
    if place.is_file():
        if place.suffix.lower() == ".onnx":
            return read_onnx(place, where, fall_back=device == "auto")
        return read_program(place, where)
    if is_timm_folder(place):
        return read_timm_folder(place, where)
    network, description = load_classifier(place)
    network, faster = network.to(where), None
    if where.type == "cpu" and description.preprocessing.input_size >= LARGE:
        faster = partial(_probabilities_by, fastest_classifier, network, description, where)
    return OpenedModel(
        description,
        _probabilities_by(lambda plain, _: plain, network, description, where),
        faster,
        lambda: representation_of(network, description, where),
    )


def _probabilities_by(
    changed: Callable[[ImageClassifier, Preprocessing], ImageClassifier],
    model: ImageClassifier,
    description: ModelDescription,
    device: torch.device,
) -> Callable[[Tensor], Tensor]:
    """Returns a function: stored images, ``changed`` first -> a classifier's probabilities."""
    preprocessing = description.preprocessing
    predictor = make_predictor(changed(model, preprocessing), description.architecture)
    return in_batches(PixelsToProbabilities(predictor, preprocessing), preprocessing, device)


def representation_in(opened: OpenedModel, path: str | Path) -> FeatureNetwork:
    """Returns what computes the features of a model that was opened from a path.

    Raises:
        UserError: a file that gives probabilities alone.
    """
    if opened.representation is None:
        raise UserError(
            Setting("run", str(path)),
            ": an exported graph gives probabilities alone; expected the folder of a run, or of a model, as `",
            Call("dalib.run.export.export", Setting("format", "torch")),
            "` writes it",
        )
    return opened.representation()


def identity_of(path: str | Path, *, model: str | None = None) -> str:
    """Computes the digest of the files of a model: another model has another one. Errors as :func:`load`."""
    place = _place_of(Path(expanded(path)), model)
    digest = hashlib.blake2b(digest_size=16)
    for each in [place] if place.is_file() else sorted([place / "config.json", *place.glob("*.safetensors")]):
        digest.update(f"{each.name} {each.stat().st_size}\n".encode())
        with each.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def model_folder(run: RunFolder, model: str | None) -> Path:
    """Returns the folder of a run's model; None is the selected one.

    Raises:
        UserError: none of that name.
    """
    models = models_of(run)
    if model is not None and model not in models:
        raise UserError(Setting("model", model), f": this run has {', '.join(models)}")
    return models[model] if model else next(iter(models.values()))


def _place_of(path: Path, model: str | None) -> Path:
    """Returns the file or the folder of a model that a path means."""
    if not _is_one_model(path):
        return model_folder(RunFolder.existing(path), model)
    if model is not None:
        raise UserError(
            Setting("model", model), f": {path} is one model; give the folder of a run, or leave out ", Setting("model")
        )
    return path


def _is_one_model(path: Path) -> bool:
    """Returns whether it is one model, exported or a folder of its own, and not a run.

    Raises:
        UserError: an exported file that is not there.
    """
    if path.suffix.lower() in _ENDINGS and not path.is_dir():
        if not path.is_file():
            raise UserError(Setting("run", path), ": no such file")
        return True
    return _holds_a_model(path)


def _holds_a_model(folder: Path) -> bool:
    names: Sequence[str] = ("config.json", "model.safetensors")
    return all((folder / name).is_file() for name in names)
