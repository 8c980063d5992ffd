"""``dalib train``: one run from its domains to its report. The command line calls it, and so can a script."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dalib.core.console import say, say_result
from dalib.core.errors import Call, Message, Setting, StoppedError, TrainingDivergedError, UserError
from dalib.core.files import reserved_folder
from dalib.core.words import as_one
from dalib.engine.distributed import World, joined
from dalib.engine.evaluate import plain_representation
from dalib.engine.runlog import last_step
from dalib.engine.signals import StopRequests
from dalib.engine.train import NOBODY, Observer
from dalib.judge.comparison import MIN_IMAGES
from dalib.records.folder import RunFolder
from dalib.records.summary import Summary
from dalib.report.page import write_report
from dalib.run.classes.unknown import write_rules
from dalib.run.features.neutral_features import neutral_beside, neutral_representation
from dalib.run.features.own_statistics import choice_for_files, chosen_share, require_enough_images
from dalib.run.finished.label_estimates import judge_held_out
from dalib.run.finished.measure import decide, measure, measurement_of, slug
from dalib.run.finished.select import conclude
from dalib.run.judge import judge, write_pictures, write_predictions
from dalib.run.length import say_length
from dalib.run.models_in_folder import ModelsInFolder, training_folder
from dalib.run.others.hints import hints_record
from dalib.run.place import begin_folder, check_place, resume_folder
from dalib.run.recipe import image_network, recipe
from dalib.run.recipe.shared_inputs import FrozenBackbone, training_inputs
from dalib.run.recipe.stages import LastStages
from dalib.run.remedies import remedies
from dalib.run.resume import claimed
from dalib.run.settings.config import places_read, recorded_settings
from dalib.run.settings.config_file import write_config
from dalib.run.settings.presets import check_applied
from dalib.run.setup import first_summary, frozen_space, open_data, prepare, say_data
from dalib.run.sibling import differences, take_over
from dalib.run.summary import summary_at_end, summary_of_model, timed, with_unknown
from dalib.run.timing.pace import Counts
from dalib.run.timing.time_limit import TimeLimit, TooShortError, check_time_limit, is_open
from dalib.run.track import Outcome, TrackedRun, Tracking, make_tracker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dalib.judge.evidence import Evidence
    from dalib.judge.structure import Representation
    from dalib.records.evaluation import Evaluation, MeasuredModel
    from dalib.records.judgement import Judgement
    from dalib.records.summary import SummarizedModel
    from dalib.run.recipe.run_models import RunModels
    from dalib.run.recipe.shared_inputs import TrainingInputs
    from dalib.run.settings.config import TrainConfig
    from dalib.run.setup import Data, Setup
    from dalib.run.start.domains import Domains
    from dalib.run.start.kit import Kit
    from dalib.run.timing.pace import Pace
    from dalib.run.track import Tracker


def train(
    config: TrainConfig,
    *,
    resume: bool = False,
    allow_changes: bool = False,
    on_evidence: Callable[[str, int, Evidence], None] | None = None,
    trackers: Sequence[Tracker] = (),
    since: float | None = None,
    siblings: Sequence[RunFolder] = (),
    kit: Kit | None = None,
) -> RunFolder:
    """Trains as configured, and writes the run's folder: models, metrics, judgement, evaluation, report.

    Under torchrun, or as a step of SLURM's, every process calls this; the first one prints, judges and writes.

    Args:
        config: everything; with ``resume``, that of the run in ``config.out``.
        resume: continue the run in ``config.out`` from its last checkpoints.
        allow_changes: resume even if its settings or data are not what they were.
        on_evidence: called at each evaluation with the training's name, its step, and its model's predictions.
        trackers: called at the events of the run, beside that of ``config.track``; see :mod:`dalib.run.track`.
        since: when the run's time limit began, by ``time.monotonic``; now by default.
        siblings: runs on the same source. The source-only model of the first of them is taken over
            (:mod:`dalib.run.sibling`) where nothing that it depends on differs.
        kit: that of the configuration, where it is open already.

    Raises:
        UserError: bad input, before anything is written; or a disk that is full, or with ``cache='off'`` an image that
            has changed, with what is there left as it is.
        TrainingDivergedError: a loss that is not finite; checkpoints and metrics up to then are kept.
        RunStoppedError: a signal to stop; ``resume`` continues it from there.
        RanksLostError: one of several processes ended; ``resume`` continues the run from its last checkpoints.
    """
    since = time.monotonic() if since is None else since
    if isinstance(config.target, dict):
        raise UserError(
            Setting("target"),
            ": expected one target, got a dictionary; several targets, each of which gets a run of its own, are for ",
            Call("dalib.adapt_each"),
        )
    check_applied(config)
    on_evidence = on_evidence or NOBODY.on_evidence
    with joined() as world, StopRequests() as requests, ExitStack() as held:
        held.enter_context(world.first_prints())
        run = RunFolder(Path(config.out)) if config.out else world.from_first(lambda: _new_run(config, held))
        tracking = held.enter_context(Tracking(trackers if world.first else ()))
        if (name := config.track) is not None:
            world.from_first(lambda: tracking.add(make_tracker(name)))
        context = _Context(resume, allow_changes, on_evidence, world, requests, held, tracking, since, siblings, kit)
        with remedies(run, world, requests, resume=resume):
            _train(config, run, context)
    return run


@dataclass(eq=False)
class _Context:
    """Arguments of :func:`train` besides the configuration, what it holds until it ends, and the pace it measured.

    Attributes:
        measured: the pace of this machine, and the configuration that it was measured with; None before.
    """

    resume: bool
    allow_changes: bool
    on_evidence: Callable[[str, int, Evidence], None]
    world: World
    requests: StopRequests
    held: ExitStack
    tracking: Tracking
    since: float
    siblings: Sequence[RunFolder]
    kit: Kit | None
    measured: tuple[TrainConfig, Pace] | None = None


def _train(config: TrainConfig, run: RunFolder, context: _Context) -> None:
    """Does the whole run: settings, data, trainings, judgement, measurement, report."""
    if not context.resume:
        _check_place(config, run, context.world)
    setup = prepare(config, context.world, kit=context.kit)
    if context.resume and context.world.first:
        context.held.enter_context(claimed(run))
    if not context.resume:
        check_time_limit(setup.config, context.world.size)
        _say_length(setup, context)
    setup, data = open_data(setup)
    images_choose = setup.config.model.domain_statistics == "auto"
    setup = _with_share(setup, data)
    setup, limit = _with_length(setup, data, context, may_be_plain=images_choose)
    frozen = _frozen_backbone(setup, data)
    summary = first_summary(setup, data)
    say_data(summary, data.domains)
    summary = _begin(run, setup, data, summary, context)
    setup, inputs, summary = _inputs_of_length(run, setup, data, frozen, limit, summary)
    _begin_tracking(run, setup, context)
    models, summary = _train_models(run, setup, inputs, summary, context)
    if not context.world.first:
        return
    judgement, summary = _judge_and_select(run, setup, data, inputs, models, summary)
    measured = _measure(run, setup, data)
    write_report(run)
    context.tracking.end(_outcome(summary, judgement, measured))


def _check_place(config: TrainConfig, run: RunFolder, world: World) -> None:
    """Refuses a folder in which the run cannot be made."""
    check_place(
        run,
        config.sources,
        config.one_target,
        world,
        init=config.init,
        overwrite=config.overwrite,
        reads=places_read(config),
    )


def _say_length(setup: Setup, context: _Context) -> None:
    """Prints how long the run takes, with features of the kinds that its images will choose.

    Raises:
        TooShortError: a time limit in which not even the least fits.
    """
    # with a sibling, features of the source and a baseline are there, which the length would count
    if not context.world.first or context.siblings:
        return
    if setup.space is not None and context.world.size == 1 and not is_open(setup.config):  # else no time is measured
        choice = choice_for_files(setup.space, setup.listings)
        if choice is not None:
            setup = replace(setup, config=image_network.with_share(setup.config, choice.share))
    if (pace := say_length(setup, context.since)) is not None:
        context.measured = setup.config, pace


def _with_share(setup: Setup, data: Data) -> Setup:
    """Returns the setup with the share that the images choose; the folder notes it, and resuming chooses nothing."""
    if setup.space is None:
        return setup
    with setup.world.in_turn():
        share = chosen_share(setup.space, data.domains)
    config = image_network.with_share(setup.config, setup.world.from_first(lambda: share))
    return replace(setup, config=config, space=None)


def _with_length(setup: Setup, data: Data, context: _Context, *, may_be_plain: bool) -> tuple[Setup, TimeLimit | None]:
    """Returns the setup with the views and steps that a time limit leaves, and the limit; None where there is none.

    Args:
        may_be_plain: whether a limit that is too short for joined features leaves plain ones.

    Raises:
        TooShortError: the limit is too short for anything.
    """
    if not is_open(setup.config):
        return setup, None
    limit = _time_limit(setup, data, context)
    try:
        planned = limit.planned()
    except TooShortError:
        if not may_be_plain or not setup.config.model.domain_statistics:
            raise
        say(f"note: {Setting('model.domain_statistics', 0)} all the same, for both kinds of features take too long")
        setup = replace(setup, config=image_network.with_share(setup.config, 0.0))
        limit = _time_limit(setup, data, context)
        planned = limit.planned()
    return _chosen(setup, planned), limit


def _time_limit(setup: Setup, data: Data, context: _Context) -> TimeLimit:
    """Returns the time limit for these images, which decides the length of the trainings."""
    domains = data.domains
    counts = Counts(
        len(domains.train.labels) + len(domains.validation.labels),
        len(domains.validation.labels),
        len(domains.target.names),
        len(domains.train.classes),
        0 if data.labelled is None else len(data.labelled.labels),
        domains.drawn is not None,
    )
    known = context.measured
    # features of one kind, or joined ones
    same = known is not None and known[0].members == setup.config.members
    pace = known[1] if known is not None and same else None
    return TimeLimit.of(setup.config, setup.preprocessing, counts, setup.device, context.since, pace)


def _chosen(setup: Setup, config: TrainConfig) -> Setup:
    """Returns the setup with another number of views and steps."""
    return replace(setup, config=config, request=replace(setup.request, features=config.features))


def _begin(run: RunFolder, setup: Setup, data: Data, summary: Summary, context: _Context) -> Summary:
    """Makes the run's folder or resumes it; returns the summary that is in it."""

    def begin() -> Summary:
        if context.resume:
            return resume_folder(run, summary, data.domains, allow_changes=context.allow_changes)
        begin_folder(run, setup, data, summary, context.held)
        return summary

    return context.world.from_first(begin)


