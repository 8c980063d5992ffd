"""Training on the source alone."""

import pytest
import torch
from torch import nn

from dalib.adaptation.source_only import SourceOnly
from dalib.core.types import Batch, Method

CLASSES = 3


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, CLASSES))


def batch_for(method: Method, seed: int = 0, n: int = 9) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(1 + method.target_views, n, 1, 6, 6, generator=generator)
    return Batch(source=images[0], labels=torch.arange(n) % CLASSES, target=tuple(images[1:] + 1))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_source_only_is_the_cross_entropy_on_the_source(smoothing):
    method = SourceOnly(perceptron(), label_smoothing=smoothing)
    batch = batch_for(method)
    losses = method.loss(batch, step=0)
    logits = method.student(batch.source)
    expected = nn.CrossEntropyLoss(label_smoothing=smoothing)(logits, batch.labels)
    torch.testing.assert_close(losses.parts, {"supervised": expected})
    assert losses.metrics["source_accuracy"] == (logits.argmax(dim=1) == batch.labels).float().mean()
