"""Trackers hear of each line once, with a run that goes on too, and can do a run no harm."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from dalib.commands.config_file import read_config
from dalib.commands.main import run
from dalib.core.errors import RunStoppedError, TrainingDivergedError, UserError
from dalib.records.evaluation import MeasuredModel
from dalib.records.judgement import Judgement
from dalib.records.summary import Summary
from dalib.run import track, train
from dalib.run.settings.config import TrainConfig
from dalib.run.track import MlflowTracker, ModuleTracker, TensorBoardTracker, TrackedRun, Tracking, make_tracker
from tracked_curves import assert_the_same_curves, events, metrics_of


def arguments(images: Path, out: Path, *more: str) -> list[str]:
    quick = "--steps 6 --baseline_steps 4 --batch 4 --data.size 16 --data.validation_share 0.2 --select last"
    often = "--every.log 1 --every.evaluate 3 --every.checkpoint 3"
    where = ["--source", f"{images}/source", "--target", f"{images}/target", "--out", str(out)]
    return ["train", *where, *quick.split(), *often.split(), *more]


@pytest.fixture(scope="module")
def finished(images, tmp_path_factory):
    """A run with TensorBoard."""
    out = tmp_path_factory.mktemp("runs") / "run"
    assert run(arguments(images, out, "--track", "tensorboard", "--evaluate", f"{images}/test")) == 0
    return out


@pytest.fixture
def cut(finished, tmp_path):
    """The run as it would be if it had been killed after step 5 of the adaptation: its last checkpoint is that of 3."""
    copied = tmp_path / "cut"
    shutil.copytree(finished, copied)
    (copied / "checkpoints" / "step-000000006.pt").unlink()
    shutil.rmtree(copied / "model")
    lines = (copied / "metrics.jsonl").read_text().splitlines(keepends=True)
    (copied / "metrics.jsonl").write_text("".join(lines[:5]))
    return copied


def config_of(folder: Path, **changes: object) -> TrainConfig:
    return dataclasses.replace(read_config(folder / "config.yaml"), out=str(folder), **changes)


class Recorder:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple] = []

    def begin(self, run):
        self.heard.append(("begin", run))

    def log(self, training, step, values):
        self.heard.append(("log", training, step, dict(values)))

    def picture(self, name, path):
        assert path.is_file()
        self.heard.append(("picture", name, path))

    def end(self, outcome):
        self.heard.append(("end", dict(outcome)))

    def steps(self, training: str) -> list[int]:
        return [each[2] for each in self.heard if each[:2] == ("log", training)]


def fake_service(name: str = "service") -> types.ModuleType:
    """A module with the calls of wandb, which keeps what it is told."""
    module = types.ModuleType(name)
    module.calls = []

    def init(project=None, name=None, config=None, dir=None, id=None, resume=None):
        module.calls.append(("init", {"project": project, "name": name, "dir": dir, "id": id, "resume": resume}))
        json.dumps(config)  # plain values

    module.init = init
    module.log = lambda values, step: module.calls.append(("log", step, values))
    module.finish = lambda: module.calls.append(("finish",))
    return module


def test_tensorboard_has_the_curves_of_both_trainings(finished):
    for training, folder in (("source-only", finished / "source-only"), ("adapted", finished)):
        assert_the_same_curves(folder, finished / "tensorboard" / training)


def test_tensorboard_has_settings_views_and_outcome(finished):
    found = events(finished / "tensorboard")  # the folder's own files: TensorBoard reads those below for themselves
    assert found.Tags()["images"] == ["views"]
    (view,) = found.Images("views")
    with Image.open(finished / "views.png") as sheet:
        assert (view.width, view.height) == sheet.size
    texts = {
        name: found.Tensors(f"{name}/text_summary")[0].tensor_proto.string_val[0] for name in ("settings", "outcome")
    }
    assert b"    steps: 6\n" in texts["settings"]
    for expected in (b"    status: done\n", b"    shipped: ", b"    headline: ", b"accuracy/adapted: "):
        assert expected in texts["outcome"]


def test_a_run_that_goes_on_has_each_step_once(cut):
    before = len(list((cut / "tensorboard" / "adapted").iterdir()))
    assert run(["train", "--resume", str(cut)]) == 0
    assert len(list((cut / "tensorboard" / "adapted").iterdir())) == before + 1, (
        "it was tracked without being told again"
    )
    assert [step for step, _ in metrics_of(cut)["loss"]] == [1, 2, 3, 4, 5, 6]
    for training, folder in (("source-only", cut / "source-only"), ("adapted", cut)):
        assert_the_same_curves(folder, cut / "tensorboard" / training)


def test_a_run_may_go_on_with_another_tracker_and_the_result_is_the_same(cut, finished, monkeypatch):
    service = fake_service("wandb")
    service.__spec__ = types.SimpleNamespace()
    monkeypatch.setitem(sys.modules, "wandb", service)
    assert run(["train", "--resume", str(cut), "--track", "wandb"]) == 0
    assert service.calls[-1] == ("finish",)
    ours, theirs = (load_file(folder / "model" / "model.safetensors") for folder in (cut, finished))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_run_may_go_on_without_its_tracker(cut):
    before = sorted(path for path in (cut / "tensorboard").rglob("*"))
    assert run(["train", "--resume", str(cut), "--track", "null"]) == 0
    assert sorted(path for path in (cut / "tensorboard").rglob("*")) == before


def test_what_a_tracker_hears(finished, tmp_path):
    out, recorder = tmp_path / "run", Recorder()
    train.train(dataclasses.replace(config_of(finished), out=str(out), track=None), trackers=[recorder])
    (first, began), (second, picture, path), *lines, (last, outcome) = recorder.heard
    assert (first, second, picture, path, last) == ("begin", "picture", "views", out / "views.png", "end")
    assert (began.folder, began.steps, began.resumed) == (out, {"source-only": 4, "adapted": 6}, False)
    assert began.config["optimizer"]["lr"] == 0.001
    assert [line[1:3] for line in lines] == [
        *(("source-only", step) for step in range(1, 5)),
        *(("adapted", step) for step in range(1, 7)),
    ]
    assert all("step" not in line[3] and isinstance(line[3]["loss"], float) for line in lines)
    assert "source_validation_accuracy" in json.dumps(lines[2][3]), "the measures of the evaluation are among them"
    judgement = json.loads((out / "judgement.json").read_text())
    assert outcome["status"] == "done"
    assert (outcome["shipped"], outcome["headline"]) == (judgement["shipped"], judgement["headline"])
    (evaluation,) = (out / "evaluations").iterdir()
    assert outcome["accuracy/adapted"] == json.loads(evaluation.read_text())["models"]["adapted"]["accuracy"]


def test_the_outcome_has_estimates_where_there_are_any():
    models = {"adapted": {"estimate": {"value": 0.9}}, "source-only": {"estimate": {"value": None}}, "other": {}}
    content = {"shipped": "adapted", "outcome": "helped", "headline": "It helped", "models": models, "distance": 1.0}
    judgement = Judgement.from_json(content, "judgement.json")
    measured = {"adapted": MeasuredModel(0.8, (0.7, 0.9))}
    assert train._outcome(Summary(status="done"), judgement, measured) == {
        "status": "done",
        "shipped": "adapted",
        "outcome": "helped",
        "headline": "It helped",
        "estimate/adapted": 0.9,
        "accuracy/adapted": 0.8,
    }


@pytest.mark.parametrize(
    ("tracker", "expected"),
    [
        (TensorBoardTracker, r"got the class TensorBoardTracker; make one with TensorBoardTracker\(\)"),
        (print, "builtin_function_or_method has no begin, log, picture, end"),
    ],
)
def test_what_is_no_tracker_is_refused_before_anything_is_written(tmp_path, tracker, expected):
    config = TrainConfig(out=str(tmp_path / "run"))
    with pytest.raises(UserError, match=expected):
        train.train(config, trackers=[tracker])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", ["begin", "log", "picture", "end"])
def test_a_tracker_that_fails_is_told_once_and_the_run_ends_as_without(finished, tmp_path, capsys, method):
    class Failing(Recorder):
        pass

    def fail(*_):
        raise OSError("no network\x1b[2J")

    setattr(Failing, method, fail)
    failing, other, out = Failing(), Recorder(), tmp_path / "run"
    config = dataclasses.replace(config_of(finished), out=str(out), track=None)
    train.train(config, trackers=[failing, other])
    said = capsys.readouterr().err
    assert said.count("warning: Failing failed (OSError: no network\\x1b[2J)") == 1
    heard = [each[0] for each in failing.heard]
    assert "end" not in heard or method != "end"
    assert heard == [each[0] for each in other.heard][: len(heard)], "nothing more after it failed"
    assert other.steps("adapted") == [1, 2, 3, 4, 5, 6]
    assert other.heard[-1][0] == "end"
    ours, theirs = (load_file(folder / "model" / "model.safetensors") for folder in (out, finished))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RunStoppedError("", 15), "stopped"),
        (TrainingDivergedError(""), "diverged"),
        (UserError(""), "failed"),
        (KeyboardInterrupt(), "failed"),
    ],
)
def test_a_run_that_does_not_end_well_tells_how_it_ended(error, status):
    begun, idle = Recorder(), Recorder()
    told = Tracking([begun])
    told.begin(TrackedRun(Path(), {}, {}))
    for tracking_of_it in (told, Tracking([idle])):
        with pytest.raises(type(error)), tracking_of_it:
            raise error
    assert begun.heard[-1] == ("end", {"status": status})
    assert idle.heard == [], "what did not begin does not end"


def test_a_run_that_ended_does_not_end_again():
    recorder = Recorder()
    with Tracking([recorder]) as told:
        told.begin(TrackedRun(Path(), {}, {}))
        told.end({"status": "done"})
    assert [each[0] for each in recorder.heard] == ["begin", "end"]
    assert recorder.heard[-1] == ("end", {"status": "done"})


def test_a_stopped_run_says_so_and_goes_on_with_its_trackers(finished, tmp_path):
    out, first, second = tmp_path / "run", Recorder(), Recorder()
    config = dataclasses.replace(config_of(finished), out=str(out), track=None)

    def stop(training, step, evidence):
        if training == "adapted":
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(RunStoppedError):
        train.train(config, trackers=[first], on_evidence=stop)
    assert first.heard[-1] == ("end", {"status": "stopped"})
    train.train(config, resume=True, trackers=[second])
    began = second.heard[0][1]
    assert (began.resumed, began.logged) == (True, {"source-only": 4, "adapted": 3})
    assert first.steps("adapted") + second.steps("adapted") == [1, 2, 3, 4, 5, 6]
    assert "picture" not in [each[0] for each in second.heard]


def test_a_service_has_one_clock_and_each_step_once(finished, cut, tmp_path):
    service, out = fake_service(), tmp_path / "run"
    config = dataclasses.replace(config_of(finished), out=str(out), track=None)
    train.train(config, trackers=[ModuleTracker(service, {"project": "birds"})])
    (first, given), *logged, last = service.calls
    assert (first, last) == ("init", ("finish",))
    assert given | {"id": ""} == {"project": "birds", "name": "run", "dir": str(out), "id": "", "resume": "allow"}
    assert len(given["id"]) == 21
    assert [step for _, step, _ in logged] == [*range(1, 11), 10]
    assert [values.get("source-only/step") for _, _, values in logged[:4]] == [1, 2, 3, 4]
    assert [values.get("adapted/step") for _, _, values in logged[4:10]] == [1, 2, 3, 4, 5, 6]
    assert logged[9][2]["adapted/loss"] == metrics_of(out)["loss"][-1][1]
    assert logged[10][2]["outcome/status"] == "done"

    # killed after step 5 of the adaptation, with the checkpoint of step 3
    for name in ("checkpoints/step-000000006.pt", "metrics.jsonl"):
        (out / name).unlink()
    shutil.copy(cut / "metrics.jsonl", out / "metrics.jsonl")
    again = fake_service()
    train.train(config, resume=True, trackers=[ModuleTracker(again)])
    assert again.calls[0][1]["id"] == given["id"], "the same run of the service"
    assert [call[1] for call in again.calls if call[0] == "log"] == [10, 10]  # step 6, then the outcome


def test_a_service_gets_what_its_init_takes_and_pictures_where_it_shows_them(tmp_path):
    """trackio has neither id nor dir, and swanlab takes more than it names."""
    service, given = fake_service(), []
    service.init = lambda name, config, resume="never", **more: given.append({"name": name, "resume": resume, **more})
    service.Image = lambda path: f"image of {path}"
    tracker = ModuleTracker(service, {"mode": "offline"})
    tracker.begin(TrackedRun(tmp_path, {}, {"adapted": 5}))
    assert given == [{"name": tmp_path.name, "resume": "allow", "mode": "offline"}]
    tracker.picture("views", tmp_path / "views.png")
    assert service.calls == [("log", 0, {"views": f"image of {tmp_path}/views.png"})]
    service.Text = lambda text: f"text of {text}"
    tracker.end({"status": "done", "accuracy/adapted": 0.5})
    expected = {"outcome/status": "text of done", "outcome/accuracy/adapted": 0.5}
    assert service.calls[1:] == [("log", 0, expected), ("finish",)]


def test_a_tracker_that_a_run_goes_on_with_for_the_first_time_hears_all_that_comes(tmp_path):
    """What an earlier process logged was not told to this service: it has no id yet."""
    service = fake_service()
    tracker = ModuleTracker(service)
    tracker.begin(TrackedRun(tmp_path, {}, {"adapted": 5}, resumed=True, logged={"adapted": 4}))
    tracker.log("adapted", 3, {"loss": 1.0})
    assert service.calls[1] == ("log", 3, {"adapted/step": 3, "adapted/loss": 1.0})


def fake_mlflow(store: dict | None = None) -> types.ModuleType:
    """A module with the calls of MLflow's client, which keeps runs in ``store``."""
    module, runs = types.ModuleType("mlflow"), {} if store is None else store
    named = dataclasses.make_dataclass("Named", ["key", "value"])
    metric = dataclasses.make_dataclass("Metric", ["key", "value", "timestamp", "step"])
    module.entities = types.SimpleNamespace(Param=named, RunTag=named, Metric=metric)

    class Client:
        def get_experiment_by_name(self, name):
            return runs.get(("experiment", name))

        def create_experiment(self, name):
            runs["experiment", name] = types.SimpleNamespace(experiment_id=name)
            return name

        def create_run(self, experiment, run_name, tags):
            identity = f"run-{len(runs)}"
            kept = {"experiment": experiment, "name": run_name, "tags": dict(tags), "params": {}, "metrics": []}
            runs[identity] = kept | {"artifacts": [], "status": "RUNNING"}
            return types.SimpleNamespace(info=types.SimpleNamespace(run_id=identity))

        def log_batch(self, identity, metrics=(), params=(), tags=()):
            assert len(params) <= 100
            for each in params:
                assert runs[identity]["params"].setdefault(each.key, each.value) == each.value, "they never change"
            runs[identity]["tags"] |= {each.key: each.value for each in tags}
            runs[identity]["metrics"] += [(each.key, each.step, each.value) for each in metrics]

        def log_artifact(self, identity, path):
            assert Path(path).is_file()
            runs[identity]["artifacts"].append(Path(path).name)

        def set_terminated(self, identity, status):
            runs[identity]["status"] = status

        def get_metric_history(self, identity, name):
            return [metric(key, value, 0, step) for key, step, value in runs[identity]["metrics"] if key == name]

        def update_run(self, identity, status):
            runs[identity]["status"] = status

    module.MlflowClient = Client
    module.active_run = lambda: None
    return module


