"""Makes optimisers, batches, trainings and rules of the configuration, which nothing below this room reads.

The names of optimisers and schedules stand here, in plain dict literals; those of methods in
:mod:`dalib.adaptation.methods`, those of views in :mod:`dalib.run.recipe.image_network`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler

from dalib.adaptation.hints import TrustedHints, WithHints
from dalib.adaptation.inputs import MethodInputs
from dalib.adaptation.methods import SOURCE_ONLY, adapts, group_of, method_class
from dalib.adaptation.outside import UnknownApart
from dalib.core.devices import memory_format
from dalib.core.errors import Setting, UserError
from dalib.data.rows import Marked
from dalib.data.stream import DomainViews, Sampling, TwoDomainStream
from dalib.engine import schedule
from dalib.engine.distributed import ALONE, World
from dalib.engine.evaluate import Evaluator
from dalib.engine.fit import Every, Training
from dalib.engine.keep import most_confident
from dalib.engine.train import Plan, Rules
from dalib.judge.collapse import collapse_sign
from dalib.judge.evidence import effective_classes
from dalib.judge.selection import trusted_correlation
from dalib.models.network import make_predictor
from dalib.run.classes.prior import KINDS, scores_and_prior
from dalib.run.recipe.image_network import load_first, make_student, ranges_given, with_synchronized_norms
from dalib.run.recipe.methods import build_method
from dalib.run.start.data_check import LabelledSet
from dalib.run.start.domains import DataRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch.optim import Optimizer

    from dalib.core.types import Method
    from dalib.data.domain_images import LabelledImages, UnlabelledImages
    from dalib.engine.train import Statistics
    from dalib.judge.evidence import Confidence, Evidence
    from dalib.models.classifier import ImageClassifier
    from dalib.run.classes.expected_target import ExpectedTarget
    from dalib.run.features.inputs import Inputs
    from dalib.run.recipe.stages import LastStages
    from dalib.run.settings.config import OptimizerConfig, TrainConfig
    from dalib.run.start.domains import Domains

SCHEDULES: dict[str, Callable[..., float]] = {
    "constant": schedule.constant,
    "cosine": schedule.cosine,
    "one-cycle": schedule.one_cycle,
    "inverse-decay": schedule.inverse_decay,
}

PRECISIONS: dict[str, torch.dtype | None] = {
    "auto": None,  # where nothing was measured: a run measures before it makes a training
    "float32": None,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

COMPILE_MODES: dict[str, str | None] = {"none": None, "default": "default", "cuda-graphs": "reduce-overhead"}

OPTIMIZERS: dict[str, type[Optimizer]] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


DEFAULT_STEPS = 1000


def make_data_request(config: TrainConfig) -> DataRequest:
    """Returns which images the configuration asks for, and how they are opened.

    Raises:
        UserError: labels of target images for a method that does not learn from them.
    """
    if config.target_labels is not None and not adapts(config.method):
        raise UserError(
            Setting("target_labels", config.target_labels),
            ": the adaptation learns from them, a source-only model does not; leave them out, or leave out ",
            Setting("method", config.method),
        )
    return DataRequest(
        config.source,
        config.one_target,
        target_labels=config.target_labels,
        ranges=ranges_given(config),
        validation_share=config.data.validation_share,
        groups=config.groups,
        seed=config.seed,
        batch=config.batch,
        features=config.features,
        standardize=config.model.standardize,
        strict=config.strict,
        root=config.root,
        download=config.download,
        cache=config.cache,
    )


def make_labelled_set(config: TrainConfig) -> LabelledSet:
    """Returns the labelled set that the models are measured on in the end, and whether it may hold other classes."""
    return LabelledSet(config.one_evaluate, others=config.classes == "other")


def make_method(
    config: TrainConfig, student: nn.Module, num_classes: int, prior: Tensor | None = None, *, steps: int | None = None
) -> Method:
    """Makes the method around a student.

    Args:
        prior: (C,) class shares of the target; None is uniform.
        steps: number of steps of the training, with which some weights rise; None if it is unknown and does not matter.

    Raises:
        UserError: a setting out of its range, or that the method does not have.
    """
    inputs = MethodInputs(
        student,
        num_classes,
        steps or 1,
        prior=prior,
        label_smoothing=config.optimizer.label_smoothing,
        compile_mode=COMPILE_MODES[config.compile],
        stored_views=config.features,
    )
    settings, masking = getattr(config, group_of(config.method), None), config.masked_consistency
    return build_method(config.method, settings, inputs, expected_shares=config.prior, masking=masking)


def make_optimizer(config: OptimizerConfig, student: ImageClassifier) -> Optimizer:
    """Makes the optimiser, with each group's base rate kept under ``initial_lr``.

    On a CPU, torch's fused step moves every weight once through the memory, in a third of the time.
    """
    groups: list[dict[str, Any]] = [{**group, "initial_lr": group["lr"]} for group in student.get_parameters(config.lr)]
    try:
        # torch checks the default rate alone, not those of the groups
        fused = next(student.parameters()).device.type == "cpu" or None  # None leaves it to torch
        return OPTIMIZERS[config.name](groups, lr=config.lr, weight_decay=config.weight_decay, fused=fused)  # type: ignore[call-arg]
    except ValueError as error:
        raise UserError(Setting("optimizer"), f": {error}") from None


def make_schedule(config: OptimizerConfig, steps: int) -> Callable[[int], float]:
    """Returns the schedule: step -> share of the base rate."""
    return partial(SCHEDULES[config.schedule], steps=steps)


@dataclass(frozen=True)
class Initial:
    """The starting point of a training.

    Attributes:
        weights: of another network, as far as they go; None starts from what the seed gives, the same for each method,
            and a pretrained backbone from ``config.weights``.
        prior: (C,) class shares that the method expects; None is uniform.
        student: the network, where the configuration does not describe it.
        hints: (N, C) class probabilities by an annotator or another model; None without hints.
    """

    weights: Mapping[str, Tensor] | None = None
    prior: Tensor | None = None
    student: ImageClassifier | None = None
    hints: TrustedHints | None = None


def make_training(
    config: TrainConfig,
    inputs: Inputs,
    source: LabelledImages,
    target: UnlabelledImages,
    device: torch.device,
    *,
    steps: int,
    initial: Initial = Initial(),
    world: World = ALONE,
) -> Training:
    """Makes student, method, optimiser and batches; of several processes, this one's part of each batch.

    Raises:
        UserError: a setting, or weights, that do not fit.
    """
    student = initial.student
    if student is None:
        student = make_student(config, inputs.architecture, len(source.classes))
    if initial.weights is not None:
        load_first(student, initial.weights)
    student = student.to(device, memory_format=memory_format(device))  # type: ignore[call-overload]
    if config.sync_norms:
        student = with_synchronized_norms(student, device)
    method = make_method(config, student, len(source.classes), initial.prior, steps=steps)
    if target.outside is not None:
        method = UnknownApart(method)
    if initial.hints is not None:
        method = WithHints(method, initial.hints)
    views = inputs.views
    stream = TwoDomainStream(
        source.images,
        source.labels,
        target.images,
        views=DomainViews(views.source, views.of_target(method.target_views), views.common),
        sampling=Sampling(config.batch // world.size, config.seed, world.rank, world.size),
        device=device,
        channels_last=memory_format(device) == torch.channels_last,
        outside=target.outside,
    )
    if initial.hints is not None:
        stream = stream.with_hints(initial.hints.hints)
    return Training(
        method,
        make_optimizer(config.optimizer, student),
        stream,
        make_schedule(config.optimizer, steps),
        steps,
        seed=config.seed,
        autocast=PRECISIONS[config.precision],
        accumulate=config.accumulate,
        scaler=GradScaler(device.type, enabled=config.precision == "float16"),
    )


def make_training_of_stages(config: TrainConfig, stages: LastStages) -> Training:
    """Makes the training of a backbone's last stages, on random maps: to measure one of its steps."""
    own = of_stages(config)
    assert own.steps is not None
    initial = Initial(student=stages.student(student_of_stages(config, stages), None))
    random, device = stages.random_maps(2 * own.batch), stages.maps.device
    return make_training(own, stages.stored(), *random, device, steps=own.steps, initial=initial)


