"""The time that a run takes: rates measured on random pixels, their sum, and what fits in a time limit."""

from __future__ import annotations

import re
import tempfile
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, cast

import torch

from dalib.core.console import say, say_detail
from dalib.core.devices import wait_for
from dalib.core.errors import Call, Setting, UserError
from dalib.data.decoding import decode
from dalib.data.sources import LabelledImages, UnlabelledImages, listing_of
from dalib.engine.evaluate import MOST_EVALUATED
from dalib.engine.fit import train_step
from dalib.engine.predict import predict_probabilities
from dalib.models.inference import fast_inference
from dalib.models.network import make_predictor
from dalib.report.sheets import MAPPED, write_embedding
from dalib.run import recipe
from dalib.run.backbones import JOINED
from dalib.run.feature_space import (
    MOST_FOR_STATISTICS,
    FeatureSpace,
    features_folder,
    gain_of_rounding,
    images_at_once,
    precision_named,
)
from dalib.run.inputs import feature_inputs
from dalib.run.neutral_features import rows_seen, seconds_of_a_row
from dalib.run.presets import PRESETS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from dalib.core.types import Augment
    from dalib.data.preprocessing import Preprocessing
    from dalib.models.classifier import ImageClassifier
    from dalib.run.config import TrainConfig
    from dalib.run.domains import Listings

SHARE = 0.92
"""Share of a time limit that is planned for: what else the machine does varies by some percent."""

LEAST_STEPS = 50
"""Optimiser steps of each training; fewer teach a network nothing."""

MOST_TIMES = 10
"""Times the recipe's steps; more are of no use."""

MOST_VIEWS = 32
"""Stored views of an image; more are of no use and take much of a disk."""

SHORT = 30
"""Optimiser steps; a training of no more takes hardly longer than measuring how long it takes."""

_MAPPED_POINTS, _MAP_GROWTH = 120, 1.3
_BESIDE_MAP = 1.3
"""Times the map's seconds that a judgement takes with all its other parts."""
_STATISTICS_VIEWS = 5
"""Views of an image through the backbone, called in the fastest way, that its part in a domain's statistics takes."""
_REST = 2.0
"""Seconds of pictures, files and the report."""
_DECODED = 12
"""Files of a domain that are decoded to measure how long it takes."""


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
    inputs = recipe.image_inputs(config, preprocessing)
    count = max(2 * config.batch, 64)
    shape = (count, preprocessing.channels, preprocessing.size, preprocessing.size)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    network = recipe.make_student(config, inputs.architecture, classes)
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
        with torch.random.fork_rng():
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
    size, view = preprocessing.input_size, recipe.image_inputs(config, preprocessing).views.student
    calls: list[tuple[Callable[[Tensor], Tensor], Augment]]
    batch = images_at_once(device)
    if keep:
        precision = precision_named(config.feature_precision)
        views = config.model.averaged_views
        space = FeatureSpace.of(student, preprocessing, features_folder(), device, views, precision)
        calls = [(each.compute, each.own_view(view)) for each in space.parts] or [(space.compute, view)]
    else:
        asked = config.feature_precision
        measured = asked == "auto" and device.type == "cpu"
        rounded = asked == "bfloat16" or (measured and gain_of_rounding(student, preprocessing) > 1)
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


def seconds_of(call: Callable[[], object], device: torch.device, least: int = 3, most: float = 1.0) -> float:
    """Returns the median time of a call, after one that warms up."""
    call()
    times: list[float] = []
    since = time.perf_counter()
    while len(times) < least or (time.perf_counter() - since < most and len(times) < 20):
        start = time.perf_counter()
        call()
        wait_for(device)
        times.append(time.perf_counter() - start)
    return median(times)


def views_of(config: TrainConfig, counts: Counts) -> int:
    """Returns how many views of images the frozen backbone sees."""
    if not config.features:
        return 0
    averaged = max(1, config.model.averaged_views)
    return config.features * counts.seen + averaged * (counts.validation + counts.target)


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
    share = (points / (2 * MAPPED)) ** _MAP_GROWTH
    measured = counts.labelled * averaged * (pace.view if config.features else pace.row)
    measuring = measured if config.features else len(trainings) * measured  # features serve every model
    neutral = pace.neutral * rows_seen(counts.source - counts.validation, counts.target) if len(trainings) > 1 else 0
    parts["judgement"] = len(trainings) * _BESIDE_MAP * pace.mapped * share + neutral + measuring + _REST
    return parts


def in_words(seconds: float) -> str:
    """Returns a time in words, such as about 4 minutes.

    >>> [in_words(seconds) for seconds in (20, 70, 280, 5400, 9000)]
    ['less than a minute', 'about a minute', 'about 5 minutes', 'about 90 minutes', 'about 2.5 hours']
    """
    minutes = seconds / 60
    if minutes < 0.75:
        return "less than a minute"
    if minutes < 1.5:
        return "about a minute"
    return f"about {minutes:.0f} minutes" if minutes <= 90 else f"about {minutes / 60:.1f} hours"


