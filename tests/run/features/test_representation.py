"""What computes features: of a finished model, and of a pretrained backbone without a run."""

import pytest
import torch

from dalib.core.errors import UserError
from dalib.data.preprocessing import Preprocessing
from dalib.models.architecture import Architecture, TimmSettings
from dalib.models.network import make_classifier
from dalib.models.saved import ModelDescription
from dalib.run.features.representation import named_backbone, preprocessing_of, representation_alone, representation_of
from dalib.run.recipe.image_network import make_preprocessing
from dalib.run.settings.image_defaults import PHOTOGRAPH_SETTINGS
from dalib.run.settings.presets import from_preset

CPU = torch.device("cpu")


def pixels(size, count=9):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(("frozen", "width"), [(True, 96), (False, 8)])
def test_a_trained_model_gives_features_of_its_layer_also_when_prepared_for_many(frozen, width):
    timm = TimmSettings(frozen_stages=-1, checkpointing=False, features=frozen)
    described = Architecture(
        backbones=("test_resnet",), bottleneck_dim=8, channels=3, size=96, averaged_views=2, timm=timm
    )
    torch.manual_seed(0)
    network = make_classifier(described, 2).eval()
    preprocessing = Preprocessing(size=110, channels=3, crop=96, mean=(0.5,) * 3, std=(0.5,) * 3)
    found = representation_of(network, ModelDescription(described, ("a", "b"), preprocessing), CPU)
    features = found.features(pixels(110))
    pooled = network.backbone(preprocessing.normalize(pixels(110)))
    expected = pooled if frozen else network.before_head(pooled)
    assert found.width == width
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-4)
    many = found.for_many()
    assert many is not found
    torch.testing.assert_close(many.features(pixels(110)), features, atol=1e-4, rtol=1e-4)


def test_the_installed_backbone_sees_images_as_a_run_with_it_does():
    backbone = named_backbone("lite0")
    assert preprocessing_of(backbone) == make_preprocessing(from_preset("photo-features", **PHOTOGRAPH_SETTINGS))
    found, preprocessing, weights = representation_alone(backbone, CPU)
    assert preprocessing == preprocessing_of(backbone)
    features = found.features(pixels(preprocessing.size, 2))
    assert features.shape == (2, found.width) == (2, 1280)
    assert features.dtype == torch.float32
    assert not torch.equal(features[0], features[1])
    assert representation_alone(backbone, CPU)[2] == weights


def test_weights_of_a_file_are_taken(tmp_path):
    from safetensors.torch import save_file

    from dalib.models.pretrained import PretrainedBackbone

    network = PretrainedBackbone("test_resnet").eval()
    save_file(network.network.state_dict(), tmp_path / "own.safetensors")
    found, preprocessing, _ = representation_alone(named_backbone("test_resnet", f"{tmp_path}/own.safetensors"), CPU)
    rows = pixels(preprocessing.size, 3)
    torch.testing.assert_close(found.features(rows), network(preprocessing.normalize(rows)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("small",), r"backbone='small': a small network that has no pretrained weights"),
        (("test_resnet",), r"weights: expected pretrained ones, without which features are random; .*lite0"),
        (("resnet5",), r"backbone='resnet5': unknown network of timm's; did you mean"),
        (('["lite0", "lite1"]',), "expected one network; compute the features of each"),
        ((["lite0", "lite1"],), "expected one network; compute the features of each"),
    ],
)
def test_a_backbone_without_features_worth_having_is_refused(given, expected):
    with pytest.raises(UserError, match=expected):
        named_backbone(*given)


def test_weights_that_are_not_there_are_named():
    with pytest.raises(UserError, match=r"none\.safetensors: no such file"):
        representation_alone(named_backbone("test_resnet", "none.safetensors"), CPU)
