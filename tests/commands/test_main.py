import errno
import os
import shutil
import sys

import numpy as np
import pytest
from small_run import QUICK, write_image

import dalib
from dalib.__main__ import main
from dalib.commands.main import run
from dalib.commands.parser import SUBCOMMANDS
from dalib.core.console import Loudness, say, say_detail, say_result
from dalib.records.folder import RunFolder
from dalib.run.settings.config import TrainConfig

SHORT = ["--steps", "4"]
"""Steps so few that the pace of the machine is not measured before the domains are read."""
TWO = ["--source", "{root}/two", "--target", "{root}/images", "--data.validation_share", "0.5", *SHORT]


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


def test_ctrl_c_while_the_command_line_is_imported_leaves_no_traceback(monkeypatch, capsys):
    class Stop:
        def find_spec(self, name, *_):
            if name == "dalib.commands.main":
                raise KeyboardInterrupt

    monkeypatch.setattr(sys, "meta_path", [Stop(), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "dalib.commands.main")
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert capsys.readouterr() == ("", "dalib: stopped\n")


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
    assert run(["completion", "bash", "--quiet"]) == 2  # it prints a program and nothing else


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("allow_changes: 'no'", "--allow_changes: expected true or false, got 'no'"),
        ("quiet: 'false'", "--quiet: expected true or false, got 'false'"),
        ("verbose: 1", "--verbose: expected true or false, got 1"),
        ("overwrite: 'no'", "--overwrite: expected true or false, got 'no'"),
        ("strict: null\ndownload: 0", "--download: expected true or false, got 0"),
    ],
)
def test_a_switch_in_a_file_is_true_or_false(content, told, tmp_path, capsys):
    (tmp_path / "settings.yaml").write_text(f"{content}\n")
    assert run(["train", "--config", str(tmp_path / "settings.yaml")]) == 2
    assert capsys.readouterr().err == f"dalib: error: {told}\n"


@pytest.mark.parametrize(
    ("content", "typed", "level"),
    [
        ("quiet: true", [], Loudness.QUIET),
        ("verbose: true", [], Loudness.VERBOSE),
        ("quiet: true", ["--verbose"], Loudness.VERBOSE),
        ("seed: 1", [], Loudness.USUAL),
    ],
)
def test_a_file_of_settings_may_be_quiet(content, typed, level, monkeypatch, tmp_path, capsys):
    def run_checks(_):
        for each, prints in zip(Loudness, (say_result, say, say_detail), strict=True):
            prints(each.name)

    monkeypatch.setattr(SUBCOMMANDS["checks"], "run", run_checks)
    (tmp_path / "settings.yaml").write_text(f"{content}\n")
    assert run(["checks", "--config", str(tmp_path / "settings.yaml"), *typed]) == 0
    assert capsys.readouterr().out.split() == [each.name for each in Loudness if each <= level]
    (tmp_path / "settings.yaml").write_text("quiet: true\nverbose: true\n")
    assert run(["checks", "--config", str(tmp_path / "settings.yaml")]) == 2


