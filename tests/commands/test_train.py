"""dalib train on folders: what a run leaves, and what resuming it takes."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_run import QUICK

from dalib.commands.config_file import read_config
from dalib.commands.main import run
from dalib.records.folder import RunFolder
from dalib.run import setup
from several_targets import make_several


def test_a_run_on_folders_leaves_everything_in_its_folder(trained):
    found = RunFolder.existing(trained)
    assert list(found.models()) == ["adapted", "aligned", "source-only"]
    assert (found.source_only.checkpoints / "step-000000004.pt").is_file()
    assert [json.loads(line)["step"] for line in found.metrics.read_text().splitlines()] == [2, 4]
    summary = json.loads(found.summary.read_text())
    assert summary["status"] == "done"
    assert summary["classes"] == ["dark", "light"]
    assert summary["counts"] == {"source": 22, "source_validation": 2, "target": 24, "unreadable": 1}
    (unreadable,) = json.loads(found.unreadable.read_text())
    assert unreadable["path"].endswith("broken.png")
    assert found.views.is_file()
    assert "<html" in found.report.read_text()


def test_target_folder_names_never_become_labels(trained):
    assert "nested" not in (trained / "model" / "config.json").read_text()


def test_the_saved_configuration_repeats_the_run_bit_for_bit(trained, tmp_path):
    again = tmp_path / "again"
    assert run(["train", "--config", str(trained / "config.yaml"), "--out", str(again)]) == 0
    first, second = (load_file(folder / "model" / "model.safetensors") for folder in (trained, again))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_that_was_cut_off_goes_on_to_the_same_weights(trained, folders, tmp_path):
    cut = tmp_path / "cut"
    assert run(["train", "--config", str(trained / "config.yaml"), "--out", str(cut)]) == 0
    (cut / "checkpoints" / "step-000000004.pt").unlink()
    expected = load_file(cut / "model" / "model.safetensors")
    (cut / "model" / "model.safetensors").unlink()
    assert run(["train", "--resume", str(cut)]) == 0
    resumed = load_file(cut / "model" / "model.safetensors")
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)
    assert [json.loads(line)["step"] for line in (cut / "metrics.jsonl").read_text().splitlines()] == [2, 4]


@pytest.mark.parametrize(("gain", "precision"), [(1.6, "bfloat16"), (1.0, "float32")])
def test_a_run_notes_the_precision_of_its_steps_and_keeps_it(gain, precision, folders, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(setup, "gain_of_rounded_steps", lambda *_: gain)
    where = ["--source", f"{folders}/source", "--target", f"{folders}/target", "--out", str(tmp_path / "run")]
    assert run(["train", *where, *QUICK, "--precision", "auto", "--device", "cpu"]) == 0
    told = "steps are computed in bfloat16, 1.6 times as fast as in float32 on this processor; --precision float32"
    assert (told in capsys.readouterr().out) == (precision == "bfloat16")
    found = RunFolder(tmp_path / "run")
    assert read_config(found.config).precision == precision
    assert json.loads(found.summary.read_text())["settings"]["precision"] == precision
    cut = RunFolder(shutil.copytree(found.root, tmp_path / "cut"))
    for folder in (cut, cut.source_only):
        (folder.checkpoints / "step-000000004.pt").unlink()
        shutil.rmtree(folder.model)
    # as where the other one is faster
    monkeypatch.setattr(setup, "gain_of_rounded_steps", lambda *_: 2.6 - gain)
    assert run(["train", "--resume", str(cut.root)]) == 0
    assert read_config(cut.config).precision == precision
    one, other = (load_file(each.model / "model.safetensors") for each in (found, cut))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_steps_in_bfloat16_are_others_than_in_float32(folders, tmp_path):
    where = ["--source", f"{folders}/source", "--target", f"{folders}/target", "--device", "cpu", *QUICK]
    for precision in ("float32", "bfloat16"):
        assert run(["train", *where, "--out", str(tmp_path / precision), "--precision", precision]) == 0
    one, other = (load_file(tmp_path / each / "model" / "model.safetensors") for each in ("float32", "bfloat16"))
    assert one.keys() == other.keys()
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert all(each.dtype != torch.bfloat16 for each in other.values())


def test_resuming_with_another_configuration_is_refused(trained, capsys):
    assert run(["train", "--resume", str(trained), "--steps", "9"]) == 2
    assert "leave out --steps" in capsys.readouterr().err


def test_resuming_refuses_a_default_that_the_run_does_not_have(trained, capsys):
    assert run(["train", "--resume", str(trained), "--batch", "64"]) == 2
    assert "leave out --batch" in capsys.readouterr().err


def test_resuming_with_a_kit_names_the_kit_and_no_source_that_nobody_gave(trained, capsys):
    assert run(["train", "--resume", str(trained), "--kit", "studio.dalib"]) == 2
    assert capsys.readouterr().err.endswith("leave out --kit\n")


def test_resuming_refuses_a_default_in_a_file_that_the_run_does_not_have(trained, tmp_path, capsys):
    (tmp_path / "other.yaml").write_text("batch: 64\n")
    assert run(["train", "--resume", str(trained), "--config", str(tmp_path / "other.yaml")]) == 2
    assert "leave out --batch" in capsys.readouterr().err
    assert run(["train", "--resume", str(trained), "--config", str(trained / "config.yaml")]) == 0


def test_resuming_refuses_the_default_of_a_group_and_names_it(trained, capsys):
    assert run(["train", "--resume", str(trained), "--every.log", "25"]) == 2
    assert "leave out --every.log" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_built_in_example_reaches_its_bar(tmp_path):
    accuracies = {"adapted": [], "source-only": []}
    for seed in range(3):
        out = tmp_path / str(seed)
        assert run(["train", "--seed", str(seed), "--out", str(out)]) == 0
        models = json.loads((out / "evaluations" / "digits-held-out.json").read_text())["models"]
        for name, values in accuracies.items():
            values.append(models[name]["accuracy"])
    assert np.mean(accuracies["adapted"]) >= 0.95
    assert np.mean(accuracies["adapted"]) > np.mean(accuracies["source-only"])


@pytest.fixture
def several(trained, tmp_path):
    return make_several(tmp_path / "several", trained, ["street", "night"])


def test_several_targets_that_are_finished_are_not_trained_again_but_compared(several, capsys):
    models = {path: path.stat().st_mtime_ns for path in several.root.glob("*/model/*")}
    assert run(["train", "--resume", str(several.root)]) == 0
    assert {path: path.stat().st_mtime_ns for path in several.root.glob("*/model/*")} == models
    said = capsys.readouterr().out
    assert said.count("finished before") == 2
    lines = [line.split() for line in said.splitlines()]
    assert [line[0] for line in lines if line and line[-1] in ("adapted", "source-only", "aligned")] == [
        "street",
        "night",
    ]
    assert said.endswith(f"runs    {several.root}\nreport  {several.report}\n")


def test_the_report_of_several_targets_is_written_with_those_of_their_runs(several, capsys):
    for name in ("street", "night"):
        several.run(name).report.unlink()
    assert run(["report", str(several.root)]) == 0
    pages = [several.run("street").report, several.run("night").report, several.report]
    assert capsys.readouterr().out == "".join(f"report  {page}\n" for page in pages)
    assert all(page.is_file() for page in pages)


def test_commands_of_one_run_refuse_the_folder_of_several_and_name_the_runs(several, folders, capsys):
    assert run(["predict", str(several.root), "--images", f"{folders}/target", "--out", "x.csv"]) == 2
    assert f"give one: {several.root / 'night'}, {several.root / 'street'}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--target", "{target}", "--target", "{target}"], "it is there twice"),
        (["--target", "{target}", "--target", "{target}/nested"], "its images would be of both targets"),
        (["--target", "a/images", "--target", "b/images"], "name them: --target images-1=a/images"),
        (["--target", "a", "--target", "b", "--evaluate", "c"], "--evaluate: expected one labelled set for each of 2"),
        (["--target", "a", "--target", "b", "--hints", "c"], "--hints c: they are of one target's images"),
        (["--target", "a", "--target", "b", "--time", "9m"], "--time 9m: how many steps fit depends on the target"),
    ],
)
def test_several_targets_that_cannot_be_are_refused_before_anything_is_written(
    folders, tmp_path, capsys, given, message
):
    given = [each.format(target=f"{folders}/target") for each in given]
    out = tmp_path / "several"
    assert run(["train", "--source", f"{folders}/source", "--out", str(out), *given, *QUICK]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()
