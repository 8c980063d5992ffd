"""Everything that a user can set, as frozen dataclasses; the command line and the YAML file are made from them.

Configuration stops at :mod:`dalib.run.recipe.recipe`: everything behind it takes plain values.
"""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from dalib.adaptation.methods import MASKED_CONSISTENCY, METHODS, group_of, settings_of_method
from dalib.adaptation.settings import settings_in
from dalib.core.checked_settings import Checked, described, expected_values, setting_of, with_known_names
from dalib.core.errors import Setting, UserError
from dalib.core.files import NO_URL, expanded, is_url
from dalib.run.settings.backbones import JOINED, NamedBackbone, WeightsOrder, named_backbones

if TYPE_CHECKING:
    from collections.abc import Sequence

# of type Any, because the parser looks up the types in this file, and must not import the methods' files and torch
MethodName: Any = Literal[tuple(METHODS)]
SelfEnsembleConfig: Any = settings_of_method("self-ensemble")
MaskedConsistencyConfig: Any = settings_in(MASKED_CONSISTENCY.rpartition(".")[0])

PATHS = ("source", "target", "target_labels", "hints", "weights", "init", "kit", "root", "evaluate", "prior", "out")
"""Settings of a run that are paths, or names of built-in choices."""

NOT_BOTH = ", which stands in for the source; leave out one of them"

RESUMABLE = ("device", "cache", "root", "download", "track")
"""Settings that may change on resume: where things are, and nothing that decides a result."""

ViewName = Literal[
    "none",
    "noise",
    "tf",
    "tfa",
    "tfa-intensity",
    "warp",
    "weak-warp",
    "strong-warp",
    "character-grounds",
    "character-tones",
    "photo-plain",
    "photo-weak",
    "photo",
    "photo-strong",
    "photo-tllib",
    "photo-paper",
]
CachePolicy = Literal["disk", "ram", "off"]
ScheduleName = Literal["one-cycle", "cosine", "constant", "inverse-decay"]
OptimizerName = Literal["adam", "adamw"]
PresetName = Literal[
    "paper-small", "digits", "coloured-characters", "photo-features", "photo", "photo-tllib", "photo-paper"
]
StatisticsName = Literal["running", "recomputed"]
ClassesName = Literal["same", "fewer", "other", "auto"]
SelectName = Literal["judged", "last", "most-confident"]
KeepName = Literal["better", "adapted"]
PrecisionName = Literal["auto", "float32", "bfloat16", "float16"]
FeaturePrecisionName = Literal["auto", "float32", "bfloat16"]
CompileName = Literal["none", "default", "cuda-graphs"]
TrackName = Literal["tensorboard", "mlflow", "wandb"]


@with_known_names
@dataclass(frozen=True)
class DataConfig(Checked):
    """Settings of how images become the pixels that the network takes.

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


@with_known_names
@dataclass(frozen=True)
class ModelConfig(Checked):
    """The network: a backbone, a bottleneck (Linear, BatchNorm, ReLU) and a linear head.

    Attributes:
        bottleneck_dim: width of the bottleneck, the layer between backbone and head; null leaves it out.
        averaged_views: number of slightly warped copies of each image whose predictions are averaged (test-time
            augmentation). Prediction takes this many times longer; 0 predicts from the image alone.
        bottleneck_norm: whether the bottleneck has batch normalisation.
        dropout: probability of dropout before the bottleneck and before the head.
        standardize: whether each feature of the backbone is scaled to mean 0 and standard deviation 1, within each
            domain. The saved network keeps the target's statistics. Requires --features or --init.
        domain_statistics: share of each domain's own batch-normalisation statistics in the frozen backbone, beside the
            pretrained ones: 0 takes the pretrained ones alone, 1 the domain's alone, from one pass over at most 512 of
            its images. A share helps where images are unlike those that the backbone was trained on, and harms where
            they are like them; joined takes the features of 0 and of 0.3 side by side, at twice the time; auto takes
            joined where the statistics of either domain are far from the pretrained ones, else 0. The saved network
            keeps the target's statistics. Requires --features.
        frozen_stages: number of stages of a pretrained backbone that are not trained: 0 trains all of it, 1 freezes the
            stem, 2 the stem and the first stage, and so on; -1 freezes all of it.
        trained_stages: number of last stages of a pretrained backbone that the adaptation trains after a head on stored
            features. The output of the earlier stages is computed once for --features views of each image and kept on
            disk, so that a step computes the last stages alone. 0 trains the head alone.
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
    domain_statistics: float | Literal["auto", "joined"] = setting_of(0.0, "a number from 0 to 1, auto or joined")
    frozen_stages: int = 0
    trained_stages: int = 0
    frozen_norms: bool = False
    checkpointing: bool = False


