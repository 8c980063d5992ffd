"""What each command does, as functions: the command line calls them, and so can a script."""

from __future__ import annotations

import datetime
import math
import platform
import shutil
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
import yaml
from torch import Tensor

from dalib import build
from dalib._version import __version__
from dalib.console import CountedProgress, TrainingProgress, clock, say, say_unreadable, size_of
from dalib.data.cache import CacheEntry, ImageCache
from dalib.data.named import default_evaluation
from dalib.data.prefetch import Prefetched
from dalib.data.sources import LabelledImages, open_labelled
from dalib.domains import Domains as Domains
from dalib.domains import failures, name_of, to_features, where_of
from dalib.domains import open_domains as open_domains
from dalib.engine.checkpoint import CheckpointFolder
from dalib.engine.features import FeatureEntry, FeatureStore
from dalib.engine.fit import Every, fit, restore
from dalib.engine.keep import MostConfident, kept_step
from dalib.engine.predict import predict_probabilities, recompute_statistics
from dalib.engine.runlog import MetricsLog
from dalib.errors import TrainingDivergedError, UserError
from dalib.feature_space import FeatureSpace, features_folder, one_by_one, standardization
from dalib.models.saved import ModelDescription, load_description, load_tensors, save_model
from dalib.predictions import evaluate as evaluate
from dalib.predictions import measure, models_of, slug
from dalib.predictions import predict as predict
from dalib.report.page import write_report
from dalib.report.sheets import write_samples, write_view_sheet
from dalib.runfolder import RunFolder, TrainingFolder, read_json, write_json, write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn

    from dalib.build import Inputs
    from dalib.config import TrainConfig
    from dalib.data.prefetch import Stream
    from dalib.data.preprocessing import Preprocessing
    from dalib.types import Batch


DEFAULT_STEPS = 1000


@dataclass(frozen=True)
class Start:
    """The models of the run in ``--init``."""

    run: str
    classes: tuple[str, ...]
    architecture: dict[str, Any]
    weights: dict[str, dict[str, Tensor]]
    """Of each training, by its name."""

    def of(self, name: str) -> dict[str, Tensor]:
        """What the training of that name starts from: the model of that name, else the run's own."""
        return self.weights.get(name, next(iter(self.weights.values())))