def steps_in(metrics: list[tuple], name: str) -> list[int]:
    return [step for key, step, _ in metrics if key == name]


def test_mlflow_has_settings_metrics_verdict_and_report(finished, tmp_path):
    runs, out = {}, tmp_path / "run"
    config = dataclasses.replace(config_of(finished), out=str(out), track=None)
    train.train(config, trackers=[MlflowTracker(module=fake_mlflow(runs))])
    identity = json.loads((out / "tracking.json").read_text())["mlflow"]
    kept = runs[identity]
    assert (kept["experiment"], kept["name"], kept["status"]) == ("dalib", "run", "FINISHED")
    assert (kept["params"]["data.size"], kept["params"]["steps"], kept["params"]["track"]) == ("16", "6", "None")
    assert steps_in(kept["metrics"], "source-only/loss") == [1, 2, 3, 4]
    assert steps_in(kept["metrics"], "adapted/loss") == [1, 2, 3, 4, 5, 6]
    assert [value for key, _, value in kept["metrics"] if key == "adapted/loss"] == [
        value for _, value in metrics_of(out)["loss"]
    ]
    judgement = json.loads((out / "judgement.json").read_text())
    for name in ("outcome", "shipped", "headline"):
        assert kept["tags"][f"dalib.{name}"] == judgement[name]
    assert kept["tags"]["mlflow.note.content"] == judgement["headline"] + "."
    assert len(steps_in(kept["metrics"], "accuracy/adapted")) == 1
    assert kept["artifacts"] == ["views.png", "report.html"]


