"""Everything that a user can set, as frozen dataclasses; the command line and the YAML file are made from them.

Configuration stops at :mod:`dalib.run.recipe`: everything behind it takes plain values.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from numbers import Integral, Real
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from dalib.core.errors import UserError
from dalib.core.files import expanded, is_url

MethodName = Literal["self-ensemble", "mean-teacher", "fixmatch", "adamatch", "mcc", "source-only"]
OUR_BACKBONES = ("small", "digits", "paper-small", "paper-large")
"""Any other name is one of timm's."""

PATHS = ("source", "target", "target_labels", "weights", "init", "root", "evaluate", "prior", "out")
"""Settings of a run that are paths, or names that stand in their place."""

NO_URL = "expected a path on this machine, got a URL; download it first, or give the folder where it is mounted"

ELSEWHERE = ("device", "cache", "root", "download", "track")
"""Settings that a run may go on with another value of: where things are, and nothing that decides a result."""

ViewName = Literal[
    "none",
    "noise",
    "tf",
    "tfa",
    "tfa-intensity",
    "warp",
    "weak-warp",
    "strong-warp",
    "photo-plain",
    "photo-weak",
    "photo",
    "photo-strong",
    "photo-tllib",
    "photo-paper",
]
WeightsOrder = Literal["name", "position"]
CachePolicy = Literal["disk", "ram", "off"]
DistanceName = Literal["squared", "bce", "kl"]
OverClasses = Literal["mean", "sum"]
ScheduleName = Literal["one-cycle", "cosine", "constant", "inverse-decay"]
OptimizerName = Literal["adam", "adamw"]
BufferPolicy = Literal["own", "copy", "ema"]
PresetName = Literal["paper-small", "digits", "photo-features", "photo", "photo-tllib", "photo-paper"]
StatisticsName = Literal["running", "recomputed"]
SelectName = Literal["judged", "last", "most-confident"]
KeepName = Literal["better", "adapted"]
PrecisionName = Literal["float32", "bfloat16", "float16"]
CompileName = Literal["none", "default", "cuda-graphs"]
TrackName = Literal["tensorboard", "wandb"]


@dataclass(frozen=True)
class _Checked:
    """Settings that are refused where they are made if they are of another kind, and take paths for strings."""

    def __post_init__(self) -> None:
        of: Any = type(self)
        for name, kind in _kinds(of).items():
            value = _without_paths(getattr(self, name))
            object.__setattr__(self, name, value)
            if not _is(value, kind):
                raise UserError(f"{name}={value!r}: expected {_described(kind)}")


@cache
def _kinds(settings: Any) -> dict[str, Any]:
    hints = get_type_hints(settings)
    return {each.name: hints[each.name] for each in fields(settings)}


