"""What each command does, as functions: the command line calls them, and so can a script."""

from __future__ import annotations

import datetime
import math
import os
import platform
import re
import shutil
import signal
import tempfile
import time
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml

from dalib._version import __version__
from dalib.core.console import CountedProgress, clock, one_line, say, say_unreadable, size_of
from dalib.core.errors import (
    ImageChangedError,
    RanksLostError,
    RunStoppedError,
    StoppedError,
    ToldElsewhereError,
    TrainingDivergedError,
    UserError,
)
from dalib.core.files import locked, put_in_place, quoted, write_json, write_text
from dalib.data.cache import CacheEntry, ImageCache
from dalib.data.named import default_evaluation
from dalib.data.overlap import doubts_about_files, require_apart
from dalib.data.sources import LabelledImages, open_labelled
from dalib.engine.distributed import ALONE, World, joined, lost_contact
from dalib.engine.features import FeatureEntry, FeatureStore
from dalib.engine.runlog import last_step
from dalib.engine.signals import StopRequests
from dalib.records.folder import RunFolder, TrainingFolder
from dalib.report.page import write_report
from dalib.report.sheets import write_view_sheet
from dalib.run import recipe
from dalib.run.domains import Domains as Domains
from dalib.run.domains import identity_of, name_of, where_of
from dalib.run.domains import open_domains as open_domains
from dalib.run.evaluator import plain_representation
from dalib.run.export import export as export
from dalib.run.feature_space import features_folder
from dalib.run.initial_weights import Start
from dalib.run.judge import all_of, judge, write_pictures, write_predictions
from dalib.run.measure import decide, measure, measurement_of, slug
from dalib.run.measure import evaluate as evaluate
from dalib.run.predict import predict as predict
from dalib.run.presets import check_applied
from dalib.run.prior import check_prior, first_prior
from dalib.run.query import judge_held_out
from dalib.run.resume import check_unchanged, claimed, contents_of, fingerprints_of, settings_of
from dalib.run.select import conclude
from dalib.run.select import keep as keep
from dalib.run.track import Outcome, TrackedRun, Tracking, make_tracker
from dalib.run.training import Plan, Trained, Ways, train_one

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor

    from dalib.data.preprocessing import Preprocessing
    from dalib.judge.evidence import Evidence
    from dalib.records.evaluation import Evaluation, MeasuredModel
    from dalib.run.config import TrainConfig
    from dalib.run.track import Tracker


DEFAULT_STEPS = 1000


def train(
    config: TrainConfig,
    *,
    resume: bool = False,
    allow_changes: bool = False,
    on_evidence: Callable[[str, int, Evidence], None] | None = None,
    trackers: Sequence[Tracker] = (),
) -> RunFolder:
    """Train as configured, and write the run's folder: models, metrics, judgement, evaluation, report.

    Under torchrun, or as a step of SLURM's, every process calls this; the first one prints, judges and writes.

    Args:
        config: everything; with ``resume``, that of the run in ``config.out``.
        resume: go on with the run in ``config.out`` from its last checkpoints.
        allow_changes: resume even if its settings or data are not what they were.
        on_evidence: called at each evaluation with the training's name, its step, and what its model says.
        trackers: told what happens, beside that of ``config.track``; see :mod:`dalib.run.track`.

    Raises:
        UserError: bad input, before anything is written; or a disk that is full, or with ``cache='off'`` an image that
            has changed, with what is there left as it is.
        TrainingDivergedError: a loss that is not finite; checkpoints and metrics up to then are kept.
        RunStoppedError: a signal to stop; the run goes on from there with ``resume``.
        RanksLostError: one of several processes ended; the run goes on from its last checkpoints.
    """
    check_applied(config)
    with joined() as world, StopRequests() as requests, ExitStack() as held:
        if not world.first:
            held.enter_context(redirect_stdout(held.enter_context(Path(os.devnull).open("w"))))
        run = RunFolder(Path(config.out)) if config.out else world.from_first(lambda: _new_run(config))
        tracking = held.enter_context(Tracking(trackers if world.first else ()))
        if (name := config.track) is not None:
            world.from_first(lambda: tracking.add(make_tracker(name)))
        try:
            _train(config, run, _Call(resume, allow_changes, on_evidence, world, requests, held, tracking))
        except (KeyboardInterrupt, StoppedError) as error:
            step = error.step if isinstance(error, StoppedError) else None
            raise RunStoppedError(_how_to_go_on(run, step), requests.signal or signal.SIGINT) from None
        except ImageChangedError as error:
            if not run.summary.is_file():
                raise
            raise UserError(f"{error}. What is in {run.root} is kept: dalib train --resume {run.root}") from error
        except RuntimeError as error:
            if world.size == 1 or not lost_contact(error):
                raise
            raise RanksLostError(f"rank {world.rank} of {world.size} {_lost(run, error)}") from None
        except OSError as error:
            what = f"{error.filename or run.root}: cannot be read or written ({error.strerror or error})"
            if not run.summary.is_file():
                raise UserError(f"{what}. Nothing was trained; make room, or name another folder with --out") from error
            raise UserError(
                f"{what}. What is in {run.root} is whole; make room, or let it be written, and go on: dalib train "
                f"--resume {quoted(run.root)}"
            ) from error
    return run


