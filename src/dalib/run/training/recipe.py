"""Makes networks, methods, views, streams and rules of the configuration, which nothing below this room reads.

Names stand in plain dict literals: of backbones and views here, of methods in :mod:`dalib.adaptation.methods`. A new
one is a file in its room and a line there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.amp import GradScaler

from dalib.adaptation.hints import TrustedHints, WithHints
from dalib.adaptation.methods import SOURCE_ONLY, adapts, group_of, method_class
from dalib.adaptation.outside import UnknownApart
from dalib.augment.geometry import RandomCrop
from dalib.augment.views import (
    CharacterView,
    Operation,
    PhotoView,
    View,
    character_grounds,
    character_tones,
    noise_operations,
    paper_photo,
    photo_moderate,
    photo_plain,
    photo_strong,
    photo_weak,
    strong_warp_operations,
    tf_operations,
    tfa_intensity_operations,
    tfa_operations,
    tllib_student,
    warp_operations,
    weak_warp_operations,
)
from dalib.core.console import say
from dalib.core.devices import memory_format
from dalib.core.errors import Call, Setting, UserError
from dalib.core.seeds import derive_seed
from dalib.data.depth import LIMIT
from dalib.data.named import shape_of_pair
from dalib.data.preprocessing import Preprocessing
from dalib.data.rows import Marked
from dalib.data.sources import BUILT_IN_SOURCES, BUILT_IN_TARGETS
from dalib.data.stream import DomainViews, Sampling, TwoDomainStream
from dalib.engine import schedule
from dalib.engine.distributed import ALONE, World
from dalib.engine.evaluate import Evaluator
from dalib.engine.fit import Every, Training
from dalib.engine.keep import most_confident
from dalib.engine.train import Plan, Rules
from dalib.judge.evidence import effective_classes
from dalib.judge.guard import collapse_sign
from dalib.judge.selection import trusted_correlation
from dalib.models.architecture import Architecture, BackboneInput, TimmSettings
from dalib.models.hub import settings_in_cache
from dalib.models.joined import JoinedBackbone
from dalib.models.network import BACKBONES, known_backbone, make_classifier, make_predictor
from dalib.models.pretrained import PretrainedBackbone, pretrained_settings
from dalib.models.weights import load_weights, weights_message
from dalib.run.classes.prior import KINDS, scores_and_prior
from dalib.run.features.inputs import Inputs, Views
from dalib.run.settings.backbones import JOINED, alone, backbones_of, members_of, names_of
from dalib.run.start.domains import DataRequest
from dalib.run.training.methods import make_method

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch.optim import Optimizer

    from dalib.core.types import Augment
    from dalib.data.depth import Range
    from dalib.data.domain_images import LabelledImages, UnlabelledImages
    from dalib.engine.train import Statistics
    from dalib.judge.evidence import Confidence, Evidence
    from dalib.models.classifier import ImageClassifier
    from dalib.run.classes.fewer import ExpectedClasses
    from dalib.run.classes.unknown import ExpectedKnown
    from dalib.run.settings.backbones import Share
    from dalib.run.settings.config import DataConfig, OptimizerConfig, TrainConfig, ViewName
    from dalib.run.start.domains import Domains
    from dalib.run.start.initial_weights import Start

OPERATIONS: dict[ViewName, Callable[[int, bool], tuple[Operation, ...]]] = {
    "none": lambda size, flip: (),
    "noise": lambda size, flip: noise_operations(),
    "tf": lambda size, flip: tf_operations(flip=flip),
    "tfa": lambda size, flip: tfa_operations(flip=flip),
    "tfa-intensity": lambda size, flip: tfa_intensity_operations(flip=flip),
    "warp": lambda size, flip: warp_operations(size, flip=flip),
    "strong-warp": lambda size, flip: strong_warp_operations(size, flip=flip),
    "weak-warp": lambda size, flip: weak_warp_operations(size, flip=flip),
}

# of the size that the network sees, the channels' mean and std, the pixels that a centred crop leaves on each side, and
# whether to mirror
PHOTO_VIEWS: dict[ViewName, Callable[[int, tuple[float, ...], tuple[float, ...], float, bool], PhotoView]] = {
    "photo-plain": lambda size, mean, std, margin, flip: photo_plain(size, mean, std),
    "photo-weak": lambda size, mean, std, margin, flip: photo_weak(size, mean, std, flip=flip),
    "photo": lambda size, mean, std, margin, flip: photo_moderate(size, mean, std, flip=flip),
    "photo-strong": lambda size, mean, std, margin, flip: photo_strong(size, mean, std, flip=flip),
    "photo-tllib": lambda size, mean, std, margin, flip: tllib_student(size, mean, std, flip=flip),
    "photo-paper": lambda size, mean, std, margin, flip: paper_photo(size, mean, std, translation=margin, flip=flip),
}

CHARACTER_VIEWS: dict[ViewName, Callable[[int, Callable[[Tensor], Tensor], bool], CharacterView]] = {
    "character-grounds": lambda size, normalize, flip: character_grounds(size, normalize, flip=flip),
    "character-tones": lambda size, normalize, flip: character_tones(size, normalize, flip=flip),
}

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

OPTIMIZERS: dict[str, type[Optimizer]] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


DEFAULT_STEPS = 1000

LARGEST = 2.5
"""Times the side of the images that a network was trained with; more is reported as a likely mistake."""


def make_preprocessing(config: TrainConfig) -> Preprocessing:
    """Returns how images are stored and normalised: as for a pretrained backbone, else as the data were published.

    Raises:
        UserError: settings that do not fit each other, or an unknown backbone.
    """
    data: DataConfig = config.data
    ranges_given(config)  # they are decided with the images; a mistake in them is told now
    for setting, pixels in (("size", data.size), ("crop", data.crop)):
        if pixels is not None and pixels < 1:
            raise UserError(Setting(f"data.{setting}", pixels), ": expected at least 1 pixel")
    source = config.source if isinstance(config.source, str) else " ".join(config.source)
    named = shape_of_pair(source, config.one_target)
    digits = config.source in BUILT_IN_SOURCES and config.one_target in BUILT_IN_TARGETS
    size, channels = named or ((16, 1) if digits else (64, 3))
    settings: dict[str, Any] = {}
    several = backbones_of(config)
    if len(several) > 1:  # the images are those of the backbone that sees the most of them
        return max((make_preprocessing(alone(config, each)) for each in several), key=lambda each: each.input_size)
    if (backbone := several[0]).name not in BACKBONES:
        trained = known_backbone(backbone.name, pretrained_settings)
        trained = settings_in_cache(backbone.weights, backbone.name) or trained
        channels, height = 3, trained.input_size
        crop = data.crop or min(height, data.size or height)
        size = round(crop / 0.875)  # 256 for 224, as is usual
        settings = {"crop": crop, "mean": trained.mean, "std": trained.std}
        settings["interpolation"] = "bicubic" if trained.interpolation == "bicubic" else "bilinear"
    elif {config.views.source, config.views.student, config.views.teacher} & PHOTO_VIEWS.keys():
        settings = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
    if data.channels == 1 and settings:
        settings |= {name: (sum(settings[name]) / 3,) for name in ("mean", "std")}
    settings |= {name: value for name, value in (("crop", data.crop), ("interpolation", data.interpolation)) if value}
    try:
        return Preprocessing(size=data.size or size, channels=data.channels or channels, fit=data.fit, **settings)
    except ValueError as error:
        raise UserError(Setting("data"), f": {error}") from None


def ranges_given(config: TrainConfig) -> tuple[Range, Range] | None:
    """Returns the ranges of source and target that the configuration gives, if it does.

    Raises:
        UserError: no two whole numbers, or not the lower one first.
    """
    text = config.data.range
    if text is None:
        return None
    both = [_range_in(each, text) for each in text.split("/")]
    if len(both) > 2:
        raise UserError(
            Setting("data.range", text), f": expected LOW,HIGH or SOURCE/TARGET of these, got {len(both)} of them"
        )
    return both[0], both[-1]


def _range_in(part: str, text: str) -> Range:
    numbers = part.split(",")
    try:
        low, high = map(int, numbers)
    except ValueError:
        raise UserError(
            Setting("data.range", text),
            ": expected two whole numbers, what is black and what is white, such as 0,4095 or "
            "-1000,2000; or SOURCE/TARGET of these, such as 0,4095/0,65535",
        ) from None
    if not -LIMIT <= low < high <= LIMIT:
        raise UserError(Setting("data.range", text), ": expected what is black first, and what is white above it")
    return low, high


def fitted_to(config: TrainConfig, start: Start) -> TrainConfig:
    """Returns the configuration with that standardisation which the weights to start from are used to.

    Raises:
        UserError: weights of a network of another shape.
    """
    if start.domain_statistics == JOINED:
        raise UserError(
            Setting(start.argument, start.run),
            ": its backbone stands there twice, with pretrained statistics and with its own target's (",
            Setting("model.domain_statistics", JOINED),
            "); expected a run with ",
            Setting("model.domain_statistics", 0),
            ", or a kit of that run",
        )
    if config.model.domain_statistics == JOINED and start.argument == "init":
        raise UserError(
            Setting("model.domain_statistics", JOINED),
            ": the backbone of the run to start from, ",
            Setting("init", start.run),
            ", stands there once; expected ",
            Setting("model.domain_statistics", 0),
        )
    start.check_network(
        {
            "backbone": names_of(config),
            "model.bottleneck_dim": config.model.bottleneck_dim,
            "model.bottleneck_norm": config.model.bottleneck_norm,
        }
    )
    if config.features and start.domain_statistics:
        raise UserError(
            Setting(start.argument, start.run),
            ": its backbone has statistics of its own target, ",
            Setting("model.domain_statistics", start.domain_statistics),
            ", which are not those of this source; expected a run without them, or a kit of that run (`",
            Call("dalib.run.export.export", Setting("run", start.run), Setting("format", "kit")),
            "`), or ",
            Setting("features", 0),
        )
    if start.standardize == config.model.standardize:
        return config
    say(f"note: {Setting('model.standardize')} is {str(start.standardize).lower()}, as in {start.run}")
    return replace(config, model=replace(config.model, standardize=start.standardize))


def with_share(config: TrainConfig, share: Share | Literal["auto"]) -> TrainConfig:
    """Returns the configuration with another share of the domains' own batch-normalisation statistics."""
    return replace(config, model=replace(config.model, domain_statistics=share))


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