_UNITS = {"h": 3600.0, "m": 60.0, "min": 60.0, "s": 1.0}


def time_limit_of(config: TrainConfig) -> float | None:
    """Returns the time limit in seconds; None without one.

    Raises:
        UserError: no time.
    """
    limit = config.time_limit
    if limit is None:
        return None
    text = f"{limit}s" if isinstance(limit, int | float) else limit.replace(" ", "")
    text = f"{text}s" if re.fullmatch(r"[\d.]+", text) else text
    found = re.findall(r"(\d+(?:\.\d+)?)(h|min|m|s)", text)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in found)
    if "".join(number + unit for number, unit in found) != text or seconds <= 0:
        raise UserError(Setting("time_limit", limit), ": expected a time such as 10m, 90s or 1h30m")
    return seconds


@dataclass(frozen=True)
class Recipe:
    """Numbers that a configuration has where time does not matter.

    Attributes:
        steps: optimiser steps of the adaptation.
        views: stored views of an image; None where their number is not to be chosen.
    """

    steps: int
    views: int | None

    @classmethod
    def of(cls, config: TrainConfig, counts: Counts) -> Recipe:
        """The views are to be chosen where they are as many as the preset has."""
        preset = {} if config.preset is None else PRESETS[config.preset]
        views = preset.get("features") if config.features else None
        own = replace(config, steps=preset.get("steps"), epochs=preset.get("epochs"))
        steps = recipe.steps_for(own, counts.source - counts.validation, counts.target)
        return cls(steps, views if views == config.features else None)


def is_open(config: TrainConfig) -> bool:
    """Returns whether the time limit decides how long the trainings are: there is one, and no number of steps."""
    return config.time_limit is not None and config.steps is None and config.epochs is None


class TooShortError(UserError):
    """A time limit that not even the fewest views and steps fit in."""


def fitted_to_time(
    config: TrainConfig, counts: Counts, pace: Pace, left: float, *, usual: Recipe, extracted: bool = False
) -> TrainConfig:
    """Returns the configuration with as many views and steps as fit, in the proportion that the recipe has.

    Args:
        config: without a number of steps.
        left: seconds.
        usual: the views and steps of the recipe; the steps' schedule keeps its proportions.
        extracted: whether the features are there already, so that only steps are to be chosen.

    Raises:
        TooShortError: not even the least fits.
    """
    choices: Sequence[int] = [config.features]
    if usual.views is not None and not extracted:
        choices = range(MOST_VIEWS, 1, -1)
    for views in choices:
        steps = _steps_that_fit(replace(config, features=views), counts, pace, left, usual, extracted=extracted)
        least = usual.steps * views / usual.views if usual.views is not None and len(choices) > 1 else 0
        if steps >= max(LEAST_STEPS, least if views > 2 else 0):
            return with_length(config, views, min(steps, MOST_TIMES * usual.steps), usual)
    shortest = with_length(config, choices[-1], LEAST_STEPS, usual)
    needed = sum(seconds_of_run(shortest, counts, pace, extracted=extracted).values())
    limit = time_limit_of(config)
    assert limit is not None
    lacking = (needed - left) / SHARE
    raise TooShortError(
        Setting("time_limit", config.time_limit),
        f": too short here; with {LEAST_STEPS} steps a training, and each image seen as seldom as can be, the run "
        f"takes {in_words(limit + lacking)}; expected at least ",
        Setting("time_limit", f"{max(1, round((limit + 1.1 * lacking) / 60 + 0.5))}m"),
        ", or fewer images",
    )


def _steps_that_fit(
    config: TrainConfig, counts: Counts, pace: Pace, left: float, usual: Recipe, *, extracted: bool
) -> int:
    """Returns the largest number of steps that fits; 0 if none does."""
    low, high = 0, MOST_TIMES * usual.steps + 1
    while high - low > 1:
        middle = (low + high) // 2
        own = with_length(config, config.features, middle, usual)
        if sum(seconds_of_run(own, counts, pace, extracted=extracted).values()) <= left:
            low = middle
        else:
            high = middle
    return low