def train(config: TrainConfig, *, resume: bool = False) -> RunFolder:
    """Train as configured, and write the run's folder: models, metrics, evaluation, report.

    Args:
        config: everything; with ``resume``, that of the run in ``config.out``.
        resume: go on with the run in ``config.out`` from its last checkpoints.

    Raises:
        UserError: bad input, before anything is written.
        TrainingDivergedError: a loss that is not finite; checkpoints and metrics up to then are kept.
    """
    # bad settings are told before data is read
    device = build.make_device(config.device)
    check_counts(config)
    preprocessing = build.make_preprocessing(config)
    build.check_inputs(config)
    start = _start(config)
    if start is not None:
        config = _fitted_to(config, start)
    inputs = build.image_inputs(config, preprocessing)
    classes = 2 if start is None else len(start.classes)
    network = build.make_student(config, inputs.architecture, classes)
    if start is not None:
        for weights in start.weights.values():
            build.load_first(network, weights)
    build.make_predictor(network, inputs.architecture)
    build.make_method(config, network, classes)
    build.make_optimizer(config.optimizer, network)
    run = RunFolder(Path(config.out)) if config.out else _new_run(config)
    if not resume:
        if config.init is not None and run.root.resolve() == Path(config.init).resolve():
            raise UserError(f"--out {run.root}: it is the run to start from; give another folder")
        _check_free(run, overwrite=config.overwrite)
    if (warning := build.random_weights_warning(config)) is not None:
        say(f"warning: {warning}")

    since = time.monotonic()
    domains = open_domains(config, preprocessing)
    if start is not None and start.classes != domains.train.classes:
        raise UserError(
            f"--init {start.run}: its classes are {', '.join(start.classes)}, "
            f"those of the source {', '.join(domains.train.classes)}; expected the same"
        )
    steps = steps_of(config, domains)
    config = replace(config, steps=steps, epochs=None)
    # read here, so that a mistake in it is told now and not after training
    evaluated, labelled = _labelled_set(config, preprocessing, domains.train.classes)
    summary: dict[str, Any] = {
        "dalib": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": describe_device(device),
        "status": "running",
        "started": _now(),
        "method": config.method,
        "source": name_of(config.source),
        "target": config.target,
        "classes": list(domains.train.classes),
        "counts": {
            "source": len(domains.train.labels),
            "source_validation": len(domains.validation.labels),
            "target": len(domains.target.names),
            "unreadable": len(domains.train.unreadable) + len(domains.target.unreadable),
        },
        "seconds": {"data": time.monotonic() - since},
        "models": {},
    }
    _say_data(summary, domains)
    if not resume:
        if run.root.exists():
            shutil.rmtree(run.root)
        run.root.mkdir(parents=True)
        write_text(run.config, config_text(replace(config, out=str(run.root), overwrite=False)))
        write_json(run.unreadable, [asdict(each) for each in (*domains.train.unreadable, *domains.target.unreadable)])
        views = build.make_views(config, preprocessing)
        write_view_sheet(run.views, domains.target.images, views.student, views.teacher, config.seed)
    write_json(run.summary, summary)
    images = domains
    of_images = inputs
    space: FeatureSpace | None = None
    if config.features:
        since = time.monotonic()
        space = _feature_space(config, inputs, preprocessing, domains, device, start)
        domains = to_features(space, domains, inputs, config)
        summary["seconds"]["features"] = time.monotonic() - since

    baseline = build.source_only(config)
    trainings: list[tuple[str, TrainConfig, TrainingFolder, int]] = [("source-only", baseline, run, steps)]
    if config.method != "source-only":
        trainings = [("adapted", config, run, steps)]
        if config.baseline:
            trainings.insert(0, ("source-only", baseline, run.source_only, config.baseline_steps or steps))
    probabilities: dict[str, Tensor] = {}
    model: nn.Module | None = None
    for name, training, folder, length in trainings:
        since = time.monotonic()
        first: dict[str, Tensor] = {}
        if start is not None:
            first = start.of(name)
        elif model is not None and config.warm_start:
            first = model.state_dict()
        whole: Callable[[nn.Module], nn.Module] | None = None
        if space is not None:
            inputs, whole = _heads(space, of_images.architecture, domains, device, adapted=name == "adapted")
        try:
            model = _train_one(
                name, training, folder, length, domains, inputs, preprocessing, device, first, whole, resume=resume
            )
        except TrainingDivergedError:
            write_json(run.summary, {**summary, "status": "diverged"})
            raise
        summary["seconds"][name] = time.monotonic() - since
        predictor = build.make_predictor(model, inputs.architecture).to(device)
        probabilities[name] = predict_probabilities(predictor, domains.to_predict, inputs.plain, device=device)
        summary["models"][name] = {
            **_source_validation(predictor, domains.validation, inputs.plain_source, device),
            "target_histogram": torch.bincount(
                probabilities[name].argmax(dim=1), minlength=len(domains.train.classes)
            ).tolist(),
            "target_confidence": probabilities[name].amax(dim=1).mean().item(),
        }
    if len(probabilities) == 2:
        adapted, source_only = probabilities["adapted"], probabilities["source-only"]
        changed = adapted.argmax(dim=1) != source_only.argmax(dim=1)
        summary["changed"] = changed.float().mean().item()
    if config.keep != "last" and config.method != "source-only":
        summary["kept_step"] = kept_step(run.kept)
    write_samples(run.samples, images.target, probabilities, domains.train.classes, config.seed)
    summary["counts"]["unreadable"] += _add_failures(run, images)
    write_json(run.summary, {**summary, "status": "done"})

    if evaluated is not None and labelled is not None:
        measure(run, evaluated, labelled, device)
    report(run)
    return run


