"""A model alone in place of the source: a kit whose statistics come from the target as the model predicts it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dalib.core.errors import Setting, UserError
from dalib.core.files import expanded
from dalib.models.architecture import has_backbones_twice
from dalib.models.joined import stands_twice, with_statistics_of_first_half
from dalib.models.network import load_classifier
from dalib.models.saved import content_of
from dalib.records.kit import KitHeader
from dalib.run.settings.backbones import JOINED
from dalib.run.settings.kit_settings import folder_of_model
from dalib.run.start.kit import ClassStatistics, Kit, open_kit
from dalib.run.start.target_statistics import WithOwnStatistics, network_for, predicted_features, with_stand_ins

if TYPE_CHECKING:
    from dalib.data.rows import Rows
    from dalib.models.classifier import ImageClassifier


def open_in_place_of_source(
    place: str, features: int, device: torch.device, with_own_statistics: WithOwnStatistics
) -> Kit:
    """Reads a kit, or a model alone as a kit that lacks what only the source can give.

    Classes that a kit has no statistics of, for want of images, get those of the target's images that its model
    predicts as such (:mod:`dalib.run.start.target_statistics`).

    Args:
        place: file or folder.
        features: random views of each image whose features are trained on; 0 trains the whole network.
        device: where the model predicts the target.
        with_own_statistics: gives a backbone that stands twice the statistics of the target's images.

    Raises:
        UserError: no such file, neither a kit nor a model, or one whose parts do not fit each other.
    """
    folder = folder_of_model(place)
    if folder is None:
        return with_stand_ins(open_kit(place), device, with_own_statistics)
    network, description = load_classifier(folder)
    digest = hashlib.blake2b((folder / "model.safetensors").read_bytes(), digest_size=16).hexdigest()
    classes = len(description.classes)
    settings: dict[str, Any] = {"features": features}
    if has_backbones_twice(description.architecture.backbones):
        network, settings = _pretrained(place, network), {**settings, "model.domain_statistics": JOINED}
    header = KitHeader(content_of(description), settings, (0,) * classes, (), digest)
    nothing = torch.zeros(0, 0)
    return Kit(
        place,
        header,
        description,
        network.state_dict(),
        ClassStatistics(torch.zeros(0, dtype=torch.int64), nothing, nothing, torch.zeros(0)),
        torch.zeros(0, classes),
        torch.zeros(0, dtype=torch.int64),
        model_alone=True,
        complete=lambda kit, target: _with_statistics(
            kit, network_for(kit, network, target, device, with_own_statistics), target, device
        ),
    )


def _pretrained(place: str, network: ImageClassifier) -> ImageClassifier:
    """Returns the network with the pretrained statistics in both halves of its backbone: the others were of its target.

    Raises:
        UserError: two different backbones of one name.
    """
    if not stands_twice(network.backbone):
        raise UserError(
            Setting("kit", place),
            ": it has two backbones of the same name and with different weights, which its config.json does not tell "
            "apart; expected a model of one backbone, or of backbones with different names",
        )
    network.backbone = with_statistics_of_first_half(network.backbone)
    return network


def _with_statistics(kit: Kit, network: ImageClassifier, target: Rows, device: torch.device) -> Kit:
    """Returns the kit with statistics of the target's features, by the classes that the model predicts.

    Raises:
        UserError: it predicts one class for all of them.
    """
    features, labels = predicted_features(kit, network, target, device)
    counts = torch.bincount(labels, minlength=len(kit.description.classes))
    if int((counts > 0).sum()) < 2:
        raise UserError(
            Setting("target"),
            f": the model predicts {kit.description.classes[int(counts.argmax())]} for all of {len(labels)} images, so "
            "that there is nothing to adapt from; expected a model of this kind of images, got ",
            Setting("kit", kit.path),
        )
    left_out = tuple(name for name, count in zip(kit.description.classes, counts.tolist(), strict=True) if not count)
    # of the user's own images, whose means may be of few
    statistics = ClassStatistics.of(features[:, None], labels, len(counts), fewest=1)
    header = replace(kit.header, counts=tuple(counts.tolist()), left_out=left_out)
    return replace(kit, header=header, statistics=statistics)


def files_of(place: str) -> list[Path]:
    """Returns the files that stand in for the source."""
    folder = folder_of_model(place)
    return [Path(expanded(place))] if folder is None else [folder / "config.json", folder / "model.safetensors"]
