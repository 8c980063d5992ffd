"""`dalib backbones`: the list that is printed."""

# ruff: noqa: F811 - fixtures that are imported are the arguments of tests

import json

import torch

from dalib.commands.main import run
from dalib.run.settings.at_hand import describe_machine
from hub_at_hand import NETWORK, filled, hub_cache, measured  # noqa: F401


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


def test_a_device_that_is_not_here_is_refused(hub_cache, measured, capsys):
    assert run(["backbones", "--device", "meta"]) == 2
    assert "--device meta: expected auto, cpu, cuda or mps" in capsys.readouterr().err