@dataclass(frozen=True)
class _Call:
    """What a call of :func:`train` was asked besides the configuration, and what it holds until it ends."""

    resume: bool
    allow_changes: bool
    on_evidence: Callable[[str, int, Evidence], None] | None
    world: World
    requests: StopRequests
    held: ExitStack
    tracking: Tracking


def _train(config: TrainConfig, run: RunFolder, call: _Call) -> None:
    resume, world, tracking = call.resume, call.world, call.tracking
    device = recipe.make_device(config.device, world)
    preprocessing = recipe.make_preprocessing(config)
    start = Start.of(config)
    if start is not None:
        config = start.fitted(config)
    _check_settings(config, preprocessing, start, world)
    if resume and world.first:
        call.held.enter_context(claimed(run))
    if not resume:
        _check_apart(run, config)
        require_apart(config.source if isinstance(config.source, list) else [config.source], config.target)
        world.from_first(lambda: _check_free(run, config))
    for doubt in recipe.doubts(config, preprocessing):
        say(f"warning: {doubt}")

    since = time.monotonic()
    with world.in_turn():
        domains = open_domains(config, preprocessing)
    _require_same_images(world, domains)
    preprocessing = replace(preprocessing, range=domains.range)
    if world.first:
        for doubt in _doubts_about_files(domains):
            say(doubt)
    classes = domains.train.classes
    if start is not None:
        start.check_classes(classes)
    config = replace(config, steps=steps_of(config, domains), epochs=None)
    # read here, so that a mistake in them is told now and not after training
    evaluated, labelled = _labelled_set(config, preprocessing, classes) if world.first else (None, None)
    first_prior(config.prior, domains.train.labels, classes)
    summary = _summary_at_start(config, domains, device, world, seconds=time.monotonic() - since)
    _say_data(summary, domains)

    def begin() -> None:
        if resume:
            check_unchanged(run, summary, allow_changes=call.allow_changes)
            write_json(run.summary, summary)
        else:
            with _alone(run):
                _check_free(run, config)  # again: another process may have begun while the images were read
                _make_folder(run, config, preprocessing, domains, summary)
                call.held.enter_context(claimed(run))

    world.from_first(begin)
    trainings = _trainings(config, run)
    if world.first:
        tracking.begin(_tracked(run, config, trainings, resume))
        if not resume:
            tracking.picture("views", run.views)
    since = time.monotonic()
    ways = Ways.of_run(config, preprocessing, domains, device, start, world)
    if config.features:
        summary["seconds"]["features"] = time.monotonic() - since
    trained: dict[str, Trained] = {}
    said: dict[str, Evidence] = {}
    for name, training, folder in trainings:
        since = time.monotonic()
        before = trained.get("source-only")
        first: Mapping[str, Tensor] = {}
        if start is not None:
            first = start.weights_for(name)
        elif before is not None and config.warm_start:
            first = before.model.state_dict()
        inputs, whole = ways.of(name)
        plan = Plan(
            name,
            training,
            folder,
            ways.domains,
            inputs,
            preprocessing,
            device,
            first,
            whole,
            None if before is None else before.evidence,
            world,
            lambda: call.requests.signal is not None,
            partial(tracking.log, name),
        )
        try:
            with call.requests.at_a_step():
                trained[name] = train_one(plan, resume=resume, on_evidence=call.on_evidence)
        except TrainingDivergedError:
            if world.first:
                write_json(run.summary, {**summary, "status": "diverged"})
                report(run)
            raise
        summary["seconds"][name] = time.monotonic() - since
        if world.first:
            predictor = recipe.make_predictor(trained[name].model, inputs.architecture).to(device)
            said[name] = all_of(trained[name].evidence, predictor, ways.domains, inputs, device)
            summary["models"][name] = _summary_of(said[name])
    if not world.first:
        return
    since = time.monotonic()
    write_predictions(run, said, domains)
    representation = plain_representation(ways.domains) if config.features else None
    judgement = judge(trained, said, config, classes, representation)
    write_json(run.judgement, judgement)
    conclude(run, judgement["shipped"], "user" if config.keep == "adapted" and len(trained) > 1 else "judgement")
    write_pictures(run, trained, said, domains, config.seed)
    summary["seconds"]["judgement"] = time.monotonic() - since
    summary |= _summary_at_end(config, trained, said, judgement)
    write_json(run.summary, summary)
    say(judgement["headline"])
    for reason in judgement["reasons"]:
        say(f"  {reason}")

    if len(trained) > 1:
        say(run.selection().sentence)
    if domains.held_out is not None:
        judge_held_out(run, str(config.target_labels), domains.held_out)
    measured: Mapping[str, MeasuredModel] = {}
    if evaluated is not None and labelled is not None:
        result = measure(run, evaluated, labelled, device, asked=config.evaluate is not None)
        measured = result.models
        _decide_if_asked(run, config, result)
    report(run)
    tracking.end(_outcome(summary, judgement, measured))


