"""The programs on the page about extending run, and what they show is so."""

import runpy
from pathlib import Path

import pytest
import torch

from dalib.core.types import Batch

FOLDER = Path(__file__).parents[2] / "docs" / "extending"
PROGRAMS = sorted(FOLDER.glob("*.py"))


def run(name):
    return runpy.run_path(str(FOLDER / f"{name}.py"))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_the_program_runs_and_is_on_the_page(program, capsys):
    runpy.run_path(str(program), run_name="__main__")
    assert capsys.readouterr().out
    assert f"{{literalinclude}} {program.name}\n" in (FOLDER / "index.md").read_text(encoding="utf-8")


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