def test_a_run_that_goes_on_goes_on_in_the_same_run_of_mlflow(finished, cut):
    runs = {}
    module = fake_mlflow(runs)
    tracker = MlflowTracker(module=module)
    tracker.begin(TrackedRun(cut, {"steps": 6}, {"source-only": 4, "adapted": 6}))
    for step in range(1, 6):
        tracker.log("adapted", step, {"loss": 1.0})
    tracker.end({"status": "stopped"})
    identity = json.loads((cut / "tracking.json").read_text())["mlflow"]
    assert runs[identity]["status"] == "KILLED"
    changed = dataclasses.replace(config_of(cut), track=None, device="cpu")
    train.train(changed, resume=True, trackers=[MlflowTracker(module=module)])
    assert json.loads((cut / "tracking.json").read_text())["mlflow"] == identity
    assert runs[identity]["status"] == "FINISHED"
    assert steps_in(runs[identity]["metrics"], "adapted/loss") == [1, 2, 3, 4, 5, 6]
    assert runs[identity]["params"] == {"steps": "6"}, "settings are told once"


def test_a_run_of_mlflow_that_is_gone_is_begun_anew(tmp_path, capsys):
    (tmp_path / "tracking.json").write_text('{"mlflow": "run-99", "wandb": "abc"}')
    runs = {}
    tracker = MlflowTracker("birds", module=fake_mlflow(runs))
    tracker.begin(TrackedRun(tmp_path, {}, {"adapted": 5}, resumed=True, logged={"adapted": 4}))
    tracker.log("adapted", 3, {"loss": 1.0})
    assert "note: MLflow has no run run-99 any more" in capsys.readouterr().out
    known = json.loads((tmp_path / "tracking.json").read_text())
    assert known["wandb"] == "abc"
    assert runs[known["mlflow"]]["experiment"] == "birds"
    assert steps_in(runs[known["mlflow"]]["metrics"], "adapted/loss") == [3]


