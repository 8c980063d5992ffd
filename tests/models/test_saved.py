"""A model on disk comes back as it was, and what is damaged says so."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from dalib._version import __version__
from dalib.core.errors import UserError
from dalib.data.preprocessing import Preprocessing
from dalib.models.architecture import Architecture
from dalib.models.network import load_model, make_classifier
from dalib.models.saved import FORMAT, ModelDescription, load_description, save_model

ARCHITECTURE = Architecture(backbones=("small",), bottleneck_dim=8, channels=3, size=8)
CONTENT = ARCHITECTURE.to_json()
DESCRIPTION = ModelDescription(ARCHITECTURE, ("cat", "dog", "Bär"), Preprocessing(8, 3))


@pytest.fixture
def model():
    """With statistics of BatchNorm that no fresh network has."""
    network = make_classifier(ARCHITECTURE, 3)
    network(torch.randn(6, 3, 8, 8))
    return network


@pytest.fixture
def folder(tmp_path, model):
    save_model(tmp_path / "run" / "model", model, DESCRIPTION)
    return tmp_path / "run" / "model"


def test_a_saved_model_predicts_what_it_did(folder, model):
    loaded, description = load_model(folder)
    images = torch.randn(4, 3, 8, 8)
    assert not any(module.training for module in loaded.modules())
    torch.testing.assert_close(loaded(images), model.eval()(images))
    assert description == DESCRIPTION
    original = model.state_dict()
    assert loaded.state_dict().keys() == original.keys()
    assert all(torch.equal(value, original[name]) for name, value in loaded.state_dict().items())


@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing(8, 3, fit="stretch"),
        Preprocessing(8, 3, mean=(0.1, 0.2, 0.3), std=(1.0, 0.5, 0.25)),
        Preprocessing(8, 3, crop=6, interpolation="bicubic"),
    ],
)
def test_preprocessing_comes_back_as_it_was(tmp_path, model, preprocessing):
    save_model(tmp_path / "model", model, ModelDescription(ARCHITECTURE, ("a", "b", "c"), preprocessing))
    assert load_description(tmp_path / "model").preprocessing == preprocessing


def test_the_configuration_says_all_that_is_needed(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert json.loads((folder / "config.json").read_text(encoding="utf-8")) == {
        "format": 1,  # which older versions read as well
        "dalib": __version__,
        "architecture": {
            "backbone": "small",
            "bottleneck_dim": 8,
            "averaged_views": 0,
            "channels": 3,
            "size": 8,
            "bottleneck_norm": True,
            "dropout": 0.0,
            "standardize": False,
        },
        "classes": ["cat", "dog", "Bär"],
        "preprocessing": {
            "size": 8,
            "channels": 3,
            "fit": "crop",
            "mean": None,
            "std": None,
            "crop": None,
            "interpolation": "bilinear",
        },
    }


def test_saving_again_replaces_the_model_and_leaves_nothing_beside_it(folder, model):
    with torch.no_grad():
        model.head.bias.fill_(3.0)
    (folder / "stray.txt").write_text("of an older version")
    save_model(folder, model, DESCRIPTION)
    assert (load_model(folder)[0].head.bias == 3).all()
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    assert not (folder / "stray.txt").exists()


def test_tied_weights_and_channels_last_can_be_saved(tmp_path, model):
    model.to(memory_format=torch.channels_last)
    model.head_again = model.head
    save_model(tmp_path / "model", model, DESCRIPTION)
    assert (tmp_path / "model" / "model.safetensors").stat().st_size > 1000


def edit(folder, **changes):
    path = folder / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    for name, value in changes.items():
        content[name] = value(content[name]) if callable(value) else value
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(UserError, match=rf"{name}: no such file"):
        load_model(folder)


@pytest.mark.parametrize("keep", [0, 5, 100, -10])
def test_damaged_weights_are_named(folder, keep):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"model\.safetensors: damaged"):
        load_model(folder)


@pytest.mark.parametrize("content", [b"", b'{"format": 1,', b"\xff\xfe"])
def test_a_damaged_configuration_is_named(folder, content):
    (folder / "config.json").write_bytes(content)
    with pytest.raises(UserError, match=r"config\.json: expected JSON"):
        load_model(folder)


@pytest.mark.parametrize("content", ["[]", "3", "{}", '{"format": 1}', '{"format": "one"}'])
def test_json_that_is_no_model_is_named(folder, content):
    (folder / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"config\.json: not a model of dalib's"):
        load_model(folder)


def test_weights_that_are_nan_are_refused(folder):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["head.weight"][0, 0] = math.nan
    save_file(tensors, path)
    with pytest.raises(UserError, match=r"model\.safetensors: damaged \(head\.weight is NaN\)"):
        load_model(folder)


def test_two_classes_of_one_name_are_refused(folder):
    edit(folder, classes=["cat", "dog", "cat"])
    with pytest.raises(UserError, match=r"config\.json: not a model of dalib's.*classes: expected each name once"):
        load_model(folder)


SEVERAL = {
    **{"backbone": ["test_resnet", "test_vit"], "bottleneck_dim": 8, "channels": 3, "size": 32},
    **{"pretrained": True, "frozen_stages": -1, "checkpointing": False},
    "inputs": [{"size": size, "mean": [0.5] * 3, "std": [0.25] * 3} for size in (24, 32)],
}


def test_a_network_of_several_backbones_is_built_again(tmp_path):
    architecture = Architecture.from_json(SEVERAL)
    original = make_classifier(architecture, 2)
    description = ModelDescription(architecture, ("a", "b"), Preprocessing(32, 3))
    save_model(tmp_path / "model", original, description)
    loaded, found = load_model(tmp_path / "model")
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(loaded(images), original.eval()(images))
    assert found == description
    assert json.loads((tmp_path / "model" / "config.json").read_text())["format"] == 2  # older versions name it


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone": ["test_resnet"]}, "two backbones or more"),
        ({"backbone": ["test_resnet", 3]}, "two backbones or more"),
        ({"inputs": None}, "one for each of 2 backbones, got None"),
        ({"inputs": [{"size": 24}]}, "one for each of 2 backbones"),
        ({"inputs": [{"size": 24}, 3]}, "mean"),
        ({"inputs": [{**SEVERAL["inputs"][0], "size": 10**9}, SEVERAL["inputs"][1]]}, "number from 1 to 65536"),
        ({"inputs": [{**SEVERAL["inputs"][0], "std": [1.0]}, SEVERAL["inputs"][1]]}, "expected 3 numbers"),
        (
            {"inputs": [{**SEVERAL["inputs"][0], "std": [1.0, 0, 1]}, SEVERAL["inputs"][1]]},
            "std: expected numbers above 0",
        ),
        ({"inputs": [{**SEVERAL["inputs"][0], "mean": [math.nan] * 3}, SEVERAL["inputs"][1]]}, "expected 3 numbers"),
        ({"backbone": "test_resnet"}, "inputs: expected a number"),
    ],
)
def test_several_backbones_that_do_not_fit_are_named(folder, change, message):
    edit(folder, architecture={**SEVERAL, **change})
    with pytest.raises(UserError, match=rf"config\.json: not a model of dalib's.*{message}"):
        load_description(folder)


def test_a_newer_format_is_refused(folder):
    edit(folder, format=FORMAT + 1)
    with pytest.raises(UserError, match=rf"config\.json: written in format {FORMAT + 1}.*update dalib"):
        load_model(folder)


@pytest.mark.parametrize(
    "preprocessing",
    [
        lambda old: {**old, "channels": 2},
        lambda old: {**old, "size": "large"},
        lambda old: {**old, "unheard": 1},
        lambda old: {**old, "mean": [0.5]},
        lambda old: None,
    ],
)
def test_preprocessing_that_does_not_fit_is_named(folder, preprocessing):
    edit(folder, preprocessing=preprocessing)
    with pytest.raises(UserError, match=r"config\.json: not a model of dalib's"):
        load_model(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": ["cat", "dog"]},
        {"architecture": {**CONTENT, "bottleneck_dim": 9}},
        {"architecture": {**CONTENT, "backbone": "paper-small", "size": 16}},
    ],
)
def test_weights_that_do_not_fit_the_configuration_are_refused(folder, changes):
    edit(folder, **changes)
    with pytest.raises(UserError, match="weights do not fit"):
        load_model(folder)


@pytest.mark.parametrize(
    "architecture",
    [
        {**CONTENT, "backbone": "resnet"},
        {**CONTENT, "backbone": "paper-small", "size": 8},
        {**CONTENT, "bottleneck_dim": 0},
        {name: value for name, value in CONTENT.items() if name != "size"},
        {},
        None,
    ],
)
def test_an_architecture_that_cannot_be_built_is_refused(folder, architecture):
    edit(folder, architecture=architecture)
    with pytest.raises(UserError):
        load_model(folder)
