"""What bfloat16 gains in training steps is measured, and the network stays as it was."""

import copy

import pytest
import torch

from dalib.models import rounded_steps
from dalib.models.backbones import SmallBackbone
from dalib.models.classifier import ImageClassifier
from dalib.models.rounded_steps import gain_of_bfloat16_steps

SHAPE = (4, 1, 16, 16)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return ImageClassifier(SmallBackbone(), 3)


@pytest.fixture(autouse=True)
def _has_bfloat16(monkeypatch):
    monkeypatch.setattr(rounded_steps, "has_bfloat16", lambda: True)


def test_the_measured_network_and_the_generator_stay_as_they_were(network):
    before, drawn = copy.deepcopy(network.state_dict()), torch.random.get_rng_state()
    assert gain_of_bfloat16_steps(network, SHAPE) >= 1
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert network.training
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_processor_without_bfloat16_is_not_measured(network, monkeypatch):
    monkeypatch.setattr(rounded_steps, "has_bfloat16", lambda: False)
    monkeypatch.setattr(rounded_steps, "_seconds", lambda *_, **__: pytest.fail("measured"))
    assert gain_of_bfloat16_steps(network, SHAPE) == 1


@pytest.mark.parametrize(("seconds", "gain"), [(1.0, 2.0), (1.9, 1.0), (3.0, 1.0)])
def test_it_is_worth_it_from_a_fifth_on(network, monkeypatch, seconds, gain):
    monkeypatch.setattr(rounded_steps, "_seconds", lambda *_, bfloat16: seconds if bfloat16 else 2.0)
    assert gain_of_bfloat16_steps(network, SHAPE) == gain


def test_the_passes_are_in_the_type_that_they_are_measured_in(network, monkeypatch):
    seen = []
    network.head.register_forward_hook(lambda module, given, logits: seen.append(logits.dtype))
    gain_of_bfloat16_steps(network, SHAPE)
    assert seen.count(torch.float32) == seen.count(torch.bfloat16) > 1
