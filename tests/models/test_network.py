"""A network is built from the plain values that describe it, and what describes none is refused by its setting."""

from dataclasses import replace

import pytest
import torch

from dalib.core.errors import UserError
from dalib.data.preprocessing import Preprocessing
from dalib.models.architecture import Architecture, TimmSettings
from dalib.models.averaged import AveragedFeatures, AveragedViews
from dalib.models.network import BACKBONES, load_model, make_classifier, make_predictor
from dalib.models.saved import ModelDescription, save_model
from dalib.run.settings.backbones import OUR_BACKBONES

SMALL = Architecture(backbones=("small",), bottleneck_dim=8, channels=3, size=8)


@pytest.mark.parametrize("bottleneck_dim", [8, None])
@pytest.mark.parametrize(("backbone", "size"), [("small", 8), ("paper-small", 16), ("paper-large", 12)])
def test_every_architecture_can_be_built_again(tmp_path, backbone, size, bottleneck_dim):
    architecture = Architecture(backbones=(backbone,), bottleneck_dim=bottleneck_dim, channels=1, size=size)
    original = make_classifier(architecture, 2)
    description = ModelDescription(architecture, ("a", "b"), Preprocessing(size, 1))
    save_model(tmp_path / "model", original, description)
    before = torch.get_rng_state()
    loaded, found = load_model(tmp_path / "model")
    assert torch.equal(torch.get_rng_state(), before), "a program that loads a model loses no random number"
    images = torch.randn(2, 1, size, size)
    torch.testing.assert_close(loaded(images), original.eval()(images))
    assert found == description


def test_the_small_backbones_are_those_that_the_configuration_names():
    assert BACKBONES.keys() == set(OUR_BACKBONES)


def test_of_stored_features_there_is_the_head_alone():
    architecture = replace(SMALL, averaged_views=2).on_features(5)
    head = make_classifier(architecture, 2).eval()
    assert head(torch.zeros(3, 5)).shape == (3, 2)
    predictor = make_predictor(head, architecture)
    assert isinstance(predictor, AveragedFeatures)
    assert predictor(torch.zeros(3, 4, 5)).shape == (3, 2)  # of four views each


@pytest.mark.parametrize("count", [0, 2])
def test_predictions_are_the_mean_over_views_where_the_architecture_has_some(count):
    network = make_classifier(SMALL, 2).eval()
    predictor = make_predictor(network, replace(SMALL, averaged_views=count))
    assert isinstance(predictor, AveragedViews) if count else predictor is network


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbones": ("resnet5000",)}, "resnet5000.*ours are small, digits, paper-small, paper-large"),
        ({"backbones": ("small,digits",)}, "for several backbones, repeat the setting"),
        ({"dropout": 1.5}, "dropout: expected at least 0 and below 1"),
    ],
)
def test_what_describes_no_network_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        make_classifier(replace(SMALL, timm=TimmSettings(frozen_stages=0, checkpointing=False), **changes), 2)


def test_more_frozen_stages_than_there_are_name_their_setting():
    architecture = replace(
        SMALL, backbones=("test_resnet",), timm=TimmSettings(frozen_stages=99, checkpointing=False), channels=3, size=32
    )
    with pytest.raises(UserError, match=r"^model\.frozen_stages=99: test_resnet has \d+ stages; expected 0 to"):
        make_classifier(architecture, 2)


def test_a_negative_number_of_views_is_refused():
    with pytest.raises(UserError, match="averaged_views"):
        make_predictor(make_classifier(SMALL, 2), replace(SMALL, averaged_views=-1))


def test_a_backbone_that_is_nearly_a_short_name_gets_one_question():
    with pytest.raises(UserError, match=r"backbone='lite': unknown network of timm's \(.*\); did you mean") as caught:
        make_classifier(replace(SMALL, backbones=("lite",), timm=TimmSettings(frozen_stages=0, checkpointing=False)), 2)
    assert str(caught.value).count("did you mean") == 1
