"""Adaptation without the source's images: what a kit holds of the source, written from a run and read by another.

In place of source images a training gets features that are drawn from the statistics of the classes. The judgement
gets the source-only model's probabilities for the validation images; no image of the source is needed or kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from dalib.core.errors import Setting, UserError
from dalib.core.files import expanded, write_bytes
from dalib.core.seeds import derive_seed
from dalib.models.saved import content_of, description_of, load_description, load_tensors, nan_in
from dalib.records.kit import KitHeader, digest_of, read_header, settings_in_kit
from dalib.run.settings.kit_settings import settings_of_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from dalib.data.preprocessing import Preprocessing
    from dalib.data.rows import Rows
    from dalib.models.saved import ModelDescription
    from dalib.run.settings.backbones import StatisticsShare

FEWEST_IMAGES = 10
"""Images of a class from which its mean is written; that of fewer would be close to the features of an image."""

ASSUMED_IMAGES = FEWEST_IMAGES // 2
"""Images that a class with fewer is taken to have had, where target images stand in for it: a kit does not count them.
"""

FACTORS = 128
"""Directions in which the spread within classes is kept whole; in the others each feature is taken by itself."""

DRAWN_OF_CLASS = 50
"""Feature vectors that are drawn of each class on average, at least."""

MOST_PREDICTED = 8192
"""Target images that the statistics of a model alone are of."""

REPRESENTING = 1000
"""Feature vectors that represent the source in the judgement, about as many as it reads images of a source."""

MISSING = (
    "Without the source's images it is not known how well the adapted model still predicts them: an estimate "
    "of its accuracy goes by the source-only model's validation predictions, and there is no distance between the "
    "domains"
)
"""The sentence about what the judgement of a kit lacks."""

MISSING_OF_MODEL = (
    "Of the source there is a model alone: without its predictions for validation images accuracies are not estimated, "
    "and nothing shows how sure it may be, so that the verdict rests on the target's predictions; a kit of the model's "
    "run has these predictions, and labels of a few target images measure the models"
)
"""The same of a run that had a model alone in place of the source."""


@dataclass(frozen=True)
class ClassStatistics:
    """Features of the source's classes: a mean of each, and the spread that all have in common.

    Attributes:
        classes: (K,) int64, positions of the classes that have enough images.
        mean: (K, D).
        factors: (R, D), the main directions of the spread within classes, each as long as its standard deviation.
        rest: (D,), standard deviation of what the factors leave.
    """

    classes: Tensor
    mean: Tensor
    factors: Tensor
    rest: Tensor

    @classmethod
    def of(cls, features: Tensor, labels: Tensor, classes: int, fewest: int = FEWEST_IMAGES) -> ClassStatistics:
        """Computes the statistics of features (N, V, D) with labels (N,), of classes with ``fewest`` images or more."""
        counts = torch.bincount(labels, minlength=classes)
        kept = (counts >= fewest).nonzero().flatten()
        mean = torch.stack([features[labels == each].float().flatten(0, 1).mean(dim=0) for each in kept.tolist()])
        own = torch.isin(labels, kept)
        position = torch.zeros(classes, dtype=torch.int64).scatter(0, kept, torch.arange(len(kept)))
        deviation = (features[own].float() - mean[position[labels[own]]][:, None]).flatten(0, 1)
        covariance = deviation.T @ deviation / len(deviation)
        values, directions = torch.linalg.eigh(covariance.double())
        most = min(FACTORS, len(values))
        factors = (directions[:, -most:] * values[-most:].clamp_min(0).sqrt()).T.float()
        rest = (covariance.diagonal() - factors.square().sum(dim=0)).clamp_min(0).sqrt()
        return cls(kept, mean, factors.contiguous(), rest)

    def draw(self, labels: Tensor, seed: int) -> Tensor:
        """Returns features (N, D) float16 of labels (N,) whose classes have statistics; the same for the same seed."""
        generator = torch.Generator().manual_seed(seed)
        parts = []
        for some in torch.split(labels, 4096):
            along = torch.randn(len(some), len(self.factors), generator=generator) @ self.factors
            across = torch.randn(len(some), len(self.rest), generator=generator) * self.rest
            mean = self.mean[torch.searchsorted(self.classes, some)]
            parts.append((mean + along + across).half())
        return torch.cat(parts)


@dataclass(frozen=True)
class Drawn:
    """Features drawn in place of images.

    Attributes:
        features: (N, V, D) float16; the V views are the same, because statistics are of all views.
        labels: (N,) int64.
        images: how many images they stand for.
        predicted: whether these are the target's, by the classes that a model alone predicts, or else the source's.
    """

    features: Tensor
    labels: Tensor
    images: int
    predicted: bool = False


@dataclass(frozen=True)
class Kit:
    """The content of a kit.

    Attributes:
        path: where it was read.
        header: its description of itself.
        description: of the source-only model.
        weights: of the source-only model, with its backbone.
        statistics: of the source's features.
        validation: (N, C) the source-only model's probabilities for validation images.
        labels: (N,) int64, theirs.
        neutral: statistics of the source's features by the network that the judgement asks, where the run's own network
            is trained as a whole, so that its features favour the models that it became; None without any.
        model_alone: whether it is a model alone (:mod:`dalib.run.start.model_alone`), which has neither statistics nor
            validation images of the source.
        complete: kit and target's images -> the kit with the statistics that it lacks
            (:mod:`dalib.run.start.target_statistics`); None where it lacks none.
    """

    path: str
    header: KitHeader
    description: ModelDescription
    weights: Mapping[str, Tensor]
    statistics: ClassStatistics
    validation: Tensor
    labels: Tensor
    neutral: ClassStatistics | None = None
    model_alone: bool = False
    complete: Callable[[Kit, Rows], Kit] | None = None

    def for_target(self, target: Rows) -> Kit:
        """Returns the kit with the statistics that a training draws from, by the target's images where it has none."""
        return self if self.complete is None else self.complete(self, target)

    @property
    def missing(self) -> str:
        """Returns the sentence on what the judgement of a run from this kit lacks."""
        return MISSING_OF_MODEL if self.model_alone else MISSING

    @property
    def of_frozen(self) -> bool:
        """True if the statistics are of a frozen backbone's features; else they are of what the model's head sees."""
        return bool(self.header.settings.get("features", 0))

    @property
    def domain_statistics(self) -> StatisticsShare:
        """Share of its domain's own batch-normalisation statistics in the backbone that the features are of."""
        share: StatisticsShare = self.header.settings.get("model.domain_statistics", 0.0)
        return share

    @property
    def preprocessing(self) -> Preprocessing:
        """How images, of any range, become what the model takes."""
        return replace(self.description.preprocessing, range=None)

    def rows(self, target: int) -> int:
        """Returns how many feature vectors stand in for training images; of a model alone, if all classes are there.

        Args:
            target: number of its images, which a model alone takes in place of the source's.
        """
        if self.model_alone:
            images = min(target, MOST_PREDICTED)
            return images * _times(images, len(self.description.classes))
        counts = torch.tensor(self.header.counts)[self.statistics.classes]
        return int(counts.sum()) * _times(int(counts.sum()), len(counts))

    def training(self, views: int, seed: int) -> Drawn:
        """Draws what stands in for the training images: the classes in the source's shares."""
        counts = torch.tensor(self.header.counts)[self.statistics.classes]
        numbers = torch.where(counts > 0, counts, ASSUMED_IMAGES)
        labels = self.statistics.classes.repeat_interleave(numbers * _times(int(numbers.sum()), len(counts)))
        return self._drawn(labels, views, seed, "training", int(counts.sum()))

    def validating(self, views: int, seed: int) -> Drawn:
        """Draws what stands in for the validation images, in the order of their labels."""
        return self._drawn(self.labels, views, seed, "validation", len(self.labels))

    def representing(self, seed: int) -> tuple[Tensor, Tensor]:
        """Draws what represents the source in the judgement: features (N, D) and labels (N,), in the source's shares.

        N is 0 where the kit has no statistics for it.
        """
        if self.neutral is None:
            return torch.zeros(0, 0), torch.zeros(0, dtype=torch.int64)
        known = self.neutral.classes
        counts = torch.tensor(self.header.counts)[known]
        numbers = (counts * REPRESENTING / counts.sum()).ceil().long()
        labels = known.repeat_interleave(numbers)
        return self.neutral.draw(labels, derive_seed(seed, "kit", "judgement")).float(), labels

    def _drawn(self, labels: Tensor, views: int, seed: int, purpose: str, images: int) -> Drawn:
        features = self.statistics.draw(labels, derive_seed(seed, "kit", purpose))
        each_view = features[:, None].expand(-1, views, -1).contiguous()
        return Drawn(each_view, labels, images, predicted=self.model_alone)


