"""What holds of the teacher for any small network and any decay."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dalib.adaptation.teacher import EmaTeacher

some = settings(max_examples=30, deadline=None, derandomize=True)
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


@st.composite
def networks(draw):
    """A few layers of several kinds and number types, some within others, some frozen, one perhaps used twice."""
    torch.manual_seed(draw(st.integers(0, 2**31)))
    width = draw(st.integers(1, 4))
    makers = st.sampled_from(
        [
            lambda: nn.Linear(width, width),
            lambda: nn.Linear(width, width, bias=False).to(draw(st.sampled_from(DTYPES))),
            lambda: nn.BatchNorm1d(width),
            lambda: nn.Sequential(nn.Linear(width, 1), nn.LayerNorm(1)),
            lambda: nn.Embedding(3, width).requires_grad_(False),
        ]
    )
    layers = [make() for make in draw(st.lists(makers, min_size=1, max_size=4))]
    return nn.Sequential(*layers, *layers[: draw(st.integers(0, 1))])


decays = st.one_of(st.sampled_from([0.0, 0.5, 0.99, 1.0]), st.floats(0, 1))


def moved(student, scale=1.0):
    """Other weights and statistics, as training would give."""
    with torch.no_grad():
        for tensor in (*student.parameters(), *student.buffers()):
            if tensor.is_floating_point():
                tensor.add_(torch.randn_like(tensor) * scale)
            else:
                tensor.add_(1)


@some
@given(networks(), decays, st.booleans(), st.integers(1, 4))
def test_an_update_stays_between_teacher_and_student(student, alpha, warmup, updates):
    teacher = EmaTeacher(student, alpha, warmup=warmup)
    for _ in range(updates):
        moved(student)
        before = {name: value.clone() for name, value in teacher.state_dict().items()}
        teacher.update()
        for name, new in student.named_parameters():
            old, now = before[name], teacher.state_dict()[name]
            slack = 2 * torch.finfo(new.dtype).eps * (old.abs() + new.detach().abs())
            assert (now >= torch.minimum(old, new) - slack).all()
            assert (now <= torch.maximum(old, new) + slack).all()


@some
@given(networks(), st.sampled_from(["own", "copy", "ema"]))
def test_a_decay_of_1_leaves_and_of_0_copies(student, buffers):
    keeps, copies = EmaTeacher(student, 1.0, buffers=buffers), EmaTeacher(student, 0.0, buffers=buffers)
    before = {name: value.clone() for name, value in keeps.state_dict().items()}
    moved(student)
    keeps.update()
    copies.update()
    for name, new in student.named_parameters():
        assert torch.equal(keeps.state_dict()[name], before[name])
        torch.testing.assert_close(copies.state_dict()[name], new.detach())
    for name, new in student.named_buffers():
        expected = before[name] if buffers == "own" else new
        torch.testing.assert_close(copies.state_dict()[name], expected)


@some
@given(networks(), decays, st.integers(0, 3))
def test_a_saved_teacher_goes_on_as_if_it_had_never_stopped(student, alpha, updates):
    teacher = EmaTeacher(student, alpha)
    for _ in range(updates):
        moved(student)
        teacher.update()
    saved = {name: value.clone() for name, value in teacher.state_dict().items()}
    assert saved.keys() == student.state_dict().keys()
    other = EmaTeacher(student, alpha)
    other.load_state_dict(saved)
    for _ in range(2):
        moved(student)
        teacher.update()
        other.update()
    for name, value in teacher.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)


@pytest.mark.parametrize("alpha", [-1e-9, 1.0000001, float("nan"), float("inf")])
def test_a_decay_outside_0_and_1_is_refused(alpha):
    with pytest.raises(ValueError, match="alpha"):
        EmaTeacher(nn.Linear(1, 1), alpha)
