"""Configuration files as the command line reads and prints them."""

import subprocess
import sys

import pytest
import yaml

from dalib.commands.config_file import read_config
from dalib.commands.main import run
from dalib.core.errors import UserError
from dalib.run.settings.config import TrainConfig


def test_the_configuration_survives_the_file(trained):
    config = read_config(trained / "config.yaml")
    assert config.steps == 4
    assert config.data.size == 16
    assert yaml.safe_load((trained / "config.yaml").read_text())["self_ensemble"]["alpha"] == config.self_ensemble.alpha


def test_a_file_that_is_refused_changes_nothing_of_the_next(trained, tmp_path):
    before = read_config(trained / "config.yaml")
    for content in ("steps: many", "bakbone: small", "optimizer: {lr: fast}", "data: 3"):
        (tmp_path / "refused.yaml").write_text(content)
        with pytest.raises(UserError):
            read_config(tmp_path / "refused.yaml")
    assert read_config(trained / "config.yaml") == before
    (tmp_path / "short.yaml").write_text("steps: 9")
    assert read_config(tmp_path / "short.yaml") == TrainConfig(steps=9)


def test_what_is_printed_without_defaults_keeps_the_preset(tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(["train", "--preset", "digits", "--batch", "7", "--print_config=skip_default"])
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed) == {"preset": "digits", "batch": 7}
    (tmp_path / "printed.yaml").write_text(printed)
    with pytest.raises(SystemExit):
        run(["train", "--config", str(tmp_path / "printed.yaml"), "--print_config"])
    whole = yaml.safe_load(capsys.readouterr().out)
    assert (whole["preset"], whole["backbone"], whole["batch"], whole["steps"]) == ("digits", "digits", 7, 2000)


def test_print_config_prints_yaml_that_is_read_back():
    done = subprocess.run(
        [sys.executable, "-m", "dalib", "train", "--steps", "7", "--print_config"], capture_output=True, text=True
    )
    assert yaml.safe_load(done.stdout)["steps"] == 7


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            "self_ensemble: {thresold: 0.5}",
            "self_ensemble.thresold: no such setting; did you mean self_ensemble.threshold?",
        ),
        ("bakbone: small", "bakbone: no such setting; did you mean backbone?"),
        ("optimiser: {lr: 0.1}", "did you mean optimizer"),
    ],
)
def test_a_misspelt_key_in_a_file_gets_the_nearest_name(content, told, tmp_path, capsys):
    (tmp_path / "settings.yaml").write_text(content)
    assert run(["train", "--config", str(tmp_path / "settings.yaml")]) == 2
    assert told in capsys.readouterr().err


def test_what_is_printed_without_defaults_keeps_a_preset_that_the_backbone_implies(tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(["train", "--backbone", "resnet18", "--print_config"])
    whole = yaml.safe_load(capsys.readouterr().out)
    with pytest.raises(SystemExit):
        run(["train", "--backbone", "resnet18", "--print_config=skip_default"])
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed) == {"preset": "photo-features", "backbone": "resnet18"}
    (tmp_path / "printed.yaml").write_text(printed)
    with pytest.raises(SystemExit):
        run(["train", "--config", str(tmp_path / "printed.yaml"), "--print_config"])
    assert yaml.safe_load(capsys.readouterr().out) == whole


@pytest.mark.parametrize(
    ("preset", "given"),
    [
        ("photo", {"self_ensemble.information": 0.0, "optimizer.label_smoothing": 0.0}),
        ("photo-features", {"classes": "same"}),
        ("digits", {"backbone": "small", "epochs": 3}),
    ],
)
def test_what_is_printed_without_defaults_keeps_what_is_a_default_but_for_the_preset(preset, given, tmp_path, capsys):
    typed = ["train", "--preset", preset, *(f"--{name}={value}" for name, value in given.items())]
    with pytest.raises(SystemExit):
        run([*typed, "--print_config"])
    whole = yaml.safe_load(capsys.readouterr().out)
    with pytest.raises(SystemExit):
        run([*typed, "--print_config=skip_default"])
    (tmp_path / "printed.yaml").write_text(capsys.readouterr().out)
    with pytest.raises(SystemExit):
        run(["train", "--config", str(tmp_path / "printed.yaml"), "--print_config"])
    assert yaml.safe_load(capsys.readouterr().out) == whole
    for name, value in given.items():
        group, _, setting = name.rpartition(".")
        assert (whole[group] if group else whole)[setting] == value