@with_known_names
@dataclass(frozen=True)
class StagesConfig(Checked):
    """The training of a pretrained backbone's last stages (--model.trained_stages), which follows that of the head.

    Attributes:
        steps: number of optimiser steps.
        batch: number of source images, and of target images, in a step.
        lr: base learning rate of the stages and the head, which the schedule scales.
    """

    steps: int = 400
    batch: int = 32
    lr: float = 1e-3


@with_known_names
@dataclass(frozen=True)
class ViewsConfig(Checked):
    """The random augmentations (views) of the images.

    For small images: noise, tf, tfa and tfa-intensity come from the paper; warp, weak-warp and strong-warp are
    ours. For characters in colour: character-tones changes colours and contrast and inverts some images;
    character-grounds, for the source, also puts characters on a plain background before random textures. For
    photographs: photo-plain is the centre crop, photo-weak, photo and photo-strong are ours, photo-tllib
    is the student's augmentation in Transfer-Learning-Library, and photo-paper comes from the paper. none leaves
    images as they are.

    Attributes:
        source: augmentation of the source images.
        student: augmentation of the target images for the student.
        teacher: augmentation of the target images for the teacher.
        shared_crop: whether student and teacher get the same random crop of a target image, as in the paper's recipe
            for photographs. The other augmentations still differ.
        flip: whether images are also mirrored left to right: by the random views, and by every other one of the views
            whose predictions are averaged. auto mirrors where views or backbone are for photographs, and never
            characters; give never (or false) where left and right are different classes.
    """

    source: ViewName = "warp"
    student: ViewName = "warp"
    teacher: ViewName = "warp"
    shared_crop: bool = False
    flip: Literal["auto", "always", "never"] | bool = "auto"

    def __post_init__(self) -> None:
        if isinstance(self.flip, bool):
            object.__setattr__(self, "flip", "always" if self.flip else "never")
        super().__post_init__()

    def mirrors(self, *, usually: bool) -> bool:
        """Returns whether to mirror, where views of this kind usually do or do not."""
        return usually if self.flip == "auto" else self.flip == "always"


@with_known_names
@dataclass(frozen=True)
class OptimizerConfig(Checked):
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


@with_known_names
@dataclass(frozen=True)
class EveryConfig(Checked):
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


Made = TypeVar("Made")

_AFTER_METHODS = "masked_consistency"


def _with_methods(made: type[Made]) -> type[Made]:
    """Adds the methods to a class of settings: their names, and for each a field with its settings and a description.

    They stand before ``masked_consistency``, which goes beside any of them.
    """
    groups = {group_of(method): settings for method in METHODS if (settings := settings_of_method(method)) is not None}
    kinds: dict[str, Any] = {}  # in the order of the fields
    for name, kind in made.__annotations__.items():
        kinds |= groups if name == _AFTER_METHODS else {}
        kinds[name] = kind
    made.__annotations__ = kinds | {"method": MethodName, _AFTER_METHODS: MaskedConsistencyConfig}
    for group, settings in groups.items():
        setattr(made, group, field(default_factory=settings))
        globals()[settings.__name__] = settings  # a script imports FixMatchConfig from here, as it does DataConfig
    listed = "".join(f"        {group}: settings of {group.replace('_', '-')}.\n" for group in groups)
    made.__doc__ = (made.__doc__ or "").replace(after := f"        {_AFTER_METHODS}:", listed + after)
    return made


