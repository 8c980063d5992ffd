"""What fits in a time limit when the machine's speed changes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from dalib.commands.main import run
from dalib.models.pretrained import PretrainedBackbone
from dalib.run import feature_space
from dalib.run import time_limit as module
from dalib.run.pace import LEAST_STEPS, Counts, Pace, Recipe, seconds_of_run
from dalib.run.presets import from_preset
from dalib.run.recipe import make_preprocessing
from dalib.run.time_limit import TimeLimit
from moved_clock import Clock

COUNTS = Counts(600, 60, 600, 6)
PACE = Pace({"source-only": 0.01, "adapted": 0.03}, row=1e-4, view=0.02, mapped=5.0)
CONFIG = from_preset("photo-features", backbone="resnet18", time_limit="10m")


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
    monkeypatch.setattr(module, "measure_pace", pace_of)
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
    monkeypatch.setattr(module, "measure_pace", lambda *_, **__: pace)
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
