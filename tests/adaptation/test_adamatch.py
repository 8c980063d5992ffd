"""AdaMatch's loss against its equation, written again in NumPy."""

import copy

import numpy as np
import pytest
import torch
from equations import CLASSES, N, batch_of, check, cross_entropy, logits_of, softmax, student_of

from dalib.adaptation.adamatch import AdaMatch, aligned, rising_weight


def test_adamatch_is_its_equation():
    method, batch = AdaMatch(student_of(), CLASSES, steps=100, threshold=1.0), batch_of()
    strong, weak = batch.target
    joint, alone = logits_of(method.student, batch.source, strong, weak), logits_of(method.student, batch.source)
    torch.manual_seed(5)
    u = torch.rand(N, CLASSES, dtype=torch.float64).numpy()
    source = joint[:N] + u * (alone - joint[:N])
    p, q = softmax(source), softmax(joint[2 * N :])
    moved = q * (1e-6 + p.mean(axis=0)) / (1e-6 + q.mean(axis=0))
    moved /= moved.sum(axis=1, keepdims=True)
    counts = moved.max(axis=1) >= p.max(axis=1).mean()
    assert 0 < counts.sum() < N
    torch.manual_seed(5)
    check(
        method.loss(batch, step=25),
        supervised=cross_entropy(source, batch.labels.numpy()).mean(),
        consistency=0.5 * (counts * cross_entropy(joint[N : 2 * N], moved.argmax(axis=1))).sum() / N,
    )


@pytest.mark.parametrize("momentum", [0.1, None])  # None is the plain mean over batches
def test_the_source_alone_leaves_no_trace_in_the_running_statistics(momentum):
    method, batch = AdaMatch(student_of(), CLASSES, steps=10), batch_of()
    method.student[0].momentum = momentum
    joint = copy.deepcopy(method.student)
    joint(torch.cat([batch.source, *batch.target]))
    method.loss(batch, step=0)
    torch.testing.assert_close(method.student[0].running_mean, joint[0].running_mean)
    torch.testing.assert_close(method.student[0].running_var, joint[0].running_var)
    assert method.student[0].momentum == momentum


def test_the_moving_means_are_plain_ones_at_first_and_are_kept_in_the_state():
    method = AdaMatch(student_of(), CLASSES, steps=10)
    first, second = torch.eye(CLASSES).double()[:2, None]
    method._remember(first, second)
    torch.testing.assert_close(method.source_mean, first[0])
    method._remember(second, second)
    torch.testing.assert_close(method.source_mean, (first + second)[0] / 2)
    other = AdaMatch(student_of(), CLASSES, steps=10)
    other.load_state_dict(method.state_dict())
    assert torch.equal(other.source_mean, method.source_mean)
    assert other.batches == 2


def test_alignment_turns_the_mean_towards_the_source():
    q = torch.tensor([[0.8, 0.2], [0.4, 0.6]])
    expected = np.array([[0.8 * 0.3 / 0.6, 0.2 * 0.7 / 0.4], [0.4 * 0.3 / 0.6, 0.6 * 0.7 / 0.4]])
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(aligned(q, torch.tensor([0.3, 0.7]), q.mean(dim=0)).numpy(), expected, rtol=1e-4)


def test_the_targets_weight_has_risen_after_half_of_the_steps():
    assert rising_weight(0, 10) == 0
    assert [rising_weight(step, 10) for step in (5, 8, 12)] == pytest.approx([1, 1, 1])
