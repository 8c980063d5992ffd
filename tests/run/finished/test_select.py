"""Which model of a run is selected: the record, and switching it."""

import json
import os
import shutil
from dataclasses import replace

import pytest
import torch

import dalib
from dalib.commands.flags import FlagSpelling
from dalib.core.errors import UserError, spelled
from dalib.core.files import locked, write_json
from dalib.data.preprocessing import Preprocessing
from dalib.models.architecture import Architecture
from dalib.models.network import make_classifier
from dalib.models.saved import ModelDescription, save_model
from dalib.records.folder import RunFolder
from dalib.records.selection import Measurement, Selection
from dalib.run.finished import select as selecting
from dalib.run.finished.load import chosen_model, load
from dalib.run.finished.select import conclude, decided, keep, select, sentence_of_one, settle

ARCHITECTURE = Architecture(backbones=("small",), bottleneck_dim=4, channels=1, size=8)
BETTER = Measurement("labelled", "evaluation", 200, "adapted", "source-only", (0.812, 0.493), 0.319, 0.241, 0.39)
WORSE = Measurement("labelled", "evaluation", 200, "adapted", "source-only", (0.493, 0.812), -0.319, -0.39, -0.241)
UNCLEAR = Measurement("labelled", "evaluation", 200, "adapted", "source-only", (0.80, 0.79), 0.01, -0.02, 0.04)
BY_JUDGEMENT, BY_USER = Selection("source-only", "judgement"), Selection("source-only", "user")


def write_model(folder, seed):
    torch.manual_seed(seed)
    classes = ("ant", "bee")
    save_model(
        folder,
        make_classifier(ARCHITECTURE, 2),
        ModelDescription(ARCHITECTURE, classes, Preprocessing(size=8, channels=1)),
    )


def trained(root, method="self-ensemble"):
    """A run as training leaves it, before anything is selected: the last training's model in model/."""
    found = RunFolder(root)
    write_json(found.summary, {"method": method, "settings": {"keep": "better"}, "classes": ["ant", "bee"]})
    found.config.write_text("seed: 0\n")
    write_model(found.model, seed=1)
    if method != "source-only":
        write_model(found.source_only.model, seed=2)
    return found


def written_today(root, shipped):
    """A run of the version before there was selection.json."""
    found = trained(root)
    if shipped == "source-only":
        found.adapted.root.mkdir()
        found.model.rename(found.adapted.model)
        shutil.copytree(found.source_only.model, found.model)
    return found


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


@pytest.fixture
def run(tmp_path):
    return trained(tmp_path / "run")


@pytest.fixture
def adapted_and_source_only(run):
    return weights(run.model), weights(run.source_only.model)


# the record


def test_what_training_selects_is_on_record_and_in_model(run, adapted_and_source_only):
    adapted, source_only = adapted_and_source_only
    conclude(run, "source-only", "judgement")
    assert (run.selection().model, run.selection().by) == ("source-only", "judgement")
    assert list(run.models()) == ["source-only", "adapted"]
    assert (weights(run.models()["adapted"]), weights(run.models()["source-only"])) == (adapted, source_only)
    assert weights(run.model) == source_only


def test_a_run_of_one_model_has_it_selected_and_no_other(tmp_path):
    found = trained(tmp_path / "run", method="source-only")
    conclude(found, "source-only", "judgement")
    assert list(found.models()) == ["source-only"]
    assert chosen_model(found.root, None).in_words == "source-only model (the only one of this run)"
    with pytest.raises(UserError, match="model 'adapted': expected a model of this run"):
        keep(found, "adapted")


def test_a_run_that_was_stopped_before_its_adapted_model_says_so(run):
    write_model(run.aligned.model, seed=3)
    shutil.rmtree(run.model)
    unfinished = "(training has not finished: there is no adapted model)"
    assert list(run.models()) == ["aligned", "source-only"]
    assert chosen_model(run.root, None).in_words == f"aligned model {unfinished}"
    assert load(run.root, model="source-only").name == f"source-only model {unfinished}"
    shutil.rmtree(run.aligned.root)
    assert sentence_of_one(run) == "Training has not finished: there is no adapted model, and no model is selected"
    conclude(trained(run.root), "adapted", "judgement")
    assert sentence_of_one(run).endswith("(selected without target labels); it is the only one")


def test_switching_works_any_number_of_times(run, adapted_and_source_only):
    conclude(run, "adapted", "judgement")
    for name, expected in zip(("source-only", "adapted") * 2, reversed(adapted_and_source_only * 2), strict=True):
        keep(run.root, name)
        assert run.selection().by == "user"
        assert next(iter(run.models())) == name
        assert weights(run.model) == weights(run.models()[name]) == expected
    assert not list(run.root.rglob("*.tmp"))


def test_a_record_is_read_as_it_was_written(run):
    selection = Selection("adapted", "measurement", BETTER, "2026-01-01T00:00:00+00:00")
    selection.write(run.selected)
    assert run.selection() == selection


