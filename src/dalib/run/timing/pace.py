"""The time that a run takes: rates measured on random pixels, and their sum over its parts."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch

from dalib.core.console import say_detail
from dalib.core.devices import global_generators_restored, seconds_of
from dalib.data.domain_images import LabelledImages, UnlabelledImages
from dalib.engine.evaluate import MOST_EVALUATED
from dalib.engine.fit import train_step
from dalib.engine.predict import predict_probabilities
from dalib.models.inference import fast_inference
from dalib.models.network import make_predictor
from dalib.report.sheets import MAPPED, write_embedding
from dalib.run.features.fastest import images_at_once, precision_for
from dalib.run.features.feature_space import MOST_FOR_STATISTICS
from dalib.run.features.inputs import feature_inputs
from dalib.run.features.neutral_features import rows_seen, seconds_of_a_row
from dalib.run.recipe import image_network, recipe
from dalib.run.settings.backbones import JOINED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from dalib.core.types import Augment
    from dalib.data.preprocessing import Preprocessing
    from dalib.models.classifier import ImageClassifier
    from dalib.run.settings.config import TrainConfig

LEAST_STEPS = 50
"""Optimiser steps of each training; fewer teach a network nothing."""

_MAPPED_POINTS, _MAP_GROWTH = 120, 1.3
_BESIDE_MAP = 1.3
"""Times the map's seconds that a judgement takes with all its other parts."""
_STATISTICS_VIEWS = 5
"""Views of an image through the backbone, called in the fastest way, that its part in a domain's statistics takes."""
_REST = 2.0
"""Seconds of pictures, files and the report."""


@dataclass(frozen=True)
class Counts:
    """Numbers of images.

    Attributes:
        source: with those that validate.
        validation: of the source, kept from training.
        target: all of them.
        classes: number of classes.
        labelled: images of the labelled set that measures the models in the end.
        drawn: whether the source's rows are drawn from a kit, so that no backbone sees them.
    """

    source: int
    validation: int
    target: int
    classes: int
    labelled: int = 0
    drawn: bool = False

    @property
    def training(self) -> int:
        """Source images to train on."""
        return self.source - self.validation

    @property
    def seen(self) -> int:
        """Images of which a frozen backbone sees random views."""
        return self.target + (0 if self.drawn else self.source)


@dataclass(frozen=True)
class Pace:
    """Seconds that the parts of a run take on this machine, with this network.

    Attributes:
        steps: one step of each training, by its name.
        row: one image, or the stored features of one, through the network that is trained, without augmentation.
        view: one view of an image through the frozen backbone; 0 where no features are stored.
        mapped: the map of a model's features, of the most images that it shows.
        neutral: one image through the network that the judgement asks; 0 where it asks none.
    """

    steps: dict[str, float]
    row: float
    view: float
    mapped: float
    neutral: float = 0.0


def measure_pace(
    config: TrainConfig,
    preprocessing: Preprocessing,
    classes: int,
    device: torch.device,
    *,
    keep: bool = True,
    known: Pace | None = None,
) -> Pace:
    """Measures some steps, predictions, views and a small map, all on random pixels; trains and writes nothing.

    Args:
        config: a whole configuration; its number of steps does not matter.
        preprocessing: how rows become the input of a network.
        classes: number of classes.
        device: where networks compute.
        keep: note the fastest way to call a frozen backbone, for the features that are computed next.
        known: a pace that was measured before; only the trainings' steps and rows are measured again.
    """
    inputs = image_network.image_inputs(config, preprocessing)
    count = max(2 * config.batch, 64)
    shape = (count, preprocessing.channels, preprocessing.size, preprocessing.size)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    network = image_network.make_student(config, inputs.architecture, classes)
    view = 0.0
    if config.features:
        if known is None:
            view = _seconds_of_a_view(config, preprocessing, network, pixels, device, keep=keep)
        width = cast("int", network.backbone.out_features)
        inputs = feature_inputs(inputs.architecture, width)
        pixels = torch.rand(count, config.features, width).half()
    names = tuple(map(str, range(count)))
    source = LabelledImages(pixels, torch.arange(count) % classes, names[:classes], names)
    steps, row = {}, 0.0
    for name, own in recipe.trainings(replace(config, steps=config.steps or LEAST_STEPS, epochs=None)):
        training = recipe.make_training(
            replace(own, weights=None),
            inputs,
            source,
            UnlabelledImages(pixels, names),
            device,
            steps=own.steps or LEAST_STEPS,
        )
        with global_generators_restored(device):
            steps[name] = seconds_of(partial(train_step, training, 0), device)
        predictor = make_predictor(training.method.predictor(), inputs.architecture).to(device)
        plain = partial(predict_probabilities, predictor, pixels[:64], inputs.plain, device=device)
        averaged = max(1, config.model.averaged_views) if not config.features else 1
        row = seconds_of(plain, device, most=0.5) / min(64, count) / averaged
    if known is not None:
        return replace(known, steps=steps, row=row)
    asked = config.baseline and keep and not config.features
    return Pace(steps, row, view, seconds_of_a_map(), seconds_of_a_row(pixels, device) if asked else 0.0)