def _begin_tracking(run: RunFolder, setup: Setup, context: _Context) -> None:
    """Notifies the trackers of the run that begins or resumes."""
    if not context.world.first:
        return
    context.tracking.begin(_tracked(run, setup.config, context.resume))
    if not context.resume:
        context.tracking.picture("views", run.views)


def _frozen_backbone(setup: Setup, data: Data) -> FrozenBackbone | None:
    """Returns the backbone whose features are trained on; None of a network that is trained as a whole.

    It prints what the training of the backbone's last stages takes, if they are trained.

    Raises:
        UserError: the disk has not the room for that, or a domain has too few images for statistics of its own.
    """
    config = setup.config
    if not config.features:
        return None
    space, share = frozen_space(setup, len(data.domains.train.classes)), config.model.domain_statistics
    assert share != "auto"  # chosen before
    require_enough_images(share, data.domains, kit=setup.request.kit is not None)
    if not (count := config.model.trained_stages):
        return FrozenBackbone(space, share)
    images = image_network.image_inputs(config, setup.preprocessing)
    stages = LastStages.of(count, space, data.domains, images, setup.request)
    alone = setup.world.size == 1  # one of several processes can take no step
    setup.world.from_first(lambda: stages.announce(recipe.make_training_of_stages(config, stages) if alone else None))
    return FrozenBackbone(space, share, stages)


