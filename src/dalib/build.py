"""From the configuration to objects: the only file that knows the names and the whole configuration.

Names stand in plain dict literals. A new method, backbone or view is one file in its room and one line here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from dalib.adaptation.losses import (
    binary_cross_entropy_distance,
    kl_divergence_distance,
    mean_squared_distance,
    squared_distance,
)
from dalib.adaptation.self_ensemble import SelfEnsemble
from dalib.adaptation.source_only import SourceOnly
from dalib.augment.views import (
    Operation,
    View,
    noise_operations,
    strong_warp_operations,
    tf_operations,
    tfa_intensity_operations,
    tfa_operations,
    warp_operations,
    weak_warp_operations,
)
from dalib.data.named import shape_of_pair
from dalib.data.preprocessing import Preprocessing
from dalib.data.sources import BUILT_IN_SOURCES, BUILT_IN_TARGETS, LabelledImages, UnlabelledImages
from dalib.data.stream import TwoDomainStream
from dalib.engine import schedule
from dalib.errors import UserError
from dalib.models.averaged import AveragedViews
from dalib.models.backbones import DigitsBackbone, PaperLargeBackbone, PaperSmallBackbone, SmallBackbone
from dalib.models.classifier import ImageClassifier
from dalib.models.saved import ModelDescription, load_description, load_tensors
from dalib.randomness import derive_seed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor
    from torch.optim import Optimizer

    from dalib.config import DataConfig, OptimizerConfig, SelfEnsembleConfig, TrainConfig, ViewName
    from dalib.types import Method

BACKBONES: dict[str, Callable[[int, int], nn.Module]] = {
    "small": lambda channels, size: SmallBackbone(channels),
    "digits": lambda channels, size: DigitsBackbone(channels, size),
    "paper-small": lambda channels, size: PaperSmallBackbone(channels, size),
    "paper-large": lambda channels, size: PaperLargeBackbone(channels),
}

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

DISTANCES: dict[tuple[str, str], Callable[[Tensor, Tensor], Tensor]] = {
    ("squared", "mean"): mean_squared_distance,
    ("squared", "sum"): squared_distance,
    ("bce", "sum"): binary_cross_entropy_distance,
    ("kl", "sum"): kl_divergence_distance,
}

SCHEDULES: dict[str, Callable[..., float]] = {
    "constant": schedule.constant,
    "cosine": schedule.cosine,
    "one-cycle": schedule.one_cycle,
}

PRECISIONS: dict[str, torch.dtype | None] = {"float32": None, "bfloat16": torch.bfloat16}

COMPILE_MODES: dict[str, str | None] = {"none": None, "default": "default", "cuda-graphs": "reduce-overhead"}

OPTIMIZERS: dict[str, type[Optimizer]] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


@dataclass(frozen=True)
class Views:
    """The augmentations of one training."""

    source: View
    student: View
    teacher: View


@dataclass(frozen=True)
class Training:
    """What :func:`dalib.engine.fit.fit` takes."""

    method: Method
    optimizer: Optimizer
    stream: TwoDomainStream
    schedule: Callable[[int], float]


def make_device(name: str) -> torch.device:
    """``auto`` is the GPU where there is one.

    Raises:
        UserError: an unknown device, or cuda where there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"--device {name}: expected auto, cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"--device {name}: torch finds no CUDA GPU here; use --device cpu")
    return device


def make_preprocessing(config: TrainConfig) -> Preprocessing:
    """Size and channels, by default those that suit built-in and named data, and 64 pixels in RGB for folders."""
    data: DataConfig = config.data
    named = shape_of_pair(config.source, config.target)
    digits = config.source in BUILT_IN_SOURCES and config.target in BUILT_IN_TARGETS
    size, channels = named or ((16, 1) if digits else (64, 3))
    try:
        return Preprocessing(size=data.size or size, channels=data.channels or channels, fit=data.fit)
    except ValueError as error:
        raise UserError(f"--data: {error}") from None


def make_views(config: TrainConfig, preprocessing: Preprocessing) -> Views:
    """One view for each role."""

    def view(name: ViewName) -> View:
        return View(preprocessing.normalize, OPERATIONS[name](preprocessing.size, config.views.flip))

    return Views(view(config.views.source), view(config.views.student), view(config.views.teacher))


def make_classifier(architecture: dict[str, Any], num_classes: int) -> ImageClassifier:
    """The network that an architecture (:func:`architecture_of`) describes, with fresh weights.

    Raises:
        UserError: a backbone that is unknown or does not take images of this size.
    """
    name = architecture["backbone"]
    if name not in BACKBONES:
        raise UserError(f"--model.backbone {name}: expected one of {', '.join(BACKBONES)}")
    try:
        backbone = BACKBONES[name](architecture["channels"], architecture["size"])
    except ValueError as error:
        raise UserError(f"--model.backbone {name}: {error}") from None
    try:
        return ImageClassifier(backbone, num_classes, architecture["bottleneck_dim"], finetune=False)
    except ValueError as error:
        raise UserError(f"--model: {error}") from None


