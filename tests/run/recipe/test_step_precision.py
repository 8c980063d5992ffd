"""Whether steps are faster in bfloat16 is measured once on a machine, on a batch of bounded size."""

import json

import pytest
import torch

from dalib.data.preprocessing import Preprocessing
from dalib.models.backbones import SmallBackbone
from dalib.models.classifier import ImageClassifier
from dalib.run.recipe import step_precision
from dalib.run.recipe.step_precision import gain_of_rounded_steps

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("size", "batch", "measured"), [(16, 64, 64), (32, 128, 128), (32, 512, 128), (224, 64, 2), (256, 64, 2)]
)
def test_it_is_measured_once_on_a_bounded_batch(size, batch, measured, monkeypatch, tmp_path):
    torch.manual_seed(0)
    network, asked = ImageClassifier(SmallBackbone(3), 2), []
    monkeypatch.setattr(step_precision, "gain_of_bfloat16_steps", lambda _, shape: asked.append(shape) or 1.604)
    for _ in range(2):
        assert gain_of_rounded_steps(network, Preprocessing(size, 3), CPU, batch, tmp_path) == 1.6
    assert asked == [(measured, 3, size, size)]
    assert list(json.loads((tmp_path / "fastest.json").read_text()).values()) == [1.6]


@pytest.mark.parametrize(("size", "batch"), [(257, 64), (4096, 64), (32, 1)])
def test_large_images_and_single_ones_are_not_measured(size, batch, monkeypatch, tmp_path):
    monkeypatch.setattr(step_precision, "gain_of_bfloat16_steps", lambda *_: pytest.fail("measured"))
    network = ImageClassifier(SmallBackbone(3), 2)
    assert gain_of_rounded_steps(network, Preprocessing(size, 3), CPU, batch, tmp_path) == 1


def test_another_device_than_a_cpu_is_not_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(step_precision, "gain_of_bfloat16_steps", lambda *_: pytest.fail("measured"))
    network = ImageClassifier(SmallBackbone(3), 2)
    assert gain_of_rounded_steps(network, Preprocessing(32, 3), torch.device("cuda"), 64, tmp_path) == 1
