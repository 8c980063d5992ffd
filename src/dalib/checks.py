"""What ``dalib checks`` tells: the installation, the data before training on them, and how long training will take."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, cast

import torch

from dalib import build
from dalib._version import __version__
from dalib.commands import describe_device, name_of, say_unreadable, where_of
from dalib.console import CountedProgress, clock, size_of
from dalib.data.sources import LabelledImages, UnlabelledImages, listing_of, open_source, open_target
from dalib.data.survey import survey
from dalib.models.inference import fast_inference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from dalib.config import TrainConfig
    from dalib.data.listing import Listing
    from dalib.data.preprocessing import Preprocessing
    from dalib.data.survey import DomainSurvey, Survey

MOST = 10  # names in a line


def checks(config: TrainConfig, *, source: bool, target: bool) -> None:
    """Print what matters of this installation and, where they are given, of source and target, without training.

    Raises:
        UserError: data or settings that ``train`` would refuse.
    """
    print(f"dalib {__version__}, torch {torch.__version__}, Python {platform.python_version()}")
    print(f"device auto is {describe_device(build.make_device('auto'))}")
    for warning in import_conflicts():
        print(f"warning: {warning}")
    if not source and not target:
        return
    preprocessing = build.make_preprocessing(config)
    counts = _describe_data(config, preprocessing, source=source, target=target)
    if source and target:
        _estimate(config, preprocessing, *counts)


def _describe_data(
    config: TrainConfig, preprocessing: Preprocessing, *, source: bool, target: bool
) -> tuple[int, int, int]:
    """Images of the source, its classes, images of the target; 0 of what is not asked for."""
    listings: list[Listing | None] = [None, None]
    if source and isinstance(config.source, str):
        listings[0] = listing_of(config.source, argument="--source", labelled=True, root=config.root)
    if target:
        listings[1] = listing_of(config.target, argument="--target", labelled=False, root=config.root)
    with CountedProgress("looking at files", sys.stdout) as progress:
        found = survey(listings[0], listings[1], preprocessing, on_progress=progress)
    images = classes = targets = 0
    if source:
        if found.source is None:
            labelled = open_source(
                config.source, preprocessing, seed=config.seed, partner=config.target, **where_of(config)
            )
            class_counts = dict(
                zip(
                    labelled.classes,
                    torch.bincount(labelled.labels, minlength=len(labelled.classes)).tolist(),
                    strict=True,
                )
            )
            images = len(labelled.labels)
            say_unreadable(labelled.unreadable)
        else:
            class_counts, images = dict(found.source.class_counts or {}), found.source.images
        classes = len(class_counts)
        print(f"source {name_of(config.source)}: {images} images, {classes} classes")
        for name, count in class_counts.items():
            print(f"  {name}: {count}")
        _describe_files(found.source)
    if target:
        if found.target is None:
            unlabelled = open_target(config.target, preprocessing, partner=name_of(config.source), **where_of(config))
            targets = len(unlabelled.names)
            say_unreadable(unlabelled.unreadable)
        else:
            targets = found.target.images
        print(f"target {config.target}: {targets} images, their labels unused if there are any")
        _describe_files(found.target)
    _describe_both(found)
    return images, classes, targets


def _describe_files(domain: DomainSurvey | None) -> None:
    if domain is None:
        return
    if domain.width is not None and domain.height is not None:
        width, height = (
            f"{each.least} to {each.greatest} (median {each.median:.0f})" for each in (domain.width, domain.height)
        )
        print(f"  width {width}, height {height} pixels; modes {_counts(domain.modes)}")
    if domain.ignored:
        print(f"  not used, by their endings: {_counts(domain.ignored)}")
    for note in domain.notes:
        print(f"  {note}")
    if domain.duplicates:
        spare = sum(len(group) - 1 for group in domain.duplicates)
        print(f"  {spare} images are copies of another, for instance {' = '.join(domain.duplicates[0][:3])}")
    say_unreadable(domain.unreadable)


def _describe_both(found: Survey) -> None:
    for names, where, other in (
        (found.only_in_source, "source", "target"),
        (found.only_in_target, "target", "source"),
    ):
        if names:
            more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
            print(f"warning: folders of the {where} alone, not of the {other}: {', '.join(names[:MOST])}{more}")
    if found.shared_images:
        first, second = found.shared_images[0]
        print(
            f"warning: {len(found.shared_images)} images are in source and target, for instance {first} = {second}; "
            "results on them say nothing"
        )
    if found.row_bytes:
        free = "" if found.free_disk is None else f", {size_of(found.free_disk)} free"
        memory = "" if found.free_memory is None else f", {size_of(found.free_memory)} of memory free"
        print(f"decoded images take {size_of(found.row_bytes)} in {found.cache_folder}{free}{memory}")


def _estimate(config: TrainConfig, preprocessing: Preprocessing, images: int, classes: int, targets: int) -> None:
    """Measure some steps on random pixels, and say how long the training would take."""
    device = build.make_device(config.device)
    inputs = build.image_inputs(config, preprocessing)
    count = max(2 * config.batch, 64)
    shape = (count, preprocessing.channels, preprocessing.size, preprocessing.size)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    if config.steps is not None:
        steps = config.steps
    else:
        steps = 1000 if config.epochs is None else -(-config.epochs * max(images, targets) // config.batch)
    extraction = 0.0
    if config.features:
        network = build.make_student(replace(config, weights=None), inputs.architecture, classes)
        size = preprocessing.input_size
        backbone = fast_inference(network.backbone.to(device), (32, preprocessing.channels, size, size))
        generator = torch.Generator(device)
        rate = 32 / _seconds(lambda: backbone(inputs.views.student(pixels[:32].to(device), generator)), device)
        views = config.features * (images + targets) + max(1, config.model.averaged_views) * targets
        extraction = views / rate
        print(f"features: {rate:.0f} images/s, {views} to do, if none are kept from before: {clock(extraction)}")
        width = cast("int", network.backbone.out_features)
        inputs = build.feature_inputs(inputs.architecture, width)
        pixels = torch.rand(count, config.features, width).half()
    names = tuple(map(str, range(count)))
    labels = torch.arange(count) % classes
    total = extraction
    runs = [("adaptation", config, steps)]
    if config.baseline and config.method != "source-only":
        runs.insert(0, ("source-only", build.source_only(config), config.baseline_steps or steps))
    for name, training_config, length in runs:
        training = build.make_training(
            replace(training_config, weights=None),
            inputs,
            LabelledImages(pixels, labels, names[:classes], names),
            UnlabelledImages(pixels, names),
            device,
            steps=steps,
        )

        def step(training: build.Training = training) -> None:
            training.optimizer.zero_grad(set_to_none=True)
            training.method.loss(training.stream.batch_at(0), 0).total.backward()  # type: ignore[no-untyped-call]
            training.optimizer.step()
            training.method.after_step(0)

        seconds = _seconds(step, device)
        total += seconds * length
        print(f"{name}: {1 / seconds:.2f} steps/s, {length} steps: {clock(seconds * length)}")
    print(f"all in all about {clock(total)}, besides reading the images")


def _seconds(call: Callable[[], object], device: torch.device, least: int = 3, most: float = 10.0) -> float:
    """The median time of a call, after one that warms up."""
    call()
    times: list[float] = []
    since = time.perf_counter()
    while len(times) < least or (time.perf_counter() - since < most and len(times) < 20):
        start = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return median(times)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name or 'none'} {count}" for name, count in list(counts.items())[:MOST])


def import_conflicts(distributions: Iterable[str] | None = None, path: Sequence[str] | None = None) -> list[str]:
    """Other owners of the import name ``dalib``, one sentence each; an old library of that name is on PyPI.

    Args:
        distributions: those that claim the import name; by default the installed ones.
        path: where Python looks for modules; by default ``sys.path``.
    """
    if distributions is None:
        distributions = importlib.metadata.packages_distributions().get("dalib", [])
    others = sorted(set(distributions) - {"dalib"})
    sentences = [
        f"the installed distribution {name} also owns the import name dalib; pip uninstall {name}" for name in others
    ]
    ours = Path(__file__).resolve().parent
    for entry in sys.path if path is None else path:
        other = Path(entry or ".").resolve() / "dalib"
        if (other / "__init__.py").is_file() and other != ours:
            sentences.append(
                f"{other} is another package of the name dalib; remove it, or Python may import it instead"
            )
    return sentences
