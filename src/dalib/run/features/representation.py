"""What computes features of images: a trained classifier, or a pretrained backbone without a run."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from dalib.core.errors import Setting, UserError
from dalib.data.preprocessing import Preprocessing
from dalib.engine.features import weights_fingerprint
from dalib.models.classifier import ImageClassifier
from dalib.models.hub import fetch_network, is_hub, settings_in_cache
from dalib.models.network import BACKBONES, known_backbone
from dalib.models.pretrained import PretrainedBackbone, pretrained_settings
from dalib.models.representation import FeatureNetwork, PixelsToFeatures, layer_in_words
from dalib.models.weights import load_weights, ways_to_weights
from dalib.run.features.fastest import LARGE, fastest_classifier, in_batches
from dalib.run.settings.backbones import HUB, NamedBackbone
from dalib.run.settings.image_defaults import require_weights_of_short_names, settings_of_short_name

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Tensor

    from dalib.models.saved import ModelDescription
    from dalib.run.settings.backbones import WeightsOrder

MARGIN = 0.875
"""Share of a stored image's side that a pretrained backbone sees: 224 pixels of 256."""


def representation_of(network: ImageClassifier, description: ModelDescription, device: torch.device) -> FeatureNetwork:
    """Returns a function that computes a trained classifier's features, of the layer that ``layer_in_words`` names."""
    of_backbone = description.architecture.trained_on_features
    layer = layer_in_words(description.architecture)
    return _representation(network, description.preprocessing, device, layer, of_backbone=of_backbone)


def representation_alone(backbone: NamedBackbone, device: torch.device) -> tuple[FeatureNetwork, Preprocessing, str]:
    """Returns a function that computes the features of a pretrained backbone that no run has trained.

    Args:
        backbone: name and weights, as :func:`named_backbone` returns them.
        device: where it computes.

    Returns:
        It, how images reach it, and a hash of its weights.

    Raises:
        UserError: a network that timm does not know, or weights that are missing or do not fit.
    """
    preprocessing = preprocessing_of(backbone)
    network = known_backbone(
        backbone.name, lambda name: PretrainedBackbone(name, preprocessing.channels, preprocessing.input_size)
    )
    assert backbone.weights is not None
    load_weights(network, backbone.weights, backbone.weights_order)
    weights = weights_fingerprint(network.state_dict())
    classifier = ImageClassifier(network, 1, None)
    found = _representation(classifier, preprocessing, device, f"backbone {backbone.name}", of_backbone=True)
    return found, preprocessing, weights


def named_backbone(backbone: str, weights: str | None = None, weights_order: WeightsOrder = "name") -> NamedBackbone:
    """Returns a pretrained backbone with the weights that its name implies; those of the hub are not fetched yet.

    Args:
        backbone: timm's name of a network, ``lite0``, ``lite1`` or ``lite2``, or ``hf_hub:OWNER/NAME``.
        weights: as the setting takes them; None for a name that implies its own.
        weights_order: how the tensors of a file are matched.

    Raises:
        UserError: several backbones, one of ours, weights that are missing or not installed, or no such repository.

    >>> named_backbone("lite0").name
    'tf_efficientnet_lite0'
    """
    if not isinstance(backbone, str) or backbone.startswith("["):
        raise UserError(Setting("backbone", str(backbone)), ": expected one network; compute the features of each")
    if backbone in BACKBONES:
        raise UserError(
            Setting("backbone", backbone),
            ": a small network that has no pretrained weights, so that its features would be random; expected a "
            "network of timm's, such as ",
            Setting("backbone", "lite0"),
            ", or the folder of a run that trained it",
        )
    given = {} if weights is None else {"weights": weights}
    short = settings_of_short_name(backbone, given)
    require_weights_of_short_names(backbone, short)
    name, weights = short.get("backbone", backbone), weights or short.get("weights")
    if is_hub(name):
        name, weights = fetch_network(name), name if weights in (None, HUB) else weights
    if weights is None:
        known_backbone(name, pretrained_settings)
        raise UserError(
            Setting("weights"),
            f": expected pretrained ones, without which features are random; {ways_to_weights(name)}",
        )
    return NamedBackbone(name, weights, short.get("weights_order", weights_order))


def preprocessing_of(backbone: NamedBackbone) -> Preprocessing:
    """Returns how images reach a backbone: as in the preset photo-features, whose sides are both scaled."""
    trained = known_backbone(backbone.name, pretrained_settings)
    trained = settings_in_cache(backbone.weights, backbone.name) or trained
    return Preprocessing(
        size=round(trained.input_size / MARGIN),
        channels=3,
        fit="stretch",
        mean=trained.mean,
        std=trained.std,
        crop=trained.input_size,
        interpolation="bicubic" if trained.interpolation == "bicubic" else "bilinear",
    )


def _representation(
    network: ImageClassifier, preprocessing: Preprocessing, device: torch.device, layer: str, *, of_backbone: bool
) -> FeatureNetwork:
    width = cast("int", network.backbone.out_features) if of_backbone else network.features_dim

    def computed(changed: Callable[[ImageClassifier, Preprocessing], ImageClassifier]) -> Callable[[Tensor], Tensor]:
        pixels_to_features = PixelsToFeatures(changed(network, preprocessing), preprocessing, of_backbone=of_backbone)
        return in_batches(pixels_to_features, preprocessing, device)

    large = device.type == "cpu" and preprocessing.input_size >= LARGE
    faster = partial(computed, fastest_classifier) if large else None
    return FeatureNetwork(layer, width, computed(lambda plain, _: plain), faster)
