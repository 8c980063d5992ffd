"""The features of a trained network: of the backbone or before the head, of the plain image."""

import pytest
import torch

from dalib.data.preprocessing import Preprocessing
from dalib.models.architecture import Architecture, TimmSettings
from dalib.models.classifier import logits_of
from dalib.models.network import make_classifier
from dalib.models.representation import FeatureNetwork, PixelsToFeatures, layer_in_words

PREPROCESSING = Preprocessing(size=10, channels=1, crop=8)
IMAGES = torch.randint(0, 256, (6, 1, 10, 10), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    described = Architecture(backbones=("small",), bottleneck_dim=5, channels=1, size=8, standardize=True, dropout=0.5)
    network = make_classifier(described, 3).eval()
    network.set_feature_statistics(torch.randn(128), torch.rand(128) + 0.5)
    return network


def test_of_a_backbone_they_are_its_pooled_output_before_it_is_standardised(classifier):
    found = PixelsToFeatures(classifier, PREPROCESSING, of_backbone=True)(IMAGES)
    assert torch.equal(found, classifier.backbone(PREPROCESSING.normalize(IMAGES)))
    assert found.shape == (6, 128)


def test_otherwise_they_are_what_the_head_classifies(classifier):
    found = PixelsToFeatures(classifier, PREPROCESSING, of_backbone=False)(IMAGES)
    assert found.shape == (6, 5)
    assert torch.equal(classifier.head(found), logits_of(classifier, PREPROCESSING.normalize(IMAGES)))


def test_the_layer_is_that_of_a_frozen_backbone_or_the_input_of_the_classifier():
    frozen = TimmSettings(frozen_stages=-1, checkpointing=False, features=True)
    several = ("resnet18", "resnet50")
    described = Architecture(backbones=several, bottleneck_dim=5, channels=3, size=32, timm=frozen)
    assert layer_in_words(described) == "backbone resnet18 and resnet50"
    whole = TimmSettings(frozen_stages=0, checkpointing=False, pretrained=True)
    described = Architecture(backbones=("resnet18",), bottleneck_dim=5, channels=3, size=32, timm=whole)
    assert layer_in_words(described) == "input of the classifier of resnet18"


def test_a_faster_way_is_prepared_once():
    made = []

    def faster():
        made.append(1)
        return lambda images: images.float() + 1

    slow = FeatureNetwork("layer", 3, lambda images: images.float(), faster)
    fast = slow.for_many()
    assert fast.for_many() is fast
    assert torch.equal(fast.features(torch.zeros(2, 3)), torch.ones(2, 3))
    assert (fast.layer, fast.width, len(made)) == ("layer", 3, 1)