def make_views(config: TrainConfig, preprocessing: Preprocessing) -> Views:
    """Makes one view for each role."""

    def view(name: ViewName, margin: float) -> Augment:
        if preprocessing.channels != 3 and name != "photo-plain" and name in PHOTO_VIEWS | CHARACTER_VIEWS:
            raise UserError(
                Setting("data.channels", preprocessing.channels),
                f": view {name} changes colours; expected ",
                Setting("data.channels", 3),
                ", which reads grey images as RGB, or ",
                Setting("views.source"),
                ", student and teacher without colours, such as warp",
            )
        if name in PHOTO_VIEWS and preprocessing.mean is not None and preprocessing.std is not None:
            mirrored = config.views.mirrors(usually=True)
            return PHOTO_VIEWS[name](preprocessing.input_size, preprocessing.mean, preprocessing.std, margin, mirrored)
        if preprocessing.crop not in (None, preprocessing.size):
            raise UserError(
                Setting("views"),
                f": {name} does not cut {preprocessing.crop} out of {preprocessing.size} pixels; "
                "take a photo view, or no margin: ",
                Setting("data.size", preprocessing.crop),
                " ",
                Setting("data.crop", preprocessing.crop),
            )
        mirrored = config.views.mirrors(usually=False)
        if name in CHARACTER_VIEWS:
            return CHARACTER_VIEWS[name](preprocessing.size, preprocessing.normalize, mirrored)
        return View(preprocessing.normalize, OPERATIONS[name](preprocessing.size, mirrored))

    views, margin = config.views, (preprocessing.size - preprocessing.input_size) / 2
    common = RandomCrop(preprocessing.input_size) if views.shared_crop else None
    of_target = 0 if common else margin
    return Views(view(views.source, margin), view(views.student, of_target), view(views.teacher, of_target), common)


