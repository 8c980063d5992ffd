"""Checkpoints are whole or not there, hold plain data and never run code."""

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from dalib.adaptation.self_ensemble import SelfEnsemble
from dalib.adaptation.source_only import SourceOnly
from dalib.engine.checkpoint import FORMAT, Checkpoint, CheckpointFolder

CPU = torch.device("cpu")


def at(step: int) -> Checkpoint:
    return Checkpoint(step, {"weight": torch.full((3,), float(step))}, {"state": {}, "param_groups": [{"lr": 0.1}]})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_saved_comes_back(tmp_path):
    CheckpointFolder(tmp_path / "a" / "b").save(at(7))
    found = CheckpointFolder(tmp_path / "a" / "b").newest(CPU)
    assert found.step == 7
    assert torch.equal(found.method["weight"], torch.full((3,), 7.0))
    assert found.optimizer == at(7).optimizer


@pytest.mark.parametrize("make", [False, True])
def test_without_checkpoints_there_is_none(tmp_path, make):
    folder = tmp_path / "checkpoints"
    if make:
        folder.mkdir()
    assert CheckpointFolder(folder).newest(CPU) is None


@pytest.mark.parametrize(("settings", "kept"), [({}, [9, 10]), ({"keep": 1}, [10]), ({"keep": 3}, [8, 9, 10])])
def test_the_last_ones_are_kept_and_nothing_else_is_left(tmp_path, settings, kept):
    folder = CheckpointFolder(tmp_path, **settings)
    for step in range(7, 11):
        folder.save(at(step))
    assert names(tmp_path) == [f"step-{step:09d}.pt" for step in kept]


def test_the_newest_is_the_one_of_the_highest_step(tmp_path):
    folder = CheckpointFolder(tmp_path, keep=5)
    for step in (900, 1000, 20_000, 5):
        folder.save(at(step))
    assert folder.newest(CPU).step == 20_000


def test_a_link_in_a_run_of_somebody_elses_is_not_followed(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step-000000007.tmp").symlink_to(tmp_path / "mine.txt")
    CheckpointFolder(tmp_path / "checkpoints").save(at(7))
    assert names(tmp_path / "checkpoints") == ["step-000000007.pt"]
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_saving_a_step_again_replaces_it(tmp_path):
    folder = CheckpointFolder(tmp_path)
    folder.save(at(5))
    folder.save(Checkpoint(5, {"weight": torch.ones(1)}, {}))
    assert torch.equal(folder.newest(CPU).method["weight"], torch.ones(1))


def test_a_write_that_breaks_off_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    def breaks_off(content, file):
        file.write(b"PK\3\4 half of it")
        raise OSError("no space left on device")

    folder = CheckpointFolder(tmp_path)
    folder.save(at(4))
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", breaks_off)
        for step in (4, 8):
            with pytest.raises(OSError, match="no space left"):
                folder.save(at(step))
    found = folder.newest(CPU)
    assert found.step == 4
    assert torch.equal(found.method["weight"], at(4).method["weight"])


def test_a_checkpoint_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (events.append("fsync"), fsync(file)))
    monkeypatch.setattr(os, "replace", lambda old, new: (events.append("replace"), replace(old, new)))
    CheckpointFolder(tmp_path).save(at(1))
    assert events == ["fsync", "replace", "fsync"]  # and then the name itself


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def other(path: Path) -> None:
    torch.save({"weights": torch.ones(1)}, path)


def flipped(path: Path) -> None:
    """One bit of a weight: torch reads it without a word."""
    content = path.read_bytes()
    place = content.index(struct.pack("<f", 8.0))
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])


@pytest.mark.parametrize("damage", [cut, emptied, other, flipped])
def test_a_damaged_newest_falls_back_on_the_one_before_with_a_warning(tmp_path, damage):
    folder = CheckpointFolder(tmp_path)
    folder.save(at(4))
    folder.save(at(8))
    damage(tmp_path / "step-000000008.pt")
    with pytest.warns(UserWarning, match=r"step-000000008\.pt: damaged checkpoint passed over"):
        assert folder.newest(CPU).step == 4


