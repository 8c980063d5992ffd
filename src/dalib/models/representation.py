"""The features that a trained network gives of an image: one vector, of a layer that its description determines."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor, nn

from dalib.models.architecture import has_backbones_twice

if TYPE_CHECKING:
    from collections.abc import Callable

    from dalib.data.preprocessing import Preprocessing
    from dalib.models.architecture import Architecture
    from dalib.models.classifier import ImageClassifier


@dataclass(frozen=True)
class FeatureNetwork:
    """Computes features of stored images.

    Attributes:
        layer: which ones they are, in words.
        width: D, the number of features of an image.
        features: (N, C, size, size) uint8 -> (N, D) float32, on the CPU both.
        faster: prepares a faster way to compute the same, which takes about a second; None where there is none.
    """

    layer: str
    width: int
    features: Callable[[Tensor], Tensor]
    faster: Callable[[], Callable[[Tensor], Tensor]] | None = None

    def for_many(self) -> FeatureNetwork:
        """Returns it prepared for many images: its features are the same to rounding."""
        return self if self.faster is None else replace(self, features=self.faster(), faster=None)


class PixelsToFeatures(nn.Module):
    """Everything after decoding and scaling in one call: (N, C, size, size) uint8 -> features (N, D) float32.

    They are of the plain image, the centred crop without a warp, in evaluation mode.

    Args:
        classifier: network.
        preprocessing: normalises its input.
        of_backbone: whether the features are the pooled output of the backbone, before they are standardised; else they
            are the input of the head, behind standardisation and bottleneck.

    >>> import torch
    >>> from dalib.data.preprocessing import Preprocessing
    >>> from dalib.models.backbones import SmallBackbone
    >>> from dalib.models.classifier import ImageClassifier
    >>> classifier = ImageClassifier(SmallBackbone(1, 8), 3, bottleneck_dim=5).eval()
    >>> images = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    >>> [PixelsToFeatures(classifier, Preprocessing(8, 1), of_backbone=of)(images).shape[1] for of in (True, False)]
    [128, 5]
    """

    def __init__(self, classifier: ImageClassifier, preprocessing: Preprocessing, *, of_backbone: bool) -> None:
        super().__init__()
        self.classifier, self.preprocessing, self.of_backbone = classifier, preprocessing, of_backbone

    def forward(self, images: Tensor) -> Tensor:
        inputs = self.preprocessing.normalize(images)
        pooled: Tensor = self.classifier.pool_layer(self.classifier.backbone(inputs))
        return (pooled if self.of_backbone else self.classifier.before_head(pooled)).float()


def layer_in_words(architecture: Architecture) -> str:
    """Returns which features represent an image: those of a frozen backbone, else the input of the classifier.

    A network that was trained as a whole has learned what it needs in its last layer before the classes. One that was
    trained on stored features of its backbone has a backbone that no training has changed, unless its last stages
    were trained too: its features favour none of the models that were trained on them.

    >>> from dalib.models.architecture import Architecture, BackboneInput, TimmSettings
    >>> frozen = TimmSettings(frozen_stages=-1, checkpointing=False, features=True)
    >>> layer_in_words(Architecture(backbones=("resnet50",), bottleneck_dim=256, channels=3, size=224, timm=frozen))
    'backbone resnet50'
    >>> layer_in_words(Architecture(backbones=("small",), bottleneck_dim=256, channels=1, size=16))
    'input of the classifier of small'
    >>> inputs = (BackboneInput(224, (0.5,) * 3, (0.5,) * 3),) * 2
    >>> twice = {"backbones": ("resnet50",) * 2, "inputs": inputs, "bottleneck_dim": None}
    >>> layer_in_words(Architecture(**twice, channels=3, size=224, timm=frozen))
    'backbone resnet50, once with pretrained and once with own statistics'
    """
    backbones = " and ".join(dict.fromkeys(architecture.backbones))
    if has_backbones_twice(architecture.backbones):
        backbones += ", once with pretrained and once with own statistics"
    return f"backbone {backbones}" if architecture.trained_on_features else f"input of the classifier of {backbones}"