def doubts(config: TrainConfig, preprocessing: Preprocessing) -> list[str]:
    """Returns likely mistakes about a timm network: random weights, or images far larger than it was trained with."""
    several = backbones_of(config)
    if len(several) > 1:
        each_alone = [alone(config, each) for each in several]
        return [doubt for each in each_alone for doubt in doubts(each, make_preprocessing(each))]
    backbone = several[0]
    if backbone.name in BACKBONES:
        return []
    found = []
    if backbone.weights is None and config.init is None and config.kit is None:
        found.append(weights_message(backbone.name))
    usual = known_backbone(backbone.name, pretrained_settings).input_size
    times = preprocessing.input_size / usual
    if times > LARGEST:
        found.append(
            f"{backbone.name} was trained with {usual} pixels and is to see {preprocessing.input_size}, which takes "
            f"{times**2:.0f} times the time and the memory ({Setting('data.crop')}, {Setting('data.size')})"
        )
    return found


def image_inputs(config: TrainConfig, preprocessing: Preprocessing) -> Inputs:
    """Returns the inputs of a training on images."""
    plain = preprocessing.normalize
    return Inputs(architecture_of(config, preprocessing), make_views(config, preprocessing), plain, plain)


def architecture_of(config: TrainConfig, preprocessing: Preprocessing) -> Architecture:
    """Returns the architecture from which :func:`make_classifier` builds the network again."""
    named = members_of(config)
    own = [make_preprocessing(alone(config, each)) for each in named] if len(named) > 1 else []
    timm = None
    if named[0].name not in BACKBONES:
        timm = TimmSettings(
            pretrained=any(each is not None for each in (config.weights, config.init, config.kit)),
            frozen_stages=config.model.frozen_stages,
            frozen_norms=config.model.frozen_norms,
            checkpointing=config.model.checkpointing,
            features=config.features > 0,
        )
    return Architecture(
        backbones=tuple(each.name for each in named),
        bottleneck_dim=config.model.bottleneck_dim,
        averaged_views=config.model.averaged_views,
        mirrored=None if config.views.flip == "auto" else config.views.flip == "always",
        channels=preprocessing.channels,
        size=preprocessing.input_size,
        bottleneck_norm=config.model.bottleneck_norm,
        dropout=config.model.dropout,
        standardize=config.model.standardize,
        inputs=tuple(BackboneInput(each.input_size, tuple(each.mean or ()), tuple(each.std or ())) for each in own),
        timm=timm,
    )


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
        hints: what somebody else thinks of the target's images; None without hints.
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
        student = _with_synchronized_norms(student, device)
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


