"""Runs of before records had a version open, resume, report and compare."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from old_runs import RUNS, make_images

from dalib.commands.main import run
from dalib.core.files import read_json
from dalib.records.folder import RunFolder
from dalib.run.settings.older_files import as_written_today

WRITTEN = Path(__file__).parent / "written"


@pytest.fixture
def old(tmp_path, monkeypatch):
    """A folder with a copy of each run, and the images that they were trained on."""
    monkeypatch.chdir(tmp_path)
    make_images(tmp_path)
    for name in RUNS:
        shutil.copytree(WRITTEN / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("both", "with a probability of 50% it is the adapted one"),
        ("source-only", "No other model was trained that the source-only one could be compared with"),
        ("labelled", "Nothing was learnt. Adaptation made no clear difference: adapted 50.0%, source-only 50.0%"),
    ],
)
def test_an_old_run_has_a_report(old, name, words):
    assert run(["report", name]) == 0
    page = (old / name / "report.html").read_text()
    assert words in re.sub("<[^>]+>", "", page)


def test_old_runs_are_compared(old, capsys):
    assert run(["compare", *RUNS]) == 0
    printed = capsys.readouterr().out
    assert "Runs are sorted by clusters" in printed
    assert "labelled was measured" in printed


@pytest.mark.parametrize("name", RUNS)
def test_labels_measure_an_old_run(old, name, capsys):
    assert run(["query", name, "--n", "5", "--out", "asked.csv"]) == 0
    assert run(["eval", name, "--labels", "labels.csv"]) == 0
    assert "from 30 labels of 48 target images" in capsys.readouterr().out
    assert read_json(old / name / "labelled.json")["models"]["source-only"]["value"] == 0.5


def test_an_old_run_resumes_is_measured_and_keeps_its_selection(old, capsys):
    name = "labelled"
    before = read_json(old / name / "summary.json")
    assert run(["train", "--resume", name]) == 0
    printed = capsys.readouterr()
    assert "has changed" not in printed.out + printed.err
    after = read_json(old / name / "summary.json")
    kept = as_written_today(before["settings"])
    assert after["settings"].items() >= kept.items()  # later versions have more of them
    assert (before["settings"]["views.flip"], kept.pop("views.flip")) == (False, "auto")
    assert kept.items() <= before["settings"].items()
    assert before["fingerprints"] == after["fingerprints"]
    assert RunFolder.existing(name).selection().by == "user"
    assert run(["eval", name, "--data", "images/labelled"]) == 0
    assert len(list((old / name / "evaluations").iterdir())) == 2
    assert "images/labelled (48 images)" in (old / name / "report.html").read_text()


def test_an_old_run_does_not_resume_with_other_images(old, capsys):
    (old / "images" / "target" / "00.png").unlink()
    assert run(["train", "--resume", "both"]) == 2
    assert "the target images/target has changed (48 images then, 47 now)" in capsys.readouterr().err


def test_the_runs_are_of_before_records_had_a_version():
    for name in RUNS:
        assert "version" not in json.loads((WRITTEN / name / "summary.json").read_text())