def _decide_if_asked(run: RunFolder, config: TrainConfig, result: Evaluation) -> None:
    """Let a measurement that the user asked for decide the selection; say that one by default does not.

    What a named target is measured on by default are a benchmark's labels, which a user has not: which model the run
    selects must not depend on them.
    """
    if config.evaluate is not None:
        decide(run, result, held=True)
        return
    measured, selection = measurement_of(result), run.selection()
    if measured is not None and measured.better not in (None, selection.model):
        say(
            f"On these labels the {measured.better} model is better. They were not asked for and select no model; "
            f"dalib eval {quoted(run.root)} --data {quoted(result.data)} or "
            f"dalib keep {quoted(run.root)} {measured.better} does"
        )


def _require_same_images(world: World, domains: Domains) -> None:
    """Refuse processes of one training that have read different images: their batches would not fit each other."""
    if world.size == 1:
        return
    own = identity_of(domains)
    if world.any(world.from_first(lambda: own) != own):
        message = (
            "the processes have read different images, some file was lost or became unreadable between them; mend it "
            "and give the command again, or take --cache disk, which decodes once for all"
        )
        raise UserError(message) if world.first else ToldElsewhereError(message)


def _tracked(
    run: RunFolder, config: TrainConfig, trainings: Sequence[tuple[str, TrainConfig, TrainingFolder]], resume: bool
) -> TrackedRun:
    return TrackedRun(
        run.root,
        asdict(config),
        {name: training.steps or 0 for name, training, _ in trainings},
        resume,
        {name: last_step(folder.metrics) if resume else 0 for name, _, folder in trainings},
    )


def _outcome(
    summary: Mapping[str, Any], judgement: Mapping[str, Any], measured: Mapping[str, MeasuredModel]
) -> Outcome:
    """What trackers are told of a run that has ended."""
    # none where the source has too few validation images
    estimates = {name: model.get("estimate", {}).get("value") for name, model in judgement["models"].items()}
    return {
        "status": summary["status"],
        **{name: judgement[name] for name in ("shipped", "outcome", "headline")},
        **{f"estimate/{name}": value for name, value in estimates.items() if value is not None},
        **{f"accuracy/{name}": model.accuracy for name, model in measured.items()},
    }


def _how_to_go_on(run: RunFolder, step: int | None) -> str:
    where = "" if step is None else f" after step {step}"
    if not run.summary.is_file():
        return f"stopped{where} before the run began; images that were decoded are kept, give the same command again"
    return f"stopped{where}; go on with: dalib train --resume {quoted(run.root)}"


def _lost(run: RunFolder, error: Exception) -> str:
    what = str(error).split("] ", 1)[-1].split(". ")[0].strip()  # without the place in torch's source
    return (
        f"lost the others, one of them ended or cannot be reached ({what}). What that one printed says why; go on with "
        f"the same launcher and: dalib train --resume {quoted(run.root)}"
    )


def report(run: RunFolder | str | Path) -> Path:
    """Write ``report.html`` from what is in the run's folder."""
    return write_report(RunFolder.of(run))


def cache(action: str, keys: Sequence[str] = ()) -> None:
    """List (``'ls'``) or remove (``'rm'``) what is kept of decoded images and of features.

    Args:
        keys: what to remove, or ``all``.

    Raises:
        UserError: a key that is not there, or none to remove.
    """
    folder = features_folder()
    images, features = ImageCache(folder.parent), FeatureStore(folder)
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
    say(f"removed {size_of(freed)}")


