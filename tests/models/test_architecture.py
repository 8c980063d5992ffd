"""An architecture and its JSON: what was written comes back, and what describes no network is refused."""

import json
from dataclasses import replace

import pytest

from dalib.models.architecture import MAX_NUMBER, Architecture, BackboneInput, TimmSettings

SMALL = Architecture(backbones=("small",), bottleneck_dim=8, channels=3, size=8)
PHOTO = Architecture(
    backbones=("resnet18",),
    bottleneck_dim=None,
    averaged_views=8,
    channels=3,
    size=224,
    bottleneck_norm=False,
    dropout=0.5,
    standardize=True,
    timm=TimmSettings(pretrained=True, frozen_stages=-1, frozen_norms=True, checkpointing=True, features=True),
)
INPUTS = (BackboneInput(24, (0.5, 0.4, 0.3), (0.25, 0.25, 0.2)), BackboneInput(32, (0.5,) * 3, (0.25,) * 3))
SEVERAL = replace(PHOTO, backbones=("test_resnet", "test_vit"), size=32, inputs=INPUTS)

FIRST = {"backbone": "small", "bottleneck_dim": 8, "channels": 3, "size": 8}
"""What the first version wrote."""

FIRST_OF_PHOTOS = {
    **{"backbone": "resnet18", "bottleneck_dim": None, "averaged_views": 8, "channels": 3, "size": 224},
    **{"bottleneck_norm": False, "dropout": 0.5, "standardize": True},
    **{"pretrained": True, "frozen_stages": -1, "checkpointing": True, "features": True},
}
"""What the first version with photographs wrote."""


def test_the_json_of_our_own_backbone_has_no_settings_of_timms():
    assert json.dumps(SMALL.to_json()) == (
        '{"backbone": "small", "bottleneck_dim": 8, "averaged_views": 0, "channels": 3, "size": 8, '
        '"bottleneck_norm": true, "dropout": 0.0, "standardize": false}'
    )


@pytest.mark.parametrize("architecture", [SMALL, PHOTO])
def test_mirroring_is_written_where_somebody_chose_it(architecture):
    assert architecture.mirrors == (architecture.timm is not None)
    for mirrored in (True, False):
        chosen = replace(architecture, averaged_views=2, mirrored=mirrored)
        assert chosen.to_json()["mirrored"] is mirrored
        assert Architecture.from_json(chosen.to_json()) == chosen
        assert chosen.mirrors == mirrored
    assert "mirrored" not in architecture.to_json()


def test_the_json_of_timms_backbones_has_their_settings():
    assert json.dumps(PHOTO.to_json()) == (
        '{"backbone": "resnet18", "bottleneck_dim": null, "averaged_views": 8, "channels": 3, "size": 224, '
        '"bottleneck_norm": false, "dropout": 0.5, "standardize": true, '
        '"pretrained": true, "frozen_stages": -1, "frozen_norms": true, "checkpointing": true, "features": true}'
    )
    assert SEVERAL.to_json() == {
        **{name: value for name, value in PHOTO.to_json().items() if name not in ("backbone", "size")},
        "backbone": ["test_resnet", "test_vit"],
        "size": 32,
        "inputs": [
            {"size": 24, "mean": [0.5, 0.4, 0.3], "std": [0.25, 0.25, 0.2]},
            {"size": 32, "mean": [0.5] * 3, "std": [0.25] * 3},
        ],
    }
    assert list(SEVERAL.to_json())[8:10] == ["inputs", "pretrained"]


@pytest.mark.parametrize(
    "architecture",
    [SMALL, PHOTO, SEVERAL, PHOTO.on_features(512), replace(SMALL.on_features(4), takes_head_features=True)],
)
def test_an_architecture_comes_back_from_its_json(architecture):
    found = Architecture.from_json(json.loads(json.dumps(architecture.to_json())))
    assert found == architecture
    assert found.to_json() == architecture.to_json()


@pytest.mark.parametrize("older", [FIRST, FIRST_OF_PHOTOS])
def test_what_an_older_version_did_not_write_has_its_default_and_is_not_written_either(older):
    found = Architecture.from_json(older)
    assert found == (SMALL if older is FIRST else replace(PHOTO, timm=replace(PHOTO.timm, frozen_norms=False)))
    assert json.dumps(found.to_json()) == json.dumps(older)
    assert replace(found, dropout=0.25).to_json()["dropout"] == 0.25  # another value is never lost