def report(run: RunFolder) -> Path:
    """Write ``report.html`` from what is in the run's folder."""
    return write_report(run)


def cache(action: str, keys: Sequence[str] = ()) -> None:
    """List (``'ls'``) or remove (``'rm'``) what is kept of decoded images and of features.

    Args:
        keys: what to remove, or ``all``.

    Raises:
        UserError: a key that is not there, or none to remove.
    """
    images, features = ImageCache(), FeatureStore(features_folder())
    entries: list[CacheEntry | FeatureEntry] = [*images.entries(), *features.entries()]
    if action == "ls":
        count = f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}"
        say(f"{images.folder}: {size_of(sum(entry.bytes for entry in entries))} in {count}")
        for entry in entries:
            what = "images" if isinstance(entry, CacheEntry) else "features"
            state = "" if entry.complete else ", not complete"
            say(f"  {entry.key}  {size_of(entry.bytes):>9}  {what} of {entry.source}{state}")
        return
    known = [entry.key for entry in entries]
    unknown = [key for key in keys if key != "all" and key not in known]
    if unknown or not keys:
        what = f"{unknown[0]}: not in the cache" if unknown else "nothing to remove was named"
        raise UserError(f"cache rm: {what}; give keys as `dalib cache ls` prints them, or all")
    chosen = known if "all" in keys else keys
    of_images = {entry.key for entry in entries if isinstance(entry, CacheEntry)}
    freed = images.remove([key for key in chosen if key in of_images])
    freed += features.remove([key for key in chosen if key not in of_images])
    print(f"removed {size_of(freed)}")


def _feature_space(
    config: TrainConfig,
    inputs: Inputs,
    preprocessing: Preprocessing,
    domains: Domains,
    device: torch.device,
    start: Start | None,
) -> FeatureSpace:
    network = build.make_student(config, inputs.architecture, len(domains.train.classes))
    if start is not None:  # one backbone for both trainings, that of the run's own model
        build.load_first(network, start.of(build.name_of_training(config)))
    return FeatureSpace.of(network, preprocessing, features_folder(), device, config.model.averaged_views)


def _heads(
    space: FeatureSpace, architecture: dict[str, Any], domains: Domains, device: torch.device, *, adapted: bool
) -> tuple[Inputs, Callable[[nn.Module], nn.Module]]:
    """How heads are trained on the features, and the way from a head to a network.

    The adapted network is standardised for the target; the source-only one knows the source alone.
    """
    if not space.network.standardize:
        return space.inputs(architecture), lambda head: space.whole(head, None)
    of_source = standardization(cast("Tensor", domains.train.images), device)
    of_target = standardization(cast("Tensor", domains.target.images), device) if adapted else of_source
    return space.inputs(architecture, of_source, of_target), lambda head: space.whole(head, of_target)


def _start(config: TrainConfig) -> Start | None:
    """What the run in ``--init`` has."""
    if config.init is None:
        return None
    models = models_of(RunFolder.existing(config.init))
    description = load_description(next(iter(models.values())))
    weights = {name: load_tensors(folder) for name, folder in models.items()}
    return Start(config.init, description.classes, description.architecture, weights)


def _fitted_to(config: TrainConfig, start: Start) -> TrainConfig:
    """The configuration with that standardisation which the weights to start from are used to.

    Raises:
        UserError: weights of a network of another shape.
    """
    here = {
        "backbone": config.backbone,
        "model.bottleneck_dim": config.model.bottleneck_dim,
        "model.bottleneck_norm": config.model.bottleneck_norm,
    }
    for setting, value in here.items():
        there = start.architecture.get(setting.removeprefix("model."), value)
        if there != value:
            raise UserError(
                f"--init {start.run}: it was trained with --{setting} {_flag(there)}, this is {_flag(value)}; "
                "expected the same"
            )
    standardize = bool(start.architecture.get("standardize", False))
    if standardize == config.model.standardize:
        return config
    say(f"note: --model.standardize is {_flag(standardize)}, as in {start.run}")
    return replace(config, model=replace(config.model, standardize=standardize))