def student_of_stages(config: TrainConfig, stages: LastStages) -> ImageClassifier:
    """Makes the classifier of stored features that ``LastStages.student`` puts the stages in front of."""
    return make_student(config, stages.stored().architecture, len(stages.domains.train.classes))


def make_evaluator(data: Domains, inputs: Inputs, device: torch.device) -> Evaluator:
    """Makes the evaluator of checkpoints; it predicts each image once, not as the mean over views, to be quick."""

    def predictor(network: nn.Module) -> nn.Module:
        return make_predictor(network, inputs.architecture) if inputs.architecture.of_stored_features else network

    batch = 32 if isinstance(data.to_predict, Marked) else 256  # maps take a hundred times the memory of features
    return Evaluator(data.validation, data.to_predict, inputs.plain_source, inputs.plain, device, predictor, batch)


def make_plan(
    config: TrainConfig,
    name: str,
    evaluator: Evaluator,
    *,
    before: Evidence | None = None,
    expected: ExpectedTarget | None = None,
    statistics: Statistics | None = None,
    hints: TrustedHints | None = None,
    confidence: Confidence | None = None,
) -> Plan:
    """Makes what a training needs beside its steps: evaluation, selection of weights, signs of collapse.

    Args:
        config: its steps are given.
        name: adapted, source-only, or frozen: adapted before the backbone's last stages are trained.
        evaluator: evaluates the checkpoints.
        before: evidence of the source-only model, where there is one.
        expected: of the target, where it seems to lack classes of the source or to have images of others.
        statistics: what batch normalisation's statistics are recomputed on in the end.
        hints: whose worth is estimated anew at each evaluation.
        confidence: when a target image counts as confident; None is as the training's method says.
    """
    assert config.steps is not None
    classes_before = None if before is None else effective_classes(before.histogram)
    confidence, estimate_over = (
        confidence or confidence_of(config),
        config.steps if config.prior == "estimate" else None,
    )
    assess = partial(scores_and_prior, confidence=confidence, estimate_over=estimate_over)
    if expected is not None:
        over = None if expected.shares is not None else estimate_over
        assess = partial(scores_and_prior, confidence=confidence, estimate_over=over, among=expected.among)
        before = None if before is None else expected.among(before)
        most = expected.most_classes
        classes_before = min(most if before is None else effective_classes(before.histogram), most)
    classes, validated = len(evaluator.validation.classes), len(evaluator.validation.labels)
    collapse = partial(collapse_sign, classes_before=classes_before, classes=classes, validated=validated)
    rules = Rules(
        assess=assess,
        revised=hints,
        score=_score_of(config, classes, validated),
        collapse=collapse if name != "source-only" else lambda lines: "",
    )
    every = Every(config.every.log, config.every.evaluate, config.every.checkpoint)
    return Plan(name, evaluator, rules, every, statistics)