def test_a_setting_that_is_absent_is_the_same_as_one_of_the_default():
    assert hash(Architecture.from_json(FIRST)) == hash(Architecture.from_json(SMALL.to_json())) == hash(SMALL)


def test_flags_are_taken_by_their_truth():
    found = Architecture.from_json({**FIRST, "standardize": 1, "bottleneck_norm": None})
    assert (found.standardize, found.bottleneck_norm) == (True, False)


@pytest.mark.parametrize("content", [None, [], "small", {}, {"backbone": 3}])
def test_what_is_no_architecture_is_refused(content):
    with pytest.raises(TypeError, match=r"architecture: expected settings of a backbone, got "):
        Architecture.from_json(content)


@pytest.mark.parametrize("name", ["bottleneck_dim", "channels", "size", "frozen_stages", "checkpointing"])
def test_a_setting_without_a_default_that_is_missing_is_named(name):
    content = PHOTO.to_json()
    del content[name]
    with pytest.raises(KeyError, match=name):
        Architecture.from_json(content)


@pytest.mark.parametrize("value", [3, "three", None])
@pytest.mark.parametrize("name", ["unheard", "backbones", "timm", "left_out"])
def test_an_unknown_setting_is_refused(name, value):
    with pytest.raises(ValueError, match=rf"architecture: {name}: not a setting that this version knows; update dalib"):
        Architecture.from_json({**FIRST, name: value})


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [
        ("size", 0, 1),
        ("size", MAX_NUMBER + 1, 1),
        ("size", None, 1),
        ("size", True, 1),
        ("size", 8.0, 1),
        ("channels", "3", 1),
        ("bottleneck_dim", 0, 1),
        ("frozen_stages", -2, -1),
        ("averaged_views", -1, 0),
        ("averaged_views", None, 0),
        ("averaged_views", True, 0),
        ("dropout", None, 0),
        ("dropout", float("nan"), 0),
        ("standardize", "true", 0),
        ("features_dim", [4], 0),
    ],
)
def test_a_setting_out_of_its_range_is_named_with_the_range(name, value, least):
    message = rf"architecture: {name}: expected a number from {least} to 65536, got "
    with pytest.raises(ValueError, match=message):
        Architecture.from_json({**PHOTO.to_json(), name: value})


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"backbone": []}, TypeError, "two backbones or more"),
        ({"backbone": ["test_resnet", None]}, TypeError, "two backbones or more"),
        ({"inputs": None}, TypeError, "one for each of 2 backbones, got None"),
        ({"inputs": [{}, {}]}, KeyError, "size"),
        ({"inputs": [{"size": 0}, {}]}, ValueError, "inputs: size: expected a number from 1 to 65536, got 0"),
        ({"channels": 1}, ValueError, "inputs: mean: expected 1 numbers"),
        ({"inputs": 2 * [{"size": 9, "mean": [0] * 3, "std": [1] * 3, "crop": 8}]}, ValueError, "inputs: crop: "),
        ({"backbone": "test_resnet"}, ValueError, "inputs: expected a number"),
    ],
)
def test_several_backbones_whose_inputs_do_not_fit_are_refused(changes, error, message):
    with pytest.raises(error, match=message):
        Architecture.from_json({**SEVERAL.to_json(), **changes})


def test_questions_that_networks_ask_of_it():
    features = PHOTO.on_features(512)
    assert [each.several for each in (SMALL, PHOTO, SEVERAL)] == [False, False, True]
    assert [each.of_stored_features for each in (SMALL, PHOTO, features)] == [False, False, True]
    assert [each.pretrained for each in (SMALL, PHOTO)] == [False, True]
    assert [each.trained_on_features for each in (SMALL, PHOTO)] == [False, True]
    assert replace(features, features_dim=None) == PHOTO


def test_each_of_several_backbones_alone_has_its_own_size():
    assert SEVERAL.members() == (
        replace(PHOTO, backbones=("test_resnet",), size=24),
        replace(PHOTO, backbones=("test_vit",), size=32),
    )
