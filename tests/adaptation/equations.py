"""A batch, students, and the pieces of the papers' equations written again in NumPy."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from dalib.core.types import Batch

CLASSES, FEATURES, N = 3, 4, 6


def student_of(*, norm: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.BatchNorm1d(FEATURES)] if norm else [nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(FEATURES, CLASSES)).double()


def batch_of(views: int = 2) -> Batch:
    images = torch.from_numpy(np.random.default_rng(1).normal(size=(1 + views, N, FEATURES)))
    return Batch(images[0], torch.arange(N) % CLASSES, tuple(images[1:] * 2 + 1))


def softmax(z: np.ndarray) -> np.ndarray:
    return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)


def logits_of(student: nn.Sequential, *images: torch.Tensor) -> np.ndarray:
    """In training mode on all of them as one batch; leaves the student as it was."""
    with torch.no_grad():
        return copy.deepcopy(student)(torch.cat(images)).numpy()


def cross_entropy(z: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return -np.log(softmax(z)[np.arange(len(z)), labels])


def check(losses, **expected):
    assert {name: part.item() for name, part in losses.parts.items()} == pytest.approx(expected, rel=1e-6)


def image_batch(views: int = 2) -> Batch:
    images = torch.randn(1 + views, N, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Batch(images[0], torch.arange(N) % CLASSES, tuple(images[1:]))


def image_student() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES)).double()