def _inputs_of_length(
    run: RunFolder, setup: Setup, data: Data, frozen: FrozenBackbone | None, limit: TimeLimit | None, summary: Summary
) -> tuple[Setup, TrainingInputs, Summary]:
    """Returns the setup with the steps that are left after the features, what trainings take, and the summary of both.

    Configuration and summary are written: a kill from here on loses neither the steps nor how long the features took.
    """
    since = time.monotonic()
    inputs = _training_inputs(setup, data, frozen, limit)
    if setup.config.features:
        summary = timed(summary, "features", time.monotonic() - since)
    if limit is not None:
        setup = _chosen(setup, limit.fitted(setup.config))
        summary = setup.recorded(replace(summary, settings=recorded_settings(setup.config)))
        write_config(setup.asked, run.config, run.root)
    if setup.world.first:
        summary.write(run.summary)
    return setup, inputs, summary


def _training_inputs(
    setup: Setup, data: Data, frozen: FrozenBackbone | None, limit: TimeLimit | None
) -> TrainingInputs:
    """Returns the inputs of the trainings; with a time limit views are computed one by one, also when resumed."""
    enough = None
    if setup.config.time_limit is not None:
        enough = (lambda _: False) if limit is None else limit.enough  # resumed: their number is settled
    inputs = training_inputs(
        image_network.image_inputs(setup.config, setup.preprocessing),
        setup.request,
        data.domains,
        setup.device,
        frozen=frozen,
        world=setup.world,
        enough=enough,
    )
    return replace(inputs, hints=data.hints)


