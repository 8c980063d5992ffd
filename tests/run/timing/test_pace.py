"""How long the parts of a run take, measured and summed."""

from dataclasses import replace

import pytest
import torch

from dalib.run.recipe.image_network import make_preprocessing, with_share
from dalib.run.settings.config import TrainConfig
from dalib.run.settings.presets import from_preset
from dalib.run.timing import pace as module
from dalib.run.timing.pace import Counts, Pace, measure_pace, seconds_of_run, views_of

COUNTS = Counts(600, 60, 600, 6)
PACE = Pace({"source-only": 0.01, "adapted": 0.03}, row=1e-4, view=0.02, mapped=5.0)
PHOTOS = from_preset("photo-features", backbone="resnet18", time_limit="10m")


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
