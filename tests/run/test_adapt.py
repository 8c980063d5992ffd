"""dalib.adapt trains as the command line does."""

import datetime
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import dalib
from cups_and_pens import QUICK
from dalib.commands.main import run as command
from dalib.core.errors import UserError
from dalib.records.folder import RunFolder


def test_a_run_is_what_the_command_line_trains(cups_run, cups_and_pens, tmp_path):
    out = tmp_path / "command"
    arguments = ["--data.size", "16", "--steps", "4", "--batch", "4"]
    arguments += ["--every.log", "2", "--every.evaluate", "2", "--every.checkpoint", "2"]
    where = ["--source", str(cups_and_pens / "studio"), "--target", str(cups_and_pens / "street"), "--out", str(out)]
    assert command(["train", *where, *arguments]) == 0
    one, other = ((each / "model" / "model.safetensors").read_bytes() for each in (cups_run.path, out))
    assert one == other


def test_the_draws_of_the_caller_are_as_without_the_run(cups_and_pens, tmp_path):
    def draws():
        return random.random(), np.random.random(), torch.rand(1).item()

    def seed():
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)

    brief = QUICK | {"steps": 1, "baseline_steps": 1}
    seed()
    expected = draws()
    seed()
    dalib.adapt(cups_and_pens / "studio", cups_and_pens / "street", out=tmp_path / "run", **brief)
    assert draws() == expected
    seed()
    dalib.adapt_each(cups_and_pens / "studio", {"street": cups_and_pens / "street"}, out=tmp_path / "runs", **brief)
    assert draws() == expected


def test_a_finished_run_says_so_where_it_is_resumed(cups_run, tmp_path, capsys):
    finished = tmp_path / "finished"
    shutil.copytree(cups_run.path, finished)
    assert dalib.adapt(resume=finished).selected == cups_run.selected
    assert f"{finished} has finished already" in capsys.readouterr().out


def test_a_run_may_be_given_where_its_folder_may(cups_run, cups_and_pens, tmp_path):
    assert dalib.open_run(cups_run).path == dalib.adapt(resume=cups_run).path == cups_run.path
    assert dalib.load(cups_run).classes == cups_run.predictor().classes
    more = QUICK | {"steps": 1, "baseline_steps": 1}
    started = dalib.adapt(
        cups_and_pens / "studio", cups_and_pens / "street", out=tmp_path / "more", init=cups_run, **more
    )
    assert started.summary.settings["init"] == str(cups_run.path)
    with pytest.raises(UserError, match=r"^init=3: expected a string or None$"):
        dalib.adapt(cups_and_pens / "studio", cups_and_pens / "street", init=3)


def test_a_run_that_was_stopped_is_resumed_as_it_was_configured(cups_run, tmp_path):
    stopped = tmp_path / "stopped"
    shutil.copytree(cups_run.path, stopped)
    for folder in (stopped, stopped / "source-only"):
        shutil.rmtree(folder / "model")
    resumed = dalib.adapt(resume=stopped)
    assert resumed.path == stopped
    one, other = ((each / "model" / "model.safetensors").read_bytes() for each in (cups_run.path, stopped))
    assert one == other


def test_places_that_are_given_to_resume_are_the_runs_however_they_are_written(cups_run, cups_and_pens, tmp_path):
    resumed = tmp_path / "resumed"
    shutil.copytree(cups_run.path, resumed)
    source, target = cups_and_pens / "studio", cups_and_pens / "street"
    assert dalib.adapt([f"{source}/"], f"{source}/../street", resume=resumed).path == resumed
    with pytest.raises(UserError, match=rf"^target: not .* has \({re.escape(str(target))}\); leave it out"):
        dalib.adapt(source, source, resume=resumed)
    with pytest.raises(UserError, match=r"^evaluate: the run has none; leave it out, or begin a new run"):
        dalib.adapt(evaluate=cups_and_pens / "labelled", resume=resumed)


def test_a_run_whose_images_have_changed_is_resumed_if_that_is_allowed(cups_and_pens, tmp_path):
    shutil.copytree(cups_and_pens, tmp_path / "images")
    target = tmp_path / "images" / "street"
    run = dalib.adapt(tmp_path / "images" / "studio", target, out=tmp_path / "run", **QUICK)
    shutil.rmtree(run.path / "model")
    (target / "00.png").write_bytes((target / "01.png").read_bytes())
    with pytest.raises(UserError, match="allow_changes=True"):
        dalib.adapt(resume=run.path)
    assert dalib.adapt(resume=run.path, allow_changes=True).report.is_file()