def test_every_command_that_prints_more_than_its_result_has_a_quiet_form(trained, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path / "cache"))
    folders = [str(shutil.copytree(trained, tmp_path / name)) for name in ("a", "b")]
    assert run(["compare", *folders, "--quiet"]) == 0
    told = capsys.readouterr().out
    assert all(folder in told for folder in folders)
    assert "No target labels were used" not in told
    assert run(["keep", folders[0], "aligned", "--quiet"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"report  {folders[0]}/report.html"
    assert run(["report", folders[0], "--quiet"]) == 0
    assert capsys.readouterr().out == f"report  {folders[0]}/report.html\n"
    assert run(["cache", "ls", "--quiet"]) == 0
    assert "entries" in capsys.readouterr().out
    assert run(["backbones", "--no_speed", "--quiet"]) == 0
    told = capsys.readouterr().out
    assert "--backbone lite0" in told
    assert "any other network" not in told


def test_folders_above_a_file_to_be_written_are_made(trained, folders, tmp_path, capsys):
    for command, name in (
        (["predict", str(trained), "--images", f"{folders}/target"], "a/deep/street.csv"),
        (["query", str(trained), "--n", "3"], "b/deep/to_label.csv"),
        (["export", str(trained), "--format", "torch"], "c/deep/model"),
    ):
        assert run([*command, "--out", str(tmp_path / name)]) == 0
        assert (tmp_path / name).exists()
    (tmp_path / "file").write_text("")
    assert run(["export", str(trained), "--format", "torch", "--out", str(tmp_path / "file" / "model")]) == 2
    assert f"--out {tmp_path}/file/model: its folder cannot be made" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            [],
            "subcommand: expected one of train, eval, query, compare, judge, predict, features, export, keep, report,",
        ),
        (["cache", "fly"], "fly"),
        (["cache", "rm", "nokey"], "nokey: not in the cache"),
        (["eval", "x", "--data", "y", "--cache", "tape"], "--cache"),
        (["fly"], "fly"),
        (["train", "--foo", "1"], "--foo"),
        (["train", "--steps", "many"], "--steps"),
        (["train", "--steps", "0"], "--steps 0"),
        (["train", "--batch", "1"], "--batch 1"),
        (["train", "--backbone", "huge"], "paper-small"),
        (["train", "--backbone", "lit0"], "did you mean lite0?"),
        (["train", "--model.bottleneck_dim", "0"], "bottleneck_dim"),
        (["train", "--self_ensemble.alpha", "2"], "alpha"),
        (["train", "--self_ensemble.distance", "kl"], "over_classes"),
        (["train", "--optimizer.lr", "-1"], "--optimizer.lr -1: expected a rate above 0"),
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
        (["train", "--config", "{root}/null.yaml"], "data: expected a group of settings"),
        (["train", "--source", "", "--target", "{root}/images"], "--source '': expected a path, got an empty text"),
        (["train", *TWO, "--out="], "--out '': expected a path, got an empty text"),
        (["train", "--steps", ""], "--steps: expected a whole number, got nothing"),
        (["train", "--optimizer.lr", ""], "--optimizer.lr: expected a number, got nothing"),
        (["train", "--steps", "foo"], "--steps: expected a whole number, got foo"),
        (["train", "--method", "fixmtach"], "got fixmtach; did you mean fixmatch?"),
        (["train", "--preset", "photo_features"], "got photo_features; did you mean photo-features?"),
        (["train", "--bakbone", "resnet18"], "did you mean --backbone?"),
        (["train", "--imgsz", "64"], "did you mean --data.size?"),
        (["train", "--lr", "0.1"], "did you mean --stages.lr or --optimizer.lr?"),
        (["train", "--learning_rate=0.1"], "or --optimizer.lr?"),
        (["train", "--model", "resnet50"], "--model: a group of settings, expected one of them, such as --model."),
        (["trian"], "did you mean train?"),
        (["train", "--source", "{root}/empty", "--target", "{root}/images"], "one folder of images for each class"),
        (["train", "--source", "{root}/one", "--target", "{root}/images", *SHORT], "at least two class folders"),
        (["train", "--source", "{root}/hollow", "--target", "{root}/images"], "'b' holds no image"),
        (["train", "--source", "{root}/two", "--target", "{root}/empty"], "found none"),
        (["train", "--source", "{root}/two", "--target", "{root}/file.txt"], "this is a file"),
        (["train", "--source", "{root}/two", "--target", "{root}/broken", "--strict", *SHORT], "cannot be read"),
        (["train", "--source", "{root}/two", "--target", "{root}/broken", *SHORT], "none of its 1 images"),
        (["train", *TWO, "--evaluate", "{root}/none"], "--evaluate"),
        (["train", *TWO, "--data.validation_share", "0", "--evaluate", "digits-held-out"], "does not know"),
        (["train", *TWO], "the only image of a class"),
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


def test_a_run_without_a_model_says_how_to_go_on(trained, tmp_path, capsys):
    for name in ("config.yaml", "summary.json"):
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    assert run(["predict", str(tmp_path), "--images", str(tmp_path), "--out", str(tmp_path / "x.csv")]) == 2
    assert "--resume" in capsys.readouterr().err


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


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EACCES, "let it be read and written, or work in a folder"),
        (errno.EROFS, "let it be read and written, or work in a folder"),
        (errno.ENOSPC, "make room"),
    ],
)
def test_a_file_that_may_not_be_written_is_an_error_in_one_line(number, remedy, trained, capsys, monkeypatch):
    def refuse(path, text):
        raise OSError(number, os.strerror(number), f"{path}.tmp")

    monkeypatch.setattr("dalib.report.page.write_text", refuse)
    assert run(["report", str(trained)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"dalib: error: {trained}/report.html: {os.strerror(number)}; {remedy}")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["eval", "{}", "--data", "x"],
        ["report", "{}"],
        ["train", "--source", "{}", "--target", "x"],
        ["train", "--config", "{}"],
    ],
)
def test_a_name_that_the_system_does_not_take_is_an_error_in_one_line(arguments, capsys):
    name = "x" * 300
    assert run([each.format(name) for each in arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"dalib: error: {name}")
    assert "File name too long; give another name" in said
    assert said.count("\n") == 1


def test_a_full_disk_is_an_error_in_one_line_also_where_the_system_names_no_file(trained, capsys, monkeypatch):
    def refuse(path, text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("dalib.report.page.write_text", refuse)
    assert run(["report", str(trained)]) == 2
    assert f"what was to be written: {os.strerror(errno.ENOSPC)}; make room" in capsys.readouterr().err


def test_another_error_of_the_system_keeps_its_traceback(trained, monkeypatch):
    def refuse(path, text):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))

    monkeypatch.setattr("dalib.report.page.write_text", refuse)
    with pytest.raises(FileNotFoundError):
        run(["report", str(trained)])
