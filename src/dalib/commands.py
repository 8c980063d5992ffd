"""What each command does, as functions: the command line calls them, and so can a script."""

from __future__ import annotations

import csv
import datetime
import hashlib
import io
import math
import os
import platform
import shutil
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
import yaml
from torch import Tensor

from dalib import build
from dalib._version import __version__
from dalib.console import CountedProgress, TrainingProgress, clock, size_of
from dalib.data.cache import CacheEntry, ImageCache, default_cache_folder
from dalib.data.named import default_evaluation
from dalib.data.rows import Selected
from dalib.data.sources import (
    BUILT_IN_LABELLED,
    LabelledImages,
    UnlabelledImages,
    open_labelled,
    open_source,
    open_target,
    read_folder,
)
from dalib.data.stream import permuted
from dalib.engine.checkpoint import CheckpointFolder
from dalib.engine.features import FeatureEntry, FeatureStore
from dalib.engine.fit import Every, fit, restore
from dalib.engine.keep import MostConfident, kept_step
from dalib.engine.predict import predict_probabilities, recompute_statistics
from dalib.engine.runlog import MetricsLog
from dalib.errors import TrainingDivergedError, UserError
from dalib.feature_space import FeatureSpace, one_by_one, standardization
from dalib.judge.accuracy import confusion_matrix, wilson_interval
from dalib.models.saved import ModelDescription, load_description, load_tensors, save_model
from dalib.randomness import derive_seed
from dalib.report.page import write_report
from dalib.report.sheets import write_samples, write_view_sheet
from dalib.runfolder import RunFolder, TrainingFolder, write_json, write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn

    from dalib.build import Inputs
    from dalib.config import TrainConfig
    from dalib.data.preprocessing import Preprocessing
    from dalib.data.stream import Rows
    from dalib.types import Augment


DEFAULT_STEPS = 1000
SMALL = 2**30
"""Bytes of images that may be copied in memory; more are read where they are."""


@dataclass(frozen=True)
class Domains:
    """The images of a run, the source split into what is trained on and what is kept to validate."""

    train: LabelledImages
    validation: LabelledImages
    target: UnlabelledImages
    """What is trained on."""
    to_predict: Rows
    """The target as predictions see it: the same images, or, of features, the views that predictions average."""


def train(config: TrainConfig, *, resume: bool = False) -> RunFolder:
    """Train as configured, and write the run's folder: models, metrics, evaluation, report.

    Args:
        config: everything; with ``resume``, that of the run in ``config.out``.
        resume: go on with the run in ``config.out`` from its last checkpoints.

    Raises:
        UserError: bad input, before anything is written.
        TrainingDivergedError: a loss that is not finite; checkpoints and metrics up to then are kept.
    """
    _check_counts(config)
    device = build.make_device(config.device)
    preprocessing = build.make_preprocessing(config)
    # bad settings are told before data is read
    inputs = build.image_inputs(config, preprocessing)
    network = build.make_student(config, inputs.architecture, 2)
    build.make_predictor(network, inputs.architecture)
    build.make_method(config, network, 2)
    build.make_optimizer(config.optimizer, network)
    started_from = _init_weights(config)
    run = RunFolder(Path(config.out)) if config.out else _new_run(config)
    if not resume:
        _check_free(run, overwrite=config.overwrite)

    since = time.monotonic()
    domains = open_domains(config, preprocessing)
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
    images = domains.target
    of_images = inputs
    space: FeatureSpace | None = None
    if config.features:
        since = time.monotonic()
        space = _feature_space(config, inputs, preprocessing, domains, device)
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
        first = dict(started_from.get(name, {}))
        if model is not None and config.warm_start:
            first |= model.state_dict()
        whole: Callable[[nn.Module], nn.Module] | None = None
        if space is not None:
            inputs, whole = _heads(space, of_images.architecture, domains, adapted=name == "adapted")
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
    write_samples(run.samples, images, probabilities, domains.train.classes, config.seed)
    write_json(run.summary, {**summary, "status": "done"})

    if evaluated is not None and labelled is not None:
        _measure(run, evaluated, labelled, device)
    report(run)
    return run