def _flag(value: object) -> str:
    """As it is written on the command line."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _add_failures(run: RunFolder, domains: Domains) -> int:
    """Files that turned out to be unreadable while training went on, told and listed; how many there are."""
    known = read_json(run.unreadable)
    found = failures([domains.train.images, domains.validation.images, domains.target.images])
    say_unreadable(found)
    fresh = [each for each in map(asdict, found) if each not in known]
    if fresh:
        write_json(run.unreadable, [*known, *fresh])
    return len(fresh)


def _labelled_set(
    config: TrainConfig, preprocessing: Preprocessing, classes: Sequence[str]
) -> tuple[str | None, LabelledImages | None]:
    """What to measure on after training; the target's own test set is left out where it is absent or does not fit."""
    name = config.evaluate or default_evaluation(config.target)
    if name is None:
        return None, None
    try:
        with CountedProgress(f"reading {name}", sys.stdout) as progress:
            return name, open_labelled(
                name, preprocessing, classes, argument="--evaluate", on_progress=progress, **where_of(config)
            )
    except UserError as error:
        if config.evaluate is not None:
            raise
        say(f"not measured on {name}: {error}")
        return None, None


def config_text(config: TrainConfig) -> str:
    """The configuration as YAML, complete."""
    return yaml.safe_dump(asdict(config), sort_keys=False, allow_unicode=True)


def _train_one(
    name: str,
    config: TrainConfig,
    folder: TrainingFolder,
    steps: int,
    domains: Domains,
    inputs: Inputs,
    preprocessing: Preprocessing,
    device: torch.device,
    first: dict[str, Tensor],
    whole: Callable[[nn.Module], nn.Module] | None,
    *,
    resume: bool,
) -> nn.Module:
    """Train and save one model, from the ``first`` weights as far as they go; the model, which takes the ``inputs``.

    What is saved takes images: ``whole`` makes it of a head.
    """
    folder.root.mkdir(parents=True, exist_ok=True)
    classes = domains.train.classes
    training = build.make_training(config, inputs, domains.train, domains.target, device, steps=steps, first=first)
    method, optimizer, stream = training.method, training.optimizer, training.stream
    description = ModelDescription(build.architecture_of(config, preprocessing), classes, preprocessing)

    def save(to: Path, model: nn.Module) -> None:
        save_model(to, model if whole is None else whole(model), description)

    checkpoints = CheckpointFolder(folder.checkpoints)
    keep: MostConfident | None = None
    if config.keep == "most-confident":
        keep = MostConfident(
            folder.kept,
            folder.metrics,
            config.every.evaluate,
            lambda to: save(to, method.predictor()),
        )
    start = restore(method, optimizer, checkpoints, device) if resume else 0
    in_memory = all(isinstance(rows, Tensor) for rows in (domains.train.images, domains.target.images))
    ahead: AbstractContextManager[Stream[Batch]] = nullcontext(stream) if in_memory else Prefetched(stream, end=steps)
    with ahead as batches, TrainingProgress(name, steps, sys.stdout, start=start) as progress:
        fit(
            method,
            optimizer,
            batches,
            steps=steps,
            schedule=training.schedule,
            seed=config.seed,
            log=MetricsLog(folder.metrics, after=start, on_line=progress.line),
            checkpoints=checkpoints,
            evaluate=lambda: _source_validation(
                method.predictor() if whole is None else build.make_predictor(method.predictor(), inputs.architecture),
                domains.validation,
                inputs.plain_source,
                device,
            ),
            after_evaluation=keep,
            every=Every(config.every.log, config.every.evaluate, config.every.checkpoint),
            start=start,
            autocast=build.PRECISIONS[config.precision],
            accumulate=config.accumulate,
        )
    model = method.predictor()
    if keep is not None:
        kept = load_tensors(keep.model)
        model.load_state_dict({name: kept[name] for name in model.state_dict()})
    if config.statistics == "recomputed":
        plain = inputs.plain if whole is None else lambda rows: one_by_one(inputs.plain(rows))
        recompute_statistics(model, domains.target.images, plain, device=device)
    save(folder.model, model)
    return model