def _times(images: int, classes: int) -> int:
    """Returns how often each of so many images is stood in for, so that enough vectors are drawn of a class."""
    return max(1, math.ceil(DRAWN_OF_CLASS * classes / images))


def open_kit(path: str) -> Kit:
    """Reads a kit whole.

    Raises:
        UserError: no such file, no kit, or one whose parts do not fit each other.
    """
    header = read_header(path)
    file = Path(expanded(path))
    description = description_of(header.description, file)
    try:
        tensors = load_file(file)
        weights = {name.removeprefix("model/"): each for name, each in tensors.items() if name.startswith("model/")}
        statistics = ClassStatistics(*(tensors[f"statistics/{name}"] for name in _STATISTICS))
        kit = Kit(
            path,
            header,
            description,
            weights,
            statistics,
            tensors["validation/probabilities"],
            tensors["validation/labels"],
            ClassStatistics(*(tensors[f"neutral/{name}"] for name in _STATISTICS))
            if "neutral/mean" in tensors
            else None,
        )
        _check_shapes(kit)
    except (SafetensorError, KeyError, ValueError) as error:
        raise UserError(Setting("kit", path), f": has an unexpected format ({type(error).__name__}: {error})") from None
    return kit


_STATISTICS = ("classes", "mean", "factors", "rest")


