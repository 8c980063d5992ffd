"""What compares runs and reads lists, priors and configurations: damaged input is read or refused."""

from __future__ import annotations

import contextlib
import json

import pytest
from mutations import bounded, bounded_memory, misshapen, mutated, tried
from test_fuzz_runs import CPU, checkpoint, no_training, restored, run, slow  # noqa: F401
from whole_run import contents, write_run

from dalib.commands import main
from dalib.commands.config_file import read_config
from dalib.core.errors import UserError
from dalib.core.files import read_json
from dalib.engine.checkpoint import CheckpointFolder
from dalib.run.classes.prior import read_prior
from dalib.run.finished.compare import compare_runs
from dalib.run.finished.target_predictions import target_predictions
from dalib.run.settings.config import TrainConfig
from dalib.run.settings.config_file import config_text

BY_COMMAND = 40
"""Of the damaged runs, how many go through the command line, whose parser takes longer than the comparison."""


def compared_or_refused(one, other, *, by_command):
    runs = [str(each.root) for each in (one, other)]
    if by_command:
        assert main.run(["compare", *runs]) in (0, 2)
    else:
        tried(lambda: compare_runs(runs))


@pytest.mark.parametrize("count", [40, slow(2000)])
@pytest.mark.parametrize("name", ["summary.json", "images.json", "judgement.json"])
def test_runs_of_other_values_are_compared_or_refused(restored, name, count, tmp_path, capsys):  # noqa: F811
    other = write_run(tmp_path / "other")
    path = restored.root / name
    for number, content in enumerate(misshapen(contents()[name], f"compare {name}", count)):
        path.write_text(json.dumps(content))
        compared_or_refused(other, restored, by_command=number < BY_COMMAND)
        with contextlib.suppress(UserError):
            target_predictions(restored)
    capsys.readouterr()


@pytest.mark.parametrize("count", [40, slow(2000)])
@pytest.mark.parametrize("name", ["summary.json", "images.json", "judgement.json", "predictions.safetensors"])
def test_damaged_runs_are_compared_or_refused(restored, name, count, tmp_path, capsys):  # noqa: F811
    other = write_run(tmp_path / "other")
    path = restored.root / name
    for number, content in enumerate(mutated(path.read_bytes(), f"compare {name}", count)):
        path.write_bytes(content)
        compared_or_refused(other, restored, by_command=number < BY_COMMAND)
    capsys.readouterr()


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "1" * 5000], ids=["lists", "objects", "a number"])
def test_json_that_python_cannot_hold_is_damaged(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UserError, match=r"x\.json"):
        read_json(tmp_path / "x.json")
    with pytest.raises(UserError, match=r"x\.json"):
        read_prior(tmp_path / "x.json", ("a", "b"))


def refused(path, capsys):
    with bounded("yaml"), bounded_memory():
        assert main.run(["train", "--config", str(path)]) == 2
        error = capsys.readouterr().err
        assert "c.yaml" in error
        assert len(error) < 2000
        with pytest.raises(UserError, match=r"c\.yaml"):
            read_config(path)


def test_a_configuration_that_is_not_text_is_refused(tmp_path, capsys, no_training):  # noqa: F811
    (tmp_path / "c.yaml").write_bytes(b"source: \xff\n")
    refused(tmp_path / "c.yaml", capsys)


@pytest.mark.parametrize("text", ["[" * 20_000, "[" * 3000 + "]" * 3000, "{a: " * 3000 + "}" * 3000])
def test_yaml_nested_without_end_is_refused(tmp_path, capsys, no_training, text):  # noqa: F811
    (tmp_path / "c.yaml").write_text(f"source: {text}")
    refused(tmp_path / "c.yaml", capsys)


@pytest.mark.parametrize("key", ["source", "unknown"])
def test_a_bomb_of_aliases_in_yaml_is_refused(tmp_path, capsys, no_training, key):  # noqa: F811
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    (tmp_path / "c.yaml").write_text("\n".join([*lines, f"{key}: *a9"]))
    refused(tmp_path / "c.yaml", capsys)


@pytest.mark.parametrize("name", ["1e3", "1e-3", "1E5", "12e03", "-1e3", ".5e3"])
def test_names_that_look_like_numbers_survive_the_file(tmp_path, name):
    config = TrainConfig(source=[name, name], target=name, out=name, root=name)
    (tmp_path / "c.yaml").write_text(config_text(config))
    assert read_config(tmp_path / "c.yaml") == config


def test_an_error_about_a_hostile_name_prints_no_escape_sequences(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main.run(["train", "--source", "\x1b[2J", "--target", "x\x1b]0;t\x07"]) == 2
    assert main.run(["report", "\x1b[2J"]) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_a_compared_run_may_have_any_name(tmp_path, capsys):
    runs = [write_run(tmp_path / name) for name in ("a [/b]", "c \x1b[2J", "[bold]d")]
    assert main.run(["compare", *(str(each.root) for each in runs)]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "[bold]d" in printed.replace("\n", "")


@pytest.mark.parametrize("value", ["true", "3", "[1]", "null"])
def test_a_group_of_settings_that_is_none_is_refused(tmp_path, capsys, no_training, value):  # noqa: F811
    (tmp_path / "c.yaml").write_text(f"data: {value}\n")
    assert main.run(["train", "--config", str(tmp_path / "c.yaml")]) == 2
    assert capsys.readouterr().err.startswith("dalib: error: ")


def test_a_record_that_calls_itself_a_folder_is_damage(tmp_path):
    """One bit, which no checksum covers: torch then gives the tensor memory that nobody wrote."""
    folder = CheckpointFolder(tmp_path)
    folder.save(checkpoint(4))
    folder.save(checkpoint(8))
    newest = tmp_path / "step-000000008.pt"
    content = bytearray(newest.read_bytes())
    name = content.rindex(b"archive/data/4")  # in the central directory; 46 bytes of header before it
    content[name - 46 + 38] |= 0x10
    newest.write_bytes(content)
    with pytest.warns(UserWarning, match="passed over"):
        assert folder.newest(CPU).step == 4
