"""Makes networks of the configuration, and what is between an image and a network: preprocessing and views.

The names of views stand here in plain dict literals. A new one is a function in :mod:`dalib.augment.views` and a line
here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn

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
from dalib.core.errors import Call, Setting, UserError
from dalib.core.seeds import derive_seed
from dalib.data.depth import LIMIT
from dalib.data.named import shape_of_pair
from dalib.data.preprocessing import Preprocessing
from dalib.data.sources import BUILT_IN_SOURCES, BUILT_IN_TARGETS
from dalib.models.architecture import Architecture, BackboneInput, TimmSettings
from dalib.models.hub import settings_in_cache
from dalib.models.joined import JoinedBackbone
from dalib.models.network import BACKBONES, known_backbone, make_classifier
from dalib.models.pretrained import PretrainedBackbone, pretrained_settings
from dalib.models.weights import load_weights, weights_message
from dalib.run.features.fastest import features_folder, precision_named
from dalib.run.features.feature_space import Averaged, FeatureSpace
from dalib.run.features.inputs import Inputs, Views
from dalib.run.settings.backbones import JOINED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from dalib.core.errors import Part
    from dalib.core.types import Augment
    from dalib.data.depth import Range
    from dalib.models.classifier import ImageClassifier
    from dalib.run.settings.backbones import StatisticsShare
    from dalib.run.settings.config import DataConfig, TrainConfig, ViewName
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
    several = config.backbones
    if len(several) > 1:  # the images are those of the backbone that sees the most of them
        return max(
            (make_preprocessing(config.with_backbones([each])) for each in several), key=lambda each: each.input_size
        )
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
    """Returns the configuration with the standardisation, and joined statistics, that the first weights are used to.

    Raises:
        UserError: weights of a network of another shape.
    """
    if start.domain_statistics == JOINED:
        config = _joined_as(config, start)
    elif config.model.domain_statistics == JOINED and start.argument == "init":
        raise UserError(
            Setting("model.domain_statistics", JOINED),
            ": the backbone of the run to start from, ",
            Setting("init", start.run),
            ", stands there once; expected ",
            Setting("model.domain_statistics", 0),
        )
    names = [each.name for each in config.members]
    start.check_network(
        {
            "backbone": names if len(names) > 1 else names[0],  # as the description of a network has them
            "model.bottleneck_dim": config.model.bottleneck_dim,
            "model.bottleneck_norm": config.model.bottleneck_norm,
        }
    )
    if config.features and start.domain_statistics not in (0, JOINED):
        raise UserError(
            Setting(start.argument, start.run),
            ": its backbone has statistics of its own target, ",
            Setting("model.domain_statistics", start.domain_statistics),
            ", which are not those of this source; expected a run without them, or a kit of that run (`",
            Call("dalib.run.export.export", Setting("run", start.run), Setting("format", "kit")),
            "`), or ",
            Setting("features", 0),
        )
    return replace(config, model=replace(config.model, standardize=start.standardize))


def _joined_as(config: TrainConfig, start: Start) -> TrainConfig:
    """Returns the configuration with features of both kinds, from which the layers of the first weights learned.

    Raises:
        UserError: other features are asked for, or a network that is trained as a whole.
    """
    share = config.model.domain_statistics
    if not config.features or config.model.trained_stages:
        asked: Setting = Setting("features", 0)
        expected: list[str | Part] = [Setting("features", 4), " or more"]
        if config.features:
            asked = Setting("model.trained_stages", config.model.trained_stages)
            expected = [Setting("model.trained_stages", 0)]
        raise UserError(
            Setting(start.argument, start.run),
            ": its backbone stands there twice, with pretrained statistics and with its own target's (",
            Setting("model.domain_statistics", JOINED),
            "), and is trained no further, as ",
            asked,
            " asks for; expected ",
            *expected,
            ", or a run with ",
            Setting("model.domain_statistics", 0),
        )
    if share not in ("auto", JOINED):
        raise UserError(
            Setting("model.domain_statistics", share),
            ": the run to start from, ",
            Setting(start.argument, start.run),
            ", learned from features of both kinds; expected ",
            Setting("model.domain_statistics", JOINED),
            ", or none",
        )
    return with_share(config, JOINED)


def with_share(config: TrainConfig, share: StatisticsShare | Literal["auto"]) -> TrainConfig:
    """Returns the configuration with another share of the domains' own batch-normalisation statistics."""
    return replace(config, model=replace(config.model, domain_statistics=share))


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
        if name in PHOTO_VIEWS:
            if preprocessing.mean is None or preprocessing.std is None:  # of a kit; others get them from photo views
                raise UserError(
                    Setting("views"),
                    f": {name} normalises images by a mean and standard deviation of each channel, and the network of ",
                    Setting("kit", config.kit),
                    " takes each image by its own; expected views such as warp for ",
                    Setting("views.student"),
                    " and ",
                    Setting("views.teacher"),
                )
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
    several = config.backbones
    if len(several) > 1:
        each_alone = [config.with_backbones([each]) for each in several]
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
    named = config.members
    own = [make_preprocessing(config.with_backbones([each])) for each in named] if len(named) > 1 else []
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