def _check_settings(config: TrainConfig, preprocessing: Preprocessing, start: Start | None, world: World) -> None:
    """Refuse bad settings before data are read."""
    check_counts(config, world)
    check_prior(config.prior, config.data.validation_share)
    recipe.check_inputs(config)
    architecture = recipe.image_inputs(config, preprocessing).architecture
    classes = 2 if start is None else len(start.classes)
    network = recipe.make_student(config, architecture, classes)
    if start is not None:
        for weights in start.weights.values():
            recipe.load_first(network, weights)
    recipe.make_predictor(network, architecture)
    recipe.make_method(config, network, classes)
    recipe.make_optimizer(config.optimizer, network)


def _summary_at_start(
    config: TrainConfig, domains: Domains, device: torch.device, world: World, seconds: float
) -> dict[str, Any]:
    several = "" if world.size == 1 else f", {world.size} processes"
    return {
        "dalib": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": f"{describe_device(device)}{several}",
        "status": "running",
        "settings": settings_of(config),
        "fingerprints": fingerprints_of(domains) if world.first else {},
        "contents": contents_of(config) if world.first else {},
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
            **({} if domains.labels is None else {"target_labelled": len(domains.labels.rows)}),
            **({} if domains.held_out is None else {"target_held_out": len(domains.held_out.rows)}),
        },
        **({"ranges": dict(zip(("source", "target"), domains.ranges, strict=True))} if domains.range else {}),
        "seconds": {"data": seconds},
        "models": {},
    }


def _summary_of(said: Evidence) -> dict[str, Any]:
    """Of one model."""
    accuracy = {"source_validation_accuracy": said.validation_accuracy} if len(said.labels) else {}
    return {
        **accuracy,
        "target_histogram": torch.bincount(said.target.argmax(dim=1), minlength=said.target.shape[1]).tolist(),
        "target_confidence": said.target.amax(dim=1).mean().item(),
    }


def _summary_at_end(
    config: TrainConfig, trained: Mapping[str, Trained], said: Mapping[str, Evidence], judgement: Mapping[str, Any]
) -> dict[str, Any]:
    found: dict[str, Any] = {"status": "done", "shipped": judgement["shipped"]}
    if len(said) == 2:
        classes = [said[name].target.argmax(dim=1) for name in ("adapted", "source-only")]
        found["changed"] = (classes[0] != classes[1]).float().mean().item()
    if "adapted" in trained:
        if config.select != "last":
            found["kept_step"] = trained["adapted"].step
        if trained["adapted"].stopped:
            found["status"] = "collapsed"
            found["stopped"] = {"step": trained["adapted"].ended, "reason": trained["adapted"].stopped}
    return found


def _make_folder(
    run: RunFolder, config: TrainConfig, preprocessing: Preprocessing, domains: Domains, summary: Mapping[str, Any]
) -> None:
    """The run's folder with what is known before training, whole or not at all; an older run makes room for it."""
    parent = run.root.absolute().parent
    new = RunFolder(Path(tempfile.mkdtemp(prefix=f".{run.root.name}.", dir=parent)))
    try:
        new.root.chmod(0o777 & ~_umask())  # which mkdtemp keeps to its owner
        write_text(new.config, config_text(replace(config, out=str(run.root), overwrite=False)))
        write_json(new.unreadable, [asdict(each) for each in (*domains.train.unreadable, *domains.target.unreadable)])
        left_out = {"source": domains.train.left_out, "target": domains.target.left_out}
        write_json(new.left_out, {name: [asdict(each) for each in every] for name, every in left_out.items()})
        views = recipe.make_views(config, preprocessing)
        write_view_sheet(new.views, domains.target.images, views.student, views.teacher, config.seed)
        write_json(new.summary, summary)
        if run.root.exists():
            shutil.rmtree(run.root)
        put_in_place(new.root, run.root)
    finally:
        shutil.rmtree(new.root, ignore_errors=True)


@contextmanager
def _alone(run: RunFolder) -> Iterator[None]:
    """As the only process that makes a folder of this name; others wait."""
    folder = run.root.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(f".{folder.name}.lock"), wait=True):
        yield


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _trainings(config: TrainConfig, run: RunFolder) -> list[tuple[str, TrainConfig, TrainingFolder]]:
    """Name, configuration and folder of each training, in their order."""
    baseline = recipe.source_only(config)
    if config.method == "source-only":
        return [("source-only", baseline, run)]
    adapted: list[tuple[str, TrainConfig, TrainingFolder]] = [("adapted", config, run)]
    if not config.baseline:
        return adapted
    return [("source-only", replace(baseline, steps=config.baseline_steps or config.steps), run.source_only), *adapted]