def make_evaluator(data: Domains, inputs: Inputs, device: torch.device) -> Evaluator:
    """Makes what evaluates checkpoints: images once and not as the mean over views, because it happens often."""

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
    expected: ExpectedClasses | ExpectedKnown | None = None,
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
        expected: classes that the target seems to have, or its images that seem known, where they may not be all.
        statistics: what batch normalisation's statistics are recomputed on in the end.
        hints: whose worth is estimated anew at each evaluation.
        confidence: when a target image counts as confident; None is as the training's method says.
    """
    assert config.steps is not None
    reference = None if before is None else effective_classes(before.histogram)
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
        reference = min(most if before is None else effective_classes(before.histogram), most)
    classes = len(evaluator.validation.classes)
    collapse = partial(collapse_sign, reference=reference, classes=classes)
    rules = Rules(
        assess=assess,
        revised=hints,
        score=_score_of(config, classes),
        collapse=collapse if name != "source-only" else lambda lines: "",
    )
    every = Every(config.every.log, config.every.evaluate, config.every.checkpoint)
    return Plan(name, evaluator, rules, every, statistics)


def _score_of(config: TrainConfig, classes: int) -> Callable[[Sequence[Mapping[str, Any]]], float] | None:
    if config.select == "last":
        return None
    if config.select == "judged":
        return partial(trusted_correlation, classes=classes, after=(config.steps or 0) // 4)
    return partial(most_confident, every=config.every.evaluate)


def _with_synchronized_norms(student: ImageClassifier, device: torch.device) -> ImageClassifier:
    """Returns the network with batch normalisation over the batches of all processes; names and weights stay.

    Raises:
        UserError: a device other than a GPU, for which torch has no such layer.
    """
    if device.type != "cuda":
        raise UserError(
            Setting("sync_norms", True), f": torch synchronises batch normalisation on GPUs alone, this is {device}"
        )
    from timm.layers import convert_sync_batchnorm  # type: ignore[attr-defined]  # it takes seconds to import

    # timm's, which knows norms with an activation
    synchronised = cast("ImageClassifier", convert_sync_batchnorm(student))  # type: ignore[no-untyped-call]
    if isinstance(synchronised.backbone, PretrainedBackbone) and synchronised.backbone.checkpointing:
        synchronised.backbone.count_once()  # the layers are new ones
    return synchronised


def make_student(config: TrainConfig, architecture: Architecture, num_classes: int) -> ImageClassifier:
    """Makes the network with the weights that seed and ``config.weights`` give."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(config.seed, "weights"))
        student = make_classifier(architecture, num_classes)
    if config.weights is not None and not architecture.of_stored_features:
        members = student.backbone.members if isinstance(student.backbone, JoinedBackbone) else [student.backbone]
        for member, each in zip(members, members_of(config), strict=True):
            assert each.weights is not None
            load_weights(member, each.weights, order=each.weights_order)
    return student


def load_first(student: nn.Module, first: Mapping[str, Tensor]) -> None:
    """Loads the weights of another network, as far as the student has tensors of these names.

    Raises:
        UserError: another shape.
    """
    try:
        student.load_state_dict(first, strict=False)
    except RuntimeError as error:
        raise UserError(
            Setting("init"), f": the weights are of a network of another shape ({' '.join(str(error).split())})"
        ) from None


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
        expected: classes that the target seems to have, or its images that seem known, where they are not all.
    """

    confidence: Confidence
    keep: str
    prior: str
    select: str
    steps: int | None
    expected: ExpectedClasses | ExpectedKnown | None = None


def make_judge_settings(config: TrainConfig, expected: ExpectedClasses | ExpectedKnown | None = None) -> JudgeSettings:
    """Returns what the judgement takes from the configuration, and the classes that the target seems to have."""
    estimated = expected is not None and expected.shares is not None and config.prior in KINDS
    prior = "fewer" if estimated else config.prior
    return JudgeSettings(confidence_of(config), config.keep, prior, config.select, config.steps, expected)


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