@pytest.mark.parametrize(
    "damage",
    [
        [],
        {"model": "adapted"},
        {"version": 1, "model": "best", "by": "user", "when": "", "measured": None},
        {"version": 1, "model": "adapted", "by": "chance", "when": "", "measured": None},
        {"version": 1, "model": ["adapted"], "by": "user", "when": "", "measured": None},
        {"version": 1, "model": "adapted", "by": "measurement", "when": "", "measured": {"count": 3}},
        {"version": "new", "model": "adapted", "by": "user", "when": "", "measured": None},
    ],
)
def test_a_damaged_record_is_told_and_keep_mends_it(damage, run, adapted_and_source_only):
    conclude(run, "adapted", "judgement")
    write_json(run.selected, damage)
    with pytest.raises(UserError, match=r"run\.keep\(model='adapted'\)"):
        run.models()
    keep(run, "adapted")
    assert weights(next(iter(run.models().values()))) == adapted_and_source_only[0]


def test_a_record_of_a_newer_version_asks_for_an_update(run):
    write_json(run.selected, {"version": Selection.VERSION + 1})
    with pytest.raises(UserError, match="update dalib"):
        run.selection()


# runs of older versions


@pytest.mark.parametrize("shipped", ["adapted", "source-only"])
def test_a_run_of_an_older_version_has_selected_what_is_in_model(shipped, tmp_path):
    found = written_today(tmp_path / "run", shipped)
    assert (found.selection().model, found.selection().by) == (shipped, "judgement")
    assert next(iter(found.models())) == shipped
    assert weights(next(iter(found.models().values()))) == weights(found.model)


def test_a_run_of_an_older_version_that_kept_adapted_was_the_users_choice(tmp_path):
    found = written_today(tmp_path / "run", "adapted")
    write_json(found.summary, {"method": "self-ensemble", "settings": {"keep": "adapted"}})
    assert found.selection() == Selection("adapted", "user")


@pytest.mark.parametrize("shipped", ["adapted", "source-only"])
def test_a_run_of_an_older_version_can_be_switched_either_way(shipped, tmp_path):
    found = written_today(tmp_path / "run", shipped)
    expected = {name: weights(folder) for name, folder in found.models().items()}
    for name in ("source-only", "adapted", "source-only"):
        keep(found, name)
        assert {each: weights(folder) for each, folder in found.models().items()} == expected
        assert weights(found.model) == expected[name]


# a process that dies, readers, and other processes


@pytest.mark.parametrize("shipped", ["adapted", "source-only"])
@pytest.mark.parametrize("old", [True, False])
def test_a_process_that_dies_anywhere_leaves_a_run_that_opens(old, shipped, tmp_path, monkeypatch):
    other = {"adapted": "source-only", "source-only": "adapted"}[shipped]
    attempt, done = 0, False
    while not done:
        found = written_today(tmp_path / f"{attempt}", shipped) if old else trained(tmp_path / f"{attempt}")
        if not old:
            conclude(found, shipped, "judgement")
        expected = {name: weights(folder) for name, folder in found.models().items()}
        left = attempt

        def dying(temporary, path, put=selecting.put_in_place):
            nonlocal left
            if not left:
                raise KeyboardInterrupt
            left -= 1
            put(temporary, path)

        with monkeypatch.context() as patched:
            patched.setattr(selecting, "put_in_place", dying)
            patched.setattr("dalib.core.files.put_in_place", dying)
            try:
                keep(found, other)
                done = True
            except KeyboardInterrupt:
                pass
        now = found.selection().model
        assert now in ((other,) if done else (shipped, other))
        assert {name: weights(folder) for name, folder in found.models().items()} == expected
        assert load(found.root).name.startswith(f"{now} model")
        keep(found, other)  # the same command again mends what is left
        assert weights(found.model) == expected[other]
        attempt += 1
    assert attempt > 1


def test_a_reader_that_found_its_model_reads_on_through_a_switch(run, adapted_and_source_only):
    conclude(run, "adapted", "judgement")
    folder = next(iter(run.models().values()))
    keep(run, "source-only")
    assert weights(folder) == adapted_and_source_only[0]


