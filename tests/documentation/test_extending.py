"""The programs on the page about extending run, and what they show is so."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import dalib
from dalib.core.types import Batch
from dalib.records.folder import RunFolder

FOLDER = Path(__file__).parents[2] / "docs" / "extending"
PAGE = (FOLDER / "index.md").read_text(encoding="utf-8")
PROGRAMS = sorted(FOLDER.glob("*.py"))


def run(name):
    return runpy.run_path(str(FOLDER / f"{name}.py"))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_the_program_runs_and_is_on_the_page(program, capsys):
    runpy.run_path(str(program), run_name="__main__")
    assert capsys.readouterr().out
    assert f"{{literalinclude}} {program.name}\n" in PAGE


def test_there_is_a_loss_a_view_and_a_method():
    assert [program.stem for program in PROGRAMS] == ["new_loss", "new_method", "new_view"]


def test_the_loss_is_what_its_comment_says():
    assert run("new_loss")["loss"].item() == 0.5


def test_the_view_draws_for_each_image():
    lost = run("new_view")["LostRows"](0.5)(torch.ones(64, 1, 8, 2), torch.Generator().manual_seed(0))
    rows = lost[:, 0, :, 0]
    assert 0.4 < rows.mean() < 0.6
    assert len({tuple(row.tolist()) for row in rows}) > 32


def test_the_method_minimises_entropy():
    found = run("new_method")
    method = found["EntropyMinimisation"](torch.nn.Linear(4, 3), weight=1.0)
    batch = Batch(torch.randn(6, 4), torch.arange(6) % 3, (torch.randn(6, 4),))
    optimizer = torch.optim.SGD(method.student.parameters(), lr=0.5)
    first = method.loss(batch, 0).parts["entropy"].item()
    for step in range(50):
        optimizer.zero_grad()
        method.loss(batch, step).total.backward()
        optimizer.step()
    assert 0 < method.loss(batch, 50).parts["entropy"].item() < first / 2


# --- the method in the library, by one file and one line


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the library with the page's file and line; returns the environment that uses it."""
    root = tmp_path_factory.mktemp("extended")
    shutil.copytree(Path(dalib.__file__).parent, root / "dalib", ignore=shutil.ignore_patterns("__pycache__"))
    adaptation = root / "dalib" / "adaptation"
    shutil.copy(FOLDER / "new_method.py", adaptation / "entropy.py")
    (line,) = re.findall(r'^    "[\w-]+": "dalib\.adaptation\..*",\n', PAGE, re.MULTILINE)
    methods = (adaptation / "methods.py").read_text(encoding="utf-8")
    changed = re.sub(r"(?<=\n)METHODS: .* = {\n", lambda found: found[0] + line, methods)
    assert len(changed) == len(methods) + len(line)
    (adaptation / "methods.py").write_text(changed, encoding="utf-8")
    return {**os.environ, "PYTHONPATH": str(root), "XDG_CACHE_HOME": str(root / "cache"), "OMP_NUM_THREADS": "1"}


def called(environment, *arguments):
    finished = subprocess.run(
        [sys.executable, "-m", *arguments], env=environment, capture_output=True, text=True, check=False
    )
    return finished.returncode, finished.stdout + finished.stderr


def test_one_file_and_one_line_make_flags_with_help(extended):
    code, printed = called(extended, "dalib", "train", "--help-all")
    assert code == 0
    assert "--entropy.weight WEIGHT" in printed
    assert "weight of the mean entropy, at least 0." in " ".join(printed.split())
    code, printed = called(extended, "dalib", "train", "--method", "entropie")
    assert code == 2
    assert "did you mean entropy?" in printed


def test_one_file_and_one_line_train_and_report(extended, tmp_path):
    rng = np.random.default_rng(0)
    for folder in (tmp_path / domain / name for domain in ("source", "target") for name in ("cat", "dog")):
        folder.mkdir(parents=True)
        for number in range(8):
            Image.fromarray(rng.integers(0, 256, (16, 16), dtype=np.uint8)).save(folder / f"{number}.png")
    run = tmp_path / "run"
    short = ("--steps", "3", "--batch", "4", "--data.size", "16", "--baseline_steps", "1", "--every.log", "1")
    domains = ("--source", str(tmp_path / "source"), "--target", str(tmp_path / "target"), "--out", str(run))
    settings = ("--method", "entropy", "--entropy.weight", "0.25")
    code, printed = called(extended, "dalib", "train", *domains, *short, *settings)
    assert code == 0, printed
    assert yaml.safe_load((run / "config.yaml").read_text())["entropy"] == {"weight": 0.25}
    report = RunFolder.existing(run).report.read_text(encoding="utf-8")
    assert re.search(r"Loss parts, adapted over 3 steps: supervised from [\d.]+ to [\d.]+; entropy from", report)
    code, printed = called(
        extended, "dalib", "train", *domains, *short, "--overwrite", "--method", "entropy", "--entropy.weight=-1"
    )
    assert code == 2
    assert "--entropy.weight: expected at least 0, got -1.0" in printed


def test_one_file_and_one_line_are_in_the_contract_and_on_the_pages(extended):
    tests = Path(__file__).parents[1]
    files = [tests / "adaptation" / name for name in ("test_methods.py", "test_settings.py")]
    files.append(tests / "documentation" / "test_generated_reference.py")
    arguments = (
        "-q",
        "-k",
        "entropy or EntropyConfig",
        "-p",
        "no:cacheprovider",
        "-o",
        "addopts=--import-mode=importlib",
    )
    code, printed = called(extended, "pytest", *map(str, files), *arguments)
    assert code == 0, printed
    assert int(re.search(r"(\d+) passed", printed)[1]) > 20, printed