def test_training_can_go_on_past_a_damaged_checkpoint(tmp_path):
    folder = CheckpointFolder(tmp_path)
    folder.save(at(4))
    folder.save(at(8))
    cut(tmp_path / "step-000000008.pt")
    folder.save(at(6))
    with pytest.warns(UserWarning, match="passed over"):
        assert folder.newest(CPU).step == 6
    folder.save(at(8))
    assert folder.newest(CPU).step == 8


@pytest.mark.parametrize("content", [{"step": 8, "method": {}, "optimizer": {}}, {"step": 8, "everything": {}}])
def test_a_newer_format_is_refused_whatever_else_it_holds(tmp_path, content):
    folder = CheckpointFolder(tmp_path)
    folder.save(at(4))
    torch.save({"format": FORMAT + 1, **content}, tmp_path / "step-000000008.pt")
    with pytest.raises(ValueError, match=rf"format {FORMAT + 1}.*update dalib"):
        folder.newest(CPU)


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


def test_code_in_a_checkpoint_never_runs(tmp_path):
    target = tmp_path / "made-by-the-payload"
    folder = CheckpointFolder(tmp_path / "checkpoints")
    folder.save(Checkpoint(8, {"weight": Payload(target)}, {}))
    path = tmp_path / "checkpoints" / "step-000000008.pt"
    torch.load(path, weights_only=False)
    assert target.is_dir()  # the payload works where pickles are trusted
    target.rmdir()
    with pytest.warns(UserWarning, match="passed over"):
        assert folder.newest(CPU) is None
    assert not target.exists()


@pytest.mark.parametrize("make", [SourceOnly, lambda student: SelfEnsemble(student, 2, threshold=0.0)])
def test_a_real_checkpoint_holds_tensors_and_plain_values_alone(tmp_path, make):
    """Trap 16: one NumPy number or Path in it, and weights_only refuses the file."""
    method = make(nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)))
    optimizer = torch.optim.Adam(method.student.parameters(), lr=0.1)
    method.student(torch.randn(5, 4)).sum().backward()
    optimizer.step()
    method.after_step(0)
    CheckpointFolder(tmp_path).save(Checkpoint(1, method.state_dict(), optimizer.state_dict()))
    content = torch.load(tmp_path / "step-000000001.pt", weights_only=True)

    def leaves(value):
        if isinstance(value, dict):
            return [leaf for part in (*value, *value.values()) for leaf in leaves(part)]
        return [leaf for part in value for leaf in leaves(part)] if isinstance(value, (list, tuple)) else [value]

    assert {type(leaf) for leaf in leaves(content)} <= {torch.Tensor, int, float, bool, str, type(None)}
    assert sum(isinstance(leaf, torch.Tensor) for leaf in leaves(content)) > 10


@pytest.mark.parametrize("keep", [0, -1])
def test_keeping_none_is_refused(tmp_path, keep):
    with pytest.raises(ValueError, match=f"keep: .*got {keep}"):
        CheckpointFolder(tmp_path, keep=keep)


def test_a_checkpoint_of_the_first_format_is_read(tmp_path):
    torch.save({"format": 1, "step": 8, "method": {}, "optimizer": {}}, tmp_path / "step-000000008.pt")
    found = CheckpointFolder(tmp_path).newest(CPU)
    assert (found.step, found.log, found.scaler) == (8, {}, {})


def test_a_full_disk_leaves_the_checkpoints_that_are_there_and_no_half_of_one(tmp_path):
    """A limit on the size of files breaks a write off as a full disk does."""
    script = f"""
import resource, signal, sys
import torch
from pathlib import Path
from dalib.engine.checkpoint import Checkpoint, CheckpointFolder
folder = CheckpointFolder(Path({str(tmp_path)!r}))
folder.save(Checkpoint(4, {{"weight": torch.ones(3)}}, {{}}))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    folder.save(Checkpoint(8, {{"weight": torch.ones(10_000)}}, {{}}))
except OSError as error:
    sys.exit(f"refused: {{error.strerror}}")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.strip() == "refused: File too large"
    assert names(tmp_path) == ["step-000000004.pt"]