def _check_shapes(kit: Kit) -> None:
    statistics, classes = kit.statistics, len(kit.description.classes)
    for each in (statistics, kit.neutral):
        if each is not None:
            _check_statistics(each, classes)
    if not torch.isin(kit.labels, statistics.classes).all():
        raise ValueError("statistics: expected positions of the model's classes, for each validation label too")
    if kit.neutral is not None and not torch.isin(kit.neutral.classes, statistics.classes).all():
        raise ValueError("neutral: expected classes that the other statistics have")
    if kit.labels.dtype != torch.int64 or kit.validation.shape != (len(kit.labels), classes):
        raise ValueError(f"validation: expected {len(kit.labels)} rows of {classes} probabilities")
    _check_numbers(kit.validation)
    if name := nan_in(kit.weights):
        raise ValueError(f"model/{name}: expected numbers, got NaN")


def _check_statistics(statistics: ClassStatistics, classes: int) -> None:
    known, (count, width) = statistics.classes, statistics.mean.shape
    if known.shape != (count,) or known.dtype != torch.int64 or not known.equal(torch.unique(known)) or count < 2:
        raise ValueError("statistics: expected the positions of two classes or more, ascending")
    if known[0] < 0 or known[-1] >= classes:
        raise ValueError("statistics: expected positions of the model's classes")
    if statistics.factors.shape[1:] != (width,) or statistics.rest.shape != (width,):
        raise ValueError(f"statistics: expected {width} features in each part")
    for each in (statistics.mean, statistics.factors, statistics.rest):
        _check_numbers(each)


def _check_numbers(values: Tensor) -> None:
    if values.dtype != torch.float32 or not values.isfinite().all():
        raise ValueError("statistics, validation: expected finite numbers, float32")