def evaluate(
    run: RunFolder,
    data: str,
    *,
    device: str = "auto",
    strict: bool = False,
    root: str | None = None,
    download: bool = False,
) -> dict[str, Any]:
    """Measure every model of the run against labels, and keep the result in the run's folder.

    Args:
        data: a folder with a folder of images for each class, ``digits-held-out``, or a named test set.
        root, download: where named sets are, and whether to fetch one that is not there.

    Returns:
        What is written to ``evaluations/NAME.json`` (:mod:`dalib.runfolder`).
    """
    description = load_description(next(iter(_models(run).values())))
    labelled = open_labelled(
        data, description.preprocessing, description.classes, strict=strict, root=root, download=download
    )
    return _measure(run, data, labelled, build.make_device(device))


def _measure(run: RunFolder, data: str, labelled: LabelledImages, device: torch.device) -> dict[str, Any]:
    """Measure every model of the run on ``labelled``, print and write the result."""
    say_unreadable(labelled.unreadable)
    models: dict[str, Any] = {}
    for name, folder in _models(run).items():
        predicted = _predicted(folder, labelled.images, data, device).argmax(dim=1)
        correct = int((predicted == labelled.labels).sum())
        models[name] = {
            "accuracy": correct / len(predicted),
            "interval": wilson_interval(correct, len(predicted)),
            "confusion": confusion_matrix(labelled.labels, predicted, len(labelled.classes)).tolist(),
        }
        low, high = models[name]["interval"]
        print(
            f"{name:12} {correct / len(predicted):.1%} of {len(predicted)} images of {data} ({low:.1%} to {high:.1%})"
        )
    result = {
        "data": data,
        "count": len(labelled.labels),
        "when": _now(),
        "classes": list(labelled.classes),
        "models": models,
    }
    file = data
    if data not in BUILT_IN_LABELLED:  # two folders of one name are two evaluations; the same folder is one
        file = f"{_slug(data)}-{hashlib.blake2b(str(Path(data).resolve()).encode(errors='replace')).hexdigest()[:6]}"
    write_json(run.evaluations / f"{file}.json", result)
    return result


def _predicted(folder: Path, rows: Rows, source: str, device: torch.device) -> Tensor:
    """Probabilities (N, K) of a saved model; where its backbone is frozen, from features that are kept for the next."""
    model, description = build.load_classifier(folder)
    architecture = description.architecture
    if not architecture.get("features"):
        predictor = build.make_predictor(model, architecture).eval().to(device)
        return predict_probabilities(predictor, rows, description.preprocessing.normalize, device=device)
    space = FeatureSpace.of(model, description.preprocessing, features_folder(), device, architecture["averaged_views"])
    inputs = space.inputs(architecture)
    head = build.make_classifier(inputs.architecture, len(description.classes))
    head.load_state_dict(space.without_backbone(model.state_dict()))
    with CountedProgress(f"features of {source}", sys.stdout) as progress:
        features = space.plain(rows, source, progress)
    return predict_probabilities(
        build.make_predictor(head.eval(), inputs.architecture).to(device), features, inputs.plain, device=device
    )


