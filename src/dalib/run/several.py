"""Several targets of one source: a run for each, which share features, cache and source-only model, and one page."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from dalib.core.console import one_line, say, say_result, say_table, say_warning
from dalib.core.devices import choose_device
from dalib.core.errors import ABSENT, Call, Message, RunStoppedError, Setting, TrainingDivergedError, UserError
from dalib.core.files import reserved_folder
from dalib.core.places import in_short
from dalib.core.words import as_one, likelihood, share_in_words
from dalib.data.overlap import require_apart, require_targets_apart
from dalib.engine.distributed import joined
from dalib.records.candidates import CANDIDATES
from dalib.records.folder import RunFolder
from dalib.records.several import SeveralFolder, SeveralTargets, TargetResult, is_finished
from dalib.report.several import write_comparison
from dalib.run.finished.measure import slug
from dalib.run.place import occupied, require_none_within, require_outside
from dalib.run.recipe import recipe
from dalib.run.resume import claimed
from dalib.run.settings.config import RESUMABLE, places_read
from dalib.run.settings.config_file import read_plain_config, write_config
from dalib.run.setup import open_kit_of
from dalib.run.start.data_check import check_data
from dalib.run.targets import OF_ONE, check_targets
from dalib.run.train import train

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dalib.core.errors import Part
    from dalib.engine.distributed import World
    from dalib.judge.evidence import Evidence
    from dalib.records.several import TargetModel
    from dalib.run.settings.config import TrainConfig
    from dalib.run.start.kit import Kit
    from dalib.run.track import Tracker


@dataclass(frozen=True)
class Options:
    """Arguments of :func:`dalib.run.train.train` besides the configuration, the same for each target."""

    allow_changes: bool = False
    on_evidence: Callable[[str, int, Evidence], None] | None = None
    trackers: Sequence[Tracker] = ()


def train_several(config: TrainConfig, *, resume: bool = False, options: Options = Options()) -> SeveralFolder:
    """Trains a run for each target, one after the other, and writes the page that compares them.

    The source-only model is trained by the first run and taken over by the others, where nothing that it depends on
    differs; decoded images and features are in the cache. Each run is one like any other.

    Args:
        config: of all runs; ``target`` is a dictionary of names, and so is ``evaluate`` if it is given.
        resume: train those in ``config.out`` that are not finished.
        options: see :func:`dalib.run.train.train`.

    Raises:
        UserError: bad input, before anything is written; a target whose images cannot be read or do not fit, after
            the others; see also :func:`dalib.run.train.train`.
        TrainingDivergedError: in at least one of the runs, after the others.
        RunStoppedError: a signal to stop; ``resume`` continues from there.
    """
    targets = check_targets(config.target, config.evaluate, {name: getattr(config, name) for name in OF_ONE})
    with joined() as world, ExitStack() as held:
        folder = SeveralFolder(Path(config.out) if config.out else world.from_first(lambda: _new_folder(config, held)))
        runs = {name: run_config(config, name, folder) for name in targets}
        kit = None
        if not resume or not all(is_finished(folder.run(name)) for name in runs):
            kit = open_kit_of(config, choose_device(config.device, local_rank=world.local_rank, processes=world.size))
        world.from_first(lambda: _begin(config, runs, folder, held, kit, resume=resume))
        failed: dict[str, TrainingDivergedError | UserError] = {}
        for name, own in runs.items():
            error = _train(name, own, folder, kit, world, options)
            if error is not None:
                failed[name] = error
            if world.first:
                write_comparison(folder)
    if any(isinstance(error, TrainingDivergedError) for error in failed.values()):
        raise TrainingDivergedError(*_of_those(failed))
    if failed:
        raise UserError(*_of_those(failed), ". Once that is corrected, go on: ", _resume_call(folder))
    return folder


def run_config(config: TrainConfig, name: str, folder: SeveralFolder) -> TrainConfig:
    """Returns the configuration of the run of one target, whose folder lies in that of all."""
    assert isinstance(config.target, dict)
    evaluate = config.evaluate if isinstance(config.evaluate, dict) else {}
    out = str(folder.run(name).root)
    return replace(config, target=config.target[name], evaluate=evaluate.get(name), out=out, overwrite=False)


def _train(
    name: str, config: TrainConfig, folder: SeveralFolder, kit: Kit | None, world: World, options: Options
) -> TrainingDivergedError | UserError | None:
    """Trains the run of one target, or resumes it, unless it is finished; returns why it failed, if it did."""
    run = folder.run(name)
    if is_finished(run):
        _say(world, f"target {name}: finished before, in {run.root}")
        return None
    if world.first:
        say_result(f"target {name}: {in_short(config.one_target)}")
    begun = run.config.is_file() and run.summary.is_file()
    if begun:
        config = read_plain_config(run.config, out=config.out, **{each: getattr(config, each) for each in RESUMABLE})
    siblings = world.from_first(lambda: _siblings(run, folder))
    try:
        train(config, resume=begun, siblings=siblings, kit=kit, **vars(options))
    except TrainingDivergedError as error:
        _say(world, Message(f"target {name} diverged: ", *error.args))
        return error
    except UserError as error:
        if world.size > 1 or not _of_target(error):
            raise
        say_warning(Message(f"target {name} is left out: ", *error.args))
        return error
    except RunStoppedError as error:
        how = Message(f"stopped at the target {name}; to resume: ", _resume_call(folder))
        raise RunStoppedError(how, error.code - 128) from None
    return None


def _siblings(run: RunFolder, folder: SeveralFolder) -> list[RunFolder]:
    """Returns the other runs that have begun, one of whose source-only models may be taken over."""
    return [each for each in folder.runs().values() if each != run and each.summary.is_file()]


def _of_target(error: UserError) -> bool:
    """Returns whether an error is about one target and its labelled set, so that the others are not concerned."""
    about = error.args[0] if error.args else None
    return isinstance(about, Setting) and about.name in ("target", "evaluate")


def print_targets(record: SeveralTargets) -> None:
    """Prints what the targets' runs came to, a line for each."""
    models = [each for each in CANDIDATES if any(each.name in target.models for target in record.targets)]
    measured = any(model.measured for target in record.targets for model in target.models.values())
    table = Table(box=None, pad_edge=False)
    for heading in ("target", "adaptation"):
        table.add_column(heading, overflow="fold")
    for heading in ("probability", *(each.name for each in models)):
        table.add_column(heading, justify="right")
    table.add_column("selected")
    for target in record.targets:
        table.add_row(
            escape(one_line(target.name)),
            target.outcome or target.status,
            "-" if target.probability is None else likelihood(target.probability),
            *(_in_words(target.models.get(each.name)) for each in models),
            target.selected or "-",
        )
    say_table(table)
    of_measured = ", and in brackets the measured one where there are labels" if measured else ""
    say(
        "adaptation: verdict without labels (unclear: can't tell); probability: that adaptation helped; then each "
        f"model's estimated accuracy (? = not reliable){of_measured}"
    )


