"""A network from the plain values that describe it: with fresh weights, or as it was saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

import torch

from dalib.core.errors import Setting, UserError
from dalib.core.words import meant
from dalib.models.averaged import AveragedFeatures, AveragedViews
from dalib.models.backbones import DigitsBackbone, PaperLargeBackbone, PaperSmallBackbone, SmallBackbone, StoredFeatures
from dalib.models.classifier import ImageClassifier
from dalib.models.joined import JoinedBackbone
from dalib.models.pretrained import PretrainedBackbone
from dalib.models.saved import ModelDescription, load_description, load_tensors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import nn

    from dalib.models.architecture import Architecture

Made = TypeVar("Made")

BACKBONES: Mapping[
    str, Callable[[int, int], nn.Module]
] = {  # those that dalib.run.settings.backbones.OUR_BACKBONES names
    "small": SmallBackbone,
    "digits": DigitsBackbone,
    "paper-small": PaperSmallBackbone,
    "paper-large": PaperLargeBackbone,
}
"""Small networks of channels and size that are trained from random weights; all other names are timm's."""


def make_classifier(architecture: Architecture, num_classes: int) -> ImageClassifier:
    """Makes the network that an architecture describes, with fresh weights.

    Raises:
        UserError: a backbone that is unknown or does not take images of this size.
    """
    backbone = make_backbone(architecture)
    try:
        classifier = ImageClassifier(
            backbone,
            num_classes,
            architecture.bottleneck_dim,
            finetune=architecture.pretrained,
            bottleneck_norm=architecture.bottleneck_norm,
            dropout=architecture.dropout,
            standardize=architecture.standardize,
        )
    except ValueError as error:
        raise UserError(Setting("model"), f": {error}") from None
    classifier.takes_head_features = architecture.takes_head_features
    return classifier


def make_backbone(architecture: Architecture) -> nn.Module:
    """Makes the backbone of an architecture, or several as one; raises as :func:`make_classifier`."""
    if architecture.features_dim is not None:
        return StoredFeatures(architecture.features_dim)
    if architecture.several:
        members = [make_backbone(each) for each in architecture.members()]
        return JoinedBackbone(cast("list[PretrainedBackbone]", members), architecture.inputs)
    return known_backbone(architecture.backbones[0], lambda name: _make_backbone(name, architecture))


def _make_backbone(name: str, architecture: Architecture) -> nn.Module:
    if name in BACKBONES:
        return BACKBONES[name](architecture.channels, architecture.size)
    timm = architecture.timm
    if timm is None:
        raise KeyError("checkpointing")  # as for each setting without a default that a description lacks
    backbone = PretrainedBackbone(name, architecture.channels, architecture.size, checkpointing=timm.checkpointing)
    try:
        backbone.freeze_stages("all" if timm.frozen_stages < 0 else timm.frozen_stages)
    except ValueError as error:
        said = str(error).partition(": ")[2]
        raise UserError(Setting("model.frozen_stages", timm.frozen_stages), f": {said}") from None
    backbone.rest_norms(timm.frozen_norms)
    return backbone


def known_backbone(name: str, make: Callable[[str], Made]) -> Made:
    """Returns what ``make`` makes of a backbone's name.

    Raises:
        UserError: it raises one, or a ValueError, as for a network that timm does not know.
    """
    try:
        return make(name)
    except UserError:  # about another setting than the backbone's name
        raise
    except ValueError as error:
        ours = ", ".join(BACKBONES)
        several = "; for several backbones, repeat the setting" if "," in name else ""
        near = meant(name, [*BACKBONES, "lite0", "lite1", "lite2"])
        said = str(error).partition("; did you mean")[0] if near else error  # one question is enough
        raise UserError(
            Setting("backbone", name),
            f": {said} (ours are {ours}; lite0, lite1 and lite2 are short names; others are timm's{several}){near}",
        ) from None


def make_predictor(model: nn.Module, architecture: Architecture) -> nn.Module:
    """Returns the network that predicts: the model itself, or its mean over views.

    Raises:
        UserError: a negative number of views.
    """
    if architecture.of_stored_features:
        return AveragedFeatures(model)
    count = architecture.averaged_views
    try:
        return AveragedViews(model, count, flip=architecture.mirrors) if count else model
    except ValueError as error:
        raise UserError(Setting("model.averaged_views"), f": {error}") from None


def load_classifier(folder: Path) -> tuple[ImageClassifier, ModelDescription]:
    """Returns a saved network, in evaluation mode, and its description.

    Raises:
        UserError: files that are missing, damaged, or do not fit each other.
    """
    description = load_description(folder)
    try:
        with torch.random.fork_rng(devices=[]):  # weights that are replaced at once: no draw of the caller's is lost
            model = make_classifier(description.architecture, len(description.classes))
    except UserError as error:
        raise UserError(
            f"{folder}: config.json describes a network that this version does not know (", error, ")"
        ) from None
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{folder}: config.json does not describe a network ({type(error).__name__}: {error})"
        ) from None
    try:
        model.load_state_dict(load_tensors(folder))
    except RuntimeError as error:
        raise UserError(f"{folder}: the weights do not fit config.json ({error})") from None
    return model.eval(), description


def load_model(folder: Path) -> tuple[nn.Module, ModelDescription]:
    """Returns the network that predicts, in evaluation mode, and its description; raises as :func:`load_classifier`."""
    model, description = load_classifier(folder)
    return make_predictor(model, description.architecture).eval(), description