def test_without_hard_links_models_are_copied(run, adapted_and_source_only, monkeypatch):
    def refuse(*_):
        raise OSError("no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    conclude(run, "source-only", "judgement")
    keep(run, "adapted")
    assert weights(run.model) == weights(run.adapted.model) == adapted_and_source_only[0]


def test_a_full_disk_leaves_the_copy_behind_and_the_selection_right(run, adapted_and_source_only, monkeypatch, capsys):
    conclude(run, "adapted", "judgement")

    def full(*_):
        raise OSError(28, "No space left")

    with monkeypatch.context() as patched:
        patched.setattr(selecting, "put_in_place", full)
        keep(run, "source-only")
    assert "is not the selected model" in capsys.readouterr().out
    assert weights(next(iter(run.models().values()))) == adapted_and_source_only[1]
    keep(run, "source-only")
    assert weights(run.model) == adapted_and_source_only[1]


def test_nobody_selects_while_another_process_trains(run):
    conclude(run, "adapted", "judgement")
    with locked(run.lock, wait=False):
        with pytest.raises(UserError, match="another process trains"):
            keep(run, "source-only")
        assert "another process trains" in settle(run, WORSE)
        assert run.selection().by == "judgement"
        settle(run, WORSE, held=True)  # the process that trains itself
    assert run.selection().model == "source-only"


# a measurement


def test_a_clear_measurement_selects_the_better_model_and_says_so():
    selection, sentence = decided(BY_JUDGEMENT, BETTER, "RUN")
    assert (selection.model, selection.by, selection.measured) == ("adapted", "measurement", BETTER)
    assert sentence == (
        "The adapted model is now the selected model of this run. Measured: adapted 81.2%, source-only 49.3% on 200 "
        "labelled images; difference +31.9 points (95% interval +24.1 to +39.0)"
    )
    back, sentence = decided(selection, WORSE, "RUN")
    assert back.model == "source-only"
    assert "source-only model is now the selected model" in sentence
    assert "source-only 81.2%, adapted 49.3%" in sentence
    assert "difference +31.9 points (95% interval +24.1 to +39.0)" in sentence


def test_a_measurement_that_agrees_is_on_record_too():
    selection, sentence = decided(BY_JUDGEMENT, WORSE, "RUN")
    assert (selection.model, selection.by) == ("source-only", "measurement")
    assert "The source-only model stays the selected model" in sentence


@pytest.mark.parametrize("low", [-0.02, 0.0])
def test_an_interval_that_holds_0_changes_nothing(low):
    selection, sentence = decided(BY_JUDGEMENT, replace(UNCLEAR, low=low), "RUN")
    assert selection == BY_JUDGEMENT
    assert "does not tell the models apart: adapted 80.0%, source-only 79.0%" in sentence
    assert sentence.endswith("The source-only model stays selected")


def test_a_measurement_does_not_override_the_user_and_says_that_it_disagrees():
    selection, sentence = decided(BY_USER, BETTER, "runs/first")
    assert selection == BY_USER
    assert "disagrees with the choice of source-only, which stays" in sentence
    assert sentence.endswith("dalib.open_run('runs/first').keep(model='adapted')")
    with spelled(FlagSpelling()):
        assert decided(BY_USER, BETTER, "runs/first")[1].endswith("dalib keep runs/first adapted")
        assert decided(BY_USER, BETTER, "my runs/first")[1].endswith("dalib keep 'my runs/first' adapted")
    assert decided(BY_USER, WORSE, "RUN") == (
        BY_USER,
        "The measurement agrees with the choice of source-only. Measured: source-only 81.2%, adapted 49.3% on 200 "
        "labelled images; difference +31.9 points (95% interval +24.1 to +39.0)",
    )


def test_a_model_that_is_gone_is_not_selected(run):
    conclude(run, "adapted", "judgement")
    shutil.rmtree(run.source_only.root)
    assert "not in" in settle(run, WORSE)
    assert run.selection().model == "adapted"


def test_of_a_model_that_is_gone_an_unclear_measurement_does_not_say_that_it_is_better(run):
    conclude(run, "source-only", "judgement")
    shutil.rmtree(run.source_only.model)
    sentence = settle(run, UNCLEAR, held=True)
    assert "does not tell the models apart" in sentence
    assert "is better" not in sentence


# training on


@pytest.mark.parametrize(
    ("before", "changed", "after"),
    [
        (Selection("source-only", "user"), True, ("source-only", "user")),
        (Selection("source-only", "measurement", WORSE), False, ("source-only", "measurement")),
        (Selection("source-only", "measurement", WORSE), True, ("adapted", "judgement")),
        (Selection("source-only", "judgement"), False, ("adapted", "judgement")),
    ],
)
def test_a_choice_outlives_training_on_and_a_measurement_the_models_it_is_of(before, changed, after, run):
    conclude(run, "adapted", "judgement")
    select(run, before)
    write_model(run.model, seed=3 if changed else 1)  # as training leaves it
    fresh = weights(run.model)
    conclude(run, "adapted", "judgement")
    assert (run.selection().model, run.selection().by) == after
    assert weights(run.adapted.model) == fresh
    assert weights(run.model) == weights(run.models()[after[0]])


# who uses it says so


def test_a_predictor_says_which_model_it_is_and_why(run):
    conclude(run, "adapted", "judgement")
    assert load(run.root).name == "adapted model (selected without target labels)"
    settle(run, WORSE)
    assert repr(dalib.load(run.root)) == (
        "<Predictor: source-only model (selected by measurement on 200 labelled images), 2 classes>"
    )
    assert load(run.root, model="adapted").name == (
        "adapted model (asked for; source-only is selected by measurement on 200 labelled images)"
    )
    assert load(run.model).name == ""
    assert json.loads(run.selected.read_text())["measured"]["accuracies"] == [0.493, 0.812]
