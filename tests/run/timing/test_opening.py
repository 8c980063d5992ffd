"""The line that a run prints at once."""

import subprocess
import sys

import pytest

from dalib.run.timing.opening import say_opening

BEFORE_TORCH = """
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print("torch is imported")
            sys.stdout.flush()
            import os
            os._exit(0)
sys.meta_path.insert(0, NoTorch())
"""


@pytest.mark.parametrize(
    "call",
    [
        "from dalib.commands.main import run; run(['train', *arguments])",
        "import dalib; dalib.adapt(*arguments[1::2])",
        "import dalib; dalib.adapt_each(arguments[1], {'there': arguments[3]})",
    ],
)
def test_a_run_names_its_images_before_torch_is_imported(call, noise, tmp_path):
    arguments = f"arguments = {noise[:4]!r}\n"
    done = subprocess.run(
        [sys.executable, "-c", BEFORE_TORCH + arguments + call], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stderr == ""
    lines = [line for line in done.stdout.splitlines() if not line.startswith("note: ")]
    assert lines == [f"source {noise[1]}, target {noise[3]}: preparing the run", "torch is imported"]


def test_it_names_several_a_kit_and_a_run_that_resumes(capsys):
    say_opening(["a", "b"], {"day": "c", "night": "d"}, resume=None)
    say_opening("fonts", "street", kit="its.dalib", resume=None)
    say_opening("a", "b", resume="runs/first")
    assert capsys.readouterr().out.splitlines() == [
        "source a + b, target c + d: preparing the run",
        "kit its.dalib, target street: preparing the run",
        "resuming runs/first",
    ]


def test_one_of_several_processes_prints_it(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    say_opening("a", "b", resume=None)
    assert capsys.readouterr().out == ""
