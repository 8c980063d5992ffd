"""What fits in a time limit when the machine's speed changes."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

import dalib
from dalib.commands.main import run
from dalib.core.errors import UserError
from dalib.engine.train import Observer
from dalib.models.pretrained import PretrainedBackbone
from dalib.run import length
from dalib.run.features import feature_space
from dalib.run.recipe.image_network import make_preprocessing
from dalib.run.settings.config import TrainConfig
from dalib.run.settings.config_file import write_config
from dalib.run.settings.presets import from_preset
from dalib.run.timing import time_limit as module
from dalib.run.timing.pace import LEAST_STEPS, Counts, Pace, seconds_of_run
from dalib.run.timing.time_limit import (
    MOST_TIMES,
    MOST_VIEWS,
    Recipe,
    TimeLimit,
    check_time_limit,
    fitted_to_time,
    is_open,
    time_limit_of,
)
from moved_clock import Clock

COUNTS = Counts(600, 60, 600, 6)
PACE = Pace({"source-only": 0.01, "adapted": 0.03}, row=1e-4, view=0.02, mapped=5.0)
CONFIG = from_preset("photo-features", backbone="resnet18", time_limit="10m")


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
    assert CONFIG.steps is None
    assert from_preset("paper-small", time_limit="1h").epochs is None


@pytest.mark.parametrize("config", [CONFIG, SMALL])
@pytest.mark.parametrize("left", [90, 200, 400])
def test_what_is_chosen_takes_the_time_that_is_left(config, left):
    assert 0.93 * left <= total(fitted(config, left)) <= left


def test_views_and_steps_keep_the_proportion_of_the_recipe():
    chosen = [fitted(CONFIG, left) for left in (90, 200, 400, 800)]
    assert [each.features for each in chosen] == sorted({each.features for each in chosen})
    for each in chosen:
        if each.features > 2:
            assert each.steps >= 1500 * each.features / 4
        assert each.self_ensemble.ramp_up_steps == round(300 * each.steps / 1500)
    assert chosen[0].every.evaluate == min(250, chosen[0].steps // 4)


def test_a_number_of_views_that_was_given_is_kept():
    assert fitted(replace(CONFIG, features=6), 400).features == 6
    assert fitted(CONFIG, 400, extracted=True).features == CONFIG.features


def test_more_than_is_of_use_is_not_chosen():
    assert fitted(CONFIG, 1e6).features == MOST_VIEWS
    assert fitted(SMALL, 1e6).steps == MOST_TIMES * 1000


@pytest.mark.parametrize("config", [CONFIG, SMALL])
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
    with pytest.raises(UserError, match=r"too short here.*expected at least time_limit='\d+[ms]'"):
        fitted(config, least - 1)


def test_a_run_takes_as_many_steps_as_fit_and_writes_them_down(noise, slow_machine, tmp_path, capsys):
    assert run(["train", *noise, "--time", "1m", "--out", str(tmp_path / "run")]) == 0
    told = capsys.readouterr().out.splitlines()[1:]
    assert told[0].startswith(
        "about a minute in all (--time 1m): training of the source-only model and then the adapted"
    )
    assert told[0].endswith("becomes the selected model")
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert written["time_limit"] == "1m"
    assert LEAST_STEPS <= written["steps"] <= 0.92 * 60 / 0.8
    assert f"{written['steps']} steps a training fit in --time 1m: about a minute from here, as measured" in told
    assert len(slow_machine) == 2, "before the features, and before the steps"
    # its configuration makes the same run again, by the numbers that were chosen
    again = ["train", "--config", f"{tmp_path}/run/config.yaml", "--out", str(tmp_path / "again")]
    slow_machine.clear()
    assert run(again) == 0
    assert yaml.safe_load((tmp_path / "again" / "config.yaml").read_text())["steps"] == written["steps"]
    assert len(slow_machine) == 1  # how long it takes is told, nothing is chosen
    assert "fit in" not in capsys.readouterr().out


def test_trackers_hear_of_the_number_of_steps_that_was_settled(noise, slow_machine, tmp_path, monkeypatch):
    """By it they tell the steps of one training from those of the next, also where the run is resumed."""
    heard, out = [], tmp_path / "run"
    tracker = SimpleNamespace(begin=heard.append, log=lambda *_: None, picture=lambda *_: None, end=lambda _: None)
    faster = iter([0.4, 0.2])  # a machine that was busy before the features, and is not after them

    def measure(*_, **__):
        step = next(faster)
        return Pace({"source-only": step, "adapted": step}, 0.0, 0.0, 0.0)

    monkeypatch.setattr("dalib.run.timing.time_limit.measure_pace", measure)
    monkeypatch.setattr("dalib.run.length.measure_pace", measure)
    source, target = noise[1], noise[3]
    dalib.adapt(source, target, batch=4, data={"size": 12}, time_limit="1m", out=out, trackers=[tracker])
    steps = yaml.safe_load((out / "config.yaml").read_text())["steps"]
    (begun,) = heard
    assert begun.steps == {"source-only": steps, "adapted": steps}
    assert begun.config["steps"] == steps


def test_a_run_that_is_resumed_keeps_the_numbers(noise, slow_machine, tmp_path, monkeypatch):
    stopped = iter([False] * 20)
    monkeypatch.setattr("dalib.run.train.Observer", lambda stop, *rest: Observer(lambda: next(stopped, True), *rest))
    assert run(["train", *noise, "--time", "60", "--out", str(tmp_path / "run")]) == 130
    steps = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["steps"]
    monkeypatch.setattr("dalib.run.train.Observer", Observer)
    slow_machine.clear()
    assert run(["train", "--resume", str(tmp_path / "run")]) == 0
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["steps"] == steps
    assert slow_machine == []


def test_a_run_that_is_killed_between_the_writes_of_its_length_goes_on(noise, slow_machine, tmp_path, monkeypatch):
    """The configuration has the new numbers then, and the summary the planned ones."""
    place = tmp_path / "run"
    faster = iter([0.4, 0.2])

    def measure(*_, **__):
        step = next(faster)
        return Pace({"source-only": step, "adapted": step}, 0.0, 0.0, 0.0)

    def write_and_die(*given):
        write_config(*given)
        raise KeyboardInterrupt

    monkeypatch.setattr("dalib.run.timing.time_limit.measure_pace", measure)
    monkeypatch.setattr("dalib.run.length.measure_pace", measure)
    monkeypatch.setattr("dalib.run.train.write_config", write_and_die)
    assert run(["train", *noise, "--time", "60", "--out", str(place)]) == 130
    monkeypatch.undo()
    settings = yaml.safe_load((place / "config.yaml").read_text())
    assert settings["steps"] != json.loads((place / "summary.json").read_text())["settings"]["steps"]
    assert run(["train", "--resume", str(place)]) == 0
    assert json.loads((place / "summary.json").read_text())["settings"]["steps"] == settings["steps"]


def test_a_limit_that_is_too_short_leaves_nothing(noise, slow_machine, tmp_path, capsys):
    assert run(["train", *noise, "--time", "10s", "--out", str(tmp_path / "run")]) == 2
    printed = capsys.readouterr()
    told = printed.err
    assert "--time 10s: too short here" in told
    assert printed.out.endswith(": preparing the run\n")  # no plan that is refused in the next line
    assert len(slow_machine) == 1
    takes, least = map(int, re.search(r"takes about (\d+) seconds; expected at least --time (\d+)s", told).groups())
    assert 10 < takes < least < 120
    assert not (tmp_path / "run").exists()


def test_several_processes_give_the_steps_themselves():
    with pytest.raises(UserError, match="these are 2; give steps"):
        check_time_limit(TrainConfig(time_limit="10m"), 2)
    check_time_limit(TrainConfig(time_limit="10m", steps=100), 2)
    check_time_limit(TrainConfig(time_limit="10m"), 1)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def limit_of(minutes, pace=PACE, config=CONFIG):
    config = replace(config, time_limit=f"{minutes}m")
    usual = Recipe.of(config, COUNTS)
    return TimeLimit(config, make_preprocessing(config), COUNTS, torch.device("cpu"), 0.0, usual, pace)


def views_taken(limit, clock, most, seconds_of):
    """Returns how many views are computed, each of which takes so many seconds."""
    count = 0
    while not limit.enough(count) and count < most:
        clock.now += seconds_of(count)
        count += 1
    return count


def test_all_planned_views_are_taken_at_the_speed_that_was_measured(clock):
    limit = limit_of(10)
    planned = limit.planned()
    assert planned.features > 4
    assert views_taken(limit, clock, planned.features, lambda _: PACE.view * COUNTS.seen) == planned.features
    assert limit.views == planned.features


def test_a_machine_that_becomes_slow_takes_fewer_views_and_leaves_time_for_the_rest(clock):
    limit = limit_of(10)
    planned = limit.planned()
    taken = views_taken(limit, clock, planned.features, lambda count: PACE.view * COUNTS.seen * (1 if count < 3 else 3))
    assert 3 < taken < planned.features
    rest = replace(planned, features=taken, steps=1500 * taken // 4)
    assert 3 * sum(seconds_of_run(rest, COUNTS, PACE, extracted=True).values()) < limit.left()


def test_there_are_at_least_two_views(clock):
    assert views_taken(limit_of(2), clock, 4, lambda _: 1000.0) == 2


def test_a_number_of_views_that_was_given_is_taken(clock):
    assert views_taken(limit_of(2, config=replace(CONFIG, features=6)), clock, 6, lambda _: 1000.0) == 6


def test_the_steps_follow_from_what_they_take_when_the_features_are_there(clock, monkeypatch):
    chosen = {}
    for slower in (1, 2):
        monkeypatch.setattr(
            module,
            "measure_pace",
            lambda *_, known, slower=slower: replace(
                known, steps={name: slower * seconds for name, seconds in PACE.steps.items()}
            ),
        )
        clock.now, limit = 0.0, limit_of(10)
        planned = limit.planned()
        views_taken(limit, clock, planned.features, lambda _: PACE.view * COUNTS.seen)
        chosen[slower] = limit.fitted(planned)
        assert sum(seconds_of_run(chosen[slower], COUNTS, limit.pace, extracted=True).values()) <= limit.left()
        assert chosen[slower].features == planned.features
    assert chosen[2].steps < 0.6 * chosen[1].steps
    assert chosen[2].self_ensemble.ramp_up_steps == round(300 * chosen[2].steps / 1500)


def test_features_that_took_all_the_time_leave_the_least(clock, monkeypatch):
    monkeypatch.setattr(module, "measure_pace", lambda *_, known: known)
    limit = limit_of(3)
    planned = limit.planned()
    clock.now = 1000.0
    assert limit.fitted(planned).steps == LEAST_STEPS


def test_what_is_chosen_is_said(clock, capsys):
    limit_of(10).planned()
    assert "steps a training fit in time_limit=" in capsys.readouterr().out


def command_of(place, monkeypatch):
    """Writes two domains of noise and weights; returns the arguments of a run of 60 seconds on them."""
    monkeypatch.setenv("DALIB_CACHE", str(place / "cache"))
    rng = np.random.default_rng(0)
    for domain in ("source", "target"):
        for number in range(16):
            path = place / domain / ("cat", "dog")[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    save_file(PretrainedBackbone("test_resnet", size=None).network.state_dict(), place / "weights.safetensors")
    command = ["train", "--source", f"{place}/source", "--target", f"{place}/target", "--out", f"{place}/run"]
    command += ["--backbone", "test_resnet", "--weights", f"{place}/weights.safetensors"]
    return [*command, "--features", "3", "--batch", "4", "--time", "60"]


@pytest.mark.parametrize(("asked", "code"), [("auto", 0), ("joined", 2)])
def test_joined_statistics_that_the_images_chose_are_given_up_where_time_is_short(
    tmp_path, monkeypatch, capsys, asked, code
):
    def pace_of(config, *_, **__):
        joined = config.model.domain_statistics == "joined"
        return Pace({"source-only": 0.3, "adapted": 0.3}, 0.0, view=10.0 if joined else 0.01, mapped=0.0)

    command = command_of(tmp_path, monkeypatch)
    for each in (module, length):
        monkeypatch.setattr(each, "measure_pace", pace_of)
    assert run([*command, "--model.domain_statistics", asked]) == code
    told = capsys.readouterr()
    if asked == "auto":
        assert "note: --model.domain_statistics 0 all the same" in told.out
        written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
        assert written["model"]["domain_statistics"] == 0
    else:
        assert "too short here" in told.err


def test_a_run_that_is_stopped_between_two_views_keeps_the_numbers_that_were_planned(tmp_path, monkeypatch):
    command = command_of(tmp_path, monkeypatch)
    pace = Pace({"source-only": 0.3, "adapted": 0.3}, 0.0, view=0.01, mapped=0.0)
    for each in (module, length):
        monkeypatch.setattr(each, "measure_pace", lambda *_, **__: pace)
    enough = TimeLimit.enough

    def stopped(limit, views):
        if views == 2:
            raise KeyboardInterrupt
        return enough(limit, views)

    command += ["--model.domain_statistics", "0"]  # one backbone computes each view once
    monkeypatch.setattr(TimeLimit, "enough", stopped)
    assert run(command) == 130
    written = (tmp_path / "run" / "config.yaml").read_text()
    planned = yaml.safe_load(written)
    assert planned["features"] == 3
    assert LEAST_STEPS <= planned["steps"] < 100
    calls = []
    extract = feature_space.extract_features
    monkeypatch.setattr(
        feature_space, "extract_features", lambda *given, **more: calls.append(1) or extract(*given, **more)
    )
    assert run(["train", "--resume", f"{tmp_path}/run"]) == 0
    assert (tmp_path / "run" / "config.yaml").read_text() == written
    assert len(calls) == 2 * (planned["features"] - 2), "views that are there are not computed again"
