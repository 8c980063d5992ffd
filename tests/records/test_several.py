"""The folder of several targets: what is read from the runs, and what it is known by."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from dalib.core.errors import UserError
from dalib.core.files import read_json, write_json
from dalib.records.evaluation import Evaluation, MeasuredModel
from dalib.records.folder import RunFolder
from dalib.records.judgement import Judgement
from dalib.records.labelled import Labelled, LabelledValue
from dalib.records.several import Measured, SeveralFolder, SeveralTargets, TargetModel, is_finished
from several_targets import make_several

WRITTEN = Path(__file__).with_name("written") / "both"


@pytest.fixture
def folder(tmp_path):
    return make_several(tmp_path / "several", WRITTEN, ["street", "night"], waiting=["dawn"])


def test_the_record_is_read_from_the_runs_themselves(folder):
    record = folder.read()
    assert [(each.name, each.status) for each in record.targets] == [
        ("street", "done"),
        ("night", "done"),
        ("dawn", "waiting"),
    ]
    judgement, street = Judgement.read(WRITTEN / "judgement.json"), record.targets[0]
    assert (street.outcome, street.probability) == (judgement.outcome, judgement.probability_of_help)
    assert street.selected == RunFolder(WRITTEN).selection().model
    assert street.models["adapted"] == TargetModel(judgement.models["adapted"].estimate)
    record.write(folder.record)
    assert SeveralTargets.read(folder.record) == record


def test_labels_of_a_few_images_are_measurements_where_the_verdict_rests_on_them(folder):
    run, models = folder.run("street"), {"adapted": LabelledValue(0.8, 0.7, 0.9, 30)}
    Labelled("few.csv", 30, models, 400).write(run.labelled)
    assert folder.read().targets[0].models["adapted"].measured == Measured(0.8, (0.7, 0.9), 30, "few.csv")
    Evaluation("night", 40, {"adapted": MeasuredModel(0.75, (0.5, 0.9))}).write(run.evaluations / "night.json")
    assert folder.read().targets[0].models["adapted"].measured == Measured(0.75, (0.5, 0.9), 40, "night")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, 0.97),
        ({"outcome": "collapsed"}, None),
        ({"at_chance": ("adapted",)}, None),
        ({"votes": {"differ": 0}}, None),
    ],
)
def test_the_probability_is_that_of_the_run_s_report(folder, changed, told):
    run = folder.run("street")
    found = replace(Judgement.read(run.judgement), outcome="helped", probability=0.97, votes={"differ": 5})
    replace(found, **changed).write(run.judgement)
    assert folder.read().targets[0].probability == told


def test_runs_that_have_not_begun_are_none_yet(folder):
    assert folder.names() == ("street", "night", "dawn")
    assert list(folder.runs()) == ["street", "night"]


def test_a_run_is_finished_with_its_report(folder):
    run = folder.run("street")
    assert not is_finished(run)  # one of before its report was written
    run.report.write_text("a page")
    assert is_finished(run)
    assert not is_finished(folder.run("dawn"))


def test_a_run_folder_knows_the_folder_of_several_and_names_the_runs(folder):
    with pytest.raises(UserError) as error:
        RunFolder.existing(folder.root)
    assert str(error.value).endswith(f"give one: {folder.run('night').root}, {folder.run('street').root}")
    shutil.rmtree(folder.run("street").root)
    shutil.rmtree(folder.run("night").root)
    with pytest.raises(UserError, match="none has begun yet"):
        RunFolder.existing(folder.root)


def test_a_run_is_no_folder_of_several(folder):
    with pytest.raises(UserError, match=r"not the folder of several targets, targets\.json is missing"):
        SeveralFolder.existing(folder.run("street").root)
    assert SeveralFolder.existing(folder.root) == folder


def test_a_damaged_record_says_how_to_write_it_anew(folder):
    folder.record.write_text('{"version": 1, "source": 3, "targets": []}')
    with pytest.raises(UserError, match=r"source.*Write it anew|source.*restore it"):
        folder.names()


@pytest.mark.parametrize("name", ["../street", "/street", "a/b", "a\\b", "C:", "..", ""])
def test_a_record_names_no_folder_but_those_beside_it(folder, name):
    content = read_json(folder.record)
    content["targets"][0]["name"] = name
    write_json(folder.record, content)
    with pytest.raises(UserError, match=r"targets\.json: targets\[0\]: name: expected that of a folder"):
        folder.runs()
