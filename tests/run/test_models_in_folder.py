"""The models of a run in its folder: where each one goes, and what it is made from."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dalib.engine.distributed import World
from dalib.engine.train import Observer
from dalib.models.network import load_model
from dalib.records.folder import RunFolder
from dalib.records.metrics import read_metrics
from dalib.run.models_in_folder import ModelsInFolder, training_folder
from dalib.run.recipe import image_network, recipe
from dalib.run.recipe.run_models import RunModels
from dalib.run.recipe.shared_inputs import training_inputs
from dalib.run.settings.config import EveryConfig, TrainConfig
from dalib.run.setup import open_data, prepare


@pytest.fixture(scope="module")
def observed():
    return []


@pytest.fixture(scope="module")
def made(few_digits, observed, tmp_path_factory):
    """What made all models of a short run, and these."""
    out = tmp_path_factory.mktemp("runs") / "run"
    config = TrainConfig(steps=4, batch=16, out=str(out), every=EveryConfig(log=2, evaluate=4, checkpoint=4))
    config = replace(config, self_ensemble=replace(config.self_ensemble, threshold=0.05))
    setup, data = open_data(prepare(config, World()))
    images = image_network.image_inputs(setup.config, setup.preprocessing)
    inputs = training_inputs(images, setup.request, data.domains, setup.device)

    def observer(training):
        return Observer(on_line=lambda line: observed.append((training, line["step"])), progress=False)

    in_folder = ModelsInFolder(RunFolder(out), setup, inputs, observer)
    models = in_folder.from_kit()
    for name in ("source-only", "adapted"):
        models = in_folder.with_trained(name, models, resume=False)
        if name == "source-only":
            models = in_folder.with_aligned(models)
    return in_folder, models


def test_each_model_is_in_its_place_and_predicts(made):
    (in_folder, models), run = made, made[0].run
    folders = {"source-only": run.source_only.model, "aligned": run.aligned.model, "adapted": run.model}
    assert list(models.trained) == ["source-only", "aligned", "adapted"]
    image = torch.zeros(1, 1, 16, 16)
    for name, folder in folders.items():
        model, description = load_model(folder)
        assert description.classes == in_folder.inputs.domains.train.classes
        torch.testing.assert_close(model(image), models.trained[name].model.eval()(image))


def test_the_baseline_is_measured_with_the_confidence_of_the_runs_method(made):
    line = read_metrics(made[0].run.source_only.metrics)[-1]
    assert line.values["target_mask_rate"] == 1  # of 10 classes, the likeliest has at least 0.1


def test_each_training_has_its_own_metrics_and_callbacks(made, observed):
    assert observed == [("source-only", 2), ("source-only", 4), ("adapted", 2), ("adapted", 4)]
    assert made[0].run.metrics.is_file()
    assert made[0].run.source_only.metrics.is_file()


def test_a_training_that_has_ended_resumes_at_its_end(made, observed):
    (in_folder, models), before = made, len(observed)
    again = in_folder.with_trained("source-only", RunModels(), resume=True)
    assert len(observed) == before
    first, second = (each.trained["source-only"].model.state_dict() for each in (models, again))
    assert all(torch.equal(tensor, second[key]) for key, tensor in first.items())


@pytest.mark.parametrize("stopped", ["", "the teacher's confidence rises while the student agrees less"])
def test_stages_behind_a_head_that_collapsed_have_collapsed_too(made, monkeypatch, stopped):
    (in_folder, models), tasks = made, []

    def trained(task, device, **_):
        tasks.append(task.name)
        finished = models.models["adapted"]
        own = replace(finished.trained, stopped=stopped if task.name == "frozen" else "", ended=3)
        return replace(finished, trained=own)

    monkeypatch.setattr("dalib.run.models_in_folder.train_task", trained)
    stored = in_folder.inputs.of("adapted")[0]
    stages = SimpleNamespace(to_maps=lambda expected, seed: in_folder.inputs.domains, stored=lambda: stored)
    of_stages = replace(in_folder, inputs=replace(in_folder.inputs, stages=stages))
    found = of_stages.with_trained("adapted", RunModels(), resume=False)
    assert tasks == ["frozen", "adapted"]
    assert list(found.models) == ["adapted"]
    assert found.trained["adapted"].stopped == stopped


@pytest.mark.parametrize("method", ["self-ensemble", "source-only"])
def test_the_root_of_a_run_is_the_folder_of_its_own_training(method):
    run, config = RunFolder(Path("run")), TrainConfig(method=method)
    own = recipe.name_of_training(config)
    assert training_folder(own, run, own) is run
    before = training_folder("source-only", run, own)
    assert (before is run) == (method == "source-only")
    assert training_folder("frozen", run, own).root == run.frozen.root
