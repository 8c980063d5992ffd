import csv
import json
import math
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

import dalib
from dalib.commands import completion
from dalib.commands.config_file import read_config
from dalib.commands.main import run
from dalib.records.folder import RunFolder
from dalib.run.checks import import_conflicts
from dalib.run.config import TrainConfig

QUICK = ["--steps", "4", "--batch", "4", "--data.size", "16", "--every.checkpoint", "2", "--every.log", "2"]

SHORT = ["--steps", "4"]
"""Steps so few that the pace of the machine is not measured before the domains are read."""
TWO = ["--source", "{root}/two", "--target", "{root}/images", "--data.validation_share", "0.5", *SHORT]


def write_image(path, shade, rng):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.clip(rng.normal(shade, 30, (20, 24, 3)), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """source/{dark,light}, target/ flat and nested with one damaged file, labelled/{dark,light}."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for number in range(12):
        write_image(root / f"source/dark/{number}.png", 60, rng)
        write_image(root / f"source/light/{number}.JPG", 190, rng)
        write_image(root / f"target/{number}.png", 70, rng)
        write_image(root / f"target/nested/{number}.png", 200, rng)
        write_image(root / f"labelled/dark/{number}.png", 70, rng)
        write_image(root / f"labelled/light/{number}.png", 200, rng)
    (root / "target" / "broken.png").write_bytes(b"not a picture")
    return root


@pytest.fixture(scope="module")
def trained(folders, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    code = run(["train", "--source", f"{folders}/source", "--target", f"{folders}/target", "--out", str(out), *QUICK])
    assert code == 0
    return out


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


class ReaderIsGone:
    def write(self, text):
        raise BrokenPipeError


def test_a_run_is_finished_where_nobody_reads_what_it_prints(folders, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(sys, "stdout", ReaderIsGone())
    data = ["--source", f"{folders}/source", "--target", f"{folders}/target"]
    assert run(["train", *data, "--out", str(tmp_path / "run"), *QUICK]) == 0
    assert RunFolder.existing(tmp_path / "run").report.is_file()
    assert run(["eval", str(tmp_path / "run"), "--data", f"{folders}/labelled"]) == 0
    assert len(list(RunFolder.existing(tmp_path / "run").evaluations.iterdir())) == 1
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("arguments", [["cache", "ls"], ["checks"], ["completion", "bash"]])
def test_a_command_that_only_prints_ends_with_its_reader(arguments, monkeypatch, capfd):
    monkeypatch.setattr(sys, "stdout", ReaderIsGone())
    assert run(arguments) == 141
    assert capfd.readouterr().err == ""


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


def test_resuming_with_another_configuration_is_refused(trained, capsys):
    assert run(["train", "--resume", str(trained), "--steps", "9"]) == 2
    assert "leave out steps" in capsys.readouterr().err


def test_resuming_refuses_a_default_that_the_run_does_not_have(trained, capsys):
    assert run(["train", "--resume", str(trained), "--batch", "64"]) == 2
    assert "leave out batch" in capsys.readouterr().err


def test_resuming_refuses_the_default_of_a_group_and_names_it(trained, capsys):
    assert run(["train", "--resume", str(trained), "--every.log", "25"]) == 2
    assert "leave out every.log" in capsys.readouterr().err


def test_eval_measures_both_models_and_the_report_shows_it(trained, folders, capsys):
    assert run(["eval", str(trained), "--data", f"{folders}/labelled"]) == 0
    assert "adapted" in capsys.readouterr().out
    (result,) = [json.loads(path.read_text()) for path in (trained / "evaluations").glob("*.json")]
    assert result["count"] == 24
    for model in result["models"].values():
        low, high = model["interval"]
        assert low <= model["accuracy"] <= high
        assert np.sum(model["confusion"]) == 24
        assert np.trace(model["confusion"]) == round(model["accuracy"] * 24)
    assert "labelled" in (trained / "report.html").read_text()


def test_two_folders_of_one_name_are_two_evaluations(trained, tmp_path):
    rng, before = np.random.default_rng(0), len(list((trained / "evaluations").glob("*.json")))
    for place in ("here", "there"):
        write_image(tmp_path / place / "images" / "dark" / "x.png", 60, rng)
        for _ in range(2):
            assert run(["eval", str(trained), "--data", str(tmp_path / place / "images")]) == 0
    found = sorted((trained / "evaluations").glob("*.json"))
    assert len(found) == before + 2
    for path in found:
        if path.name.startswith("images-"):
            path.unlink()


def test_predict_writes_a_row_for_each_readable_image(trained, folders, tmp_path, capsys):
    out = tmp_path / "predictions.csv"
    assert run(["predict", str(trained), "--images", f"{folders}/target", "--out", str(out)]) == 0
    assert "broken.png" in capsys.readouterr().out
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert list(rows[0]) == ["path", "class", "confidence", "runner_up", "runner_up_confidence"]
    assert len(rows) == 24
    for row in rows:
        assert {row["class"], row["runner_up"]} == {"dark", "light"}
        assert float(row["confidence"]) >= float(row["runner_up_confidence"])


def test_a_file_name_that_is_not_text_stops_nothing(trained, tmp_path, capsys):
    images, out = tmp_path / "images", tmp_path / "predictions.csv"
    write_image(images / "x.png", 100, np.random.default_rng(0))
    os.rename(images / "x.png", os.fsencode(images) + b"/\xff.png")  # noqa: PTH104 - a name of bytes
    (images / os.fsdecode(b"\xfe.png")).touch()
    assert run(["predict", str(trained), "--images", str(images), "--out", str(out)]) == 0
    assert "\\udcff.png" in out.read_text()
    assert "\\udcfe.png" in capsys.readouterr().out


def test_checks_tells_counts_without_training(folders, capsys):
    assert run(["checks", "--source", f"{folders}/source", "--target", f"{folders}/target", *QUICK]) == 0
    out = capsys.readouterr().out
    for expected in ("torch", "dark: 12", "24 images", "broken.png"):
        assert expected in out


def test_another_owner_of_the_import_name_is_told(tmp_path):
    (tmp_path / "dalib").mkdir()
    (tmp_path / "dalib" / "__init__.py").touch()
    assert import_conflicts(["dalib"], []) == []
    assert import_conflicts(["dalib"], [str(Path(dalib.__file__).parents[1])]) == []
    assert "pip uninstall other" in import_conflicts(["dalib", "other"], [])[0]
    assert str(tmp_path / "dalib") in import_conflicts(["dalib"], [str(tmp_path)])[0]


def test_a_quiet_command_prints_results_alone_and_a_verbose_one_more(trained, folders, tmp_path, capsys):
    predict = ["predict", str(trained), "--images", f"{folders}/target"]
    assert run([*predict, "--out", str(tmp_path / "a.csv"), "--quiet"]) == 0
    told = capsys.readouterr()
    assert (told.out, told.err) == (f"24 predictions in {tmp_path}/a.csv\n", "")
    assert run([*predict, "--out", str(tmp_path / "b.csv")]) == 0
    assert "predicting with the" in capsys.readouterr().out
    assert run(["eval", str(trained), "--data", f"{folders}/labelled", "--quiet"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["adapted", "aligned", "source-only"]
    assert lines[-1] == f"report  {trained}/report.html"
    assert run(["checks", "--quiet", "--verbose"]) == 2
    assert "--quiet --verbose: expected one of them" in capsys.readouterr().err
    assert run(["cache", "ls", "--quiet"]) == 2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "train,eval,"),
        (["cache", "fly"], "fly"),
        (["cache", "rm", "nokey"], "nokey: not in the cache"),
        (["eval", "x", "--data", "y", "--cache", "tape"], "--cache"),
        (["fly"], "fly"),
        (["train", "--foo", "1"], "--foo"),
        (["train", "--steps", "many"], "--steps"),
        (["train", "--steps", "0"], "--steps 0"),
        (["train", "--batch", "1"], "--batch 1"),
        (["train", "--backbone", "huge"], "paper-small"),
        (["train", "--model.bottleneck_dim", "0"], "bottleneck_dim"),
        (["train", "--self_ensemble.alpha", "2"], "alpha"),
        (["train", "--self_ensemble.distance", "kl"], "over_classes"),
        (["train", "--optimizer.lr", "-1"], "learning rate"),
        (["train", "--device", "abacus"], "--device abacus"),
        (["train", *TWO, "--data.size", "0"], "--data.size 0: expected at least 1 pixel"),
        (["train", *TWO, "--data.crop", "0"], "--data.crop 0: expected at least 1 pixel"),
        (["train", *TWO, "--data.size", "3"], "expected at least 4 pixels, got 3"),
        (["train", *TWO, "--backbone", "paper-large", "--data.size", "8"], "expected at least 12 pixels, got 8"),
        (["train", *TWO, "--out", "{root}/two/run"], "it lies in --source"),
        (["train", *TWO, "--out", "{root}/images/runs/first"], "it lies in --target"),
        (["train", "--device", "meta"], "--device meta: expected auto, cpu, cuda or mps"),
        (["train", "--device", "cuda:99"], "--device cuda:99"),
        (["train", *TWO, "--data.channels", "1", "--views.student", "photo"], "--data.channels 1: view photo"),
        (["train", "--config", "{root}/none.yaml"], "none.yaml"),
        (["train", "--config", "{root}/unknown.yaml"], "foo"),
        (["train", "--source", "{root}/none", "--target", "{root}/images"], "no such folder"),
        (["train", "--source", "{root}/two"], "expected --target with it"),
        (["train", "--target", "{root}/images"], "expected --source with it"),
        (["train", "--config", "{root}/null.yaml"], "null byte"),
        (["train", "--steps", ""], "--steps: expected a whole number, got nothing"),
        (["train", "--optimizer.lr", ""], "--optimizer.lr: expected a number, got nothing"),
        (["train", "--steps", "foo"], "--steps: expected a whole number, got foo"),
        (["train", "--method", "fixmtach"], "got fixmtach; did you mean fixmatch?"),
        (["train", "--preset", "photo_features"], "got photo_features; did you mean photo-features?"),
        (["train", "--bakbone", "resnet18"], "did you mean --backbone?"),
        (["trian"], "did you mean train?"),
        (["train", "--source", "{root}/empty", "--target", "{root}/images"], "one folder of images for each class"),
        (["train", "--source", "{root}/one", "--target", "{root}/images", *SHORT], "at least two class folders"),
        (["train", "--source", "{root}/hollow", "--target", "{root}/images"], "'b' holds no image"),
        (["train", "--source", "{root}/two", "--target", "{root}/empty"], "found none"),
        (["train", "--source", "{root}/two", "--target", "{root}/file.txt"], "this is a file"),
        (["train", "--source", "{root}/two", "--target", "{root}/broken", "--strict", *SHORT], "cannot be read"),
        (["train", "--source", "{root}/two", "--target", "{root}/broken", *SHORT], "none of its 1 images"),
        (["train", *TWO, "--evaluate", "{root}/none"], "--evaluate"),
        (["train", *TWO, "--evaluate", "digits-held-out"], "does not know"),
        (["train", "--out", "{root}/images"], "there is something already"),
        (["train", "--out", "{root}/images", "--overwrite"], "not a run folder"),
        (["train", "--resume", "{root}/none"], "no such folder"),
        (["eval", "{root}/images", "--data", "x"], "not a run folder"),
        (["eval", "{root}/images"], "data"),
        (["predict", "{root}/none", "--images", "x", "--out", "y.csv"], "no such folder"),
        (["report", "{root}/images"], "not a run folder"),
        (["completion", "fish"], "fish"),
        (["train", "--track", "paper"], "--track"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, expected, tmp_path, capsys, monkeypatch):
    rng = np.random.default_rng(0)
    for name in ("images/x", "one/a/x", "hollow/a/x", "two/a/x", "two/b/x"):
        write_image(tmp_path / f"{name}.png", 100, rng)
    for name in ("empty", "hollow/b", "broken"):
        (tmp_path / name).mkdir()
    (tmp_path / "broken" / "x.png").touch()
    (tmp_path / "file.txt").touch()
    (tmp_path / "unknown.yaml").write_text("foo: 1\n")
    (tmp_path / "null.yaml").write_text('data: "\\0"\n')
    monkeypatch.chdir(tmp_path)
    before = sorted(path for path in tmp_path.rglob("*"))
    assert run([argument.format(root=tmp_path) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("dalib: error: ")
    assert captured.err.count("\n") == 1
    assert expected in captured.err
    assert sorted(path for path in tmp_path.rglob("*")) == before, "nothing is half written"


def test_an_unknown_class_in_the_evaluation_is_named(trained, tmp_path, capsys):
    write_image(tmp_path / "data" / "purple" / "x.png", 100, np.random.default_rng(0))
    assert run(["eval", str(trained), "--data", str(tmp_path / "data")]) == 2
    assert "'purple'" in capsys.readouterr().err


def test_a_run_without_a_model_says_how_to_go_on(trained, tmp_path, capsys):
    for name in ("config.yaml", "summary.json"):
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    assert run(["predict", str(tmp_path), "--images", str(tmp_path), "--out", str(tmp_path / "x.csv")]) == 2
    assert "--resume" in capsys.readouterr().err


def test_the_configuration_survives_the_file(trained):
    config = read_config(trained / "config.yaml")
    assert config.steps == 4
    assert config.data.size == 16
    assert yaml.safe_load((trained / "config.yaml").read_text())["self_ensemble"]["alpha"] == config.self_ensemble.alpha


MOST_SECONDS = 0.5
"""Of the processor, for what only prints."""


def said_without_torch(*arguments: str) -> tuple[str, float]:
    """What a command line prints, and the seconds it takes: of the processor, others may hold the machine."""
    program = (
        "import sys; from dalib.commands.main import run\ntry: run(sys.argv[1:])\n"
        "finally: assert 'torch' not in sys.modules"
    )
    seconds = [math.inf]
    while len(seconds) <= 3 and min(seconds) >= MOST_SECONDS:  # the best of three
        before = os.times()
        done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
        after = os.times()
        taken = (after.children_user - before.children_user, after.children_system - before.children_system)
        seconds.append(sum(taken))
    assert done.returncode == 0, done.stderr
    return done.stdout, min(seconds)


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["eval", "--help"]])
def test_help_is_quick_and_does_without_torch(arguments):
    said, seconds = said_without_torch(*arguments)
    assert "usage: dalib" in said
    assert seconds < MOST_SECONDS


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


def test_version_is_quick_and_tells_a_line_each():
    said, seconds = said_without_torch("--version")
    lines = dict(line.split(" ", 1) for line in said.splitlines())
    assert said.splitlines()[0] == f"dalib {dalib.__version__}"
    assert list(lines) == ["dalib", "Python", "torch", "CUDA", "torchvision", "timm", "numpy", "platform"]
    assert lines["Python"] == platform.python_version()
    assert lines["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert lines["CUDA"].split(",")[0] == (torch.version.cuda or "none")
    assert lines["numpy"] == np.__version__
    assert seconds < MOST_SECONDS


def completed(script: str, words: list[str]) -> list[str]:
    """What bash offers for the last of the words, by the function that the script defines."""
    asked = f"COMP_WORDS=({' '.join(map(shlex.quote, words))})\nCOMP_CWORD={len(words) - 1}"
    found = re.search(r"^complete .*-F (\S+) dalib$", script, re.MULTILINE)
    assert found is not None
    program = f'{script}\n{asked}\n{found.group(1)} dalib\nprintf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "--norc", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes_commands_settings_values_and_paths(capsys, tmp_path):
    assert run(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert completed(script, ["dalib", "tr"]) == ["train"]
    assert completed(script, ["dalib", "train", "--pre"]) == ["--preset", "--precision"]
    assert completed(script, ["dalib", "train", "--preset", "photo-f"]) == ["photo-features"]
    assert completed(script, ["dalib", "train", "--steps", "5", "--self_ensemble.thr"]) == ["--self_ensemble.threshold"]
    assert completed(script, ["dalib", "completion", "z"]) == ["zsh"]
    (tmp_path / "studio").mkdir()
    for words in (["train", "--source"], ["predict", "RUN", "--images"], ["report"]):
        assert completed(script, ["dalib", *words, f"{tmp_path}/stu"]) == [f"{tmp_path}/studio"]


@pytest.mark.parametrize(("shell", "begins"), [("zsh", "#compdef dalib"), ("tcsh", "# AUTOMATICALLY GENERATED")])
def test_other_shells_have_a_script_too(shell, begins, capsys):
    assert run(["completion", shell]) == 0
    said = capsys.readouterr().out
    assert said.startswith(begins)
    assert "--preset" in said or "preset" in said


def test_completion_without_shtab_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(completion, "find_spec", lambda name: None)
    assert run(["completion", "bash"]) == 2
    assert capsys.readouterr().err == (
        "dalib: error: completion bash: the package shtab is not installed; pip install shtab\n"
    )


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


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train", "--source=https://example.org/a//b", "--target", "x"], "--source https://example.org/a//b: "),
        (["train", "--source", "x", "--target", "s3://bucket//x"], "--target s3://bucket//x: "),
        (["train", "--source=[a, https://example.org//b]", "--target", "x"], "'https://example.org//b'"),
        (["eval", "https://example.org//run", "--data", "x"], "RUN https://example.org//run: "),
        (["predict", "run", "--images", "x", "--out=s3://bucket//x.csv"], "--out s3://bucket//x.csv: "),
    ],
)
def test_a_url_is_refused_as_it_was_given(arguments, told, capsys):
    assert run(arguments) == 2
    assert told in (line := capsys.readouterr().err)
    assert "expected a path on this machine, got a URL" in line


def test_a_leading_tilde_is_the_home_folder_in_every_path(trained, folders, tmp_path, monkeypatch, capsys):
    home = tmp_path / "home"
    shutil.copytree(folders, home / "images")
    shutil.copytree(trained, home / "my run")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.path.expanduser", lambda path: str(path).replace("~", str(home), 1))
    settings = TrainConfig(source=["~/images/source"], target="~/images/target", out="~/run")
    assert (settings.source, settings.target) == ([f"{home}/images/source"], f"{home}/images/target")
    assert run(["predict", "--images=~/images/target", "~/my run", "--out=~/out.csv"]) == 0
    assert (home / "out.csv").is_file()
    assert run(["eval", "~/my run", "--data=~/images/labelled"]) == 0
    assert run(["query", "~/my run", "--n=4", "--out=~/my list.csv"]) == 0
    assert f"Then: dalib eval '{home}/my run' --labels '{home}/my list.csv'" in capsys.readouterr().out
    assert run(["train", "--source=~/images/source", "--target=~/images/target", "--out=~/my run", *QUICK]) == 2
    assert f"dalib train --resume '{home}/my run'" in capsys.readouterr().err
    assert dalib.load("~/my run").classes == ("dark", "light")
    assert run(["export", "~/my run", "--format=torch", "--out=~/my model"]) == 0
    assert dalib.load("~/my model").classes == ("dark", "light")
    assert not (tmp_path / "~").exists()


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


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["predict", "run", "--images", "x"], "expected --out, which is missing (see dalib predict --help)"),
        (["export"], "expected RUN and --format and --out, which are missing (see dalib export --help)"),
        (["compare"], "expected RUNS, which is missing"),
    ],
)
def test_what_is_missing_is_named_as_it_is_typed(arguments, told, capsys):
    assert run(arguments) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("command", ["eval", "query", "report", "compare"])
@pytest.mark.parametrize("what", ["model.onnx", "model.pt2", "model"])
def test_a_model_without_its_run_is_told_what_it_is(command, what, trained, tmp_path, capsys):
    path = tmp_path / what
    if what == "model":
        shutil.copytree(trained / "model", path)
    else:
        path.write_bytes(b"a model")
    more = {"eval": ["--data", "x"], "compare": [str(trained)]}.get(command, [])
    assert run([command, str(path), *more]) == 2
    assert f"RUN {path}: a model without its run, as `dalib export` writes them" in capsys.readouterr().err


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


def test_flags_are_not_abbreviated(capsys):
    assert run(["train", "--source", "a", "--target", "b", "--epoch", "1"]) == 2
    assert "--epoch" in (told := capsys.readouterr().err)
    assert "did you mean --epochs?" in told