def _train_models(
    run: RunFolder, setup: Setup, inputs: TrainingInputs, summary: Summary, context: _Context
) -> tuple[RunModels, Summary]:
    """Trains what the configuration asks for, and adds it to the summary; a training that diverges leaves its report.

    The summary is written after each training, also after one that is stopped: a resumed run adds its time to this.

    Raises:
        TrainingDivergedError: a loss that is not finite.
        StoppedError: a signal came; the step is saved.
    """
    in_folder = ModelsInFolder(run, setup, inputs, partial(_observer, context))
    models = in_folder.from_kit()
    names = [name for name, _ in recipe.trainings(setup.config)]
    for name in names:
        since = time.monotonic()
        try:
            with context.requests.at_a_step():
                taken = name == "source-only" and _take_from_sibling(run, setup, summary, context)
                models = in_folder.with_trained(name, models, resume=context.resume or taken)
            if context.world.any(context.requests.signal is not None):  # behind the last step, which is saved
                raise KeyboardInterrupt
        except (TrainingDivergedError, StoppedError, KeyboardInterrupt) as error:
            if context.world.first:
                _write_ended(run, timed(summary, name, time.monotonic() - since), error)
            raise
        summary = timed(summary, name, time.monotonic() - since)
        if context.world.first:
            summary.write(run.summary)  # else a kill would lose how long it took
        if context.world.first and name == "source-only" and len(names) > 1:
            since = time.monotonic()
            models = in_folder.with_aligned(models)
            summary = timed(summary, "aligned", time.monotonic() - since)
        summary = replace(summary, models=_summarized(models, from_kit=setup.request.kit is not None))
    return models, summary


def _write_ended(run: RunFolder, summary: Summary, error: BaseException) -> None:
    """Writes the summary of a run whose training ended early: how long it took, and of one that diverged the report."""
    if not isinstance(error, TrainingDivergedError):
        summary.write(run.summary)
        return
    replace(summary, status="diverged").write(run.summary)
    write_report(run)