def test_a_run_that_is_resumed_elsewhere_names_the_folder_it_was_started_in(cups_and_pens, tmp_path, monkeypatch):
    monkeypatch.chdir(cups_and_pens)
    run = dalib.adapt("studio", "street", out=tmp_path / "run", **QUICK)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"source='studio': no such folder in .*give the command in that one") as caught:
        dalib.adapt(resume=run.path)
    assert "absolute" not in str(caught.value), "no other place can be given"
    monkeypatch.chdir(cups_and_pens)
    assert dalib.adapt(resume=run.path).report.is_file()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "source: expected a folder, a list file or the name of a data set, got nothing"),
        ({"source": "a", "target": np.zeros(3)}, r"target: expected images \(N, H, W\).*got \(3,\)"),
        ({"source": "a", "target": 3}, "target: expected a folder.*got int"),
        ({"source": "a", "target": "b", "no_such": 1}, "no_such: no such setting"),
        ({"source": "a", "target": "b", "data": {"sise": 3}}, r"data\.sise: no such setting"),
        ({"source": "a", "target": "b", "preset": "photographs"}, "preset: expected one of"),
        ({"source": "a", "target": "b", "config": dalib.TrainConfig()}, "config: expected alone, got source, target"),
        ({"source": "a", "target": "b", "allow_changes": True}, "allow_changes=True: expected resume with it"),
        ({"resume": "nowhere"}, r"no such folder; give the folder that `dalib\.adapt` printed"),
        ({"source": "nowhere", "target": "b"}, "source='nowhere'"),
    ],
)
def test_a_mistake_is_named_as_the_argument(given, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        dalib.adapt(**given)
    assert list(tmp_path.iterdir()) == []


def test_every_name_that_is_shown_is_there():
    assert all(getattr(dalib, name) is not None for name in dir(dalib))


def test_importing_dalib_is_quick_and_shows_what_there_is():
    program = (
        "import sys, time; since = time.perf_counter(); import dalib; seconds = time.perf_counter() - since\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        "names = ['ImageFeatures', 'ImagePrediction', 'ModelsJudgement', 'Prediction', 'Predictions', 'Predictor']\n"
        "names += ['Run', 'RunStoppedError', 'Runs', 'TrainConfig', 'UserError', '__version__', 'adapt']\n"
        "names += ['adapt_each', 'compare', 'judge_models', 'load', 'open_run', 'open_runs']\n"
        "assert dir(dalib) == sorted(dalib.__all__) == names, dir(dalib)\n"
        "print(seconds)"
    )
    seconds = [
        float(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout)
        for _ in range(3)
    ]
    assert min(seconds) < 0.1


@pytest.fixture
def arrays():
    """(images, labels) as the folder studio, and images as street, in the order of their names."""
    rng = np.random.default_rng(0)
    shades = np.repeat([60, 200, 120], [12, 12, 10])
    pixels = np.stack([np.clip(rng.normal(shade, 30, (16, 16, 3)), 0, 255).astype(np.uint8) for shade in shades])
    return (pixels[:24], ["cup"] * 12 + ["pen"] * 12), pixels[24:]


def test_arrays_are_named_by_what_they_are_and_not_by_their_place(arrays, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path / "cache"))
    source, target = arrays
    run = dalib.adapt(source, target, out=tmp_path / "run", evaluate=source, **QUICK)
    measured = run.evaluate(source)
    printed = capsys.readouterr().out + repr(run) + repr(measured)
    assert str(tmp_path / "cache") not in printed
    assert re.search("source array-of-24-labelled-images: .* target array-of-10-images: ", printed)
    assert "images of array-of-24-labelled-images (" in printed
    assert "on array-of-24-labelled-images (" in printed


