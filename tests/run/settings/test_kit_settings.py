"""What a run takes of its settings from a kit, or from a model alone."""

import json

import pytest

from dalib.core.errors import UserError
from dalib.run.settings.kit_settings import folder_of_model, settings_of_kit, settings_of_whole

ARCHITECTURE = {"backbone": "digits", "bottleneck_dim": 8, "averaged_views": 4, "channels": 1, "size": 16}
PREPROCESSING = {"size": 16, "channels": 1, "fit": "ink", "mean": None, "crop": None, "interpolation": "bilinear"}


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"")
    content = {"architecture": ARCHITECTURE, "preprocessing": PREPROCESSING}
    (folder / "config.json").write_text(json.dumps(content))
    return folder


def test_a_model_alone_gives_network_and_preprocessing(model):
    found = settings_of_kit(model, {})
    assert found["backbone"] == "digits"
    assert found["model.bottleneck_dim"] == 8
    assert found["data.fit"] == "ink"
    assert "data.crop" not in found
    assert found["self_ensemble.information"] > 0
    assert "optimizer.lr" not in found
    assert settings_of_kit(model / "model.safetensors", {}) == found


def test_given_settings_stay_and_a_preset_from_scratch_is_slowed(model):
    found = settings_of_kit(model, {"preset": "digits", "data.fit": "crop"})
    assert "data.fit" not in found
    assert found["optimizer.lr"] == pytest.approx(1e-3)
    assert "optimizer.lr" not in settings_of_kit(model, {"preset": "digits", "optimizer.lr": 1e-4})


def test_a_training_on_features_keeps_the_settings_of_its_preset(model):
    (model / "config.json").write_text(
        json.dumps({"architecture": {**ARCHITECTURE, "backbone": "resnet18"}, "preprocessing": PREPROCESSING})
    )
    assert "self_ensemble.information" not in settings_of_kit(model, {})
    assert settings_of_kit(model, {})["prior"] == "uniform"  # the preset's needs the source's shares
    assert settings_of_kit(model, {"preset": "photo"})["self_ensemble.prototypes"] > 0
    assert settings_of_kit(model, {"features": "0"})["self_ensemble.prototypes"] > 0


def write_architecture(model, **changed):
    content = {"architecture": {**ARCHITECTURE, **changed}, "preprocessing": PREPROCESSING}
    (model / "config.json").write_text(json.dumps(content))


def test_a_backbone_that_stands_twice_is_one_with_both_kinds_of_statistics(model):
    write_architecture(model, backbone=["resnet18", "resnet18"])
    found = settings_of_kit(model, {})
    assert (found["backbone"], found["model.domain_statistics"]) == ("resnet18", "joined")
    write_architecture(model, backbone=["resnet18", "resnet50"] * 2)
    found = settings_of_kit(model, {})
    assert (found["backbone"], found["model.domain_statistics"]) == (["resnet18", "resnet50"], "joined")
    write_architecture(model, backbone=["resnet18", "resnet50"])
    assert "model.domain_statistics" not in settings_of_kit(model, {})


@pytest.mark.parametrize("given", [{"features": "0"}, {"features": 0}, {"preset": "photo"}])
def test_a_backbone_that_stands_twice_is_not_trained_as_a_whole(model, given):
    write_architecture(model, backbone=["resnet18", "resnet18"])
    with pytest.raises(UserError, match="is not trained as a whole"):
        settings_of_kit(model, given)


def test_another_backbone_is_refused_before_its_weights_are_looked_for(model):
    for other in ("lite1", "resnet50", ["digits", "resnet50"]):
        with pytest.raises(UserError, match="brings its own backbone, digits, with its weights; leave it out"):
            settings_of_kit(model, {"backbone": other, "weights": "hub"})
    assert "backbone" not in settings_of_kit(model, {"backbone": "digits"})
    write_architecture(model, backbone="tf_efficientnet_lite0")
    assert settings_of_kit(model, {"backbone": "lite0"})["model.bottleneck_dim"] == 8
    for name in ("weights", "weights_order"):
        with pytest.raises(UserError, match=f"{name}: it has no effect with kit="):
            settings_of_kit(model, {name: "hub"})


def test_an_adaptation_from_a_kit_starts_from_its_model_and_refuses_another_start(model):
    with pytest.raises(UserError, match=r"warm_start: it has no effect with kit=.*starts from the model of the kit"):
        settings_of_kit(model, {"warm_start": "false"})


def test_a_folder_for_other_libraries_is_told_what_it_is_good_for(model):
    (model / "config.json").write_text(json.dumps({"architecture": "resnet50", "pretrained_cfg": {}}))
    with pytest.raises(UserError) as told:
        settings_of_kit(model, {})
    assert ": a folder for timm, from which nothing is adapted" in str(told.value)
    assert f"backbone='resnet50' weights={str(model / 'model.safetensors')!r}" in str(told.value)
    (model / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(UserError, match=r"a model of transformers, from which .* hints beside a source"):
        settings_of_kit(model, {})


def test_settings_of_the_run_are_kept_where_they_are_larger():
    settings = {"self_ensemble": {"information": 0.4, "prototypes": 0.9}, "warm_start": True}
    assert settings_of_whole(settings) == {"self_ensemble.information": 0.4, "self_ensemble.prototypes": 0.9}


def test_what_is_no_model_is_refused_with_a_remedy(model, tmp_path):
    assert folder_of_model(tmp_path / "studio.dalib") is None
    (tmp_path / "images").mkdir()
    with pytest.raises(UserError, match=r"config\.json"):
        folder_of_model(tmp_path / "images")
    other = model / "other.safetensors"
    other.write_bytes(b"")
    with pytest.raises(UserError, match=r"model\.safetensors"):
        folder_of_model(other)
    (model / "config.json").write_text("{}")
    with pytest.raises(UserError, match="does not describe a network"):
        settings_of_kit(model, {})
    (model / "summary.json").write_text("{}")
    with pytest.raises(UserError, match="a run; expected a kit"):
        folder_of_model(model)