def _labelled_set(
    config: TrainConfig, preprocessing: Preprocessing, classes: Sequence[str]
) -> tuple[str | None, LabelledImages | None]:
    """What to measure on after training; the target's own test set is left out where it is absent or does not fit."""
    name = config.evaluate or default_evaluation(config.target)
    if name is None:
        return None, None
    try:
        with CountedProgress(f"reading {name}") as progress:
            return name, open_labelled(
                name, preprocessing, classes, argument="--evaluate", **where_of(config, progress)
            )
    except UserError as error:
        if config.evaluate is not None:
            raise
        say(f"not measured on {name}: {error}")
        return None, None


def config_text(config: TrainConfig) -> str:
    """The configuration as YAML, complete."""
    return yaml.dump(asdict(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Quotes what the command line's YAML takes for a number and PyYAML's does not, such as 1e3."""


_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d[\d_]*\.?\d*|\.\d+)[eE][-+]?\d+"), list("-+.0123456789")
)


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


def _check_apart(run: RunFolder, config: TrainConfig) -> None:
    """Refuse a folder among the images, which a run's pictures would join."""
    sources = [config.source] if isinstance(config.source, str) else config.source
    for argument, where in (*(("--source", source) for source in sources), ("--target", config.target)):
        if Path(where).is_dir() and run.root.resolve().is_relative_to(Path(where).resolve()):
            raise UserError(
                f"--out {run.root}: it lies in {argument} {where}, where a run's pictures would join the images; "
                "give a folder elsewhere"
            )


def _doubts_about_files(domains: Domains) -> tuple[str, ...]:
    parts = (domains.train, domains.validation)
    names = [name for part in parts for name in part.names]
    return doubts_about_files(names, torch.cat([part.labels for part in parts]).tolist(), domains.target.names)


def _check_free(run: RunFolder, config: TrainConfig) -> None:
    """Refuse a folder that something is in already, unless it is a run to replace."""
    if config.init is not None and run.root.resolve() == Path(config.init).resolve():
        raise UserError(f"--out {run.root}: it is the run to start from; give another folder")
    if not run.root.exists():
        return
    if not run.root.is_dir():
        raise UserError(f"--out {run.root}: expected a folder, this is a file")
    if not any(run.root.iterdir()):
        return
    if not config.overwrite:
        raise UserError(
            f"--out {run.root}: there is something already; give another folder, "
            f"add --overwrite to replace a run, or go on with it: dalib train --resume {quoted(run.root)}"
        )
    with claimed(RunFolder.existing(run.root)):  # only a run may be replaced, and none that goes on
        pass


def check_counts(config: TrainConfig, world: World = ALONE) -> None:
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
    if config.batch % world.size or config.batch // world.size < 2:
        raise UserError(
            f"--batch {config.batch}: {world.size} processes divide it; expected a multiple of {world.size}, and at "
            "least 2 images for each"
        )
    batch = config.batch // world.size
    if batch // config.accumulate < 2:
        raise UserError(
            f"--accumulate {config.accumulate}: it leaves parts of {batch // config.accumulate} of a batch of "
            f"{batch}; expected at least 2 images in each, batch normalisation needs them"
        )


def _say_data(summary: dict[str, Any], domains: Domains) -> None:
    counts = summary["counts"]
    labelled = counts.get("target_labelled", 0)
    labels = f"{labelled} of them with a label to learn from" if labelled else "their labels unused if there are any"
    if held_out := counts.get("target_held_out"):
        labels += f", {held_out} with a label that is held out to judge the models"
    say(
        f"source {summary['source']}: {counts['source']} images to train on, "
        f"{counts['source_validation']} to validate, {len(summary['classes'])} classes; "
        f"target {summary['target']}: {counts['target']} images, {labels} "
        f"(read in {clock(summary['seconds']['data'])})"
    )
    say(f"classes: {some_classes(summary['classes'])}")
    say_unreadable((*domains.train.unreadable, *domains.target.unreadable))


def some_classes(names: Sequence[str], most: int = 10) -> str:
    """Returns the first names, each in one line, and how many more there are.

    >>> some_classes(["cat", "dog", "owl"], most=2)
    'cat, dog and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(one_line, names[:most])) + more


def describe_device(device: torch.device) -> str:
    """The device in words: the name of a GPU, or how many threads compute on the CPU."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"CPU, {torch.get_num_threads()} threads"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