def _without_paths(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(map(_without_paths, value))
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _is(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) in (Union, UnionType):
        return any(_is(value, each) for each in get_args(kind))
    if get_origin(kind) is list:
        return isinstance(value, (list, tuple)) and all(_is(each, get_args(kind)[0]) for each in value)
    if kind in (int, float):
        return isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
    return isinstance(value, kind)


def _described(kind: Any) -> str:
    """In words.

    >>> _described(int | None), _described(Literal["last", "judged"])
    ('a whole number or None', "'last' or 'judged'")
    """
    if get_origin(kind) is Literal:
        names = list(map(repr, get_args(kind)))
        return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(map(_described, get_args(kind)))
    if get_origin(kind) is list:
        return "a list of these"
    named = {int: "a whole number", float: "a number", str: "a string", bool: "True or False", type(None): "None"}
    return named.get(kind, f"a {kind.__name__}")


@dataclass(frozen=True)
class DataConfig(_Checked):
    """How images become the pixels that the network takes.

    Attributes:
        size: height and width in pixels of the images after decoding and scaling. By default: the size that suits the
            backbone, 16 for the built-in digits, and 64 for folders of images.
        crop: height and width in pixels of the part of each image that the network takes. By default: the size that the
            pretrained backbone was trained with, else the whole image.
        channels: number of colour channels: 1 for grey, 3 for RGB. By default: 1 for the built-in digits, 3 for folders
            of images.
        fit: how an image becomes a square: crop scales the shorter side and cuts out the centre; stretch scales both
            sides; ink, for characters on a plain background, centres the character and scales all of them to one size.
        interpolation: method that scales images. By default: the one that the pretrained backbone was trained with,
            else bilinear.
        range: values of black and white in images of more than 8 bits, such as 0,4095 or -1000,2000; values beyond them
            are clipped. SOURCE/TARGET, such as 0,4095/0,65535, gives each domain its own range. By default: the range
            that the files name or need, decided once for all images.
        validation_share: share of the source images that is held out from training as validation split; 0 holds out
            none.
    """

    size: int | None = None
    crop: int | None = None
    channels: Literal[1, 3] | None = None
    fit: Literal["crop", "stretch", "ink"] = "crop"
    interpolation: Literal["bilinear", "bicubic"] | None = None
    range: str | None = None
    validation_share: float = 0.1


@dataclass(frozen=True)
class ModelConfig(_Checked):
    """The network: a backbone, a bottleneck (Linear, BatchNorm, ReLU) and a linear head.

    Attributes:
        bottleneck_dim: width of the bottleneck, the layer between backbone and head; null leaves it out.
        averaged_views: number of slightly warped copies of each image whose predictions are averaged (test-time
            augmentation). Prediction takes this many times longer; 0 predicts from the image alone.
        bottleneck_norm: whether the bottleneck has batch normalisation.
        dropout: probability of dropout before the bottleneck and before the head.
        standardize: whether each feature of the backbone is scaled to mean 0 and standard deviation 1, within each
            domain. The saved network keeps the target's statistics. Requires --features or --init.
        frozen_stages: number of stages of a pretrained backbone that are not trained: 0 trains all of it, 1 freezes the
            stem, 2 the stem and the first stage, and so on; -1 freezes all of it.
        frozen_norms: whether batch normalisation in a pretrained backbone keeps its pretrained statistics. Its scale
            and shift are trained all the same, unless their stage is frozen.
        checkpointing: whether activations are computed a second time in the backward pass instead of being stored: less
            memory, about a third more time.
    """

    bottleneck_dim: int | None = None
    averaged_views: int = 0
    bottleneck_norm: bool = True
    dropout: float = 0.0
    standardize: bool = False
    frozen_stages: int = 0
    frozen_norms: bool = False
    checkpointing: bool = False


@dataclass(frozen=True)
class ViewsConfig(_Checked):
    """The random augmentations (views) of the images.

    For small images: noise, tf, tfa and tfa-intensity come from the paper; warp, weak-warp and strong-warp are
    ours. For photographs: photo-plain is the centre crop, photo-weak, photo and photo-strong are ours, photo-tllib
    is the student's augmentation in Transfer-Learning-Library, and photo-paper comes from the paper. none leaves
    images as they are.

    Attributes:
        source: augmentation of the source images.
        student: augmentation of the target images for the student.
        teacher: augmentation of the target images for the teacher.
        shared_crop: whether student and teacher get the same random crop of a target image, as in the paper's recipe
            for photographs. The other augmentations still differ.
        flip: whether images are also mirrored left to right at random: useful for photographs, wrong for characters.
    """

    source: ViewName = "warp"
    student: ViewName = "warp"
    teacher: ViewName = "warp"
    shared_crop: bool = False
    flip: bool = False


@dataclass(frozen=True)
class SelfEnsembleConfig(_Checked):
    """The method's own settings.

    Attributes:
        alpha: decay of the teacher's moving average, in [0, 1].
        alpha_warmup: start with a shorter memory, min(alpha, 1 - 1 / (t + 1)).
        teacher_dropout: leave dropout on in the teacher, which is the paper's; without, the teacher is surer and the
            student learns from it sooner.
        teacher_views: over how many views of a target image the teacher's predictions are averaged; 1 is the paper's.
            Of stored views (features) it takes at most all but the student's.
        buffers: BatchNorm statistics of the teacher: its own, a copy of the student's, or their moving average.
        distance: between the probabilities of student and teacher.
        over_classes: the squared distance is a mean or a sum over classes; a sum weighs as much as C times the mean.
        weight: of the consistency loss.
        threshold: a target image counts where the teacher's largest probability is above it; 0 counts all.
        ramp_up_steps: steps over which the weights of consistency and information rise; 0 is at once.
        class_balance: weight of the class-balance loss; 0 is off.
        balance_over_classes: the class-balance loss is a mean or a sum over classes.
        information: weight of the mutual information between target images and predicted classes, which asks for sure
            predictions of many classes; not the paper's; 0 is off.
        prototypes: share of the teacher's target that class prototypes make, so that target images that lie together
            get one class; not the paper's; 0 is off.
    """

    alpha: float = 0.99
    alpha_warmup: bool = True
    teacher_dropout: bool = True
    teacher_views: int = 1
    buffers: BufferPolicy = "own"
    distance: DistanceName = "squared"
    over_classes: OverClasses = "mean"
    weight: float = 30.0
    threshold: float = 0.9
    ramp_up_steps: int = 0
    class_balance: float = 0.3
    balance_over_classes: OverClasses = "mean"
    information: float = 0.0
    prototypes: float = 0.0


@dataclass(frozen=True)
class MeanTeacherConfig(_Checked):
    """Settings of mean-teacher.

    Attributes:
        weight: of the consistency loss, a mean over classes; the authors' 100 times the labelled share of a batch.
        ramp_up: share of the steps over which the weight rises; the authors' 40,000 of 150,000.
    """

    weight: float = 50.0
    ramp_up: float = 0.27


@dataclass(frozen=True)
class FixMatchConfig(_Checked):
    """Settings of fixmatch. The student's views are the strong ones, the teacher's the weak ones.

    Attributes:
        weight: of the loss on pseudo-labels.
        threshold: a target image counts where the largest probability of its weak view reaches this.
    """

    weight: float = 1.0
    threshold: float = 0.95


@dataclass(frozen=True)
class AdaMatchConfig(_Checked):
    """Settings of adamatch. The student's views are the strong ones, the teacher's the weak ones.

    Attributes:
        weight: of the loss on pseudo-labels, which rises until half of the steps.
        threshold: share of the mean confidence on the source that a target image has to reach.
    """

    weight: float = 1.0
    threshold: float = 0.9


@dataclass(frozen=True)
class MccConfig(_Checked):
    """Settings of mcc, minimum class confusion.

    Attributes:
        weight: of the confusion.
        temperature: that logits are divided by.
    """

    weight: float = 1.0
    temperature: float = 2.5


@dataclass(frozen=True)
class MaskedConsistencyConfig(_Checked):
    """Masked image consistency, beside a method: the label of an image that is hidden in part.

    Attributes:
        weight: of its loss; 0 is off, 1 the authors'.
        ratio: probability that a patch is hidden, in [0, 1).
        patch: side of a patch as a share of the image's, in (0, 1].
        threshold: the loss counts by the share of target images of which the teacher is surer than this.
        alpha: decay of its own teacher, in [0, 1].
    """

    weight: float = 0.0
    ratio: float = 0.7
    patch: float = 0.286
    threshold: float = 0.968
    alpha: float = 0.9


@dataclass(frozen=True)
class OptimizerConfig(_Checked):
    """The optimiser of the student's weights.

    Attributes:
        name: optimiser: adam, or adamw with decoupled weight decay.
        lr: base learning rate, which the schedule scales. A pretrained backbone that is trained gets a tenth of it.
        weight_decay: factor of the weight decay.
        schedule: course of the learning rate over the steps.
        label_smoothing: label smoothing of the cross-entropy on the source, in [0, 1).
    """

    name: OptimizerName = "adam"
    lr: float = 1e-3
    weight_decay: float = 0.0
    schedule: ScheduleName = "cosine"
    label_smoothing: float = 0.0


@dataclass(frozen=True)
class EveryConfig(_Checked):
    """Intervals, in optimiser steps, of what happens during training.

    Attributes:
        log: steps between two lines of metrics.
        evaluate: steps between two evaluations, which measure the accuracy on the source's validation split and compute
            the label-free scores on the target.
        checkpoint: steps between two checkpoints.
    """

    log: int = 25
    evaluate: int = 250
    checkpoint: int = 250


@dataclass(frozen=True)
class TrainConfig(_Checked):
    """Trains on a labelled source and an unlabelled target.

    Attributes:
        preset: named recipe whose values replace the defaults; every other setting still changes them. For characters:
            digits (ours, fast) and paper-small (the paper's recipe for MNIST and USPS as published, slow). For
            photographs: photo-features (ours, minutes on a laptop), photo (ours, for a GPU), photo-tllib and
            photo-paper (the recipes of Transfer-Learning-Library and of the paper's authors).
        source: labelled images: a folder with one folder of images for each class; a .csv or .jsonl file with path and
            label; fonts (digits drawn from fonts); or a named data set: mnist, usps, svhn, mnist-m, fashion-mnist,
            cifar10, stl10, office31/amazon, office31/dslr, office31/webcam. Several sources are given by repeating the
            setting.
        target: unlabelled images: a folder, flat or nested; a list of images, whose labels are ignored; digits
            (handwritten digits of scikit-learn); or a named data set.
        target_labels: labels of a few target images: a CSV file with path and label, such as the list of dalib query,
            filled in. The adaptation learns from them: about every eighth labelled image of a batch is one of these.
            The source-only model does not. Of 50 labels or more, every fifth is held out from training to compare the
            two models.
        backbone: network that computes features: small and digits are ours, paper-small and paper-large are the
            paper's, and any other name is one of timm's, such as resnet50.
        weights: pretrained weights of a timm backbone: a file (safetensors, or a state dict of torch), or package:NAME
            for the weights in an installed Python package. By default: random weights. With --features, either these or
            --init are required.
        weights_order: how the tensors of the weights file are matched with timm's: by name, or, in a file of
            torch.save, by position.
        features: number of random views of each image whose features are computed once, at least 2; training then uses
            the features and leaves the backbone frozen, which takes minutes instead of hours on a CPU. Student and
            teacher get different views. 0 trains the whole network.
        init: run whose models are the starting point of this run: each model starts from the one of the same name, or
            else from that run's model. Classes and network must be the same. Takes precedence over warm_start.
        cache: where decoded images are stored: disk decodes a folder once for all runs; ram once for each run; off once
            to find unreadable files, and again whenever an image is used, which is slow with --features.
        root: folder of the named data sets. By default: data.
        download: whether a named data set that is missing is downloaded, where torchvision can.
        evaluate: labelled target images that measure both models once, after training: a folder with one folder for
            each class, digits-held-out, or a named test set such as usps-test. The model that is clearly better on them
            becomes the selected model. By default: the test set of a named target, which selects nothing; otherwise
            none.
        out: the run's folder. By default: a new folder in runs/.
        track: experiment tracker that also receives the metrics during training: tensorboard (in RUN/tensorboard) or
            wandb.
        method: adaptation method: self-ensemble; its relatives mean-teacher, fixmatch and adamatch; mcc, which has no
            teacher; or source-only, which does not adapt. The first four predict with a moving average of the weights,
            set by self_ensemble.alpha and self_ensemble.alpha_warmup.
        baseline: whether a source-only model, the baseline, is trained first. Without it, the run cannot judge whether
            adaptation helped.
        baseline_steps: number of optimiser steps of the source-only model. By default: that of the adaptation.
        warm_start: whether the adaptation starts from the weights of the source-only model. Otherwise, and without a
            baseline, it starts from scratch.
        statistics: batch-normalisation statistics of the adapted model: running, from training, or recomputed on the
            target images without augmentation after it.
        prior: class prior, the expected class shares of the target, for the losses class_balance and information:
            uniform; source, the shares of the source; estimate, uniform in the first half of the steps, then halfway
            between uniform and the shares estimated from the adapted model's predictions at each evaluation; or a JSON
            or CSV file of classes and shares.
        select: checkpoint of the adaptation that becomes the adapted model: judged, the one whose target predictions
            are the most confident and diverse, among those that keep the accuracy on the source; last; or
            most-confident, the one with the largest share of confident target images, as in the paper. None of them
            uses a target label.
        keep: how the selected model is chosen at the end: better chooses between source-only and adapted, by labels
            where there are some, otherwise by the judgement without labels; adapted always takes the adapted model.
            dalib keep changes the choice later.
        steps: number of optimiser steps of the adaptation. By default: as many as --epochs gives, or 1000.
        epochs: number of passes over the larger one of source and target, if steps is not given.
        batch: number of source images, and of target images, in a step. Several processes divide them among themselves.
        accumulate: number of parts that a batch is divided into, one after the other, to save memory. Batch
            normalisation and class balance see one part at a time.
        seed: random seed of the run.
        device: device to train on: auto, cpu or cuda.
        precision: number type of the forward passes; weights and losses stay in float32. bfloat16 is for GPUs; float16
            is for GPUs without bfloat16, and its loss is scaled.
        compile: mode of torch.compile for the forward passes: none, default, or cuda-graphs on a GPU.
        sync_norms: whether batch normalisation uses the batches of all processes together. GPUs only.
        strict: whether unreadable images are refused instead of skipped.
        overwrite: whether an existing folder of the run is replaced.
        data: how images become the pixels that the network takes.
        model: the network.
        views: the random augmentations.
        self_ensemble: the settings of self-ensemble.
        mean_teacher: those of mean-teacher.
        fixmatch: those of fixmatch.
        adamatch: those of adamatch.
        mcc: those of mcc.
        masked_consistency: what goes with any method but source-only.
        optimizer: the optimiser.
        every: intervals, in steps, of logging, evaluation and checkpoints.
    """

    preset: PresetName | None = None
    source: str | list[str] = "fonts"
    target: str = "digits"
    target_labels: str | None = None
    backbone: str = "small"
    weights: str | None = None
    weights_order: WeightsOrder = "name"
    features: int = 0
    init: str | None = None
    cache: CachePolicy = "disk"
    root: str | None = None
    download: bool = False
    evaluate: str | None = None
    out: str | None = None
    track: TrackName | None = None
    method: MethodName = "self-ensemble"
    baseline: bool = True
    baseline_steps: int | None = None
    warm_start: bool = True
    prior: str = "uniform"
    select: SelectName = "judged"
    keep: KeepName = "better"
    statistics: StatisticsName = "running"
    steps: int | None = None
    epochs: int | None = None
    batch: int = 64
    accumulate: int = 1
    seed: int = 0
    device: str = "auto"
    precision: PrecisionName = "float32"
    compile: CompileName = "none"
    sync_norms: bool = False
    strict: bool = False
    overwrite: bool = False
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    self_ensemble: SelfEnsembleConfig = field(default_factory=SelfEnsembleConfig)
    mean_teacher: MeanTeacherConfig = field(default_factory=MeanTeacherConfig)
    fixmatch: FixMatchConfig = field(default_factory=FixMatchConfig)
    adamatch: AdaMatchConfig = field(default_factory=AdaMatchConfig)
    mcc: MccConfig = field(default_factory=MccConfig)
    masked_consistency: MaskedConsistencyConfig = field(default_factory=MaskedConsistencyConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    every: EveryConfig = field(default_factory=EveryConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in PATHS:
            value = getattr(self, name)
            several = isinstance(value, (list, tuple))
            paths = [self._path(name, each) for each in (value if several else [value]) if each is not None]
            if paths:
                object.__setattr__(self, name, paths if several else paths[0])

    @staticmethod
    def _path(name: str, path: str) -> str:
        if is_url(path):
            raise UserError(f"{name}={path!r}: {NO_URL}")
        return expanded(path)


def by_name(config: TrainConfig) -> dict[str, Any]:
    """Each setting under its name on the command line: those of groups with a dot.

    >>> by_name(TrainConfig())["data.fit"]
    'crop'
    """
    found: dict[str, Any] = {}
    for name, value in asdict(config).items():
        found |= {f"{name}.{part}": each for part, each in value.items()} if isinstance(value, dict) else {name: value}
    return found