def test_a_run_of_arrays_resumes_and_opens_without_them(arrays, tmp_path, monkeypatch):
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path / "cache"))
    source, target = arrays
    measured = (target, ["cup", "pen"] * 5)
    run = dalib.adapt(source, target, out=tmp_path / "run", evaluate=measured, **QUICK)
    assert "array-of-24-labelled-images -> array-of-10-images" in repr(run)
    assert run.summary.classes == ("cup", "pen")
    assert len(list((run.path / "evaluations").iterdir())) == 1
    weights = (run.path / "model/model.safetensors").read_bytes()
    assert dalib.open_run(run.path).predict(target)[9].path == "array/9"

    for folder in (run.path, run.path / "source-only"):
        shutil.rmtree(folder / "model")
    assert (dalib.adapt(resume=run.path).path / "model/model.safetensors").read_bytes() == weights
    assert run.query(3, out=tmp_path / "label.csv").is_file()

    for folder in (run.path, run.path / "source-only"):
        shutil.rmtree(folder / "model")
    shutil.rmtree(tmp_path / "cache" / "given")
    with pytest.raises(UserError, match=r"source .*are gone; .* dalib\.adapt\(source=\.\.\., resume="):
        dalib.adapt(resume=run.path)
    with pytest.raises(UserError, match="target: not the images that the run has"):
        dalib.adapt(source, target[:5], resume=run.path)
    with pytest.raises(UserError, match=r"evaluate .*are gone; .*dalib\.adapt\(evaluate=\.\.\., resume="):
        dalib.adapt(source, target, resume=run.path)
    again = dalib.adapt(source, target, resume=run.path, evaluate=measured)
    assert (again.path / "model/model.safetensors").read_bytes() == weights


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"source": ["a.png", "b.jpg"], "target": "b"}, r"source: these are images without labels; give pairs"),
        ({"source": (np.zeros((3, 8, 8)), [0, 1])}, "source: expected one label for each of the 3 images"),
        ({"target": np.full((3, 8, 8), 7.0)}, r"target: expected floats on the scale \[0, 1\], image 0 has 7 to 7"),
        ({"no_such": 3}, "no_such: no such setting"),
        ({"steps": "many"}, "steps='many': expected a whole number"),
        ({"data": {"size": "large"}}, r"data\.size='large': expected a whole number"),
        ({"data": {"sise": 8}}, r"data\.sise: no such setting; did you mean data\.size\?"),
        ({"time": "10m"}, r"^time: no such setting; did you mean time_limit\?$"),
        ({"imgsz": 64}, r"^imgsz: no such setting; did you mean data\.size\?$"),
        ({"lr": 0.1}, r"^lr: no such setting; did you mean stages\.lr or optimizer\.lr\?$"),
        ({"colour": 3}, r"^colour: no such setting; dalib\.run\.settings\.config\.TrainConfig lists them$"),
        ({"optimizer": {"learning_rate": 1}}, r"^optimizer\.learning_rate: no such setting; optimizer has name, lr,"),
        ({"optimizer": 0.1}, r"^optimizer=0\.1: expected an OptimizerConfig or a dictionary; optimizer has name, lr,"),
        ({"prior": {"cat": 0.5}}, "^prior.cat: no such setting; prior is no group of settings, expected a string$"),
        ({"evaluate": np.zeros((3, 8, 8))}, "evaluate: images without labels"),
        (
            {"target_labels": pd.DataFrame({"path": ["a.png"], "label": ["cup"]})},
            "^target_labels, row 1: 'a.png' is none of the 10 images of the target array-of-10-images; expected the nu",
        ),
        (
            {"groups": np.arange(200)},
            "^groups: expected a column, a regular expression with one group, .* got ndarray$",
        ),
    ],
)
def test_a_mistake_with_objects_is_named_as_the_argument(given, message, arrays, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source, target = arrays
    with pytest.raises(UserError, match=message):
        dalib.adapt(**{"source": source, "target": target, **given})
    assert list(tmp_path.iterdir()) == []


def test_labels_of_a_target_that_is_objects_are_learnt_from(arrays, tmp_path, capsys):
    source, target = arrays
    labels = ["cup", None, "pen", *[None] * 7]
    run = dalib.adapt(source, target, out=tmp_path / "run", target_labels=labels, **QUICK)
    assert run.summary.counts["target_labelled"] == 2
    assert "note: target_labels: 2, fewer than 50" in capsys.readouterr().out
    assert dalib.adapt(resume=run.path).path == run.path


def test_several_sources_of_several_kinds_are_one(arrays, cups_and_pens, tmp_path):
    (pixels, labels), target = arrays
    run = dalib.adapt(
        [cups_and_pens / "studio", (pixels[::2], labels[::2])], list(target), out=tmp_path / "run", **QUICK
    )
    assert run.summary.counts["source"] + run.summary.counts["source_validation"] == 36
    assert run.summary.classes == ("cup", "pen")


def test_photographs_as_objects_take_the_network_of_photographs(monkeypatch, tmp_path):
    rng, taken = np.random.default_rng(0), []
    photographs = rng.integers(0, 256, (8, 100, 120, 3), dtype=np.uint8)
    monkeypatch.setattr("dalib.run.train.train", lambda config, **_: taken.append(config) or RunFolder(tmp_path))
    dalib.adapt((photographs, [0, 1] * 4), photographs)
    dalib.adapt((photographs[:, :32, :32], [0, 1] * 4), photographs)
    assert [config.backbone for config in taken] == ["tf_efficientnet_lite0", "small"]
    assert taken[0].preset == "photo-features"


class Interrupting:
    """A tracker whose user presses Ctrl-C when a step is logged."""

    def __init__(self, training: str, step: int) -> None:
        self.at = training, step
        self.steps: list[tuple[str, int]] = []

    def begin(self, run): ...

    def log(self, training, step, values):
        self.steps.append((training, step))
        if (training, step) == self.at:
            raise KeyboardInterrupt

    def picture(self, name, path): ...

    def end(self, outcome): ...


@pytest.mark.parametrize("at", [("source-only", 2), ("adapted", 2), ("adapted", 4)])
def test_ctrl_c_leaves_a_run_that_goes_on(cups_run, cups_and_pens, tmp_path, at):
    out = tmp_path / "run"
    with pytest.raises(dalib.RunStoppedError, match=r"to resume: dalib\.adapt\(resume='.*run'\)"):
        dalib.adapt(cups_and_pens / "studio", cups_and_pens / "street", out=out, trackers=[Interrupting(*at)], **QUICK)
    assert "training has not finished; if it was stopped, dalib.adapt(resume=" in repr(dalib.open_run(out))
    rest, seen = Interrupting("", 0), []
    resumed = dalib.adapt(
        resume=out, trackers=[rest], on_evidence=lambda training, step, evidence: seen.append((training, step))
    )
    assert seen[-1] == ("adapted", 4)
    assert rest.steps[-1] == ("adapted", 4)
    one, other = ((each / "model" / "model.safetensors").read_bytes() for each in (cups_run.path, resumed.path))
    assert one == other


def test_a_run_that_was_stopped_names_the_model_that_predicts_until_it_is_resumed(cups_and_pens, tmp_path, capsys):
    out = tmp_path / "run"
    with pytest.raises(dalib.RunStoppedError):
        dalib.adapt(
            cups_and_pens / "studio",
            cups_and_pens / "street",
            out=out,
            trackers=[Interrupting("adapted", 2)],
            keep="adapted",
            **QUICK,
        )
    stopped = dalib.open_run(out)
    before = stopped.predict(cups_and_pens / "street")
    said = "this is the aligned model (training has not finished: there is no adapted model)"
    assert said in " ".join(capsys.readouterr().out.split())
    resumed = dalib.adapt(resume=out)
    assert before.probabilities.equal(resumed.predict(cups_and_pens / "street", model="aligned").probabilities)
    adapted = resumed.predict(cups_and_pens / "street").probabilities
    assert stopped.predict(cups_and_pens / "street").probabilities.equal(adapted)
    assert not before.probabilities.equal(adapted)


def test_groups_of_a_configuration_may_be_dictionaries():
    assert dalib.TrainConfig(optimizer={"lr": 0.5}).optimizer.lr == 0.5
    with pytest.raises(UserError, match=r"data\.sise: no such setting; data has size, crop"):
        dalib.TrainConfig(data={"sise": 8})
    with pytest.raises(UserError, match=r"data\.size='x': expected a whole number"):
        dalib.TrainConfig(data={"size": "x"})


def test_runs_that_begin_in_the_same_second_have_folders_of_their_own(cups_and_pens, tmp_path, monkeypatch):
    class Stopped(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 1, 2, 3, 4, 5)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dalib.core.files.datetime.datetime", Stopped)
    first, second = (dalib.adapt(cups_and_pens / "studio", cups_and_pens / "street", **QUICK) for _ in range(2))
    assert first.path.name == "20260102-030405-studio-street"
    assert second.path.name == "20260102-030405-studio-street-2"


def test_the_first_hour_in_python(cups_and_pens, tmp_path, monkeypatch):
    """What the README shows, with folders of these names."""
    monkeypatch.chdir(tmp_path)
    for name in ("studio", "street", "labelled"):
        shutil.copytree(cups_and_pens / name, tmp_path / name)
    run = dalib.adapt("studio/", "street/", **QUICK)
    assert len(repr(run).splitlines()) == 6
    assert run._repr_html_().count("<img ") == 10
    assert len(run.predict("street/", out="x.csv")) == 10
    assert len(Path("x.csv").read_text().splitlines()) == 11
    measured = run.evaluate("labelled/")
    assert measured.count == 8
    told = repr(run)
    assert all(
        f"{each.accuracy:.1%} right on 8 labelled images of labelled" in told for each in measured.models.values()
    )
    assert "not estimated" not in told
    assert run.query(50).is_file()
    assert len(run.compare(dalib.adapt("studio/", "street/", seed=1, **QUICK))) == 2
    assert run.report.is_file()
    assert repr(dalib.open_run(run.path)) == repr(run)
    pytest.importorskip("onnxruntime")
    assert run.export("model.onnx").is_file()
    assert dalib.load("model.onnx").classes == ("cup", "pen")