@dataclass(frozen=True)
class SourceOfKit:
    """Source-only model and statistics of the source, from which a kit is written.

    Attributes:
        model: folder of the source-only model.
        settings: of the run, groups as dictionaries.
        features: (N, V, D) of the source's training images.
        labels: (N,) int64, theirs.
        validation: (M, C) the source-only model's probabilities for the validation images.
        validation_labels: (M,) int64.
        norms: the backbone's pretrained batch-normalisation statistics by their names in it, where the model has those
            of the run's target: a kit is for other targets.
        neutral: features (R, D) of some training images by the network that the judgement asks, and their labels (R,);
            None without any.
    """

    model: Path
    settings: Mapping[str, Any]
    features: Tensor
    labels: Tensor
    validation: Tensor
    validation_labels: Tensor
    norms: Mapping[str, Tensor] = field(default_factory=dict)
    neutral: tuple[Tensor, Tensor] | None = None


def write_kit(path: Path, source: SourceOfKit) -> KitHeader:
    """Writes a kit, whole or not at all.

    Raises:
        UserError: fewer than two classes with enough images.
    """
    description = load_description(source.model)
    classes = len(description.classes)
    counts = torch.bincount(source.labels, minlength=classes)
    if not _enough(source.labels, classes):
        raise UserError(
            Setting("format", "kit"),
            f": a kit holds statistics of classes with at least {FEWEST_IMAGES} training images, and "
            f"{int((counts >= FEWEST_IMAGES).sum())} of {classes} have as many; collect more images of the others",
        )
    statistics = ClassStatistics.of(source.features, source.labels, classes)
    known = torch.isin(source.validation_labels, statistics.classes)
    tensors = {f"model/{name}": each for name, each in load_tensors(source.model).items()}
    tensors |= {f"model/backbone.{name}": each for name, each in source.norms.items()}
    tensors |= {f"statistics/{name}": getattr(statistics, name) for name in _STATISTICS}
    if source.neutral is not None and _enough(source.neutral[1], classes):
        neutral = ClassStatistics.of(source.neutral[0][:, None], source.neutral[1], classes)
        tensors |= {f"neutral/{name}": getattr(neutral, name) for name in _STATISTICS}
    tensors |= {
        "validation/probabilities": source.validation[known].float(),
        "validation/labels": source.validation_labels[known],
    }
    tensors = {name: each.contiguous() for name, each in tensors.items()}
    left_out = [name for name, count in zip(description.classes, counts.tolist(), strict=True) if count < FEWEST_IMAGES]
    kept = [count if count >= FEWEST_IMAGES else 0 for count in counts.tolist()]
    settings, images = settings_in_kit(source.settings), description.preprocessing
    if images.crop is None:  # else the backbone gives the sizes; here they were the source's, which is not there
        settings = {"data.size": images.size, "data.channels": images.channels, **settings}
    if not settings["features"]:
        settings |= settings_of_whole(source.settings)
    header = KitHeader(content_of(description), settings, tuple(kept), tuple(left_out))
    header = replace(header, digest=digest_of(save(tensors, {"kit": header.text()})))
    write_bytes(path, save(tensors, {"kit": header.text()}))
    return header


def _enough(labels: Tensor, classes: int) -> bool:
    """Returns whether two classes or more have enough images for statistics."""
    return int((torch.bincount(labels, minlength=classes) >= FEWEST_IMAGES).sum()) >= 2


def content_line(header: KitHeader, validation_labels: Tensor) -> str:
    """Returns sentences about what a kit holds, which of the validation images are those of classes with statistics."""
    known = len(header.counts) - len(header.left_out)
    validation = int((torch.tensor(header.counts)[validation_labels] > 0).sum())
    line = (
        f"The kit holds the source-only model, the means of {known} classes' features and their common covariance, and "
        f"the probabilities of {validation} validation images with their labels. No image can be read from it: there "
        "is no image and no feature of a single image in it"
    )
    if header.left_out:
        line += f"; without statistics, for want of {FEWEST_IMAGES} images: {', '.join(header.left_out)}"
    return line