@with_known_names
@dataclass(frozen=True)
@_with_methods
class TrainConfig(Checked):
    """Trains on a labelled source and an unlabelled target.

    Attributes:
        preset: named recipe whose values replace the defaults; every other setting still changes them. For characters:
            digits (ours, fast), coloured-characters (ours, for a target whose characters have colours or pictures
            behind them), and paper-small (the paper's recipe for MNIST and USPS as published, slow). For photographs:
            photo-features (ours, minutes on a laptop), photo (ours, for a GPU), photo-tllib and
            photo-paper (the recipes of Transfer-Learning-Library and of the paper's authors).
        source: labelled images: a folder with one folder of images for each class; a .csv or .jsonl file with path and
            label; shards in WebDataset's layout (a .tar file, a pattern such as "train-{000..012}.tar", or a folder
            of them), with the class in .cls, .json or .txt members or in the folder of the key; fonts (digits drawn
            from fonts); or a named data set: mnist, usps, svhn, mnist-m, fashion-mnist,
            cifar10, stl10, office31/amazon, office31/dslr, office31/webcam. Several sources are given by repeating the
            setting.
        target: unlabelled images: a folder, flat or nested; a list of images or shards, whose labels are ignored;
            digits (handwritten digits of scikit-learn); or a named data set. Several targets, each of which gets a run
            of its own, are given by repeating the setting, as PLACE or NAME=PLACE; in a file, as names with places.
        target_labels: labels of a few target images: a CSV file with path and label, such as the list of dalib query,
            filled in. The adaptation learns from them, the source-only model does not: about every eighth labelled
            image of a batch is one of these. With 50 labels or more, every fifth is held out from training to compare
            the models; with fewer, the adaptation learns from all of them, and none compares models.
        hints: predictions or labels of another origin for some or all target images, such as those of zero-shot CLIP,
            an old model or an annotator: a table (CSV, NPZ or Parquet) of the images' names and a probability for each
            class, or with a column label. They correct the teacher's predictions as far as they agree with it: random
            hints change nothing. For methods with a teacher.
        groups: images that belong together, such as bursts, patients or cameras: a column of the list of images; a
            regular expression with one group, such as "patient_([0-9]+)", that is searched in the paths: images with
            the same text belong together; or auto: near duplicates, and patterns of names whose images look alike. The
            validation split keeps groups whole, intervals and tests count groups and not images, and dalib query
            chooses few images of a group. By default: each image counts for itself.
        backbone: network that computes features: lite0, lite1 and lite2 are pretrained ones whose weights are Python
            packages (that of lite0 is installed with dalib); small and digits are ours, paper-small and paper-large
            the paper's; any other name is one of timm's, such as resnet50, or hf_hub:OWNER/NAME for the network and
            the weights of a repository of Hugging Face's hub. Repeat the setting to join the features of several
            pretrained backbones, each of which sees the image in its own size and normalisation; this takes
            --features.
        weights: pretrained weights of a timm backbone: a file (safetensors, or a state dict of torch); package:NAME for
            the weights in an installed Python package; hub for those that timm names on Hugging Face's hub, or
            hf_hub:OWNER/NAME[@REVISION] for others there, which are downloaded and kept. By default: random weights.
            With --features, either these or --init are required. For several backbones, repeat the setting in their
            order; a single hub stands for all of them.
        weights_order: how the tensors of the weights file are matched with timm's: by name, or, in a file of
            torch.save, by position. For several backbones: one for all, or one for each.
        features: number of random views of each image whose features are computed once, at least 2; training then uses
            the features and leaves the backbone frozen, which takes minutes instead of hours on a CPU. Student and
            teacher get different views. 0 trains the whole network.
        init: run whose models are the starting point of this run: each model starts from the one of the same name, or
            else from that run's model. Classes and network must be the same. Takes precedence over --warm_start.
        kit: file that stands in for the source, written by `dalib export RUN --format kit`: the source-only model and
            statistics of the source, without an image. Network and preprocessing are those of the kit. Or a folder that
            `dalib export RUN --format torch` wrote: a model alone, whose run has less to judge by.
        cache: where decoded images are stored: disk decodes a folder once for all runs; ram once for each run; off once
            to find unreadable files, and again whenever an image is used, which is slow with --features.
        root: folder of the named data sets. By default: data.
        download: whether a named data set that is missing is downloaded, where torchvision can.
        evaluate: labelled target images that measure the models once, after training: a folder with one folder for
            each class, a list or shards with labels, digits-held-out, or a named test set such as usps-test. The model
            that is clearly better on them becomes the selected model. By default: the test set of a named target, whose
            labels select no model; otherwise none. With several targets, repeat the setting in their order, or give
            TARGETNAME=PLACE.
        out: the run's folder. By default: a new folder in runs/.
        track: experiment tracker that also receives the metrics during training: tensorboard (in RUN/tensorboard),
            mlflow (at the address in MLFLOW_TRACKING_URI) or wandb.
        method: adaptation method, each of which has settings under its name; or source-only, which does not adapt.
        baseline: whether a source-only model is trained first, for comparison. Without it, the run cannot judge whether
            adaptation helped.
        baseline_steps: number of optimiser steps of the source-only model. By default: that of the adaptation.
        warm_start: whether the adaptation starts from the weights of the source-only model. Otherwise, and without
            one, it starts from scratch.
        statistics: batch-normalisation statistics of the adapted model: running, from training, or recomputed on the
            target images without augmentation after it.
        prior: class prior, the expected class shares of the target, for the losses class balance and information:
            uniform; source, the shares of the source; halfway, the geometric mean of these two; estimate, uniform in
            the first half of the steps, then the mean of uniform and of the shares estimated from the adapted model's
            predictions at each evaluation; a JSON or CSV file of classes and shares; or the folder of a run that dalib
            eval --labels has written shares for.
        classes: classes of the target: same, all of the source's; fewer, some of them, not known which (partial
            adaptation); other, all of them and images of none of them (open-set adaptation); or auto, which estimates
            them from the predictions of source-only and aligned: fewer with a probability of at least 90%, other with
            at least 98%, else same. With fewer, the source-only model's predictions decide how often source images of
            each class are drawn, and replace the class prior unless --prior is a file. With other, images that seem to
            be of none of the classes are excluded from the adaptation, and predictions name such images unknown, at a
            threshold that is set without labels.
        select: checkpoint of the adaptation that becomes the adapted model: judged, the one whose target predictions
            are the most confident and diverse, among those after the first quarter of the steps that keep the accuracy
            on the source; last; or most-confident, the one with the largest share of confident target images, as in the
            paper. None of them uses a target label.
        keep: how the selected model is chosen at the end: better chooses among source-only, aligned and adapted, by
            labels where there are some, otherwise by the judgement without labels; adapted always takes the adapted
            model. dalib keep changes the choice later.
        steps: number of optimiser steps of the adaptation. By default: as many as --epochs gives, or 1000.
        epochs: number of passes over the larger one of source and target, if --steps is not given.
        time_limit: time that the whole run may take, such as 10m, 90s or 1h30m. Short measurements find how many steps,
            and how many views of stored features, fit into it. --steps or --epochs take precedence.
        batch: number of source images, and of target images, in a step. Several processes divide them among themselves.
        accumulate: number of parts that a batch is divided into, one after the other, to save memory. Batch
            normalisation and class balance see one part at a time.
        seed: random seed of the run.
        device: device to train on: auto, cpu, cuda or mps.
        precision: number type of the forward passes; weights and losses stay in float32. bfloat16 is for GPUs, and for
            processors with instructions for it (AMX, AVX512-BF16); auto is bfloat16 on a CPU where steps are measured
            to be faster, for images of at most 256 pixels, else float32. A run keeps what it began with. float16 is for
            GPUs without bfloat16, and its loss is scaled.
        feature_precision: number type in which the frozen backbone computes stored features: float32; bfloat16, for
            processors with instructions for it (AMX, AVX512-BF16); or auto, bfloat16 on a CPU where it is measured to
            be faster, for images of at least 96 pixels. A run keeps what it began with, and its saved models compute
            in float32.
        compile: mode of torch.compile for the forward passes: none, default, or cuda-graphs on a GPU.
        sync_norms: whether batch normalisation uses the batches of all processes together. GPUs only; the run has no
            aligned model then.
        strict: whether unreadable images are refused instead of skipped.
        overwrite: whether an existing folder of the run is replaced.
        data: how images become the pixels that the network takes.
        model: the network.
        stages: the training of the backbone's last stages.
        views: the random augmentations.
        masked_consistency: an additional loss for any method but source-only.
        optimizer: the optimiser.
        every: intervals, in steps, of logging, evaluation and checkpoints.
    """

    preset: PresetName | None = None
    source: str | list[str] = "fonts"
    target: str | dict[str, str] = "digits"
    target_labels: str | None = setting_of(None, "the name of a file with the columns path and label, or None")
    hints: str | None = None
    groups: str | None = setting_of(None, "a column, a regular expression with one group, auto or None")
    backbone: str | list[str] = "small"
    weights: str | list[str] | None = None
    weights_order: WeightsOrder | list[WeightsOrder] = "name"
    features: int = 0
    init: str | None = None
    kit: str | None = None
    cache: CachePolicy = "disk"
    root: str | None = None
    download: bool = False
    evaluate: str | dict[str, str] | None = None
    out: str | None = None
    track: TrackName | None = None
    method: str = "self-ensemble"
    baseline: bool = True
    baseline_steps: int | None = None
    warm_start: bool = True
    prior: str = setting_of("uniform", "uniform, source, halfway, estimate, or the name of a file or of a run's folder")
    classes: ClassesName = "same"
    select: SelectName = "judged"
    keep: KeepName = "better"
    statistics: StatisticsName = "running"
    steps: int | None = None
    epochs: int | None = None
    time_limit: float | str | None = None
    batch: int = 64
    accumulate: int = 1
    seed: int = 0
    device: str = "auto"
    precision: PrecisionName = "float32"
    feature_precision: FeaturePrecisionName = "auto"
    compile: CompileName = "none"
    sync_norms: bool = False
    strict: bool = False
    overwrite: bool = False
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    stages: StagesConfig = field(default_factory=StagesConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    masked_consistency: Any = field(default_factory=MaskedConsistencyConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    every: EveryConfig = field(default_factory=EveryConfig)

    if TYPE_CHECKING:  # the one method whose settings other code reads; all are added by the decorator
        self_ensemble: Any = None

    def __post_init__(self) -> None:
        for group in fields(self):
            value = getattr(self, group.name)
            if isinstance(value, dict) and group.default_factory is not MISSING:
                object.__setattr__(self, group.name, self._group(group.name, group.default_factory(), value))
            elif group.default_factory is not MISSING and not is_dataclass(value):
                self._refuse_as_group(group.name, group.default_factory(), value)
        super().__post_init__()
        for name in ("backbone", "weights", "weights_order"):
            value = getattr(self, name)
            if isinstance(value, (list, tuple)):  # one in a list is one
                object.__setattr__(self, name, value[0] if len(value) == 1 else list(value))
        for name in PATHS:
            value = getattr(self, name)
            if isinstance(value, dict):
                object.__setattr__(self, name, {key: self._path(name, each) for key, each in value.items()})
                continue
            several = isinstance(value, (list, tuple))
            paths = [self._path(name, each) for each in (value if several else [value]) if each is not None]
            if paths:
                object.__setattr__(self, name, paths if several else paths[0])
        if self.kit is not None and self.source == _usual_source():
            object.__setattr__(self, "source", self.kit)

    @property
    def sources(self) -> list[str]:
        """The sources, one or several; none where a kit stands in for them."""
        if self.kit is not None:
            return []
        return [self.source] if isinstance(self.source, str) else self.source

    @property
    def one_target(self) -> str:
        """The target of a single run."""
        assert isinstance(self.target, str)  # several are divided before (dalib.run.several)
        return self.target

    @property
    def one_evaluate(self) -> str | None:
        """The labelled set of a single run, if it has one."""
        assert not isinstance(self.evaluate, dict)
        return self.evaluate

    @property
    def backbones(self) -> tuple[NamedBackbone, ...]:
        """The backbones in their order, nearly always one. Raises as :func:`named_backbones`."""
        return named_backbones(self.backbone, self.weights, self.weights_order)

    @property
    def members(self) -> tuple[NamedBackbone, ...]:
        """The backbones whose features stand side by side in the network. Raises as :func:`named_backbones`.

        Where features with pretrained and with each domain's statistics are joined, the same ones follow once more,
        with the latter.
        """
        return self.backbones * (2 if self.model.domain_statistics == JOINED else 1)

    def with_backbones(self, backbones: Sequence[NamedBackbone]) -> TrainConfig:
        """Returns the configuration with other backbones; one of several, for example."""
        if tuple(backbones) == self.backbones:
            return self
        return replace(
            self,
            backbone=[each.name for each in backbones],
            weights=[each.weights for each in backbones if each.weights is not None] or None,
            weights_order=[each.weights_order for each in backbones],
        )

    @staticmethod
    def _group(name: str, group: Any, changes: dict[str, Any]) -> Any:
        """Returns a group of settings, of which some are given as a dictionary."""
        unknown = [each for each in changes if each not in {setting.name for setting in fields(group)}]
        if unknown:
            listed = ", ".join(setting.name for setting in fields(group))
            raise UserError(f"{name}.{unknown[0]}: no such setting; {name} has {listed}")
        try:
            return replace(group, **changes)
        except UserError as error:  # a group knows its own names alone
            raise UserError(f"{name}.{error}") from None

    @staticmethod
    def _refuse_as_group(name: str, group: Any, value: object) -> None:
        if is_dataclass(group):
            listed = ", ".join(setting.name for setting in fields(group))
            raise UserError(f"{name}={value!r}: expected {described(type(group))} or a dictionary; {name} has {listed}")

    def __repr__(self) -> str:
        """Returns the call that makes this configuration: what differs from the defaults."""
        changes: dict[str, Any] = {}
        for setting in fields(self):
            value, usual = getattr(self, setting.name), getattr(_usual(), setting.name)
            if value == usual:
                continue
            own = (
                {
                    part.name: each
                    for part in fields(value)
                    if (each := getattr(value, part.name)) != getattr(usual, part.name)
                }
                if is_dataclass(value)
                else value
            )
            changes[setting.name] = own
        return f"TrainConfig({', '.join(f'{name}={value!r}' for name, value in changes.items())})"

    @staticmethod
    def _path(name: str, path: str) -> str:
        if not path.strip():  # of a shell's variable without a value; as a path it would be the folder one is in
            raise UserError(Setting(name, path), ": expected a path, got an empty text")
        if is_url(path):
            raise UserError(f"{name}={path!r}: {NO_URL}")
        return expanded(path)


GROUPS = frozenset(
    each.name
    for each in fields(TrainConfig)
    if each.default_factory is not MISSING and is_dataclass(each.default_factory)
)
"""Settings that are groups of others."""


def _usual_source() -> str:
    return str(TrainConfig.__dataclass_fields__["source"].default)


@cache
def _usual() -> TrainConfig:
    return TrainConfig()


_OF_THE_COMMAND = (*RESUMABLE, "out", "overwrite", "preset", "strict")


def recorded_settings(config: TrainConfig) -> dict[str, Any]:
    """Returns the settings that decide a run's result, each under its name on the command line."""
    return {name: value for name, value in by_name(config).items() if name not in _OF_THE_COMMAND}


def places_read(config: TrainConfig) -> list[Setting]:
    """Returns the settings that may name files and folders which a run reads, one for each of several.

    >>> [str(each) for each in places_read(TrainConfig(target={"street": "a", "night": "b"}))]
    ["source='fonts'", "target='a'", "target='b'", "prior='uniform'"]
    """
    found: list[Setting] = []
    for name in PATHS:
        value = None if name == "out" else getattr(config, name)
        several = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
        found += [Setting(name, each) for each in several if each is not None]
    return found


def expected_of(name: str) -> str | None:
    """Returns the values of a setting, by its dotted name, in words; None where its type describes them.

    >>> expected_of("model.domain_statistics"), expected_of("model.dropout"), expected_of("model.none")
    ('a number from 0 to 1, auto or joined', None, None)
    """
    group, _, own = name.rpartition(".")
    return expected_values(getattr(_usual(), group) if group in GROUPS else _usual(), own)


def by_name(config: TrainConfig) -> dict[str, Any]:
    """Returns each setting under its name on the command line: those of groups with a dot.

    >>> by_name(TrainConfig())["data.fit"]
    'crop'
    """
    found: dict[str, Any] = {}
    for name, value in asdict(config).items():
        group = is_dataclass(getattr(config, name))
        found |= {f"{name}.{part}": each for part, each in value.items()} if group else {name: value}
    return found
