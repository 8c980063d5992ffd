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
    """How images are brought to the network.

    Attributes:
        size: height and width of the stored images in pixels; by default what suits the backbone, 16 for the built-in
            digits, and 64 for folders.
        crop: height and width that the network sees of them; by default what a pretrained backbone was trained with,
            else all.
        channels: 1 is grey, 3 is RGB; by default 1 for the built-in digits and 3 for folders.
        fit: crop scales the shorter side and takes the centre; stretch scales both sides; ink, for characters on plain
            ground, centres what differs from the ground and brings it to one size.
        interpolation: how images are scaled; by default as the backbone was trained, else bilinear.
        range: the values that are black and white in images of whole numbers beyond 8 bits, such as 0,4095 or
            -1000,2000, others being clipped; SOURCE/TARGET, such as 0,4095/0,65535, where they differ; by default what
            the files say or need, decided for all of them.
        validation_share: share of the source kept from training, to measure accuracy on the source; 0 keeps none.
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
    """The network: backbone, then a bottleneck (Linear, BatchNorm, ReLU), then a linear head.

    Attributes:
        bottleneck_dim: width of the bottleneck; null leaves it out.
        averaged_views: predict by the mean over so many small warps of each image, at so many times the price; 0 is the
            image alone.
        bottleneck_norm: batch normalisation in the bottleneck.
        dropout: probability, before the bottleneck and before the head.
        standardize: each feature of the backbone to mean 0 and standard deviation 1, each domain by itself; the saved
            network carries the target's. Needs --features, or --init.
        frozen_stages: of a pretrained backbone: 0 trains all of it, 1 freezes the stem, 2 the first stage too, ...; -1
            freezes all.
        frozen_norms: the batch normalisation of a pretrained backbone keeps its statistics throughout, whatever the
            batches are; its scale and shift learn all the same, where their stage does.
        checkpointing: compute activations twice instead of keeping them: less memory, a third more time.
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
    """The random views of the images.

    For small images: noise, tf, tfa and tfa-intensity are the paper's, the warps are ours. For photographs: photo-plain
    is the centre, photo-weak and photo-strong are ours, photo-tllib is Transfer-Learning-Library's for the student, and
    photo-paper the paper's.

    Attributes:
        source: views of the source images.
        student: views of the target images that the student sees.
        teacher: views of the target images that the teacher sees.
        shared_crop: student and teacher see the same crop of a target image, cut at random before their views, as in
            the paper's recipe for photographs.
        flip: also mirror left to right; for photographs, not for characters.
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
    """How the student's weights move.

    Attributes:
        name: adam, or adamw with decoupled weight decay.
        lr: base learning rate.
        weight_decay: of the optimiser.
        schedule: course of the learning rate over the steps.
        label_smoothing: of the cross-entropy on the source, in [0, 1).
    """

    name: OptimizerName = "adam"
    lr: float = 1e-3
    weight_decay: float = 0.0
    schedule: ScheduleName = "cosine"
    label_smoothing: float = 0.0


@dataclass(frozen=True)
class EveryConfig(_Checked):
    """How often, in steps, things besides training happen.

    Attributes:
        log: write the metrics.
        evaluate: measure accuracy on the source's validation images.
        checkpoint: save a checkpoint.
    """

    log: int = 25
    evaluate: int = 250
    checkpoint: int = 250


@dataclass(frozen=True)
class TrainConfig(_Checked):
    """Train on a labelled source and an unlabelled target.

    Attributes:
        preset: a recipe, as a starting point that every other flag changes. paper-small is the paper's for MNIST and
            USPS, exactly as published, slow; digits is ours for written characters, fast. For photographs:
            photo-features (ours, minutes on a laptop), photo (ours, for a GPU), photo-tllib and photo-paper (the
            recipes of Transfer-Learning-Library and of the paper's authors).
        source: a folder with a folder of images for each class, or a .csv or .jsonl file of path and label; fonts
            (digits drawn from fonts); or a named data set: mnist, usps, svhn, mnist-m, fashion-mnist, cifar10, stl10,
            office31/amazon, office31/dslr, office31/webcam. May be given several times.
        target: a folder of images, flat or nested, or a list of them, labels ignored; digits (handwritten, from
            scikit-learn); or a named data set.
        target_labels: labels of a few of the target's images, if there are any, as a CSV file of path and label such as
            the list of dalib query, filled in. The adaptation learns from them too: about every eighth labelled image
            of a batch is one of these. The source-only model does not see them. Of 50 labels or more, every fifth is
            held out from training, and judges both models.
        backbone: small and digits are ours; paper-small and paper-large are the paper's; any other is a name of timm's,
            such as resnet50.
        weights: of a timm backbone: a file (safetensors, or a state dict of torch), or package:NAME, the file in an
            installed Python package. Without, it starts from random weights; with --features these or --init are
            required.
        weights_order: whether the file's tensors belong to timm's by name or, in a file of torch.save, by position.
        features: train on features of the frozen backbone: this many random views of each image, at least 2, are
            computed once; minutes instead of hours on a CPU. Student and teacher take different ones. 0 trains the
            whole network.
        init: a run to start from: each model starts from the run's model of that name, else from its own; same classes
            and network. Goes before warm_start.
        cache: where decoded images are: disk decodes a folder once for all runs, ram once a run, off once to see what
            can be read and again whenever an image is needed, which is slow with --features.
        root: the folder of the named data sets; by default data.
        download: fetch a named data set that is not there, where torchvision can.
        evaluate: labelled data to measure on once, after training: a folder with a folder for each class,
            digits-held-out, or a named test set such as usps-test; by default the target's own if the target has a
            name, else nothing. Where one model is clearly better on it, that one is selected; what is measured by
            default selects none.
        out: the run's folder; by default a new one in runs/.
        track: show the metrics elsewhere while training goes on: tensorboard, in RUN/tensorboard, or wandb.
        method: self-ensemble; its family, mean-teacher, fixmatch and adamatch; mcc, which has no teacher; or
            source-only. In all of the family the average that predicts is by self_ensemble's alpha and alpha_warmup.
        baseline: also train a source-only model first, to tell whether adaptation helped.
        baseline_steps: steps of the source-only model; by default as many as the adaptation.
        warm_start: adaptation starts from the source-only model's weights; without, or without baseline, from scratch.
        statistics: of batch normalisation in the adapted model: running, as they are at the end of training, or
            recomputed on the target's images without augmentation.
        prior: shares of the target's classes, which class balance and information draw the predictions to: uniform;
            source, those of the source; estimate, uniform in the first half of the steps, then halfway between uniform
            and what the adapted model's predictions speak for, anew at each evaluation; or a file of classes and
            shares, JSON or CSV.
        select: which weights of the adaptation become its model: judged, those of the evaluation whose predictions for
            the target are surest and most various, where the source is still known; the last; or most-confident, those
            with the largest share of confident target images, as the paper's authors choose. None needs a target label.
        keep: which model is selected in the end: the better of source-only and adapted, by labels where there are some
            to judge by, else as far as can be told without; or the adapted model, whatever signs and labels say. dalib
            keep changes it later.
        steps: optimiser steps of the adaptation; by default as epochs says, or 1000.
        epochs: how often to go through the larger of source and target, where steps are not given.
        batch: source images, and as many target images, a step; several processes divide them.
        accumulate: parts that a step's batch is computed in, one after the other: less memory. Batch normalisation and
            class balance see the parts.
        seed: the seed of everything random.
        device: auto, cpu, or cuda.
        precision: number type of the forward passes; bfloat16 is for GPUs, weights and losses stay in float32; float16
            is for GPUs without bfloat16, its loss is scaled.
        compile: the forward passes with torch.compile: default, or cuda-graphs on a GPU.
        sync_norms: of several processes on GPUs, batch normalisation sees the batches of all.
        strict: refuse unreadable images instead of skipping them.
        overwrite: replace the run's folder if there is one.
        data: how images are brought to the network.
        model: the network.
        views: the random views.
        self_ensemble: the settings of self-ensemble.
        mean_teacher: those of mean-teacher.
        fixmatch: those of fixmatch.
        adamatch: those of adamatch.
        mcc: those of mcc.
        masked_consistency: what goes with any method but source-only.
        optimizer: how the weights move.
        every: how often things happen.
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
