"""Mean Teacher's loss against its equation, written again in NumPy."""

import numpy as np
import pytest
import torch
from equations import N, batch_of, check, cross_entropy, logits_of, softmax, student_of

from dalib.adaptation.mean_teacher import MeanTeacher


def test_mean_teacher_is_its_equation_over_both_domains_in_one_batch():
    method, batch = MeanTeacher(student_of(), consistency_weight=50.0, ramp_up_steps=10), batch_of()
    with torch.no_grad():
        method.teacher.module[1].weight += 0.3
    first, second = batch.target
    z, p = (logits_of(method.student, batch.source, first) for _ in range(2))
    p, q = softmax(z), softmax(logits_of(method.teacher.module, batch.source, second))
    expected = 50 * np.exp(-5 * (1 - 4 / 10) ** 2) * ((p - q) ** 2).mean(axis=1).mean()
    check(
        method.loss(batch, step=4),
        supervised=cross_entropy(z[:N], batch.labels.numpy()).mean(),
        consistency=expected,
    )


@pytest.mark.parametrize("setting", ["consistency_weight", "ramp_up_steps"])
@pytest.mark.parametrize("value", [-1, float("nan")])
def test_mean_teacher_refuses_settings_below_0(setting, value):
    with pytest.raises(ValueError, match=f"^{setting}: expected at least 0"):
        MeanTeacher(student_of(), **{setting: value})