def _summarized(models: RunModels, *, from_kit: bool) -> dict[str, SummarizedModel]:
    """Returns the summaries of the models; from a kit, the validation predictions are the source-only model's alone."""
    made = {name: summary_of_model(evidence) for name, evidence in models.everything.items()}
    if from_kit and "adapted" in made:
        made["adapted"] = replace(made["adapted"], source_validation_accuracy=None)
    return made


def _observer(context: _Context, training: str) -> Observer:
    """Returns the callbacks of a training: a signal stops it, and the trackers have its metrics."""
    return Observer(
        lambda: context.requests.signal is not None, partial(context.tracking.log, training), context.on_evidence
    )


def _take_from_sibling(run: RunFolder, setup: Setup, summary: Summary, context: _Context) -> bool:
    """Takes the source-only model over from a sibling, if one has the same; its training then resumes at its end."""
    own = recipe.name_of_training(setup.config)

    def taken() -> bool:
        other = ""
        for sibling in context.siblings:
            before = Summary.read(sibling.summary)
            if found := differences(before, summary):
                other = other or f"{sibling.root}: {'; '.join(found)}"
            elif take_over(before, *(training_folder("source-only", each, own) for each in (sibling, run))):
                say(f"source-only: taken over from {sibling.root}, which was trained on the same source")
                return True
        if other:
            say(f"source-only is trained for this target, too, and not taken over from {other}")
        return False

    return context.world.from_first(taken)


def _judge_and_select(
    run: RunFolder,
    setup: Setup,
    data: Data,
    inputs: TrainingInputs,
    models: RunModels,
    summary: Summary,
) -> tuple[Judgement, Summary]:
    """Judges the models, and writes predictions, judgement, selection, pictures and the complete summary."""
    since, config, domains = time.monotonic(), setup.config, data.domains
    write_predictions(run, models.everything, domains)
    neutral, learnt_from = _untrained_features(setup, data, inputs, models)
    judgement = _judged_with_own_reasons(setup, domains, models, neutral, learnt_from)
    judgement.write(run.judgement)
    if models.kind is not None:
        summary = replace(summary, target_kind=models.kind.recorded)
    if models.hints is not None:
        told = hints_record(models.hints, models, domains.train.classes, neutral)
        told.write(run.hints)
        say(told.sentence)
    else:  # those of a run that is resumed without them
        run.hints.unlink(missing_ok=True)
    if models.of_classes(config.classes) == "other":
        summary = with_unknown(summary, models.everything, write_rules(run, models.everything))
    by_user = config.keep == "adapted" and len(models.trained) > 1
    conclude(run, judgement.shipped, "user" if by_user else "judgement")
    write_pictures(run, models.trained, models.everything, domains, config.seed, judgement.baseline)
    summary = timed(summary, "judgement", time.monotonic() - since)
    kept_best = config.select != "last"
    summary = summary_at_end(summary, models.trained, models.everything, judgement, kept_best=kept_best)
    summary.write(run.summary)
    _say_judgement(run, judgement, summary)
    return judgement, summary


def _say_judgement(run: RunFolder, judgement: Judgement, summary: Summary) -> None:
    """Prints the verdict with its reasons, the selected model, and what it calls unknown."""
    say_result(judgement.headline)
    for reason in judgement.reasons:
        say(f"  {reason}")
    selection = run.selection()
    if len(judgement.models) > 1:
        say_result(selection.sentence)
    if unknown := summary.unknown_in_words(selection.model):
        say_result(unknown)


def _untrained_features(
    setup: Setup, data: Data, inputs: TrainingInputs, models: RunModels
) -> tuple[Representation | None, Representation | None]:
    """Returns features of both domains that no training has changed, and those of them that all models learnt from.

    A frozen backbone's features are both. Networks that were trained as a whole are judged by another network's.
    """
    if setup.config.features:
        of_backbone = plain_representation(inputs.domains.train, inputs.domains.to_predict)
        return of_backbone, of_backbone
    target = data.domains.target
    if len(models.trained) < 2 or len(target.names) < MIN_IMAGES:
        return None, None
    if (kit := setup.request.kit) is not None:
        return neutral_beside(*kit.representing(setup.config.seed), target.images, setup.device), None
    return neutral_representation(data.domains.train, target.images, setup.device), None


