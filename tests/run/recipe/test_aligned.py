"""What the aligned model is, and how it predicts."""

import copy
from types import SimpleNamespace

import torch
from torch import nn

from dalib.run.recipe.aligned import align
from dalib.run.recipe.run_models import FinishedModel


def norms_of(model):
    return [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


def test_the_aligned_model_has_the_weights_of_source_only_and_the_statistics_of_the_target(made):
    source_only, inputs = made[0].trained["source-only"].model, made[1]
    before = copy.deepcopy(source_only.state_dict())
    aligned = align(made[0].source_only, inputs).trained
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
    before, aligned = made[0].source_only, align(made[0].source_only, made[1])
    for ours, theirs in ((aligned.everything, before.everything), (aligned.evaluated, before.evaluated)):
        assert torch.equal(ours.validation, theirs.validation)
        assert not torch.equal(ours.target, theirs.target)


def test_statistics_that_all_processes_take_together_are_not_taken_by_one(made):
    together = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(made[0].trained["source-only"].model))
    assert align(FinishedModel(SimpleNamespace(model=together), everything=None), made[1]) is None


def test_a_network_without_statistics_cannot_be_aligned(made):
    plain = nn.Sequential(nn.Flatten(), nn.LazyLinear(10))
    assert align(FinishedModel(SimpleNamespace(model=plain), everything=None), made[1]) is None