def predict(
    run: RunFolder, images: str, out: str, *, model: str | None = None, device: str = "auto", strict: bool = False
) -> int:
    """Write ``path, class, confidence, runner_up, runner_up_confidence`` for each image below a folder.

    Args:
        images: a folder of images, flat or nested.
        out: the CSV file, written whole or not at all.
        model: ``adapted`` or ``source-only``; by default the run's own.

    Returns:
        How many images were predicted.
    """
    models = _models(run)
    if model is not None and model not in models:
        raise UserError(f"--model {model}: this run has {', '.join(models)}")
    network, description = build.load_model(models[model] if model else next(iter(models.values())))
    where = build.make_device(device)
    if not Path(out).absolute().parent.is_dir():
        raise UserError(f"--out {out}: its folder does not exist; make it first")
    target = read_folder(Path(images), description.preprocessing, argument="--images", strict=strict)
    say_unreadable(target.unreadable)
    probabilities = predict_probabilities(
        network.to(where), target.images, description.preprocessing.normalize, device=where
    )
    best = probabilities.topk(2, dim=1)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "class", "confidence", "runner_up", "runner_up_confidence"])
    for name, (first, second), (share, next_share) in zip(
        target.names, best.indices.tolist(), best.values.tolist(), strict=True
    ):
        classes = description.classes
        writer.writerow([name, classes[first], f"{share:.4f}", classes[second], f"{next_share:.4f}"])
    write_text(Path(out), text.getvalue())
    return len(target.names)


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
        print(f"{images.folder}: {size_of(sum(entry.bytes for entry in entries))}")
        for entry in entries:
            what = "images" if isinstance(entry, CacheEntry) else "features"
            state = "" if entry.complete else ", not complete"
            print(f"  {entry.key}  {size_of(entry.bytes):>9}  {what} of {entry.source}{state}")
        return
    known = [entry.key for entry in entries]
    unknown = [key for key in keys if key != "all" and key not in known]
    if unknown or not keys:
        what = f"{unknown[0]}: not in the cache" if unknown else "nothing to remove was named"
        raise UserError(f"cache rm: {what}; give keys as `dalib cache ls` prints them, or all")
    chosen = known if "all" in keys else keys
    freed = images.remove([key for key in chosen if key in {entry.key for entry in images.entries()}])
    freed += features.remove([key for key in chosen if key in {entry.key for entry in features.entries()}])
    print(f"removed {size_of(freed)}")


def open_domains(config: TrainConfig, preprocessing: Preprocessing) -> Domains:
    """Read source and target, and keep a share of the source for validation."""
    source = open_source(config.source, preprocessing, seed=config.seed, partner=config.target, **where_of(config))
    target = open_target(config.target, preprocessing, partner=config.source, **where_of(config))
    count = len(source.labels)
    share = config.data.validation_share
    kept = round(count * share)
    if not (0 < kept < count or share == 0):
        raise UserError(
            f"--data.validation_share {share}: of {count} source images it keeps {kept}; "
            "expected at least one to validate on and one to train on, or 0 to validate on none"
        )
    order = torch.from_numpy(permuted(torch.arange(count).numpy(), count, derive_seed(config.seed, "validation")))
    return Domains(
        train=_rows(source, order[kept:].sort().values),
        validation=_rows(source, order[:kept]),
        target=target,
        to_predict=target.images,
    )


def to_features(space: FeatureSpace, domains: Domains, inputs: Inputs, config: TrainConfig) -> Domains:
    """The same domains with features in place of images: random views to train on, plain ones to predict."""
    views, count = inputs.views, config.features

    def random(rows: Rows, view: Augment, domain: str) -> Tensor:
        with CountedProgress(f"features of {domain}", sys.stdout) as progress:
            return space.random(rows, view, count, domain, progress)

    def plain(rows: Rows, domain: str) -> Tensor:
        with CountedProgress(f"features of {domain}, plain", sys.stdout) as progress:
            return space.plain(rows, domain, progress)

    train, validation, target = domains.train, domains.validation, domains.target
    source = name_of(config.source)
    return Domains(
        train=replace(train, images=random(train.images, views.source, source)),
        validation=replace(validation, images=plain(validation.images, f"{source}, validation")),
        target=replace(target, images=random(target.images, views.student, config.target)),
        to_predict=plain(target.images, config.target),
    )


def _feature_space(
    config: TrainConfig, inputs: Inputs, preprocessing: Preprocessing, domains: Domains, device: torch.device
) -> FeatureSpace:
    network = build.make_student(config, inputs.architecture, len(domains.train.classes))
    return FeatureSpace.of(network, preprocessing, features_folder(), device, config.model.averaged_views)


def _heads(
    space: FeatureSpace, architecture: dict[str, Any], domains: Domains, *, adapted: bool
) -> tuple[Inputs, Callable[[nn.Module], nn.Module]]:
    """How heads are trained on the features, and the way from a head to a network.

    The adapted network is standardised for the target; the source-only one knows the source alone.
    """
    if not space.network.standardize:
        return space.inputs(architecture), lambda head: space.whole(head, None)
    of_source = standardization(cast("Tensor", domains.train.images))
    of_target = standardization(cast("Tensor", domains.target.images)) if adapted else of_source
    return space.inputs(architecture, of_source, of_target), lambda head: space.whole(head, of_target)


