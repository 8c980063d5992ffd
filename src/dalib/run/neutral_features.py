"""Features of a run's images by a network that none of its trainings has changed, for the judgement."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dalib.engine.evaluate import evaluated_rows, representing_rows
from dalib.judge.structure import Representation
from dalib.models.pretrained import PretrainedBackbone, pretrained_settings
from dalib.models.weights import load_weights, locate_weights
from dalib.run.feature_space import features_folder, images_at_once, kept_fastest
from dalib.run.photographs import SHORT_NAMES, WEIGHTS_PACKAGE

if TYPE_CHECKING:
    from collections.abc import Callable

    from dalib.data.rows import Rows
    from dalib.data.sources import LabelledImages

PIXELS = 96
"""Side of the images that the network sees: less than half of what it learnt from, because a judgement has to be
cheap."""

MOST_OF_SOURCE = 1000
"""Source images that are read."""


def neutral_representation(source: LabelledImages, target: Rows, device: torch.device) -> Representation | None:
    """Returns what the pretrained network that is installed with dalib sees of both domains.

    Networks that are trained as a whole have features of their own, and each favours the model that it was trained
    with. EfficientNet-Lite0 with ImageNet's weights favours none.

    Args:
        source: training images, (C, H, W) uint8, with their labels; at most 1000 are read.
        target: target images, (C, H, W) uint8; those that are evaluated are read.
        device: where the network computes.

    Returns:
        None where the weights are not installed, or images have neither one channel nor three.
    """
    channels = int(source.images[torch.zeros(1, dtype=torch.int64)].shape[1]) if len(source.labels) else 0
    if channels not in (1, 3) or find_spec(WEIGHTS_PACKAGE) is None:
        return None
    see = _installed_network(device)
    of_source = representing_rows(len(source.labels), MOST_OF_SOURCE)
    return Representation(
        see(target, evaluated_rows(len(target))), see(source.images, of_source), source.labels[of_source]
    )


def _installed_network(device: torch.device) -> Callable[[Rows, Tensor], Tensor]:
    """Returns what gives the features (N, D) of chosen rows."""
    name = SHORT_NAMES["lite0"]["backbone"]
    backbone = PretrainedBackbone(name, size=PIXELS)
    load_weights(backbone, locate_weights(SHORT_NAMES["lite0"]["weights"]), "position")
    batch, trained = images_at_once(device), pretrained_settings(name)
    quick = kept_fastest(backbone.to(device).eval(), (batch, 3, PIXELS, PIXELS), features_folder())
    mean, std = (torch.tensor(each, device=device)[:, None, None] for each in (trained.mean, trained.std))

    def see(rows: Rows, chosen: Tensor) -> Tensor:
        found = []
        for part in torch.split(chosen, batch):
            images = rows[part].to(device).float().expand(-1, 3, -1, -1) / 255
            images = torch.nn.functional.interpolate(images, (PIXELS, PIXELS), mode="bilinear", antialias=True)
            found.append(quick((images - mean) / std).float().cpu())
        return torch.cat(found)

    return see
