"""How long a run takes, and what fits in a time limit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from dalib.commands.main import run
from dalib.core.errors import UserError
from dalib.engine.train import Observer
from dalib.run import pace as module
from dalib.run.config import TrainConfig
from dalib.run.pace import (
    LEAST_STEPS,
    MOST_TIMES,
    MOST_VIEWS,
    Counts,
    Pace,
    Recipe,
    check_time_limit,
    fitted_to_time,
    in_words,
    is_open,
    measure_pace,
    say_length,
    seconds_of_run,
    time_limit_of,
    views_of,
)
from dalib.run.presets import from_preset
from dalib.run.recipe import make_preprocessing, with_share

COUNTS = Counts(600, 60, 600, 6)
PACE = Pace({"source-only": 0.01, "adapted": 0.03}, row=1e-4, view=0.02, mapped=5.0)
PHOTOS = from_preset("photo-features", backbone="resnet18", time_limit="10m")
SMALL = TrainConfig(time_limit="10m")


def fitted(config, left, counts=COUNTS, **options):
    return fitted_to_time(config, counts, PACE, left, usual=Recipe.of(config, counts), **options)


def total(config, counts=COUNTS):
    return sum(seconds_of_run(config, counts, PACE).values())


@pytest.mark.parametrize(
    ("limit", "seconds"),
    [("10m", 600), ("90s", 90), ("1h30m", 5400), ("1.5 h", 5400), (45, 45), ("45", 45), ("2min", 120)],
)
def test_a_time_is_read(limit, seconds):
    assert time_limit_of(TrainConfig(time_limit=limit)) == seconds


@pytest.mark.parametrize("limit", ["soon", "0m", "-5m", "10m x", "m", ""])
def test_what_is_no_time_is_refused(limit):
    with pytest.raises(UserError, match="expected a time such as 10m, 90s or 1h30m"):
        time_limit_of(TrainConfig(time_limit=limit))


def test_without_a_limit_there_is_none():
    assert time_limit_of(TrainConfig()) is None
    assert not is_open(TrainConfig())
    assert is_open(SMALL)
    assert not is_open(replace(SMALL, steps=10))
    assert not is_open(replace(SMALL, epochs=1))


def test_the_limit_takes_the_place_of_the_presets_steps():
    assert PHOTOS.steps is None
    assert from_preset("paper-small", time_limit="1h").epochs is None


@pytest.mark.parametrize("config", [PHOTOS, SMALL])
@pytest.mark.parametrize("left", [90, 200, 400])
def test_what_is_chosen_takes_the_time_that_is_left(config, left):
    assert 0.93 * left <= total(fitted(config, left)) <= left


def test_views_and_steps_keep_the_proportion_of_the_recipe():
    chosen = [fitted(PHOTOS, left) for left in (90, 200, 400, 800)]
    assert [each.features for each in chosen] == sorted({each.features for each in chosen})
    for each in chosen:
        if each.features > 2:
            assert each.steps >= 1500 * each.features / 4
        assert each.self_ensemble.ramp_up_steps == round(300 * each.steps / 1500)
    assert chosen[0].every.evaluate == min(250, chosen[0].steps // 4)


def test_a_number_of_views_that_was_given_is_kept():
    assert fitted(replace(PHOTOS, features=6), 400).features == 6
    assert fitted(PHOTOS, 400, extracted=True).features == PHOTOS.features


def test_more_than_is_of_use_is_not_chosen():
    assert fitted(PHOTOS, 1e6).features == MOST_VIEWS
    assert fitted(SMALL, 1e6).steps == MOST_TIMES * 1000


@pytest.mark.parametrize("config", [PHOTOS, SMALL])
def test_too_short_a_limit_is_refused_with_the_least(config):
    least = min(
        total(
            replace(
                config, features=min(2, config.features), steps=LEAST_STEPS, every=replace(config.every, evaluate=12)
            )
        ),
        1e9,
    )
    fitted(config, least + 1)
    with pytest.raises(UserError, match=r"too short here.*expected at least time_limit='\d+m'"):
        fitted(config, least - 1)


def test_the_seconds_of_a_run_are_those_of_its_parts():
    config = replace(PHOTOS, steps=500, time_limit=None)
    parts = seconds_of_run(config, COUNTS, PACE)
    assert list(parts) == ["features", "source-only", "adapted", "judgement"]
    assert parts["features"] == pytest.approx(0.02 * views_of(config, COUNTS))
    assert views_of(config, COUNTS) == 4 * 1200 + 2 * 660
    joined = seconds_of_run(with_share(config, "joined"), COUNTS, replace(PACE, view=0.04))
    assert joined["features"] == pytest.approx(0.04 * views_of(config, COUNTS) + 0.02 * 5 * 2 * 512)
    # two evaluations, the last one, and all predictions, of 660 rows, or 1260 with the student's
    assert parts["source-only"] == pytest.approx(5 + 1e-4 * 4 * 660)
    assert parts["adapted"] == pytest.approx(15 + 1e-4 * (2 * 1260 + 2 * 660))
    assert list(seconds_of_run(replace(config, baseline=False), COUNTS, PACE, extracted=True)) == [
        "adapted",
        "judgement",
    ]


@pytest.mark.parametrize(
    ("seconds", "said"), [(10, "less than a minute"), (300, "about 5 minutes"), (7200, "about 2.0 hours")]
)
def test_a_time_is_said_as_a_person_would(seconds, said):
    assert in_words(seconds) == said


def test_the_pace_is_measured_and_leaves_the_random_numbers_alone():
    config = TrainConfig(batch=4, steps=10)
    before = torch.get_rng_state()
    found = measure_pace(config, make_preprocessing(config), 3, torch.device("cpu"))
    assert torch.equal(before, torch.get_rng_state())
    assert list(found.steps) == ["source-only", "adapted"]
    assert min(*found.steps.values(), found.row, found.mapped) > 0
    assert found.view == 0


def test_a_view_takes_the_time_of_each_backbone(tmp_path, monkeypatch):
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "seconds_of", lambda call, *given, **more: 0.0 if call() is None else 8.0)
    seconds = {}
    for backbone in ("test_resnet", ["test_resnet", "test_efficientnet"]):
        config = from_preset("photo-features", backbone=backbone, batch=8, steps=2, features=2)
        seconds[str(backbone)] = measure_pace(config, make_preprocessing(config), 3, torch.device("cpu")).view
    assert list(seconds.values()) == [1.0, 2.0]  # eight images at once
    whole = measure_pace(config, make_preprocessing(config), 3, torch.device("cpu"), keep=False)
    assert whole.view == 1.0  # both in one network


@pytest.fixture
def domains(tmp_path):
    rng = np.random.default_rng(0)
    for domain in ("source", "target"):
        for number in range(16):
            path = tmp_path / domain / ("cat", "dog")[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(path)
    return ["--source", f"{tmp_path}/source", "--target", f"{tmp_path}/target", "--batch", "4", "--data.size", "12"]


@pytest.fixture
def slow(monkeypatch):
    """A machine on which some 60 steps fit in a minute."""
    measured = []

    def measure(*_, **__):
        measured.append(1)
        return Pace({"source-only": 0.4, "adapted": 0.4}, 0.0, 0.0, 0.0)

    monkeypatch.setattr("dalib.run.time_limit.measure_pace", measure)
    monkeypatch.setattr(module, "measure_pace", measure)
    return measured


def test_a_run_takes_as_many_steps_as_fit_and_writes_them_down(domains, slow, tmp_path, capsys):
    assert run(["train", *domains, "--time", "1m", "--out", str(tmp_path / "run")]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith(
        "about a minute in all (--time 1m): training of the source-only model and then the adapted"
    )
    assert told[0].endswith("predicts in the end")
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert written["time_limit"] == "1m"
    assert LEAST_STEPS <= written["steps"] <= 0.92 * 60 / 0.8
    assert f"{written['steps']} steps a training fit in --time 1m: about a minute from here, as measured" in told
    assert len(slow) == 2, "before the features, and before the steps"
    # its configuration makes the same run again, by the numbers that were chosen
    again = ["train", "--config", f"{tmp_path}/run/config.yaml", "--out", str(tmp_path / "again")]
    slow.clear()
    assert run(again) == 0
    assert yaml.safe_load((tmp_path / "again" / "config.yaml").read_text())["steps"] == written["steps"]
    assert len(slow) == 1  # how long it takes is told, nothing is chosen
    assert "fit in" not in capsys.readouterr().out


def test_a_run_that_is_resumed_keeps_the_numbers(domains, slow, tmp_path, monkeypatch):
    stopped = iter([False] * 20)
    monkeypatch.setattr("dalib.run.train.Observer", lambda stop, *rest: Observer(lambda: next(stopped, True), *rest))
    assert run(["train", *domains, "--time", "60", "--out", str(tmp_path / "run")]) == 130
    steps = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["steps"]
    monkeypatch.setattr("dalib.run.train.Observer", Observer)
    slow.clear()
    assert run(["train", "--resume", str(tmp_path / "run")]) == 0
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["steps"] == steps
    assert slow == []


def test_a_limit_that_is_too_short_leaves_nothing(domains, slow, tmp_path, capsys):
    assert run(["train", *domains, "--time", "10s", "--out", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err
    assert "--time 10s: too short here" in told
    assert "expected at least --time 1m" in told
    assert not (tmp_path / "run").exists()


def test_the_first_line_tells_time_and_model(domains, slow, tmp_path, capsys):
    assert run(["train", *domains, "--steps", "40", "--keep", "adapted", "--out", str(tmp_path / "run")]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first == (
        "less than a minute in all, as measured on this machine: training of the source-only model and then the "
        "adapted model, which predicts in the end"
    )
    assert run(["train", *domains, "--steps", "4", "--method", "source-only", "--out", str(tmp_path / "one")]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first == "Training of the source-only model, which predicts in the end"


def test_several_processes_give_the_steps_themselves():
    with pytest.raises(UserError, match="these are 2; give steps"):
        check_time_limit(TrainConfig(time_limit="10m"), 2)
    check_time_limit(TrainConfig(time_limit="10m", steps=100), 2)
    check_time_limit(TrainConfig(time_limit="10m"), 1)


def test_several_processes_are_told_the_plan_without_a_time(capsys, monkeypatch):
    monkeypatch.setattr(
        module, "measure_pace", lambda *given, **more: pytest.fail("one process would wait for the others")
    )
    config = TrainConfig(steps=100)
    say_length(config, make_preprocessing(config), torch.device("cpu"), 2)
    assert "predicts in the end" in capsys.readouterr().out
