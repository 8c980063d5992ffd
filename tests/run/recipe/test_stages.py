"""Training of a backbone's last stages, from its settings to the models that it leaves."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

import dalib
from dalib.core.errors import UserError
from dalib.models.network import load_model
from dalib.models.pretrained import PretrainedBackbone
from dalib.run.recipe import image_network, recipe
from dalib.run.recipe.stages import LastStages
from dalib.run.settings.presets import from_preset
from dalib.run.start.domains import open_domains
from dalib.run.train import train
from shaded_images import write_shades

if TYPE_CHECKING:
    from pathlib import Path

    from dalib.records.folder import RunFolder
    from dalib.run.settings.config import TrainConfig
    from dalib.run.track import TrackedRun


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two domains of two shades, and weights of a tiny network."""
    root = tmp_path_factory.mktemp("stages")
    write_shades(root, {"source/dark": 60, "source/light": 190, "target/a": 80, "target/b": 170}, count=12, size=32)
    torch.manual_seed(0)
    weights = PretrainedBackbone("test_efficientnet", size=32).network.state_dict()
    safetensors.torch.save_file(weights, root / "weights.safetensors")
    return root


def configured(place: Path, **settings: Any) -> TrainConfig:
    usual = {
        "source": f"{place}/source",
        "target": f"{place}/target",
        "backbone": "test_efficientnet",
        "weights": f"{place}/weights.safetensors",
        "data.size": 36,
        "data.crop": 32,
        "model.trained_stages": 2,
        "model.averaged_views": 2,
        "features": 3,
        "steps": 6,
        "batch": 8,
        "stages.steps": 6,
        "stages.batch": 6,
        "stages.lr": 1e-2,
        "every.log": 2,
        "every.evaluate": 3,
        "every.checkpoint": 3,
        "data.validation_share": 0.2,
    }
    return from_preset("photo-features", **{**usual, **settings})


class Recorder:
    """A tracker that keeps what it is told."""

    def __init__(self) -> None:
        self.begun: dict[str, int] = {}
        self.logged: list[tuple[str, int]] = []

    def begin(self, run: TrackedRun) -> None:
        self.begun = dict(run.steps)

    def log(self, training: str, step: int, values: object) -> None:
        self.logged.append((training, step))

    def picture(self, name: str, path: Path) -> None: ...

    def end(self, outcome: object) -> None: ...


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def run(place: Path, recorder: Recorder) -> RunFolder:
    return train(configured(place, out=f"{place}/run"), trackers=[recorder])


def test_the_head_is_trained_first_and_tracked_by_itself(run: RunFolder, recorder: Recorder) -> None:
    assert recorder.begun == {"source-only": 6, "frozen": 6, "adapted": 6}
    trained = ("source-only", "frozen", "adapted")
    assert recorder.logged == [(name, step) for name in trained for step in (2, 3, 4, 6)]
    assert run.frozen.metrics.is_file()


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "model.safetensors")


def test_the_adapted_model_has_other_last_stages_and_the_same_trunk(run: RunFolder) -> None:
    models = run.model_folders()
    assert models.keys() == {"adapted", "aligned", "source-only"}
    adapted, frozen, before = (
        weights_of(each) for each in (models["adapted"], run.frozen.model, models["source-only"])
    )
    assert adapted.keys() == frozen.keys() == before.keys()
    backbone = PretrainedBackbone("test_efficientnet", size=32)
    trained = {f"backbone.network.{name}" for stage in backbone.stages()[-2:] for name in stage}
    of_backbone = {name for name in adapted if name.startswith("backbone.")}
    changed = {name for name in of_backbone if not torch.equal(adapted[name], frozen[name])}
    assert changed == trained
    assert all(torch.equal(before[name], frozen[name]) for name in of_backbone)