def with_length(config: TrainConfig, views: int, steps: int, usual: Recipe) -> TrainConfig:
    """Returns the configuration with so many views and steps, and all that happens by the step in proportion."""
    ensemble = config.self_ensemble
    ramp_up = round(ensemble.ramp_up_steps * steps / usual.steps)
    often = max(1, min(config.every.evaluate, steps // 4))
    every = replace(config.every, evaluate=often, checkpoint=min(config.every.checkpoint, often))
    return replace(
        config, features=views, steps=steps, self_ensemble=replace(ensemble, ramp_up_steps=ramp_up), every=every
    )


def check_time_limit(config: TrainConfig, processes: int) -> None:
    """Refuses a time limit that decides the steps of several processes, whose pace one of them cannot measure.

    Raises:
        UserError: that.
    """
    if processes > 1 and is_open(config):
        raise UserError(
            Setting("time_limit", config.time_limit),
            f": the pace is measured by one process, these are {processes}; give ",
            Setting("steps"),
            " instead, which `",
            Call("dalib.run.checks.checks"),
            "` estimates the time of",
        )


def say_choice(config: TrainConfig, parts: Mapping[str, float]) -> None:
    """Prints what was chosen for the time limit, and what the parts of the run take.

    Args:
        config: with the chosen views and steps.
        parts: seconds by name, as :func:`seconds_of_run` returns them.
    """
    views = f"{config.features} views of each image and " if config.features else ""
    limit, seconds = Setting("time_limit", config.time_limit), sum(parts.values())
    say(f"{views}{config.steps} steps a training fit in {limit}: {in_words(seconds)} from here, as measured")
    _say_parts(parts)


def _say_parts(parts: Mapping[str, float]) -> None:
    say_detail("; ".join(f"{name} {seconds:.1f} s" for name, seconds in parts.items()))


def say_length(
    config: TrainConfig,
    preprocessing: Preprocessing,
    device: torch.device,
    processes: int = 1,
    listings: Listings | None = None,
) -> None:
    """Prints, before images are read, how long the whole run takes and which model predicts in the end.

    Where source and target are no files, which are read in seconds, it tells only what is to be done; likewise with
    several processes, whose steps wait for each other and cannot be measured by one of them.
    """
    counts, reading = _counted(config, listings)
    steps = _steps_known(config, counts)
    if config.time_limit is not None and steps is None:
        limit = Setting("time_limit", config.time_limit)
        say(f"{in_words(time_limit_of(config) or 0)} in all ({limit}): {_plan(config)}")
        return
    if counts is None or steps is None or steps <= SHORT or processes > 1:
        say(f"{_plan(config)[:1].upper()}{_plan(config)[1:]}")
        return
    config = replace(config, steps=steps, epochs=None)
    pace = measure_pace(config, preprocessing, counts.classes, device)
    parts = {"reading": reading, **seconds_of_run(config, counts, pace)}
    say(f"{in_words(sum(parts.values()))} in all, as measured on this machine: {_plan(config)}")
    _say_parts(parts)


def _steps_known(config: TrainConfig, counts: Counts | None) -> int | None:
    if is_open(config) or (counts is None and config.steps is None and config.epochs is not None):
        return None
    return recipe.steps_for(config, 0, 0) if counts is None else recipe.steps_for(config, counts.source, counts.target)


def _plan(config: TrainConfig) -> str:
    """Returns what a run does, and which model predicts in the end."""
    names = [name for name, _ in recipe.trainings(config)]
    training = " and then the ".join(f"{name} model" for name in names)
    features = "features of the images, then " if config.features else ""
    if len(names) == 1 and config.kit is None:
        return f"{features}training of the {training}, which predicts in the end"
    if config.keep == "adapted":
        return f"{features}training of the {training}, which predicts in the end"
    by = "measured to be better" if config.evaluate is not None else "judged to be better without target labels"
    return f"{features}training of the {training}; the one that is {by} predicts in the end"


BUILT_IN = {("fonts", "digits"): Counts(12000, 1200, 1200, 10, 597)}
"""Numbers of images of what is made or bundled here."""


def _counted(config: TrainConfig, known_files: Listings | None = None) -> tuple[Counts | None, float]:
    """Returns the numbers of images and the seconds of reading them; None where they are not known before."""
    if (known := BUILT_IN.get((str(config.source), config.one_target))) is not None:
        return known, 3.0
    if config.kit is not None:  # no image of the source is read
        return None, 0.0
    sources = [config.source] if isinstance(config.source, str) else config.source
    of_sources = known_files.sources if known_files is not None else (None,) * len(sources)
    listings = [
        files or listing_of(each, argument="source", labelled=True, root=config.root)
        for each, files in zip(sources, of_sources, strict=True)
    ]
    target = known_files and known_files.target
    target = target or listing_of(config.one_target, argument="target", labelled=False, root=config.root)
    if target is None or any(each is None for each in listings):
        return None, 0.0
    found = [each for each in listings if each is not None]
    source = sum(len(each.paths) for each in found)
    classes = len({name for each in found for name in each.classes or ()})
    seconds = 0.0
    preprocessing = recipe.make_preprocessing(config)
    for listing in (*found, target):
        some = listing.paths[:: max(1, len(listing.paths) // _DECODED)][:_DECODED]
        since = time.perf_counter()
        decode(some, preprocessing)
        seconds += (time.perf_counter() - since) / max(1, len(some)) * len(listing.paths)
    validation = round(source * config.data.validation_share)
    return Counts(source, validation, len(target.paths), max(2, classes)), seconds