def features_folder() -> Path:
    """Where features are kept."""
    return default_cache_folder() / "features"


def _init_weights(config: TrainConfig) -> dict[str, dict[str, Tensor]]:
    """The weights of the run in ``--init``, for each training those of the model of its name."""
    if config.init is None:
        return {}
    models = _models(RunFolder.existing(config.init))
    return {name: load_tensors(folder) for name, folder in models.items()}


def _labelled_set(
    config: TrainConfig, preprocessing: Preprocessing, classes: Sequence[str]
) -> tuple[str | None, LabelledImages | None]:
    """What to measure on after training; the target's own test set is left out where it is absent or does not fit."""
    name = config.evaluate or default_evaluation(config.target)
    if name is None:
        return None, None
    try:
        return name, open_labelled(name, preprocessing, classes, argument="--evaluate", **where_of(config))
    except UserError as error:
        if config.evaluate is not None:
            raise
        print(f"not measured on {name}: {error}")
        return None, None


def where_of(config: TrainConfig) -> dict[str, Any]:
    return {"strict": config.strict, "root": config.root, "download": config.download, "cache": config.cache}


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
    with TrainingProgress(name, steps, sys.stdout, start=start) as progress:
        fit(
            method,
            optimizer,
            stream,
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
    if config.steps is not None:
        return config.steps
    if config.epochs is None:
        return DEFAULT_STEPS
    return math.ceil(config.epochs * max(len(domains.train.labels), len(domains.target.names)) / config.batch)


def _rows(labelled: LabelledImages, indices: Tensor) -> LabelledImages:
    names = tuple(labelled.names[index] for index in indices.tolist())
    images = labelled.images
    small = isinstance(images, Tensor) and images.nbytes < SMALL
    selected = images[indices] if small else Selected(images, indices)
    return replace(labelled, images=selected, labels=labelled.labels[indices], names=names)


def _models(run: RunFolder) -> dict[str, Path]:
    models = run.models()
    if not models:
        raise UserError(
            f"RUN {run.root}: no model in it yet; training has not finished (dalib train --resume {run.root})"
        )
    return models


def _new_run(config: TrainConfig) -> RunFolder:
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return RunFolder(Path("runs") / f"{stamp}-{_slug(name_of(config.source))}-{_slug(config.target)}")


def name_of(source: str | list[str]) -> str:
    """One name for one source or several."""
    return source if isinstance(source, str) else " + ".join(source)


def _slug(where: str) -> str:
    name = Path(where).resolve().name if os.sep in where else where
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)[:60].strip(".") or "data"


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


def _check_counts(config: TrainConfig) -> None:
    positive = {
        "--steps": 1 if config.steps is None else config.steps,
        "--batch": config.batch,
        "--epochs": 1 if config.epochs is None else config.epochs,
        "--baseline_steps": 1 if config.baseline_steps is None else config.baseline_steps,
        "--every.log": config.every.log,
        "--every.evaluate": config.every.evaluate,
        "--every.checkpoint": config.every.checkpoint,
    }
    for argument, value in positive.items():
        if value < 1:
            raise UserError(f"{argument} {value}: expected at least 1")
    if config.batch < 2:
        raise UserError(f"--batch {config.batch}: expected at least 2, batch normalisation needs them")


def _say_data(summary: dict[str, Any], domains: Domains) -> None:
    counts = summary["counts"]
    print(
        f"source {summary['source']}: {counts['source']} images to train on, "
        f"{counts['source_validation']} to validate, {len(summary['classes'])} classes; "
        f"target {summary['target']}: {counts['target']} images without labels "
        f"(read in {clock(summary['seconds']['data'])})"
    )
    say_unreadable((*domains.train.unreadable, *domains.target.unreadable))


def say_unreadable(unreadable: Sequence[Any], most: int = 5) -> None:
    if unreadable:
        print(f"skipped {len(unreadable)} images that cannot be read:")
        for each in unreadable[:most]:
            print(f"  {each.path}: {each.reason}".encode(errors="backslashreplace").decode())
        if len(unreadable) > most:
            print(f"  and {len(unreadable) - most} more")


def describe_device(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"CPU, {torch.get_num_threads()} threads"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
