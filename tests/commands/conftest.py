"""Folders of images, and a run on them that is trained once for each process of the tests."""

import shutil

import numpy as np
import pytest
from small_run import QUICK, write_image

from brief_pace import measure_briefly
from dalib.commands.main import run


@pytest.fixture(autouse=True, scope="module")
def brief_measurements():
    with pytest.MonkeyPatch.context() as patched:
        measure_briefly(patched)
        yield


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """source/{dark,light}, target/ flat and nested with one damaged file, labelled/{dark,light}; not to be changed."""
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


@pytest.fixture(scope="session")
def finished_run(folders, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    code = run(["train", "--source", f"{folders}/source", "--target", f"{folders}/target", "--out", str(out), *QUICK])
    assert code == 0
    return out


@pytest.fixture(scope="module")
def trained(finished_run, tmp_path_factory):
    """A copy of the run for each file of tests, which may change it."""
    return shutil.copytree(finished_run, tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def helped(capsys, monkeypatch):
    """Returns what a command line that asks for help prints, without a terminal."""
    monkeypatch.delenv("COLUMNS", raising=False)

    def ask(*arguments):
        with pytest.raises(SystemExit) as left:
            run(list(arguments))
        assert left.value.code == 0
        return capsys.readouterr().out

    return ask
