"""FixMatch's loss against its equation, written again in NumPy."""

import pytest
import torch
from equations import N, batch_of, check, cross_entropy, logits_of, softmax, student_of

from dalib.adaptation.fixmatch import FixMatch
from dalib.core.types import Batch


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.95])
def test_fixmatch_is_its_equation(threshold):
    method, batch = FixMatch(student_of(), threshold=threshold, weight=2.0), batch_of()
    strong, weak = batch.target
    z = logits_of(method.student, batch.source, strong, weak)
    q = softmax(z[2 * N :])
    counts = q.max(axis=1) >= threshold
    losses = method.loss(batch, step=0)
    check(
        losses,
        supervised=cross_entropy(z[:N], batch.labels.numpy()).mean(),
        consistency=2 * (counts * cross_entropy(z[N : 2 * N], q.argmax(axis=1))).sum() / N,
    )
    assert losses.metrics["mask_rate"].item() == pytest.approx(counts.mean())


def test_fixmatch_learns_nothing_from_the_weak_view_itself():
    method, batch = FixMatch(student_of(norm=False), threshold=0.0), batch_of()
    weak = batch.target[1].clone().requires_grad_()
    strong = batch.target[0].clone().requires_grad_()
    method.loss(Batch(batch.source, batch.labels, (strong, weak)), step=0).total.backward()
    assert (strong.grad != 0).any()
    assert not weak.grad.any()


def test_the_average_predicts_and_has_the_students_running_statistics_averaged():
    method, batch = FixMatch(student_of(), alpha=0.5, alpha_warmup=False), batch_of()
    before = method.predictor()[0].running_mean.clone()
    method.loss(batch, step=0)
    method.after_step(0)
    expected = (before + method.student[0].running_mean) / 2
    torch.testing.assert_close(method.predictor()[0].running_mean, expected)