def test_the_saved_model_predicts_what_the_trained_one_did(run: RunFolder, place: Path) -> None:
    predictions = safetensors.torch.load_file(run.predictions)["target/adapted"]
    model, description = load_model(run.model_folders()["adapted"])
    names = json.loads(run.images.read_text())["target"]
    pixels = [np.asarray(Image.open(name).resize((36, 36), Image.Resampling.BICUBIC)) for name in names]
    images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
    with torch.no_grad():
        found = model(description.preprocessing.normalize(images)).softmax(dim=1)
    torch.testing.assert_close(found, predictions, atol=0.02, rtol=0)  # maps are kept in half precision
    one = dalib.load(run.root, model="adapted")(names[0])
    assert max(one.probabilities.values()) == pytest.approx(predictions[0].max().item(), abs=0.02)


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(run: RunFolder, place: Path, tmp_path: Path) -> None:
    stopped = tmp_path / "run"
    shutil.copytree(run.root, stopped)
    for file in ("model", "judgement.json", "selection.json", "adapted"):
        shutil.rmtree(stopped / file) if (stopped / file).is_dir() else (stopped / file).unlink(missing_ok=True)
    for last in stopped.glob("checkpoints/*6*"):
        last.unlink()
    assert list(stopped.glob("checkpoints/*"))
    resumed = train(configured(place, out=str(stopped)), resume=True)
    one, other = (weights_of(each.model_folders()["adapted"]) for each in (run, resumed))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert resumed.metrics.read_text().count("\n") == run.metrics.read_text().count("\n")


def test_size_and_time_are_told_before_anything_is_trained(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(
        UserError, match=r"model.trained_stages=2: its maps take .* and 1.0 kB are free. Set DALIB_CACHE"
    ):
        train(configured(place, out=str(tmp_path / "run"), cache="ram"))
    said = capsys.readouterr().out
    assert "the last 2 of 6 stages of test_efficientnet are trained after the head" in said
    assert "With 6 steps that adds less than a minute" in said
    assert not (tmp_path / "run").exists()
    assert not list((tmp_path / "cache").rglob("*.f16"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"features": 0, "model.standardize": False}, "expected features=4"),
        ({"model.trained_stages": 6}, "test_efficientnet has 6 stages; expected 1 to 5 of them, got 6"),
        ({"model.trained_stages": -1}, "expected 0 for none"),
        ({"method": "source-only"}, "the adaptation trains them"),
        ({"stages.batch": 1}, "stages.batch=1: expected at least 2 images"),
        ({"stages.steps": 0}, "stages.steps=0: expected at least 1"),
        ({"steps": None, "time_limit": "2m"}, "time_limit='2m' does not plan for what they take"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    place: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train(configured(place, out=str(tmp_path / "run"), **settings))


def test_a_network_that_cannot_be_split_is_refused(place: Path, tmp_path: Path) -> None:
    weights = f"{tmp_path}/vit.safetensors"
    safetensors.torch.save_file(PretrainedBackbone("test_vit", size=32).network.state_dict(), weights)
    with pytest.raises(
        UserError, match=r"model.trained_stages=2: test_vit does not call its layers one after the other"
    ):
        train(configured(place, out=str(tmp_path / "run"), backbone="test_vit", weights=weights))


@pytest.mark.parametrize("measured", [True, False])
def test_what_the_stages_take_is_printed_with_its_time_where_a_step_is_measured(
    measured: bool, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(place)
    request, preprocessing = recipe.make_data_request(config), image_network.make_preprocessing(config)
    network, images = (
        image_network.make_network(config, preprocessing, 2),
        image_network.image_inputs(config, preprocessing),
    )
    space = image_network.make_feature_space(config, network, preprocessing, torch.device("cpu"))
    stages = LastStages.of(2, space, open_domains(request, preprocessing), images, request)
    if not measured:
        message = "one of several processes alone can take no step"
        monkeypatch.setattr("dalib.run.recipe.stages.train_step", lambda *given: pytest.fail(message))
    stages.announce(recipe.make_training_of_stages(config, stages) if measured else None)
    told = capsys.readouterr().out
    assert "the last 2 of 6 stages of test_efficientnet are trained after the head" in told
    assert ("as measured on this machine" in told) == measured