def with_synchronized_norms(student: ImageClassifier, device: torch.device) -> ImageClassifier:
    """Returns the network with batch normalisation over the batches of all processes; names and weights stay.

    Raises:
        UserError: a device other than a GPU, for which torch has no such layer.
    """
    require_synchronizing(device)
    from timm.layers import convert_sync_batchnorm  # type: ignore[attr-defined]  # it takes seconds to import

    # timm's, which knows norms with an activation
    synchronised = cast("ImageClassifier", convert_sync_batchnorm(student))  # type: ignore[no-untyped-call]
    if isinstance(synchronised.backbone, PretrainedBackbone) and synchronised.backbone.checkpointing:
        synchronised.backbone.count_once()  # the layers are new ones
    return synchronised


def require_synchronizing(device: torch.device) -> None:
    """Refuses a device on which batch normalisation cannot be over the batches of all processes.

    Raises:
        UserError: a device other than a GPU, for which torch has no such layer.
    """
    if device.type != "cuda":
        raise UserError(
            Setting("sync_norms", True), f": torch synchronises batch normalisation on GPUs alone, this is {device}"
        )


def make_student(config: TrainConfig, architecture: Architecture, num_classes: int) -> ImageClassifier:
    """Makes the network with the weights that seed and ``config.weights`` give."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(config.seed, "weights"))
        student = make_classifier(architecture, num_classes)
    if config.weights is not None and not architecture.of_stored_features:
        members = student.backbone.members if isinstance(student.backbone, JoinedBackbone) else [student.backbone]
        for member, each in zip(members, config.members, strict=True):
            assert each.weights is not None
            load_weights(member, each.weights, order=each.weights_order)
    return student


def make_network(config: TrainConfig, preprocessing: Preprocessing, num_classes: int) -> ImageClassifier:
    """Makes the network of images, with the weights that seed and ``config.weights`` give."""
    return make_student(config, architecture_of(config, preprocessing), num_classes)


def make_feature_space(
    config: TrainConfig,
    network: ImageClassifier,
    preprocessing: Preprocessing,
    device: torch.device,
    folder: Path | None = None,
) -> FeatureSpace:
    """Returns the features of a network's frozen backbone; nothing is computed yet.

    Args:
        config: the views that predictions are the mean over, and the precision; float32 where none was chosen.
        network: of images.
        preprocessing: how rows become its input.
        device: where the backbone computes.
        folder: where features are kept; None is the cache.
    """
    averaged, precision = Averaged.of(architecture_of(config, preprocessing)), precision_named(config.feature_precision)
    folder = features_folder() if folder is None else folder
    return FeatureSpace.of(network, preprocessing, folder, device, averaged, precision)


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
