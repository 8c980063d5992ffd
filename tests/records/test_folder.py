"""A run's small files are read as records, whatever of them is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from old_runs import RUNS
from whole_run import write_run

from dalib.core.errors import UserError
from dalib.records.folder import RunFolder
from dalib.records.selection import Measurement, Selection
from dalib.records.summary import Summary

WRITTEN = Path(__file__).parent / "written"


@pytest.mark.parametrize("name", RUNS)
def test_the_records_of_an_old_run_are_read(name):
    run = RunFolder.existing(WRITTEN / name)
    records = run.read_records()
    assert records.summary == Summary.read(run.summary)
    assert records.own == ("source-only" if name == "source-only" else "adapted")
    assert records.judgement is not None
    assert len(records.samples) > 10
    assert (records.labelled is not None) == (name == "labelled")
    assert len(records.evaluations) == (name == "labelled")
    assert run.read_left_out().target == ()


def test_a_run_that_has_begun_has_its_summary_alone(tmp_path):
    (tmp_path / "summary.json").write_text('{"method": "mcc"}')
    records = RunFolder(tmp_path).read_records()
    assert (records.judgement, records.labelled, records.evaluations, records.selection) == (None, None, (), None)
    assert (records.samples, records.unreadable, records.embedding.models) == ((), (), {})


def test_evaluations_come_in_the_order_of_their_time(tmp_path):
    run = write_run(tmp_path / "run")
    first = json.loads((run.evaluations / "labelled.json").read_text())
    (run.evaluations / "a.json").write_text(json.dumps(first | {"data": "later", "when": "2027"}))
    assert [each.data for each in run.read_evaluations()] == ["photos", "later"]
    measured = Measurement("later", "evaluation", 9, "adapted", "source-only", (0.9, 0.8), 0.1, 0.05, 0.15)
    Selection("adapted", "measurement", measured).write(run.selected)
    assert [each.data for each in run.read_evaluations()] == ["later", "photos"]


def test_an_evaluation_from_before_the_adapted_model_says_nothing_once_that_is_judged(tmp_path):
    run = write_run(tmp_path / "run")
    path = run.evaluations / "labelled.json"
    content = json.loads(path.read_text())
    del content["models"]["adapted"]
    content.pop("paired", None)
    path.write_text(json.dumps(content))
    assert run.read_records().evaluations == ()
    run.judgement.unlink()  # not judged: it is all that is known
    assert len(run.read_records().evaluations) == 1


def test_a_damaged_record_names_its_file(tmp_path):
    run = write_run(tmp_path / "run")
    run.unreadable.write_text('[{"path": 3}]')
    with pytest.raises(UserError, match=r"unreadable\.json: expected a text at \[0\]\.path"):
        run.read_records()


def test_a_file_in_place_of_a_run_is_told_and_one_of_a_run_names_it(tmp_path):
    (tmp_path / "x.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"x\.png'\)?: a file; expected the folder of a run"):
        RunFolder.existing(tmp_path / "x.png")
    write_run(tmp_path / "run")
    with pytest.raises(UserError, match=r"summary\.json'\)?: a file of a run; expected the run's folder, .*run$"):
        RunFolder.existing(tmp_path / "run" / "summary.json")
    model = tmp_path / "exported"
    model.mkdir()
    for name in ("model.safetensors", "config.json"):
        (model / name).write_bytes(b"")
    with pytest.raises(UserError, match=r"a file of a model; expected the model's folder, .*exported$"):
        RunFolder.existing(model / "model.safetensors")
    with pytest.raises(UserError, match="no such folder"):
        RunFolder.existing(tmp_path / "none")


def test_a_folder_of_runs_names_them(tmp_path):
    write_run(tmp_path / "runs" / "first")
    with pytest.raises(UserError, match=r"runs'\)?: a folder with runs in it; give one of them: .*first$"):
        RunFolder.existing(tmp_path / "runs")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="not a run folder"):
        RunFolder.existing(tmp_path / "empty")
