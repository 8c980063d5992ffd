"""The tutorials run as a reader runs them, from any folder, and what their text promises of the outcome holds."""

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dalib.commands.arguments import with_repeated_united, with_underscores
from dalib.commands.parser import make_parser

TUTORIALS = sorted((Path(__file__).parents[2] / "docs" / "tutorials").glob("plot_*.py"))

RUNNER = """
import dataclasses, json, runpy, sys
from collections.abc import Sequence


def plain(value):
    if isinstance(value, Sequence):
        return list(value)
    return value.tolist() if hasattr(value, "tolist") else dataclasses.asdict(value)


path, out, *names = sys.argv[1:]
found = runpy.run_path(path, run_name="__main__")
json.dump({name: found[name] for name in names}, open(out, "w"), default=plain)
"""


def outcome(start: str, folder: Path, *names: str) -> dict[str, Any]:
    """Run the tutorial whose name begins so, as a program in an empty folder; the values of these names at its end."""
    (path,) = [path for path in TUTORIALS if path.name.startswith(start)]
    here, temporary, cache = folder / "here", folder / "temporary", folder / "cache"
    here.mkdir()
    temporary.mkdir()
    environment = {
        **os.environ,
        "MPLBACKEND": "Agg",
        "OMP_NUM_THREADS": "1",
        "TMPDIR": str(temporary),
        "DALIB_CACHE": str(cache),
    }
    finished = subprocess.run(
        [sys.executable, "-c", RUNNER, str(path), str(folder / "found.json"), *names],
        cwd=here,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stdout
    assert not list(here.iterdir())
    assert not cache.exists()  # nothing is kept among the reader's own
    return json.loads((folder / "found.json").read_text())


@pytest.mark.slow
def test_fonts_to_handwriting_helps_and_the_adapted_model_is_selected(tmp_path):
    found = outcome("plot_1", tmp_path, "accuracy", "judgement", "estimates")
    assert found["accuracy"]["adapted"] > found["accuracy"]["source-only"] + 0.02
    assert found["accuracy"]["adapted"] > found["accuracy"]["aligned"]
    judgement = found["judgement"]
    assert (judgement["shipped"], judgement["baseline"]) == ("adapted", "aligned")
    assert judgement["probability"] > 0.5  # over the aligned model, which is 3 points worse after so short a training
    for name, accuracy in found["accuracy"].items():
        estimate = found["estimates"][name]
        assert estimate["low"] < accuracy < estimate["high"]


@pytest.mark.slow
def test_folders_lead_to_a_table_and_a_better_model(tmp_path):
    found = outcome("plot_2", tmp_path, "accuracy", "table")
    assert found["accuracy"]["adapted"] > found["accuracy"]["source-only"] + 0.02
    assert len(found["table"]) == 360  # the broken one is not among them
    assert not any("broken" in row["path"] for row in found["table"])


def test_the_own_loop_is_better_than_source_only(tmp_path):
    found = outcome("plot_3", tmp_path, "source_only", "of_student", "of_teacher", "confident_share")
    assert min(found["of_student"], found["of_teacher"]) > found["source_only"] + 0.02
    assert found["confident_share"][0] < found["confident_share"][-1]


@pytest.mark.slow
def test_lightning_and_accelerate_keep_the_teacher(tmp_path):
    names = ("in_lightning", "in_accelerate", "same", "forgotten", "restored", "counts")
    found = outcome("plot_4", tmp_path, *names)
    assert found["in_lightning"] == found["in_accelerate"]  # one seed, one method, two loops
    assert found["same"]
    assert found["restored"] == found["in_accelerate"]["teacher"]
    assert found["forgotten"] < found["in_lightning"]["teacher"] / 2
    assert found["in_lightning"]["teacher"] > found["counts"]["source-only"][0]


@pytest.mark.slow
def test_the_ranking_chooses_no_spoilt_run(tmp_path):
    found = outcome("plot_5", tmp_path, "order", "accuracies", "regret", "rank_correlations", "outcomes")
    spoilt = {"no-average", "wrong-prior"}
    assert set(found["order"][-2:]) == spoilt
    assert found["accuracies"]["wrong-prior"] < found["accuracies"][found["order"][0]] - 0.2
    assert found["regret"] < 5
    correlations = found["rank_correlations"]
    assert correlations["target_class_ami"] > correlations["target_mask_rate"]
    assert found["outcomes"]["wrong-prior"] == "collapsed"
    assert found["outcomes"]["no-average"] != "helped"


@pytest.mark.slow
def test_real_shares_do_better_than_equal_ones_where_classes_are_rare(tmp_path):
    found = outcome("plot_6", tmp_path, "accuracy", "distance")
    for prior in ("counted", "true"):
        assert found["accuracy"][prior] > found["accuracy"]["uniform"]
        assert found["distance"][prior] < found["distance"]["uniform"]


@pytest.mark.slow
def test_two_processes_come_to_the_weights_of_one(tmp_path):
    found = outcome("plot_7", tmp_path, "greatest", "moved", "summary")
    assert 0 < found["greatest"] < 1e-9 * found["moved"]
    assert "2 processes" in found["summary"]["device"]
    assert found["summary"]["status"] == "done"


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_it_is_built_as_a_tutorial(path):
    text = path.read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(text))
    title, line, *_ = docstring.splitlines()
    assert len(title) == len(line)
    assert set(line) == {"="}
    assert docstring.split("\n\n")[1].startswith("At the end you will")
    assert "plt.show()" in text
    assert text.rindex("# What to try next\n# -----") == text.rindex("\n# ---") - len("# What to try next")


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_the_commands_to_try_are_commands(path):
    commands = commands_of(path.read_text(encoding="utf-8"))
    assert commands
    for command in commands:
        arguments = with_repeated_united([with_underscores(argument) for argument in command])
        make_parser(arguments).parse_args(arguments)


def commands_of(text: str) -> list[list[str]]:
    """The arguments of each `dalib` and `-m dalib` of the indented lines, but for those with something left out."""
    lines = text.replace("\\\n#", " ").splitlines()
    found = [re.search(r"^#     (?:dalib|(?:torchrun|srun) .*-m dalib) (.+)", line) for line in lines]
    return [shlex.split(each[1], comments=True) for each in found if each and not each[1].endswith("...")]
