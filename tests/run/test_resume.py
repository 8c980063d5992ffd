"""A run that is stopped goes on, or says why it does not. What a run survives is in benchmarks/faults.py."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from dalib.commands.config_file import read_config
from dalib.commands.flags import FlagSpelling
from dalib.commands.main import run
from dalib.core.errors import RunStoppedError
from dalib.core.files import locked
from dalib.records.folder import RunFolder
from dalib.run import place, setup, train
from dalib.run.recipe import task
from dalib.run.resume import contents_of
from dalib.run.settings.backbones import NamedBackbone

FAULTS = Path(__file__).parents[2] / "benchmarks" / "faults.py"


def arguments(images: Path, out: Path, *more: str) -> list[str]:
    quick = "--steps 6 --batch 4 --data.size 16 --data.validation_share 0.2 --baseline false --select last"
    often = "--every.log 2 --every.evaluate 3 --every.checkpoint 3"
    where = ["--source", f"{images}/source", "--target", f"{images}/target", "--out", str(out)]
    return ["train", *where, *quick.split(), *often.split(), *more]


@pytest.fixture(scope="module")
def finished(images, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    assert run(arguments(images, out)) == 0
    return out


@pytest.fixture
def cut(finished, tmp_path):
    """A run whose last checkpoint and model are not there yet."""
    copied = tmp_path / "cut"
    shutil.copytree(finished, copied)
    (copied / "checkpoints" / "step-000000006.pt").unlink()
    shutil.rmtree(copied / "model")
    return copied


def refusal(capsys, *given: str) -> str:
    assert run(list(given)) == 2
    return capsys.readouterr().err


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def test_the_run_says_what_it_began_with(finished):
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["settings"]["optimizer.lr"] == 0.001
    assert summary["settings"]["steps"] == 6
    assert {len(each) for each in summary["fingerprints"].values()} == {32}
    assert "fingerprint" in (finished / "report.html").read_text()


def test_a_changed_configuration_is_told_and_refused_unless_allowed(cut, finished, capsys):
    config = yaml.safe_load((cut / "config.yaml").read_text())
    config["optimizer"]["lr"] = 0.5
    (cut / "config.yaml").write_text(yaml.safe_dump(config))
    said = refusal(capsys, "train", "--resume", str(cut))
    assert "--optimizer.lr was 0.001, is 0.5" in said
    assert "--allow_changes" in said
    assert run(["train", "--resume", str(cut), "--allow_changes"]) == 0
    assert "note: --optimizer.lr was 0.001, is 0.5" in capsys.readouterr().out
    ours, theirs = weights(cut), weights(finished)
    assert any(not torch.equal(ours[name], theirs[name]) for name in theirs)


def test_changed_images_are_told_and_refused_unless_allowed(images, tmp_path, capsys):
    moving = tmp_path / "images"
    shutil.copytree(images, moving)
    out = tmp_path / "run"
    assert run(arguments(moving, out)) == 0
    Image.new("RGB", (16, 16)).save(moving / "target" / "0.png")
    said = refusal(capsys, "train", "--resume", str(out))
    assert f"the target {moving}/target has changed (still 10 images, not the same ones)" in said
    (moving / "target" / "1.png").unlink()
    assert "10 images then, 9 now" in refusal(capsys, "train", "--resume", str(out))
    assert run(["train", "--resume", str(out), "--allow_changes"]) == 0


def test_other_classes_than_the_models_have_learnt_are_refused_also_where_changes_are_allowed(images, tmp_path, capsys):
    moving, out = tmp_path / "images", tmp_path / "run"
    shutil.copytree(images, moving)
    assert run(arguments(moving, out)) == 0
    before = (out / "summary.json").read_text()
    (moving / "source" / "light").rename(moving / "source" / "bright")  # which stands before dark
    said = refusal(capsys, "train", "--resume", str(out), "--allow_changes")
    assert "its classes were dark, light, those of the source are bright, dark" in said
    assert "put the source back as it was, or begin a new run" in said
    shutil.copytree(moving / "source" / "bright", moving / "source" / "light")
    assert "are bright, dark, light" in refusal(capsys, "train", "--resume", str(out), "--allow_changes")
    assert (out / "summary.json").read_text() == before
    shutil.rmtree(moving / "source" / "light")
    (moving / "source" / "bright").rename(moving / "source" / "lit")  # in the place of light
    assert run(["train", "--resume", str(out), "--allow_changes"]) == 0


def test_a_network_that_the_checkpoints_are_not_of_is_refused_in_a_sentence(cut, capsys):
    config = yaml.safe_load((cut / "config.yaml").read_text())
    config["model"]["bottleneck_dim"] = 7
    (cut / "config.yaml").write_text(yaml.safe_dump(config))
    said = refusal(capsys, "train", "--resume", str(cut), "--allow_changes")
    assert "the checkpoint after step 3 is of another network, method or optimiser" in said


def test_changed_contents_of_init_and_prior_are_told_and_refused(images, finished, tmp_path, capsys):
    first, prior, out = tmp_path / "first", tmp_path / "prior.csv", tmp_path / "run"
    shutil.copytree(finished, first)
    prior.write_text("dark,1\nlight,1\n")
    assert run(arguments(images, out, "--init", str(first), "--prior", str(prior))) == 0
    assert set(json.loads((out / "summary.json").read_text())["contents"]) == {"init", "prior"}
    assert run(["train", "--resume", str(out)]) == 0
    tensors = load_file(first / "model" / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, first / "model" / "model.safetensors")
    prior.write_text("dark,1\nlight,2\n")
    said = refusal(capsys, "train", "--resume", str(out))
    assert f"what --init {first} holds has changed; what --prior {prior} holds has changed. Put it back" in said
    summary = json.loads((out / "summary.json").read_text())
    del summary["contents"]  # as older versions wrote it
    (out / "summary.json").write_text(json.dumps(summary))
    assert run(["train", "--resume", str(out)]) == 0


def test_the_digest_of_weights_follows_their_content(tmp_path):
    file = tmp_path / "weights.safetensors"
    backbones = [NamedBackbone("resnet18", str(file), "name")]
    found = set()
    for content in (b"one", b"other", b"one"):
        file.write_bytes(content)
        found.add(contents_of(backbones, init=None, kit=None, hints=None, prior="uniform")["weights"])
    assert len(found) == 2


def test_a_run_goes_on_where_its_images_have_moved_by_its_configuration(images, cut, finished, tmp_path):
    """Folders are no part of what images are: config.yaml is edited, and that is what has to be allowed."""
    shutil.copytree(images, tmp_path / "elsewhere")
    text = (cut / "config.yaml").read_text().replace(str(images), str(tmp_path / "elsewhere"))
    (cut / "config.yaml").write_text(text)
    assert run(["train", "--resume", str(cut), "--allow_changes"]) == 0
    ours, theirs = weights(cut), weights(finished)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("policy", ["ram", "off"])
def test_where_images_are_kept_may_change_and_changes_nothing(cut, finished, policy):
    assert run(["train", "--resume", str(cut), "--cache", policy, "--device", "cpu"]) == 0
    ours, theirs = weights(cut), weights(finished)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_run_that_resumes_without_its_hints_has_no_record_of_them(images, tmp_path):
    hints, out = tmp_path / "hints.csv", tmp_path / "run"
    hints.write_text("path,label\n0.png,dark\n1.png,light\n")
    assert run(arguments(images, out, "--hints", str(hints))) == 0
    assert RunFolder(out).read_hints() is not None
    text = (out / "config.yaml").read_text()
    (out / "config.yaml").write_text(text.replace(f"hints: {hints}", "hints: null"))
    assert run(["train", "--resume", str(out), "--allow_changes"]) == 0
    assert RunFolder(out).read_hints() is None


def test_another_version_is_told(cut, capsys):
    summary = json.loads((cut / "summary.json").read_text())
    (cut / "summary.json").write_text(json.dumps({**summary, "torch": "2.11.0"}))
    assert run(["train", "--resume", str(cut)]) == 0
    assert f"note: the run began with torch 2.11.0, this is {torch.__version__}" in capsys.readouterr().out
    assert json.loads((cut / "summary.json").read_text())["torch"] == "2.11.0"  # a third time it is told as well


def test_a_resumed_run_keeps_its_beginning_and_adds_its_time_up(cut):
    summary = json.loads((cut / "summary.json").read_text())
    began = {"started": "2026-01-01T00:00:00+00:00", "seconds": {"data": 100.0, "adapted": 1000.0}}
    (cut / "summary.json").write_text(json.dumps({**summary, **began}))
    assert run(["train", "--resume", str(cut)]) == 0
    now = json.loads((cut / "summary.json").read_text())
    assert now["started"] == began["started"]
    assert 100 < now["seconds"]["data"] < 200
    assert 1000 < now["seconds"]["adapted"] < 1100


def test_a_run_that_is_stopped_keeps_how_long_each_training_took(images, finished, tmp_path, heard_signals):
    out = tmp_path / "run"
    config = read_config(finished / "config.yaml")
    config = type(config)(**{**vars(config), "out": str(out), "baseline": True})

    def signalled(name, step, evidence):
        if name == "adapted":
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(RunStoppedError):
        train.train(config, on_evidence=signalled)
    stopped = json.loads((out / "summary.json").read_text())
    assert stopped["status"] == "running"
    assert min(stopped["seconds"][name] for name in ("source-only", "adapted")) > 0
    stopped["seconds"] |= {"source-only": 50.0, "adapted": 1000.0}
    (out / "summary.json").write_text(json.dumps(stopped))
    train.train(config, resume=True)
    seconds = json.loads((out / "summary.json").read_text())["seconds"]
    assert 50 < seconds["source-only"] < 100
    assert 1000 < seconds["adapted"] < 1100


def test_a_run_of_a_version_that_kept_no_fingerprints_goes_on(cut):
    summary = json.loads((cut / "summary.json").read_text())
    del summary["settings"], summary["fingerprints"]
    (cut / "summary.json").write_text(json.dumps(summary))
    assert run(["train", "--resume", str(cut)]) == 0


@pytest.mark.parametrize("how", ["--resume", "--overwrite"])
def test_a_folder_in_which_another_process_trains_is_left_alone(images, cut, capsys, how):
    before = {path: path.read_bytes() for path in cut.rglob("*") if path.is_file()}
    given = ["train", "--resume", str(cut)] if how == "--resume" else arguments(images, cut, "--overwrite")
    with locked(RunFolder(cut).lock, wait=False) as state:
        assert state == "held"
        assert "another process is training in this folder" in refusal(capsys, *given)
    assert {path: path.read_bytes() for path in cut.rglob("*") if path.is_file()} == before


def test_a_checkpoint_of_a_newer_format_is_refused(cut, capsys):
    torch.save({"format": 99}, cut / "checkpoints" / "step-000000009.pt")
    assert "written in format 99" in refusal(capsys, "train", "--resume", str(cut))


def test_a_damaged_checkpoint_is_told_and_the_one_before_counts(cut, finished, capsys):
    path = cut / "checkpoints" / "step-000000006.pt"
    path.write_bytes((finished / "checkpoints" / "step-000000006.pt").read_bytes()[:-50])
    assert run(["train", "--resume", str(cut)]) == 0
    assert "warning: " in (said := capsys.readouterr().err)
    assert "damaged checkpoint passed over" in said
    ours, theirs = weights(cut), weights(finished)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_full_disk_is_told_without_a_traceback_and_the_run_goes_on(images, finished, tmp_path):
    """A limit on the size of files breaks a write off as a full disk does."""
    out = tmp_path / "run"

    def small() -> None:
        import resource  # which Windows lacks

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    command = [sys.executable, "-m", "dalib", *arguments(images, out)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=small)
    assert done.returncode == 2
    assert "cannot be read or written (File too large)" in done.stderr
    assert f"dalib train --resume {out}" in done.stderr
    assert "Traceback" not in done.stderr
    assert run(["train", "--resume", str(out)]) == 0
    ours, theirs = weights(out), weights(finished)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_place_that_cannot_be_written_is_told_before_training(images, capsys):
    told = refusal(capsys, *arguments(images, Path("/proc/dalib/run")))
    assert "no folder can be made in /proc" in told
    assert "Nothing was trained" in told
    assert "--resume" not in told


def test_a_run_that_fails_to_begin_leaves_nothing(images, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(place, "write_view_sheet", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    assert "No space left" in refusal(capsys, *arguments(images, tmp_path / "run"))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def heard_signals():
    """Tests that run in the background of a shell, or under nohup, have inherited that some signals are ignored."""
    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_lets_the_step_end_saves_it_and_says_how_to_go_on(
    images, finished, tmp_path, capsys, number, heard_signals
):
    out, seen = tmp_path / "run", []

    def signalled(name, step, evidence):
        seen.append(step)
        if len(seen) == 1:
            os.kill(os.getpid(), number)

    config = read_config(finished / "config.yaml")
    config = type(config)(**{**vars(config), "out": str(out)})
    before = signal.getsignal(number)
    with pytest.raises(
        RunStoppedError, match=rf"stopped after step 3; to resume: dalib\.adapt\(resume='{out}'\)"
    ) as error:
        train.train(config, on_evidence=signalled)
    assert error.value.text(FlagSpelling()) == f"stopped after step 3; to resume: dalib train --resume {out}"
    assert error.value.code == 128 + number
    assert signal.getsignal(number) == before
    assert "once more to stop at once" in capsys.readouterr().out
    assert run(["train", "--resume", str(out)]) == 0
    ours, theirs = weights(out), weights(finished)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_signal_behind_the_last_step_stops_before_the_judgement(
    images, finished, tmp_path, capsys, monkeypatch, heard_signals
):
    out, predict_all = tmp_path / "run", task.predictions_of_all

    def signalled(*given, **more):
        os.kill(os.getpid(), signal.SIGTERM)
        return predict_all(*given, **more)

    config = read_config(finished / "config.yaml")
    config = type(config)(**{**vars(config), "out": str(out)})
    monkeypatch.setattr(task, "predictions_of_all", signalled)
    with pytest.raises(RunStoppedError, match="to resume: ") as error:
        train.train(config)
    assert error.value.code == 128 + signal.SIGTERM
    assert json.loads((out / "summary.json").read_text())["status"] == "running"
    assert not (out / "judgement.json").exists()
    monkeypatch.undo()
    assert run(["train", "--resume", str(out)]) == 0
    ours, theirs = weights(out), weights(finished)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_command_line_exits_with_the_signals_code(images, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(train, "_train", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    assert run(arguments(images, tmp_path / "run")) == 143
    assert "stopped before the run began" in capsys.readouterr().err


def test_training_in_a_thread_hears_no_signals_and_works(images, tmp_path):
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(run(arguments(images, tmp_path / "run"))))
    thread.start()
    thread.join()
    assert codes == [0]


def test_a_run_survives_kills_at_random_moments():
    """A few; all faults, and often, are the slow test."""
    given = ["--tries", "3", "--only", "kill -9 at a random moment"]
    done = subprocess.run([sys.executable, FAULTS, *given], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout


@pytest.mark.slow
def test_a_run_survives_faults_of_every_kind_again_and_again():
    done = subprocess.run([sys.executable, FAULTS, "--seed", "1"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout


def test_a_run_that_another_process_began_meanwhile_is_left_as_it_is(images, tmp_path, monkeypatch, capsys):
    out, opened = tmp_path / "run", setup.open_domains

    def meanwhile(*given):
        domains = opened(*given)
        out.mkdir()
        (out / "summary.json").write_text("of the other")
        return domains

    monkeypatch.setattr(setup, "open_domains", meanwhile)
    assert run(arguments(images, out)) == 2
    assert f"--out {out}: there is something already" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert (out / "summary.json").read_text() == "of the other"