def _score_of(
    config: TrainConfig, classes: int, validated: int
) -> Callable[[Sequence[Mapping[str, Any]]], float] | None:
    """Returns how good the weights of an evaluation are, by that many classes and validation images."""
    if config.select == "last":
        return None
    if config.select == "judged":
        return partial(trusted_correlation, classes=classes, validated=validated, after=(config.steps or 0) // 4)
    return partial(most_confident, every=config.every.evaluate)


def trainings(config: TrainConfig) -> list[tuple[str, TrainConfig]]:
    """Returns the name and the configuration of each training of a run, in their order; the run's own is the last.

    A kit holds the source-only model, which is then not trained.
    """
    own = [(name_of_training(config), config if adapts(config.method) else source_only(config))]
    if not adapts(config.method) or not config.baseline or config.kit is not None:
        return own
    return [("source-only", replace(source_only(config), steps=config.baseline_steps or config.steps)), *own]


def of_stages(config: TrainConfig) -> TrainConfig:
    """Returns the configuration of the training of the backbone's last stages, which follows that of the head.

    The consistency loss has its whole weight from the first step on, because the start predicts well already; a weight
    that rises without a setting, as AdaMatch's, rises all the same.
    """
    group, own = group_of(config.method), config.stages
    settings = replace(getattr(config, group), **dict.fromkeys(method_class(config.method).rising, 0))
    optimizer = replace(config.optimizer, lr=own.lr)
    return replace(config, steps=own.steps, batch=own.batch, optimizer=optimizer, **{group: settings})


def shortened(config: TrainConfig, *, views: int, steps: int) -> TrainConfig:
    """Returns the configuration of a run with at most so many stored views, and steps of a training."""
    steps = min(config.baseline_steps or config.steps or steps, steps)
    return replace(
        config,
        features=min(config.features, views),
        steps=steps,
        baseline_steps=None,
        epochs=None,
        time_limit=None,
        every=replace(config.every, log=steps, evaluate=steps),
    )


def steps_for(config: TrainConfig, source: int, target: int) -> int:
    """Returns how many steps the configuration asks for, in steps or in epochs of so many images."""
    if config.steps is not None:
        return config.steps
    if config.epochs is None:
        return DEFAULT_STEPS
    return math.ceil(config.epochs * max(source, target) / config.batch)


@dataclass(frozen=True)
class JudgeSettings:
    """Settings that a judgement depends on.

    Attributes:
        confidence: when a target image counts as confident.
        keep: better, or adapted, regardless of the signs.
        prior: kind of the class prior, or its file; fewer where it was estimated for fewer classes.
        select: which weights of the adaptation became its model.
        steps: of the adaptation.
        expected: of the target, where it seems to lack classes of the source or to have images of others.
        of_kit: whether a kit stands in for the source, so that its user has no source images to give.
    """

    confidence: Confidence
    keep: str
    prior: str
    select: str
    steps: int | None
    expected: ExpectedTarget | None = None
    of_kit: bool = False


def make_judge_settings(config: TrainConfig, expected: ExpectedTarget | None = None) -> JudgeSettings:
    """Returns the settings of the judgement, and the classes that the target seems to have."""
    estimated = expected is not None and expected.shares is not None and config.prior in KINDS
    prior = "fewer" if estimated else config.prior
    return JudgeSettings(
        confidence_of(config), config.keep, prior, config.select, config.steps, expected, config.kit is not None
    )


def confidence_of(config: TrainConfig) -> Confidence:
    """Returns when a target image counts as confident in a run: by its method, for all of its models alike."""
    return method_class(config.method).confidence(getattr(config, group_of(config.method), None))


def name_of_training(config: TrainConfig) -> str:
    """Returns the name of the run's own model."""
    return "adapted" if adapts(config.method) else "source-only"


def source_only(config: TrainConfig) -> TrainConfig:
    """Returns the configuration of the baseline."""
    return replace(
        config,
        method=SOURCE_ONLY,
        select="last",
        prior="uniform",
        statistics="running",
        masked_consistency=replace(config.masked_consistency, weight=0.0),
    )