def _judged_with_own_reasons(
    setup: Setup,
    domains: Domains,
    models: RunModels,
    neutral: Representation | None,
    learnt_from: Representation | None,
) -> Judgement:
    """Returns the judgement of the models, with the reasons that are the run's own: its kit, and the kind of target."""
    judgement = judge(
        {name: replace(each.trained, evidence=domains.grouped(each.evaluated)) for name, each in models.models.items()},
        {name: domains.grouped(each) for name, each in models.everything.items()},
        recipe.make_judge_settings(setup.config, models.expected),
        domains.train.classes,
        neutral,
        learnt_from,
        models.hints,
    )
    kit, kind = setup.request.kit, models.kind
    own = (*(() if kit is None else (kit.missing,)), *((kind.in_words(),) if kind and kind.doubtful else ()))
    return replace(judgement, reasons=(*judgement.reasons, *own))


def _measure(run: RunFolder, setup: Setup, data: Data) -> Mapping[str, MeasuredModel]:
    """Measures on target labels where there are some; returns what was measured of each model."""
    config = setup.config
    if data.domains.held_out is not None:
        judge_held_out(run, str(config.target_labels), data.domains.held_out)
    if data.evaluated is None or data.labelled is None:
        return {}
    asked = config.evaluate is not None
    result = measure(run, data.evaluated, data.labelled, setup.device, asked=asked)
    if asked:
        decide(run, result, held=True)
    else:
        _say_if_better(run, result)
    return result.models


def _say_if_better(run: RunFolder, result: Evaluation) -> None:
    """Prints that a measurement by default does not decide the selection.

    What a named target is measured on by default are a benchmark's labels, which a user has not: which model the run
    selects must not depend on them.
    """
    selection = run.selection()
    measured = measurement_of(result, selection.model)
    if measured is not None and measured.better not in (None, selection.model):
        say(
            Message(
                f"On these labels the {measured.better} model is better. They were not asked for and select no model; ",
                Call("dalib.run.finished.measure.evaluate", Setting("run", run.root), Setting("data", result.data)),
                " or ",
                Call("dalib.run.finished.select.keep", Setting("run", run.root), Setting("model", measured.better)),
                " does",
            )
        )


def _tracked(run: RunFolder, config: TrainConfig, resume: bool) -> TrackedRun:
    own = recipe.name_of_training(config)
    steps = {name: training.steps or 0 for name, training in recipe.trainings(config)}
    if config.model.trained_stages:
        steps = {**steps, "frozen": steps.pop("adapted"), "adapted": config.stages.steps}
    return TrackedRun(
        run.root,
        asdict(config),
        steps,
        resume,
        {name: last_step(training_folder(name, run, own).metrics) if resume else 0 for name in steps},
    )


def _outcome(summary: Summary, judgement: Judgement, measured: Mapping[str, MeasuredModel]) -> Outcome:
    """Returns the outcome of a run for the trackers."""
    estimates = {
        name: model.estimate.value  # none where the source has too few validation images
        for name, model in judgement.models.items()
        if model.estimate is not None and model.estimate.value is not None
    }
    return {
        "status": summary.status,
        "shipped": judgement.shipped,
        "outcome": judgement.outcome,
        "headline": judgement.headline,
        **{f"estimate/{name}": value for name, value in estimates.items()},
        **{f"accuracy/{name}": model.accuracy for name, model in measured.items()},
    }


def _new_run(config: TrainConfig, held: ExitStack) -> RunFolder:
    """Returns a folder that is named after the time and the domains; runs of one second are numbered.

    It is there at once, and empty, because the run begins in it only when its images are read.
    """
    name = f"{slug(as_one(config.source))}-{slug(config.one_target)}"
    return RunFolder(reserved_folder(Path("runs"), name, held))
