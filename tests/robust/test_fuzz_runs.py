"""Damaged files of runs, models, weights and configurations give the documented errors, and nothing else."""

from __future__ import annotations

import json
import warnings
from functools import partial
from typing import TYPE_CHECKING

import pytest
import torch
import yaml
from mutations import bounded, bounded_memory, misshapen, mutated, tried
from safetensors.torch import save
from torch import nn
from whole_run import contents, write_run

from dalib.commands import main
from dalib.commands.config_file import read_config
from dalib.core.errors import UserError
from dalib.engine.checkpoint import Checkpoint, CheckpointFolder
from dalib.models.network import load_model
from dalib.models.weights import load_weights
from dalib.report.page import write_report
from dalib.run import train
from dalib.run.settings.config import TrainConfig
from dalib.run.settings.config_file import config_text

if TYPE_CHECKING:
    from pathlib import Path

CPU = torch.device("cpu")


def slow(count: int):
    return pytest.param(count, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])


def checkpoint(step: int) -> Checkpoint:
    method = {
        "student": nn.Linear(3, 2).state_dict(),
        "teacher": {"updates": step, "module": nn.Linear(3, 2).state_dict()},
    }
    return Checkpoint(step, method, {"state": {0: {"exp_avg": torch.zeros(2, 3)}}, "param_groups": [{"lr": 0.1}]})


# --- checkpoints


@pytest.mark.parametrize("count", [150, slow(5000)])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, count):
    folder = CheckpointFolder(tmp_path)
    folder.save(checkpoint(4))
    folder.save(checkpoint(8))
    newest = tmp_path / "step-000000008.pt"
    passed_over = 0
    with bounded_memory():
        for number, content in enumerate(mutated(newest.read_bytes(), "checkpoint", count)):
            newest.write_bytes(content)
            with bounded(number), warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                found, refusal = tried(lambda: folder.newest(CPU))
            if refusal:
                assert "update dalib" in refusal
                continue
            assert isinstance(found, Checkpoint)
            assert found.step in (4, 8)
            if found.step == 4:
                assert any("passed over" in str(each.message) for each in caught)
                passed_over += 1
            else:
                assert torch.equal(found.optimizer["state"][0]["exp_avg"], torch.zeros(2, 3))
    assert passed_over > count / 2


# --- weights


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)


@pytest.mark.parametrize("count", [150, slow(10_000)])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_damaged_weights_are_read_or_refused(tmp_path, kind, count):
    torch.manual_seed(0)
    file = tmp_path / f"w{'.safetensors' if kind == 'safetensors' else '.pth'}"
    if kind == "safetensors":
        file.write_bytes(save(Small().state_dict()))
    else:
        torch.save({"model": Small().state_dict()}, file, _use_new_zipfile_serialization=kind == "zip")
    load_weights(Small(), file)
    refused = 0
    with bounded_memory():
        for number, content in enumerate(mutated(file.read_bytes(), f"weights {kind}", count)):
            file.write_bytes(content)
            module = Small()
            with bounded(number):
                _, refusal = tried(partial(load_weights, module, file))
            if refusal:
                assert "w." in refusal
                refused += 1
            else:
                assert all(bool(tensor.isfinite().all()) for tensor in module.state_dict().values())
    assert 0 < refused <= count


# --- models


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def restored(run):
    """The run, as it was again afterwards."""
    before = {path: path.read_bytes() for path in run.root.rglob("*") if path.is_file()}
    yield run
    for path in run.root.rglob("*"):
        if path.is_file():
            path.unlink()
    for path, content in before.items():
        path.write_bytes(content)


@pytest.mark.parametrize("count", [100, slow(5000)])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_damaged_model_is_loaded_or_refused(restored, name, count):
    path = restored.model / name
    load_model(restored.model)
    with bounded_memory():
        for number, content in enumerate(mutated(path.read_bytes(), f"model {name}", count)):
            path.write_bytes(content)
            with bounded(number):
                _load_or_refuse(restored.model)


@pytest.mark.parametrize("count", [200, slow(5000)])
def test_a_description_of_other_values_is_loaded_or_refused(restored, count):
    path = restored.model / "config.json"
    valid = json.loads(path.read_text())
    with bounded_memory():
        for number, content in enumerate(misshapen(valid, "description", count)):
            path.write_text(json.dumps(content))
            with bounded(number):
                _load_or_refuse(restored.model)


def _load_or_refuse(folder: Path) -> None:
    loaded, refusal = tried(lambda: load_model(folder))
    if loaded is None:
        assert str(folder) in refusal
    else:
        model, description = loaded
        assert all(isinstance(name, str) for name in description.classes)
        size = description.architecture.size
        logits = model(torch.zeros(2, description.architecture.channels, size, size))
        assert logits.shape == (2, len(description.classes))


# --- reports


@pytest.mark.parametrize("count", [4, slow(1000)])
@pytest.mark.parametrize("name", contents())
def test_a_report_of_other_values_is_written_or_refused(restored, name, count):
    path = restored.root / name
    write_report(restored)
    for number, content in enumerate(misshapen(contents()[name], f"report {name}", count)):
        path.write_text(json.dumps(content))
        with bounded(number):
            written, refusal = tried(lambda: write_report(restored))
        assert written == restored.report or str(restored.root) in refusal


@pytest.mark.parametrize("count", [4, slow(2000)])
@pytest.mark.parametrize("name", contents())
def test_a_report_of_damaged_files_is_written_or_refused(restored, name, count):
    path = restored.root / name
    for number, content in enumerate(mutated(path.read_bytes(), f"report {name}", count)):
        path.write_bytes(content)
        with bounded(number):
            written, refusal = tried(lambda: write_report(restored))
        assert written == restored.report or str(restored.root) in refusal


# --- configurations


@pytest.fixture
def no_training(monkeypatch):
    """`dalib train` up to where training begins; the configurations that came so far."""
    came: list[TrainConfig] = []

    def stop(config: TrainConfig, **_: object) -> None:
        came.append(config)
        raise UserError("enough")

    monkeypatch.setattr(train, "train", stop)
    return came


@pytest.mark.parametrize("count", [15, slow(2000)])
def test_a_damaged_configuration_is_read_or_refused(tmp_path, capsys, no_training, count):
    path = tmp_path / "c.yaml"
    valid = config_text(TrainConfig(steps=5, source=["a", "b"])).encode()
    path.write_bytes(valid)
    assert main.run(["train", "--config", str(path)]) == 2
    assert len(no_training) == 1
    for number, content in enumerate(mutated(valid, "configuration", count)):
        path.write_bytes(content)
        with bounded(number):
            assert main.run(["train", "--config", str(path)]) == 2
        assert capsys.readouterr().err.count("dalib: error: ") >= 1
    assert all(isinstance(config, TrainConfig) for config in no_training)


@pytest.mark.parametrize("count", [15, slow(2000)])
def test_a_configuration_of_other_values_is_read_or_refused(tmp_path, no_training, capsys, count):
    path = tmp_path / "c.yaml"
    valid = yaml.safe_load(config_text(TrainConfig(steps=5)))
    for number, content in enumerate(misshapen(valid, "values", count)):
        path.write_text(yaml.safe_dump(content))
        with bounded(number):
            assert main.run(["train", "--config", str(path)]) == 2
            found, refusal = tried(lambda: read_config(path))
        assert isinstance(found, TrainConfig) or refusal
    capsys.readouterr()