def _seconds_of_a_view(
    config: TrainConfig,
    preprocessing: Preprocessing,
    student: ImageClassifier,
    pixels: Tensor,
    device: torch.device,
    *,
    keep: bool,
) -> float:
    """Returns the seconds that one random view of an image takes, with making it."""
    size, view = preprocessing.input_size, image_network.image_inputs(config, preprocessing).views.student
    calls: list[tuple[Callable[[Tensor], Tensor], Augment]]
    batch = images_at_once(device)
    if keep:
        space = image_network.make_feature_space(config, student, preprocessing, device)
        calls = [(each.compute, each.own_view(view)) for each in space.parts] or [(space.compute, view)]
    else:
        rounded = precision_for(config.feature_precision, student, preprocessing, device) == "bfloat16"
        shape = (batch, preprocessing.channels, size, size)
        calls = [(fast_inference(student.backbone.to(device).eval(), shape, bfloat16=rounded), view)]
    generator, some = torch.Generator(device), pixels[:batch].to(device)
    with torch.inference_mode():
        return sum(seconds_of(partial(_see, *each, some, generator), device) for each in calls) / len(some)


def _see(call: Callable[[Tensor], Tensor], view: Augment, images: Tensor, generator: torch.Generator) -> Tensor:
    return call(view(images, generator))


def seconds_of_a_map() -> float:
    """Returns the seconds of a whole map, from those of a small one whose points lie in clusters, as classes do."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(_MAPPED_POINTS // 2) % 10
    centres = 2 * torch.randn(10, 64, generator=generator)
    first, second = (centres[labels] + 0.5 * torch.randn(len(labels), 64, generator=generator) for _ in range(2))
    with tempfile.TemporaryDirectory() as folder:

        def seconds_with(points: int) -> float:
            since = time.perf_counter()
            each = first[:points], labels[:points], second[:points], labels[:points]
            write_embedding(Path(folder) / "map.json", {"": each}, 0)
            return time.perf_counter() - since

        seconds_with(_MAPPED_POINTS // 6)  # the first one imports what draws maps
        seconds = seconds_with(_MAPPED_POINTS)
    return float(seconds * (2 * MAPPED / _MAPPED_POINTS) ** _MAP_GROWTH)


def views_of(config: TrainConfig, counts: Counts) -> int:
    """Returns how many views of images the frozen backbone sees."""
    if not config.features:
        return 0
    averaged = max(1, config.model.averaged_views)
    predicted = counts.target + (0 if counts.drawn else counts.validation)
    return config.features * counts.seen + averaged * predicted


def seconds_of_run(config: TrainConfig, counts: Counts, pace: Pace, *, extracted: bool = False) -> dict[str, float]:
    """Returns the seconds of each part of a run behind reading its images; the configuration's steps are given.

    Args:
        extracted: whether the features are there already.
    """
    parts = {} if extracted or not config.features else {"features": pace.view * views_of(config, counts)}
    share = config.model.domain_statistics
    if parts and share not in (0, "auto"):
        domains = (counts.target, 0 if counts.drawn else counts.source)
        image = pace.view * _STATISTICS_VIEWS / (2 if share == JOINED else 1)  # of joined features a view is two
        parts["features"] += image * sum(min(each, MOST_FOR_STATISTICS) for each in domains)
    trainings = recipe.trainings(config)
    evaluated, averaged = min(counts.target, MOST_EVALUATED), max(1, config.model.averaged_views)
    predicted = (counts.target + counts.validation) * (1 if config.features else averaged)
    for name, own in trainings:
        assert own.steps is not None
        models = 2 if name == "adapted" else 1  # teacher and student
        evaluations = -(-own.steps // config.every.evaluate) * (counts.validation + models * evaluated)
        last = counts.validation + evaluated + (min(counts.target, 8192) if own.statistics == "recomputed" else 0)
        rows = evaluations + last + predicted
        parts[name] = pace.steps[name] * own.steps + pace.row * rows
    points = min(MAPPED, counts.validation) + min(MAPPED, counts.target)
    of_map = (points / (2 * MAPPED)) ** _MAP_GROWTH
    measured = counts.labelled * averaged * (pace.view if config.features else pace.row)
    measuring = measured if config.features else len(trainings) * measured  # features serve every model
    neutral = pace.neutral * rows_seen(counts.training, counts.target) if len(trainings) > 1 else 0
    parts["judgement"] = len(trainings) * _BESIDE_MAP * pace.mapped * of_map + neutral + measuring + _REST
    return parts


def say_parts(parts: Mapping[str, float]) -> None:
    """Prints what the parts of a run take, in seconds."""
    say_detail("; ".join(f"{name} {seconds:.1f} s" for name, seconds in parts.items()))
