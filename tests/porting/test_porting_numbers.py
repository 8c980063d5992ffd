"""What the pages on pytorch-adapt, Dassl and SKADA say of numbers, against the formulas of those libraries."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dalib.adaptation.self_ensemble import EmaTeacher, SelfEnsemble, mean_squared_distance, squared_distance
from dalib.core.types import Batch
from dalib.judge.scores import (
    class_ami,
    mean_entropy,
    mutual_information,
    nuclear_norm,
    soft_neighbourhood_density,
)

N, CLASSES = 40, 4


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def p() -> np.ndarray:
    return (3 * torch.randn(N, CLASSES, dtype=torch.float64)).softmax(dim=1).numpy()


def entropy(rows: np.ndarray) -> np.ndarray:
    return -(rows * np.log(rows)).sum(axis=-1)


def test_entropy_diversity_and_their_sum(p):
    of_each, of_mean = entropy(p).mean(), entropy(p.mean(axis=0))
    given = torch.from_numpy(p)
    assert -mean_entropy(given) == pytest.approx(-of_each)
    assert mutual_information(given) + mean_entropy(given) == pytest.approx(of_mean)
    assert mutual_information(given) == pytest.approx(of_mean - of_each)


def test_the_nuclear_norm_differs_by_its_scale(p):
    theirs = np.linalg.norm(p, "nuc") / N
    assert nuclear_norm(torch.from_numpy(p)) * math.sqrt(N * min(N, CLASSES)) / N == pytest.approx(theirs)
    assert nuclear_norm(torch.from_numpy(p)) != pytest.approx(theirs)


@pytest.mark.parametrize("temperature", [0.05, 1.0])  # the first hardly sees how an image is kept from itself
def test_soft_neighbourhood_density_is_theirs(p, temperature):
    unit = p / np.linalg.norm(p, axis=1, keepdims=True)
    found = []
    for i in range(N):
        weight = np.exp(np.delete(unit @ unit[i], i) / temperature)
        found.append(entropy(weight / weight.sum()))
    assert soft_neighbourhood_density(torch.from_numpy(p), temperature) == pytest.approx(np.mean(found))


def test_class_ami_is_0_for_a_collapsed_model_and_1_for_clusters():
    features = torch.cat([torch.randn(20, 2) + 9, torch.randn(20, 2) - 9])
    predicted = torch.repeat_interleave(torch.tensor([1, 0]), 20)
    assert class_ami(features, predicted, num_classes=2) == pytest.approx(1)
    assert class_ami(features, torch.zeros(40, dtype=torch.int64), num_classes=2) == 0


def test_skadas_entropy_is_a_mean_over_classes_too(p):
    theirs = np.mean(-p * np.log(p))
    assert mean_entropy(torch.from_numpy(p)) / CLASSES == pytest.approx(theirs)


def network() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, CLASSES))


def batch() -> Batch:
    views = tuple(torch.randn(6, 3, 2, 2) for _ in range(2))
    return Batch(source=torch.randn(6, 3, 2, 2), labels=torch.randint(CLASSES, (6,)), target=views)


@pytest.mark.parametrize(("threshold", "ramp_up_steps"), [(0.3, 0), (0.0, 300)])
def test_the_objective_with_the_flags_of_the_page_is_dassls(threshold, ramp_up_steps):
    student = network()
    method = SelfEnsemble(
        student,
        CLASSES,
        alpha=0.999,
        alpha_warmup=True,
        distance=squared_distance,
        consistency_weight=1.0,
        threshold=threshold,
        ramp_up_steps=ramp_up_steps,
        class_balance_weight=0.0,
    )
    given, step = batch(), 120
    with torch.no_grad():  # a teacher of its own, so that there is something to agree on
        for weights in method.teacher.module.parameters():
            weights.add_(torch.randn_like(weights))
    expected = F.cross_entropy(student(given.source), given.labels)
    q = F.softmax(method.teacher.module(given.target[1]), 1)
    distance = ((F.softmax(student(given.target[0]), 1) - q) ** 2).sum(1)
    if threshold:
        sure = (q.max(1)[0] > threshold).float()
        assert 0 < sure.mean() <= 1
        expected = expected + (distance * sure).mean()
    else:
        expected = expected + distance.mean() * math.exp(-5 * (1 - step / 300) ** 2)
    torch.testing.assert_close(method.loss(given, step).total, expected)
    assert (distance.mean() > 1e-3).item()


def test_dassls_decay_is_the_warm_up():
    student = nn.Linear(3, 2)
    teacher, theirs = EmaTeacher(student, 0.8, warmup=True), student.weight.detach().clone()
    for global_step in range(8):
        with torch.no_grad():
            student.weight.add_(torch.randn(2, 3))
        alpha = min(1 - 1 / (global_step + 1), 0.8)
        theirs = alpha * theirs + (1 - alpha) * student.weight.detach()
        teacher.update()
        torch.testing.assert_close(teacher.module.weight, theirs)


def test_a_method_that_goes_on_keeps_its_teacher():
    method = SelfEnsemble(network(), CLASSES, distance=mean_squared_distance)
    with torch.no_grad():
        for weights in method.student.parameters():
            weights.add_(1)
    method.after_step(0)
    fresh = SelfEnsemble(network(), CLASSES, distance=mean_squared_distance)
    fresh.load_state_dict(method.state_dict())
    for name, value in method.teacher.state_dict().items():
        assert torch.equal(fresh.teacher.state_dict()[name], value)
        assert not torch.equal(fresh.student.state_dict()[name], value)
