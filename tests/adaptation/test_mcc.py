"""Minimum Class Confusion against its equation, written again in NumPy."""

import numpy as np
import pytest
import torch
from equations import N, batch_of, check, cross_entropy, logits_of, softmax, student_of

from dalib.adaptation.mcc import Mcc, class_confusion


def numpy_confusion(z: np.ndarray, temperature: float) -> float:
    p = softmax(z / temperature)
    w = 1 + np.exp((p * np.log(p)).sum(axis=1))
    w = len(z) * w / w.sum()
    total = 0.0
    for c in range(p.shape[1]):
        row = [sum(w[i] * p[i, c] * p[i, d] for i in range(len(z))) for d in range(p.shape[1])]
        total += (sum(row) - row[c]) / sum(row)
    return total / p.shape[1]


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_class_confusion_equals_the_sums_of_the_paper(temperature):
    z = torch.from_numpy(np.random.default_rng(0).normal(scale=3, size=(7, 4)))
    assert class_confusion(z, temperature).item() == pytest.approx(numpy_confusion(z.numpy(), temperature), rel=1e-9)


def test_class_confusion_is_half_for_two_classes_that_cannot_be_told():
    assert class_confusion(torch.zeros(5, 2)).item() == pytest.approx(0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_class_confusion_is_finite_where_predictions_are_certain(dtype):
    z = torch.tensor([[500.0, 0.0, -500.0], [500.0, 0.0, 0.0]], dtype=dtype, requires_grad=True)
    loss = class_confusion(z)
    loss.backward()
    assert loss.isfinite()
    assert z.grad.isfinite().all()


@pytest.mark.parametrize(("shape", "temperature"), [((3,), 1.0), ((0, 2), 1.0), ((3, 2), 0.0)])
def test_class_confusion_refuses_what_it_cannot_take(shape, temperature):
    with pytest.raises(ValueError, match="expected"):
        class_confusion(torch.zeros(shape), temperature)


def test_mcc_is_the_cross_entropy_and_the_confusion_of_one_batch():
    method, batch = Mcc(student_of(), weight=0.5, temperature=2.0), batch_of(1)
    z = logits_of(method.student, batch.source, *batch.target)
    check(
        method.loss(batch, step=0),
        supervised=cross_entropy(z[:N], batch.labels.numpy()).mean(),
        class_confusion=0.5 * numpy_confusion(z[N:], 2.0),
    )
