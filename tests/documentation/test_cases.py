"""The worked cases run as a reader runs them, and what they show of the outcome holds."""

import ast
import json
import os
import subprocess
import sys

import pytest
from site_modules import DOCS

CASES = sorted((DOCS / "cases").glob("plot_*.py"))

RUNNER = """
import json, runpy, sys
found = runpy.run_path(sys.argv[1], run_name="__main__")
json.dump(found["accuracy"], open(sys.argv[2], "w"))
"""


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_it_is_built_as_a_case(path):
    text = path.read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(text))
    title, line, *_ = docstring.splitlines()
    assert len(title) == len(line)
    assert "At the end you will" in " ".join(docstring.split())
    assert "generated" in docstring  # the reader is told so before the first figure
    assert "\n# Where real " in text
    assert "\nrun\n" in text  # the page shows what a notebook would


@pytest.mark.slow
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_adapted_model_is_better(path, tmp_path):
    here, temporary, cache, out = (tmp_path / name for name in ("here", "temporary", "cache", "found.json"))
    here.mkdir()
    temporary.mkdir()
    environment = {"MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1", "TMPDIR": str(temporary), "DALIB_CACHE": str(cache)}
    finished = subprocess.run(
        [sys.executable, "-c", RUNNER, str(path), str(out)],
        cwd=here,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert not list(here.iterdir())
    assert not cache.exists()
    accuracy = json.loads(out.read_text())
    assert accuracy["adapted"] > accuracy["source-only"] + 0.05