@pytest.mark.parametrize("kind", ["module", "mlflow"])
def test_a_tracker_hears_each_step_of_a_run_that_begins_after_one_that_resumed(tmp_path, kind):
    """As the runs of several targets do, where one of them was stopped."""
    service, store = fake_service(), {}
    tracker = ModuleTracker(service) if kind == "module" else MlflowTracker(module=fake_mlflow(store))
    first, second = (tmp_path / name for name in ("first", "second"))
    for folder in (first, second):
        folder.mkdir()
    tracker.begin(TrackedRun(first, {}, {"adapted": 5}))
    for step in (1, 2):
        tracker.log("adapted", step, {"loss": 1.0})
    tracker.end({"status": "stopped"})
    tracker.begin(TrackedRun(first, {}, {"adapted": 5}, resumed=True, logged={"adapted": 2}))
    tracker.log("adapted", 2, {"loss": 1.0})
    tracker.end({"status": "done"})
    tracker.begin(TrackedRun(second, {}, {"adapted": 5}))
    tracker.log("adapted", 1, {"loss": 1.0})
    tracker.end({"status": "done"})
    if kind == "module":
        logged = [call for call in service.calls if call[0] == "log"]
        assert [values["adapted/step"] for _, _, values in logged if "adapted/step" in values] == [1, 2, 1]
        assert logged[-1][1] == 1, "the outcome, at the run's own step"
    else:
        of_second = store[json.loads((second / "tracking.json").read_text())["mlflow"]]
        assert steps_in(of_second["metrics"], "adapted/loss") == [1]