def _source_validation(
    model: nn.Module, labelled: LabelledImages, plain: Callable[[Tensor], Tensor], device: torch.device
) -> dict[str, float]:
    """``source_validation_accuracy``, if any image was kept to validate."""
    if not len(labelled.labels):
        return {}
    probabilities = predict_probabilities(model, labelled.images, plain, device=device)
    return {"source_validation_accuracy": (probabilities.argmax(dim=1) == labelled.labels).float().mean().item()}


def steps_of(config: TrainConfig, domains: Domains) -> int:
    """How many steps the configuration asks for, in steps or in epochs."""
    return steps_for(config, len(domains.train.labels), len(domains.target.names))


def steps_for(config: TrainConfig, source: int, target: int) -> int:
    """:func:`steps_of`, of so many images."""
    if config.steps is not None:
        return config.steps
    if config.epochs is None:
        return DEFAULT_STEPS
    return math.ceil(config.epochs * max(source, target) / config.batch)


def _new_run(config: TrainConfig) -> RunFolder:
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return RunFolder(Path("runs") / f"{stamp}-{slug(name_of(config.source))}-{slug(config.target)}")


def _check_free(run: RunFolder, *, overwrite: bool) -> None:
    if not run.root.exists():
        return
    if not run.root.is_dir():
        raise UserError(f"--out {run.root}: expected a folder, this is a file")
    if not any(run.root.iterdir()):
        return
    if not overwrite:
        raise UserError(
            f"--out {run.root}: there is something already; give another folder, "
            f"add --overwrite to replace a run, or go on with it: dalib train --resume {run.root}"
        )
    RunFolder.existing(run.root)  # only a run may be replaced


def check_counts(config: TrainConfig) -> None:
    """Refuse counts out of their range.

    Raises:
        UserError: the first of them.
    """
    positive = {
        "--steps": 1 if config.steps is None else config.steps,
        "--batch": config.batch,
        "--epochs": 1 if config.epochs is None else config.epochs,
        "--baseline_steps": 1 if config.baseline_steps is None else config.baseline_steps,
        "--accumulate": config.accumulate,
        "--every.log": config.every.log,
        "--every.evaluate": config.every.evaluate,
        "--every.checkpoint": config.every.checkpoint,
    }
    for argument, value in positive.items():
        if value < 1:
            raise UserError(f"{argument} {value}: expected at least 1")
    if config.batch < 2:
        raise UserError(f"--batch {config.batch}: expected at least 2, batch normalisation needs them")
    if config.batch // config.accumulate < 2:
        raise UserError(
            f"--accumulate {config.accumulate}: it leaves parts of {config.batch // config.accumulate} of a batch of "
            f"{config.batch}; expected at least 2 images in each, batch normalisation needs them"
        )


def _say_data(summary: dict[str, Any], domains: Domains) -> None:
    counts = summary["counts"]
    say(
        f"source {summary['source']}: {counts['source']} images to train on, "
        f"{counts['source_validation']} to validate, {len(summary['classes'])} classes; "
        f"target {summary['target']}: {counts['target']} images, their labels unused if there are any "
        f"(read in {clock(summary['seconds']['data'])})"
    )
    say_unreadable((*domains.train.unreadable, *domains.target.unreadable))


def describe_device(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"CPU, {torch.get_num_threads()} threads"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
