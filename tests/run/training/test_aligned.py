"""What the aligned model is, and how it predicts."""

import copy
from types import SimpleNamespace

import torch
from torch import nn

from dalib.run.training.aligned import align
from dalib.run.training.run_models import FinishedModel, RunModels


def copied(done):
    return RunModels(dict(done.models))


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
