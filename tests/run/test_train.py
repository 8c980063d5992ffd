"""`torchrun -m dalib train`: several processes leave one run, and one that dies ends all of them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dalib.commands.main import run
from dalib.core.errors import UserError
from dalib.models.pretrained import PretrainedBackbone
from shaded_images import write_shades
from tracked_curves import assert_the_same_curves

LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
ONE_AFTER_ANOTHER = str(Path(__file__).with_name("one_after_another.py"))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    shades = {"source/dark": 60, "source/light": 190, "target": 120}
    write_shades(root, shades, count=13, size=16)  # a number that two do not divide
    return root


def arguments(images: Path, out: Path, steps: int) -> list[str]:
    quick = f"--steps {steps} --baseline_steps 4 --batch 8 --data.size 16 --data.validation_share 0.2 --prior estimate"
    often = "--every.log 2 --every.evaluate 4 --every.checkpoint 4"
    where = ["--source", f"{images}/source", "--target", f"{images}/target", "--out", str(out)]
    return ["train", *where, *quick.split(), *often.split()]


def launched(*given: str, program: tuple[str, ...] = ("-m", "dalib")) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*LAUNCH, *program, *given], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


@pytest.fixture(scope="module")
def launch(images, tmp_path_factory):
    """Two processes train on features, then as a whole, then as a whole again into the same folder, which is refused.

    Returns the two folders, what was printed by the first process up to the end of each command line, the errors, and
    torchrun's code.
    """
    root = tmp_path_factory.mktemp("runs")
    torch.manual_seed(0)
    save_file(PretrainedBackbone("test_efficientnet", size=32).network.state_dict(), root / "w.safetensors")
    frozen = f"--backbone test_efficientnet --weights {root}/w.safetensors --features 2 --data.crop 16".split()
    features, whole = root / "features", root / "run"
    given = [*arguments(images, whole, steps=8), "--track", "tensorboard"]
    of_features = [*arguments(images, features, steps=4), *frozen]
    process = launched(*of_features, "then", *given, "then", *given, program=(ONE_AFTER_ANOTHER,))
    said, errors = process.communicate(timeout=200)
    for line in (1, 2):
        assert [f"rank {rank}: line {line} ended with 0" in said for rank in (0, 1)] == [True, True], errors
    of_line = re.split(r"rank 0: line \d ended with \d+\n", said)
    return {"features": features, "whole": whole}, of_line, errors, process.returncode


@pytest.fixture(scope="module")
def trained(launch):
    """The folder of the run that is trained as a whole."""
    return launch[0]["whole"]


def test_two_processes_leave_one_run_and_print_once(launch, trained):
    _, (_, said, *_), errors, _ = launch
    assert [json.loads(line)["step"] for line in (trained / "metrics.jsonl").read_text().splitlines()] == [2, 4, 6, 8]
    assert said.count("adapted  8/8") == said.count("report  ") == 1
    assert "Warning" not in errors
    summary = json.loads((trained / "summary.json").read_text())
    assert summary["status"] == "done"
    assert summary["device"].endswith("2 processes")
    assert not list(trained.parent.glob(".run*"))  # nothing half made is left


def test_several_processes_compute_the_features_of_a_frozen_backbone(launch, images):
    folders, (said, *_), _, _ = launch
    assert (folders["features"] / "report.html").is_file()
    assert f"features of {images}/source" in said


def test_of_several_processes_the_first_one_tracks(trained):
    files = {
        folder.name: len(list(folder.glob("events*")))
        for folder in (trained / "tensorboard").iterdir()
        if folder.is_dir()
    }
    assert files == {"adapted": 1, "source-only": 1}
    assert_the_same_curves(trained, trained / "tensorboard" / "adapted")


@pytest.mark.parametrize("by", ["one process", pytest.param("two processes", marks=pytest.mark.slow)])
def test_a_run_of_two_goes_on_with_one_and_with_two(images, tmp_path, by):
    out = tmp_path / "run"
    process = launched(*arguments(images, out, steps=4000))
    wait_for(out / "metrics.jsonl")
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert errors.count("dalib: stopped after step ") == 1
    config = (out / "config.yaml").read_text()
    (out / "config.yaml").write_text(config.replace("steps: 4000", "steps: 12"))
    again = ["train", "--resume", str(out), "--allow_changes"]
    if by == "one process":
        assert run(again) == 0
    else:
        process = launched(*again)
        process.communicate(timeout=200)
        assert process.returncode == 0
    assert json.loads((out / "summary.json").read_text())["status"] == "done"


def wait_for(path: Path, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not (path.is_file() and path.stat().st_size):
        assert time.monotonic() < until, f"{path} did not appear"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_dies_ends_all_in_seconds_with_a_word(images, tmp_path, rank):
    out = tmp_path / "run"
    process = launched(*arguments(images, out, steps=100_000))
    wait_for(out / "metrics.jsonl")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    (victim,) = [
        child for child in children if f"\0RANK={rank}\0" in f"\0{Path(f'/proc/{child}/environ').read_text()}\0"
    ]
    since = time.monotonic()
    os.kill(int(victim), signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - since < 30
    assert process.returncode == 1
    assert f"rank      : {rank} (local_rank: {rank})\n  exitcode  : -9" in errors  # torchrun's own word


def test_an_error_of_the_first_process_is_told_once_and_ends_all(launch):
    _, _, errors, code = launch
    assert code == 1  # torchrun's
    assert errors.count("there is something already") == 1
    assert "Error:" not in errors.split("Traceback")[0]


@pytest.mark.parametrize("more", [[], ["--statistics", "recomputed"]])
def test_norms_are_synchronised_on_gpus_alone(images, tmp_path, capsys, more):
    given = [*arguments(images, tmp_path / "run", steps=2), "--sync_norms", "true", "--device", "cpu", *more]
    assert run(given) == 2
    assert "--sync_norms true" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_that_names_its_folder_itself_has_it_before_images_are_read_and_leaves_none_without_them(
    images, tmp_path, monkeypatch
):
    """Of two runs that begin in one second, the second would be refused once it has read its images."""
    monkeypatch.chdir(tmp_path)
    seen = []

    def open_data(setup):
        seen.extend(Path("runs").iterdir())
        raise UserError("no images")

    monkeypatch.setattr("dalib.run.train.open_data", open_data)
    given = arguments(images, tmp_path, steps=4)
    del given[given.index("--out") : given.index("--out") + 2]
    assert run(given) == 2
    assert len(seen) == 1
    assert not (tmp_path / "runs").exists()
