"""What holds of the losses for any probabilities, of any number type, exact zeros and ones among them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dalib.adaptation.losses import (
    LOG_FLOOR,
    ClassBalanceLoss,
    ConsistencyLoss,
    L2ConsistencyLoss,
    binary_cross_entropy_distance,
    information_loss,
    kl_divergence_distance,
    mean_squared_distance,
    squared_distance,
)

DISTANCES = (squared_distance, mean_squared_distance, binary_cross_entropy_distance, kl_divergence_distance)
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
every_distance = pytest.mark.parametrize("distance", DISTANCES, ids=lambda distance: distance.__name__)
some = settings(max_examples=30, deadline=None, derandomize=True)


@st.composite
def probabilities(draw, count=2, dtypes=DTYPES):
    """``count`` tensors (N, C) of one dtype; rows from uniform to certain, where the others are exactly 0."""
    n, classes, dtype = draw(st.integers(1, 8)), draw(st.integers(2, 12)), draw(st.sampled_from(dtypes))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))

    def one():
        sharpness = torch.tensor(draw(st.lists(st.sampled_from([0.0, 1.0, 10.0, 1e4]), min_size=n, max_size=n)))
        logits = torch.randn(n, classes, generator=generator, dtype=torch.float64) * sharpness[:, None]
        return logits.softmax(dim=1).to(dtype)

    return tuple(one() for _ in range(count))


@st.composite
def with_mask(draw):
    y, y_teacher = draw(probabilities())
    kind = draw(st.sampled_from(["none", "bool", "weights"]))
    if kind == "none":
        return y, y_teacher, None
    mask = torch.tensor(draw(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=len(y), max_size=len(y))))
    return y, y_teacher, mask > 0.5 if kind == "bool" else mask


@every_distance
@some
@given(probabilities())
def test_a_distance_is_finite_and_not_negative_and_its_gradient_reaches_the_student_alone(distance, pair):
    y, y_teacher = (each.clone().requires_grad_() for each in pair)
    loss = ConsistencyLoss(distance, "none")(y, y_teacher)
    assert loss.dtype == (torch.float64 if y.dtype == torch.float64 else torch.float32)
    assert loss.isfinite().all()
    # rows of half precision add up to 1 within their rounding alone, and below its floor the logarithm is its tangent
    assert loss.min() >= -y.shape[1] * max(2 * torch.finfo(y.dtype).eps, LOG_FLOOR)
    loss.sum().backward()
    assert y.grad is not None
    assert y_teacher.grad is None
    if y.dtype != torch.float16:  # a gradient of up to 1e6 has no place in 16 bits
        assert y.grad.isfinite().all()


@every_distance
@some
@given(probabilities(1))
def test_equals_have_no_distance_or_that_of_the_teachers_entropy(distance, single):
    (y,) = single
    loss = ConsistencyLoss(distance, "none")(y, y)
    if distance is binary_cross_entropy_distance:
        p = y.double()
        entropy = -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p)).sum(dim=1)
        torch.testing.assert_close(loss.double(), entropy, rtol=1e-4, atol=1e-4)
    else:
        assert torch.equal(loss, torch.zeros_like(loss))


@every_distance
@some
@given(with_mask(), st.randoms(use_true_random=False))
def test_the_order_of_images_and_of_classes_does_not_matter(distance, given_, random):
    y, y_teacher, mask = given_
    images, classes = list(range(y.shape[0])), list(range(y.shape[1]))
    random.shuffle(images)
    random.shuffle(classes)
    loss = ConsistencyLoss(distance, "none")
    each = loss(y, y_teacher, mask)
    reordered = loss(y[images], y_teacher[images], None if mask is None else mask[images])
    assert torch.equal(reordered, each[images])
    renamed = loss(y[:, classes], y_teacher[:, classes], mask)
    torch.testing.assert_close(renamed, each, rtol=1e-5, atol=1e-5)
    mean = ConsistencyLoss(distance)
    torch.testing.assert_close(
        mean(y[images], y_teacher[images], None if mask is None else mask[images]), mean(y, y_teacher, mask)
    )


@every_distance
@some
@given(with_mask())
def test_the_reductions_agree(distance, given_):
    none, mean, total = (ConsistencyLoss(distance, reduction)(*given_) for reduction in ("none", "mean", "sum"))
    torch.testing.assert_close(none.sum(), total)
    torch.testing.assert_close(none.mean(), mean)
    if distance is squared_distance:
        assert torch.equal(L2ConsistencyLoss()(*given_), mean)


@some
@given(with_mask())
def test_masked_images_count_nothing(given_):
    y, y_teacher, mask = given_
    if mask is None:
        return
    counts = mask.bool()
    elsewhere = torch.where(counts[:, None], y, torch.full_like(y, 1 / y.shape[1]))
    loss = L2ConsistencyLoss("sum")
    assert torch.equal(loss(y, y_teacher, mask), loss(elsewhere, y_teacher, mask))


@some
@given(probabilities())
def test_class_balance_is_finite_least_at_its_prior_and_blind_to_order(pair):
    y, other = pair
    prior = (other.double().mean(dim=0) + 1e-3).float()
    prior /= prior.sum()
    for loss in (ClassBalanceLoss(y.shape[1]), ClassBalanceLoss(y.shape[1], prior)):
        x = y.clone().requires_grad_()
        value = loss(x)
        value.backward()
        assert value.isfinite()
        if y.dtype != torch.float16:
            assert x.grad.isfinite().all()
        assert value >= loss(loss.prior[None].double()) - 1e-4
        torch.testing.assert_close(loss(y.flip(0)), value.detach(), rtol=1e-4, atol=1e-4)
    uniform = ClassBalanceLoss(y.shape[1])
    torch.testing.assert_close(uniform(y.flip(1)), uniform(y), rtol=1e-4, atol=1e-4)


@some
@given(probabilities())
def test_information_is_finite_between_its_bounds_and_blind_to_order(pair):
    y, other = pair
    x = y.clone().requires_grad_()
    loss = information_loss(x)
    loss.backward()
    rounding = 1e-4 if y.dtype in (torch.float32, torch.float64) else 0.1
    assert -math.log(y.shape[1]) - rounding <= loss <= rounding
    assert x.grad.isfinite().all()
    torch.testing.assert_close(information_loss(y.flip(0).flip(1)), loss.detach(), rtol=1e-4, atol=1e-4)
    prior = (other.double().mean(dim=0) + 1e-3).float()
    prior /= prior.sum()
    assert -math.log(y.shape[1]) - rounding <= information_loss(y, prior)
    assert information_loss(y, prior).isfinite()
