"""The line of a run's length, which tells its time and its model before images are read."""

import time
from dataclasses import replace

import pytest
import yaml

from dalib.commands.main import run
from dalib.engine.distributed import World
from dalib.run.length import say_length
from dalib.run.settings.config import TrainConfig
from dalib.run.setup import prepare


def test_the_line_after_the_opening_tells_time_and_model(noise, slow_machine, tmp_path, capsys):
    assert run(["train", *noise, "--steps", "40", "--keep", "adapted", "--out", str(tmp_path / "run")]) == 0
    opening, first = capsys.readouterr().out.splitlines()[:2]
    assert first == (
        "less than a minute in all, as measured on this machine: training of the source-only model and then the "
        "adapted model, which becomes the selected model"
    )
    assert opening == f"source {noise[1]}, target {noise[3]}: preparing the run"
    assert run(["train", *noise, "--steps", "4", "--method", "source-only", "--out", str(tmp_path / "one")]) == 0
    _, first = capsys.readouterr().out.splitlines()[:2]
    assert first == "Training of the source-only model, which becomes the selected model"


def test_several_processes_are_told_the_plan_without_a_time(capsys, monkeypatch):
    monkeypatch.setattr(
        "dalib.run.length.measure_pace",
        lambda *given, **more: pytest.fail("one process would wait for the others"),
    )
    setup = replace(prepare(TrainConfig(steps=100), World()), world=World(size=2))
    say_length(setup, time.monotonic())
    assert "becomes the selected model" in capsys.readouterr().out


def test_an_epoch_is_of_the_images_to_train_on_as_in_the_run(noise, slow_machine, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("dalib.run.length.SHORT", 0)
    steps = []
    monkeypatch.setattr("dalib.run.length.seconds_of_run", lambda config, *given: steps.append(config.steps) or {})
    epochs = ["--epochs", "4", "--baseline", "false", "--data.validation_share", "0.5"]
    for path in sorted((tmp_path / "target").rglob("*.png"))[4:]:
        path.unlink()
    assert run(["train", *noise, *epochs, "--out", str(tmp_path / "run")]) == 0
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert steps == [written["steps"]]
