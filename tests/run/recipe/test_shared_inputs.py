"""What the trainings of a run share: images, or standardised features, and a network of images made of either."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from dalib.models.network import make_predictor
from dalib.models.pretrained import PretrainedBackbone
from dalib.run.features.feature_space import standardization
from dalib.run.recipe import image_network, recipe
from dalib.run.recipe.shared_inputs import FrozenBackbone, training_inputs
from dalib.run.recipe.stages import LastStages
from dalib.run.settings.presets import from_preset
from dalib.run.start.domains import open_domains
from shaded_images import write_shades

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Of features of a tiny network, of two domains of two shades."""
    root = tmp_path_factory.mktemp("shared")
    write_shades(root, {"source/dark": 60, "source/light": 190, "target/a": 80, "target/b": 170}, count=10, size=36)
    torch.manual_seed(0)
    save_file(PretrainedBackbone("test_efficientnet", size=32).network.state_dict(), root / "w.safetensors")
    settings = {"source": f"{root}/source", "target": f"{root}/target", "data.size": 36, "data.crop": 32}
    of_features = {"features": 2, "data.validation_share": 0.2, "model.domain_statistics": 0.0, "cache": "ram"}
    backbone = {"backbone": "test_efficientnet", "weights": f"{root}/w.safetensors"}
    return from_preset("photo-features", **settings, **of_features, **backbone)


def opened(config):
    request, preprocessing = recipe.make_data_request(config), image_network.make_preprocessing(config)
    images = image_network.image_inputs(config, preprocessing)
    return request, preprocessing, images, open_domains(request, preprocessing)


def space_of(config, preprocessing):
    network = image_network.make_network(config, preprocessing, 2)
    return image_network.make_feature_space(config, network, preprocessing, CPU)


def test_features_are_standardised_by_the_domain_that_they_are_of(config):
    request, preprocessing, images, domains = opened(config)
    frozen = FrozenBackbone(space_of(config, preprocessing))
    inputs = training_inputs(images, request, domains, CPU, frozen=frozen)
    found, seen = inputs.standardized, inputs.domains
    for each, rows in ((found.source, seen.train), (found.target, seen.target)):
        assert torch.equal(each.mean, standardization(rows.images, CPU).mean)
    assert torch.equal(found.plain.mean, standardization(seen.to_predict, CPU).mean)
    of_source, whole = inputs.of("source-only")
    adapted, _ = inputs.of("adapted")
    rows = seen.to_predict[torch.arange(3)]
    assert torch.equal(of_source.plain(rows), of_source.plain_source(rows))
    assert not torch.equal(adapted.plain(rows), adapted.plain_source(rows))
    head = image_network.make_student(config, of_source.architecture, 2).eval()
    images = preprocessing.normalize(domains.target.images[torch.arange(3)])
    predicted = make_predictor(whole(head), inputs.images.architecture).eval()(images)
    expected = make_predictor(head, of_source.architecture)(of_source.plain(rows))
    torch.testing.assert_close(predicted.exp(), expected.exp(), atol=1e-2, rtol=0)  # features are in half precision


def test_images_reach_a_network_that_is_trained_whole_as_they_are(config):
    own = replace(config, features=0, model=replace(config.model, standardize=False))
    request, _, images, domains = opened(own)
    inputs = training_inputs(images, request, domains, CPU)
    assert inputs.domains is domains
    assert inputs.space is inputs.standardized is inputs.stages is None
    network = image_network.make_student(own, inputs.images.architecture, 2)
    assert inputs.of("adapted")[1](network) is network


@pytest.mark.parametrize("count", [0, 2])
def test_trainings_take_the_backbone_that_is_there(config, count):
    request, preprocessing, images, domains = opened(config)
    space = space_of(config, preprocessing)
    stages = LastStages.of(count, space, domains, images, request) if count else None
    inputs = training_inputs(images, request, domains, CPU, frozen=FrozenBackbone(space, stages=stages))
    assert inputs.space is space
    assert inputs.stages is stages
