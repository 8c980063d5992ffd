"""Statistics of the target's images as a model predicts them, where the source has none to give."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from dalib.core.console import CountedProgress, say, some_classes
from dalib.core.deviations import to_divide_by
from dalib.data.rows import Selected
from dalib.engine.predict import predict_with_features
from dalib.models.network import make_classifier
from dalib.run.settings.backbones import JOINED
from dalib.run.start.kit import FEWEST_IMAGES, MOST_PREDICTED, ClassStatistics

if TYPE_CHECKING:
    from torch import Tensor

    from dalib.data.preprocessing import Preprocessing
    from dalib.data.rows import Rows
    from dalib.models.classifier import ImageClassifier
    from dalib.run.start.kit import Kit

WithOwnStatistics = Callable[["ImageClassifier", "Preprocessing", "Rows", torch.device], "ImageClassifier"]
"""Makes of a network whose backbone stands twice the one with the statistics of a target's images
(``with_own_statistics`` of ``dalib.run.features.own_statistics``)."""


def network_for(
    kit: Kit, network: ImageClassifier, target: Rows, device: torch.device, with_own_statistics: WithOwnStatistics
) -> ImageClassifier:
    """Returns the network that predicts the target, with statistics of the target's images where it takes some."""
    if kit.domain_statistics == JOINED:
        network = with_own_statistics(network, kit.description.preprocessing, target, device)
    return network.to(device)


def predicted_features(kit: Kit, network: ImageClassifier, target: Rows, device: torch.device) -> tuple[Tensor, Tensor]:
    """Returns features (N, D) of evenly chosen target images, as a training draws them, and their predicted classes.

    N is at most MOST_PREDICTED.
    """
    rows = torch.linspace(0, len(target) - 1, min(MOST_PREDICTED, len(target)), dtype=torch.float64).round().long()
    seen: nn.Module = network.head
    if kit.of_frozen:  # what the backbone gives
        network, seen = copy.copy(network), nn.Identity()
        network._modules = {**network._modules, "pool_layer": nn.Sequential(network.pool_layer, seen)}
    plain = kit.description.preprocessing.normalize
    with CountedProgress("predictions of the model for the target") as progress:
        probabilities, features = predict_with_features(network, seen, Selected(target, rows), plain, device=device)
        progress(len(rows), len(rows))
    return features, probabilities.argmax(dim=1)


def with_stand_ins(kit: Kit, device: torch.device, with_own_statistics: WithOwnStatistics) -> Kit:
    """Returns a kit that takes statistics of classes which it has none of from the target, once that is there.

    Without them a training sees no vector of such a class, and its model forgets the class.
    """
    if not kit.header.left_out or kit.domain_statistics not in (0, JOINED):
        return kit

    def complete(own: Kit, target: Rows) -> Kit:
        network = make_classifier(own.description.architecture, len(own.description.classes))
        network.load_state_dict(kit.weights)
        network = network_for(own, network.eval(), target, device, with_own_statistics)
        return with_predicted_classes(own, *predicted_features(own, network, target, device))

    return replace(kit, complete=complete)


def with_predicted_classes(kit: Kit, features: Tensor, labels: Tensor) -> Kit:
    """Returns the kit with means of classes that it has none of, from the target's features (N, D) predicted as such.

    A mean is moved from the target's distribution of features to the source's: by the mean and the standard deviation
    of each feature over all images of the classes that the kit knows. Classes that are predicted for no image stay
    without a mean, and so do all where fewer than two images are predicted as known ones.
    """
    own = kit.statistics
    known = torch.isin(labels, own.classes)
    absent = torch.unique(labels[~known]).tolist()
    if not absent or int(known.sum()) < 2:
        return kit
    features = features.float()
    share = (torch.tensor(kit.header.counts)[own.classes] / sum(kit.header.counts))[:, None]
    mean = (share * own.mean).sum(dim=0)
    variance = own.factors.square().sum(dim=0) + own.rest.square() + (share * (own.mean - mean).square()).sum(dim=0)
    scale = variance.sqrt() / to_divide_by(features[known].std(dim=0))
    found = torch.stack([features[labels == each].mean(dim=0) for each in absent])
    classes = torch.cat([own.classes, torch.tensor(absent)])
    means, order = torch.cat([own.mean, mean + scale * (found - features[known].mean(dim=0))]), classes.argsort()
    names = some_classes([kit.description.classes[each] for each in absent])
    say(
        f"note: the kit has no statistics of {names}, which had fewer than {FEWEST_IMAGES} images; target images that "
        "its model predicts as such stand in for them"
    )
    return replace(kit, statistics=ClassStatistics(classes[order], means[order], own.factors, own.rest))
