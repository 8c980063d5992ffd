"""Images apart: the loss that asks for no class, and the method around another one."""

import math

import pytest
import torch

from dalib.adaptation.outside import UnknownApart, uniform_loss
from dalib.adaptation.source_only import SourceOnly
from dalib.core.types import Batch
from dalib.models.classifier import ImageClassifier


def test_the_loss_is_by_hand_the_cross_entropy_to_uniform_in_units_of_its_minimum():
    p = torch.tensor([[0.5, 0.25, 0.25]])
    by_hand = -(math.log(0.5) + 2 * math.log(0.25)) / 3 / math.log(3) - 1
    assert float(uniform_loss(p.log())) == pytest.approx(by_hand)


def test_the_gradient_lowers_the_largest_logit_and_vanishes_at_uniform():
    logits = torch.tensor([[3.0, 0.0, 0.0]], requires_grad=True)
    uniform_loss(logits).backward()
    assert logits.grad[0, 0] > 0
    assert (logits.grad[0, 1:] < 0).all()
    flat = torch.zeros(1, 3, requires_grad=True)
    uniform_loss(flat).backward()
    assert flat.grad.abs().max() < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_extremes_stay_finite_in_every_precision(dtype):
    assert uniform_loss(torch.tensor([[60.0, -60.0]], dtype=dtype)).isfinite()
    assert float(uniform_loss(torch.zeros(0, 3, dtype=dtype))) == 0


@pytest.mark.parametrize("shape", [(3,), (2, 1)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="at least 2 classes"):
        uniform_loss(torch.zeros(shape))


class Flat(torch.nn.Module):
    """Features that are the images, as a backbone."""

    out_features = 6

    def forward(self, images):
        return images


@pytest.fixture
def method():
    torch.manual_seed(0)
    return UnknownApart(SourceOnly(ImageClassifier(Flat(), 3, bottleneck_dim=16)))


def batch_of(outside):
    generator = torch.Generator().manual_seed(0)
    source, view = torch.randn(2, 8, 6, generator=generator)
    return Batch(source, torch.arange(8) % 3, (view,), outside)


def test_without_images_apart_the_method_is_as_it_was(method):
    alone = method.method.loss(batch_of(None), 0)
    assert method.loss(batch_of(None), 0).parts.keys() == alone.parts.keys()
    assert method.loss(batch_of(torch.zeros(0, 6)), 0).parts.keys() == alone.parts.keys()


def test_training_makes_the_student_unsure_of_images_apart_alone(method):
    generator = torch.Generator().manual_seed(1)
    apart = torch.randn(8, 6, generator=generator) + 4
    batch, optimizer = batch_of(apart), torch.optim.Adam(method.student.parameters(), lr=0.05)
    first = method.loss(batch, 0)
    for step in range(80):
        optimizer.zero_grad()
        last = method.loss(batch, step)
        last.total.backward()
        optimizer.step()
    assert last.parts["unknown"] < 0.2 * first.parts["unknown"]
    assert float(last.metrics["unknown_confidence"]) < 0.6
    assert float(last.metrics["source_accuracy"]) == 1


def test_a_negative_weight_is_refused(method):
    with pytest.raises(ValueError, match="weight"):
        UnknownApart(method.method, weight=-1)