def test_within_a_run_of_the_user_it_is_a_child(tmp_path):
    runs = {}
    module = fake_mlflow(runs)
    module.active_run = lambda: types.SimpleNamespace(info=types.SimpleNamespace(run_id="outer"))
    MlflowTracker(module=module).begin(TrackedRun(tmp_path, {}, {}))
    (run_of_ours,) = [kept for name, kept in runs.items() if "experiment" not in name]
    assert run_of_ours["tags"]["mlflow.parentRunId"] == "outer"


def test_a_store_that_mlflow_cannot_write_to_is_told_before_anything_is_written(images, tmp_path, monkeypatch, capsys):
    module = types.ModuleType("mlflow")

    def refuse():
        raise RuntimeError("unsupported URI 'sqlite:///mlflow.db'")

    module.MlflowClient, module.__spec__ = refuse, types.SimpleNamespace()
    monkeypatch.setitem(sys.modules, "mlflow", module)
    assert run(arguments(images, tmp_path / "run", "--track", "mlflow")) == 2
    said = capsys.readouterr().err
    assert "--track mlflow: MLflow cannot be written to (unsupported URI 'sqlite:///mlflow.db')" in said
    assert "MLFLOW_TRACKING_URI" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_real_mlflow_keeps_a_run_in_files_and_goes_on_with_it(finished, cut, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    out = tmp_path / "run"
    config = dataclasses.replace(config_of(finished), out=str(out), track="mlflow")
    train.train(config)
    client = mlflow.MlflowClient()
    identity = json.loads((out / "tracking.json").read_text())["mlflow"]
    found = client.get_run(identity)
    assert found.info.status == "FINISHED"
    assert found.data.params["data.size"] == "16"
    assert found.data.tags["dalib.headline"] == json.loads((out / "judgement.json").read_text())["headline"]
    assert {each.path for each in client.list_artifacts(identity)} == {"report.html", "views.png"}

    # killed after step 5 of the adaptation, with the checkpoint of step 3
    for name in ("checkpoints/step-000000006.pt", "metrics.jsonl"):
        (out / name).unlink()
    shutil.copy(cut / "metrics.jsonl", out / "metrics.jsonl")
    train.train(config, resume=True)
    assert json.loads((out / "tracking.json").read_text())["mlflow"] == identity
    told = [each.step for each in client.get_metric_history(identity, "adapted/loss")]
    assert told == [1, 2, 3, 4, 5, 6]
    assert len(client.search_runs([found.info.experiment_id])) == 1


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_a_package_that_is_missing_is_told_before_anything_is_written(images, tmp_path, capsys, monkeypatch, name):
    monkeypatch.setattr(track, "find_spec", lambda package: None)
    assert run(arguments(images, tmp_path / "run", "--track", name)) == 2
    package = {"mlflow": "mlflow-skinny"}.get(name, name)
    assert f"--track {name}: the package {name} is not installed; pip install {package}\n" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_does_not_load_is_told(monkeypatch):
    monkeypatch.setattr(track, "find_spec", lambda package: True)
    monkeypatch.setitem(sys.modules, "wandb", None)  # its import fails
    with pytest.raises(UserError, match="track='wandb': wandb is installed and does not load"):
        make_tracker("wandb")


def test_tensorboard_is_imported_only_where_it_is_asked_for():
    program = (
        "import sys; import dalib.run.train; from dalib.run.track import *\n"
        "assert not [name for name in sys.modules if name.split('.')[0] in ('tensorboard', 'wandb')]"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_tensorboard_tracker_is_a_tracker():
    checked: list[track.Tracker] = [TensorBoardTracker(), Recorder(), ModuleTracker(fake_service())]
    for tracker in checked:
        assert all(callable(getattr(tracker, name)) for name in ("begin", "log", "picture", "end"))