def _in_words(model: TargetModel | None) -> str:
    """Returns the accuracy of a model as it stands in the table."""
    if model is None:
        return "-"
    words = []
    if model.estimate is not None and model.estimate.value is not None:
        words.append(share_in_words(model.estimate.value) + ("" if model.estimate.reliable else " ?"))
    if model.measured is not None:
        words.append(f"({share_in_words(model.measured.accuracy)})")
    return " ".join(words) or "-"


def _say(world: World, text: str | Message) -> None:
    if world.first:
        say(text)


def _resume_call(folder: SeveralFolder) -> Call:
    return Call("dalib.adapt_each", Setting("resume", folder.root))


def _of_those(failed: Mapping[str, TrainingDivergedError | UserError]) -> list[str | Part]:
    parts: list[str | Part] = []
    for name, error in failed.items():
        about = error.args[0] if error.args else None
        has_place = isinstance(about, Setting) and about.value is not ABSENT
        parts += ["; " if parts else "", "" if has_place else f"target {name}: ", *error.args]
    return parts


def _begin(
    config: TrainConfig,
    runs: Mapping[str, TrainConfig],
    folder: SeveralFolder,
    held: ExitStack,
    kit: Kit | None,
    *,
    resume: bool,
) -> None:
    """Checks all targets before the first is trained, and makes the folder; or opens it to resume.

    Raises:
        UserError: a target or a labelled set that is not there or does not fit, or a folder that is not free.
    """
    if not resume:
        require_targets_apart([each.one_target for each in runs.values()])
        for own in runs.values():
            _check_data(own, kit)
        _make_folder(config, runs, folder)
    held.enter_context(claimed(RunFolder(folder.root)))


def _check_data(config: TrainConfig, kit: Kit | None) -> None:
    """Refuses data of one target that are not there or do not fit; no image is decoded."""
    request = replace(recipe.make_data_request(config), kit=kit)
    require_apart(request.sources, request.target)
    check_data(request, recipe.make_labelled_set(config), prior=config.prior)


def _make_folder(config: TrainConfig, runs: Mapping[str, TrainConfig], folder: SeveralFolder) -> None:
    """Makes the folder of all runs, in place of an older one where that is asked for.

    Raises:
        UserError: there is something already, or it lies among images.
    """
    require_outside(folder.root, config.sources, [own.one_target for own in runs.values()], "the runs'")
    if folder.root.exists() and (not folder.root.is_dir() or any(folder.root.iterdir())):
        if not folder.is_one():
            raise occupied(folder.root, ", this one is not of several targets")
        if not config.overwrite:
            go_on = (", or go on with these targets: ", _resume_call(folder))
            raise occupied(folder.root, ", add ", Setting("overwrite", True), " to replace them", *go_on)
        require_none_within(folder.root, places_read(config))
        with ExitStack() as held:
            for run in (RunFolder(folder.root), *folder.runs().values()):
                held.enter_context(claimed(run))
        _empty(folder)
    folder.root.resolve().mkdir(parents=True, exist_ok=True)  # it may be a link to a folder that is not there yet
    write_config(config, folder.config, folder.root)
    results = tuple(TargetResult(name, own.one_target) for name, own in runs.items())
    SeveralTargets(as_one(config.source), results).write(folder.record)


def _empty(folder: SeveralFolder) -> None:
    """Removes the content of a folder of several targets, last the files by which it is known; it may be a link."""
    known = (folder.config, folder.record)
    for each in sorted(folder.root.iterdir(), key=lambda each: each in known):
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink()


def _new_folder(config: TrainConfig, held: ExitStack) -> Path:
    """Returns a folder that is named after the time and the source; those of one second are numbered."""
    return reserved_folder(Path("runs"), f"{slug(as_one(config.source))}-{len(config.target)}-targets", held)
