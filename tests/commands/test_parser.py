"""The whole parser: its help and versions are quick, because they load no torch."""

import math
import os
import platform
import subprocess
import sys

import numpy as np
import pytest
import torch

import dalib

MOST_SECONDS = 0.5


"""Of the processor, for what only prints."""


def said_without_torch(*arguments: str) -> tuple[str, float]:
    """What a command line prints, and the seconds it takes: of the processor, others may hold the machine."""
    program = (
        "import sys; from dalib.commands.main import run\ntry: run(sys.argv[1:])\n"
        "finally: assert 'torch' not in sys.modules"
    )
    seconds = [math.inf]
    while len(seconds) <= 10 and min(seconds) >= MOST_SECONDS:  # the best of ten: beside other tests all take longer
        before = os.times()
        done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
        after = os.times()
        taken = (after.children_user - before.children_user, after.children_system - before.children_system)
        seconds.append(sum(taken))
    assert done.returncode == 0, done.stderr
    return done.stdout, min(seconds)


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["eval", "--help"]])
def test_help_is_quick_and_does_without_torch(arguments):
    said, seconds = said_without_torch(*arguments)
    assert "usage: dalib" in said
    assert seconds < MOST_SECONDS


def test_version_is_quick_and_tells_a_line_each():
    said, seconds = said_without_torch("--version")
    lines = dict(line.split(" ", 1) for line in said.splitlines())
    assert said.splitlines()[0] == f"dalib {dalib.__version__}"
    assert list(lines) == ["dalib", "Python", "torch", "CUDA", "torchvision", "timm", "numpy", "platform"]
    assert lines["Python"] == platform.python_version()
    assert lines["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert lines["CUDA"].split(",")[0] == (torch.version.cuda or "none")
    assert lines["numpy"] == np.__version__
    assert seconds < MOST_SECONDS