def architecture_of(config: TrainConfig, preprocessing: Preprocessing) -> dict[str, Any]:
    """The plain values from which :func:`make_classifier` builds the network again."""
    return {
        "backbone": config.model.backbone,
        "bottleneck_dim": config.model.bottleneck_dim,
        "averaged_views": config.model.averaged_views,
        "channels": preprocessing.channels,
        "size": preprocessing.size,
    }


def make_predictor(model: nn.Module, architecture: dict[str, Any]) -> nn.Module:
    """What predicts: the network itself, or its mean over views.

    Raises:
        UserError: a negative number of views.
    """
    count = architecture.get("averaged_views", 0)
    try:
        return AveragedViews(model, count) if count else model
    except ValueError as error:
        raise UserError(f"--model.averaged_views: {error}") from None


def make_method(config: TrainConfig, student: nn.Module, num_classes: int) -> Method:
    """The method of the configuration around a student.

    Raises:
        UserError: a setting out of its range.
    """
    smoothing = config.optimizer.label_smoothing
    compile_mode = COMPILE_MODES[config.compile]
    if config.method == "source-only":
        return SourceOnly(student, label_smoothing=smoothing, compile_mode=compile_mode)
    settings: SelfEnsembleConfig = config.self_ensemble
    distance = DISTANCES.get((settings.distance, settings.over_classes))
    if distance is None:
        raise UserError(
            f"--self_ensemble.over_classes {settings.over_classes}: {settings.distance} is a sum over classes; use sum"
        )
    try:
        return SelfEnsemble(
            student,
            num_classes,
            alpha=settings.alpha,
            alpha_warmup=settings.alpha_warmup,
            teacher_dropout=settings.teacher_dropout,
            buffers=settings.buffers,
            distance=distance,
            consistency_weight=settings.weight,
            threshold=settings.threshold,
            ramp_up_steps=settings.ramp_up_steps,
            class_balance_weight=settings.class_balance,
            label_smoothing=smoothing,
            compile_mode=compile_mode,
        )
    except ValueError as error:
        raise UserError(f"--self_ensemble: {error}") from None


def make_optimizer(config: OptimizerConfig, student: ImageClassifier) -> Optimizer:
    """The optimiser, with each group's base rate kept under ``initial_lr``."""
    groups: list[dict[str, Any]] = [{**group, "initial_lr": group["lr"]} for group in student.get_parameters(config.lr)]
    try:
        # torch checks the default rate alone, not those of the groups
        return OPTIMIZERS[config.name](groups, lr=config.lr, weight_decay=config.weight_decay)  # type: ignore[call-arg]
    except ValueError as error:
        raise UserError(f"--optimizer: {error}") from None


def make_schedule(config: OptimizerConfig, steps: int) -> Callable[[int], float]:
    """step -> share of the base rate."""
    return partial(SCHEDULES[config.schedule], steps=steps)


def make_training(
    config: TrainConfig,
    preprocessing: Preprocessing,
    source: LabelledImages,
    target: UnlabelledImages,
    device: torch.device,
    *,
    steps: int,
    first: dict[str, Tensor] | None = None,
) -> Training:
    """Student, method, optimiser and batches, from the ``first`` weights or, the same for each method, from the seed's.

    Raises:
        UserError: a setting that does not fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(config.seed, "weights"))
        student = make_classifier(architecture_of(config, preprocessing), len(source.classes))
    if first is not None:
        student.load_state_dict(first)
    student = student.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    method = make_method(config, student, len(source.classes))
    views = make_views(config, preprocessing)
    stream = TwoDomainStream(
        source.images,
        source.labels,
        target.images,
        source_view=views.source,
        target_views=(views.student, views.teacher)[: method.target_views],
        batch=config.batch,
        device=device,
        seed=config.seed,
        channels_last=True,
    )
    return Training(method, make_optimizer(config.optimizer, student), stream, make_schedule(config.optimizer, steps))


def source_only(config: TrainConfig) -> TrainConfig:
    """The configuration of the baseline."""
    return replace(config, method="source-only", keep="last", statistics="running")


def load_model(folder: Path) -> tuple[nn.Module, ModelDescription]:
    """What predicts of a saved model, in evaluation mode, and what goes with it.

    Raises:
        UserError: files that are missing, damaged, or do not fit each other.
    """
    description = load_description(folder)
    try:
        model = make_classifier(description.architecture, len(description.classes))
    except UserError as error:
        raise UserError(
            f"{folder}: config.json describes a network that this version does not know ({error})"
        ) from None
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{folder}: config.json does not describe a network ({type(error).__name__}: {error})"
        ) from None
    try:
        model.load_state_dict(load_tensors(folder))
    except RuntimeError as error:
        raise UserError(f"{folder}: the weights do not fit config.json ({error})") from None
    return make_predictor(model, description.architecture).eval(), description
