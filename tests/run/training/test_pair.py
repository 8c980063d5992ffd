"""The models of a run: what the aligned one is, and how it predicts."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from dalib.engine.results import InMemory
from dalib.run.settings.config import TrainConfig
from dalib.run.settings.presets import changed, configured
from dalib.run.start.domains import open_domains
from dalib.run.training import recipe
from dalib.run.training.pair import BaselineAndAdapted, FinishedModel, Task, align, can_be_told, train_task
from dalib.run.training.shared_inputs import training_inputs

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def made():
    """The source-only model of a small network with batch normalisation, and what it was trained on."""
    config = TrainConfig(steps=4, batch=16)
    for setting, value in {"data.validation_share": 0.1, "every.evaluate": 4}.items():
        config = changed(config, setting.split("."), value, setting)
    preprocessing = recipe.make_preprocessing(config)
    request = recipe.make_data_request(config)
    inputs = training_inputs(config, request, preprocessing, open_domains(request, preprocessing), CPU)
    done = BaselineAndAdapted()
    name, training = recipe.trainings(config)[0]
    train_task(Task(name, training, inputs.domains, inputs.of(name)[0], InMemory()), done, CPU)
    return done, inputs


def copied(done):
    return BaselineAndAdapted(dict(done.models))


def norms_of(model):
    return [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


def test_the_aligned_model_has_the_weights_of_source_only_and_the_statistics_of_the_target(made):
    done, inputs = copied(made[0]), made[1]
    before = copy.deepcopy(done.trained["source-only"].model.state_dict())
    aligned = align(done, inputs)
    assert list(done.trained) == list(done.everything) == ["source-only", "aligned"]
    source_only = done.trained["source-only"].model
    assert all(torch.equal(before[name], tensor) for name, tensor in source_only.state_dict().items())
    for one, other in zip(source_only.parameters(), aligned.model.parameters(), strict=True):
        assert torch.equal(one, other)
    first = norms_of(aligned.model)[0]
    seen = []
    hook = first.register_forward_hook(lambda module, given, output: seen.append(given[0]))
    aligned.model(inputs.of("aligned")[0].plain(inputs.domains.target.images[torch.arange(1200)]))
    hook.remove()
    mean = seen[0].mean(dim=[each for each in range(seen[0].ndim) if each != 1])
    torch.testing.assert_close(first.running_mean, mean, rtol=0.02, atol=0.02)


def test_on_the_source_the_aligned_model_is_source_only(made):
    done, inputs = copied(made[0]), made[1]
    align(done, inputs)
    for kept in (done.everything, {name: each.evaluated for name, each in done.models.items()}):
        assert torch.equal(kept["aligned"].validation, kept["source-only"].validation)
        assert not torch.equal(kept["aligned"].target, kept["source-only"].target)


def test_statistics_that_all_processes_take_together_are_not_taken_by_one(made):
    done, inputs = copied(made[0]), made[1]
    trained = done.models["source-only"].trained
    together = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(trained.model))
    done.models["source-only"] = FinishedModel(SimpleNamespace(model=together), everything=None)
    assert align(done, inputs) is None


def test_a_network_without_statistics_cannot_be_aligned(made):
    done, inputs = copied(made[0]), made[1]
    plain = nn.Sequential(nn.Flatten(), nn.LazyLinear(10))
    done.models["source-only"] = FinishedModel(SimpleNamespace(model=plain), everything=None)
    assert align(done, inputs) is None
    assert list(done.trained) == ["source-only"]
    assert done.everything == {}  # as in other processes than the first


@pytest.mark.parametrize(
    ("settings", "told"),
    [({}, True), ({"baseline": False}, False), ({"prior": "source"}, False), ({"prior": "halfway"}, True)],
)
def test_auto_is_same_where_nothing_tells_the_classes(settings, told):
    config = configured("photo-features", settings)
    assert config.classes == "auto"
    assert can_be_told(config, None) == told
    assert BaselineAndAdapted().of_classes(config) == "same"  # before it is decided, and where it is not


def test_a_model_alone_tells_no_classes():
    assert not can_be_told(configured("photo-features", {}), SimpleNamespace(of_target=object()))
    assert can_be_told(configured("photo-features", {}), SimpleNamespace(of_target=None))
