import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from dalib.adaptation.losses import (
    ClassBalanceLoss,
    ConsistencyLoss,
    L2ConsistencyLoss,
    binary_cross_entropy_distance,
    information_loss,
    kl_divergence_distance,
    mean_squared_distance,
    squared_distance,
)

NUMPY_DISTANCES = {
    squared_distance: lambda p, q: ((p - q) ** 2).sum(axis=1),
    mean_squared_distance: lambda p, q: ((p - q) ** 2).sum(axis=1) / p.shape[1],
    binary_cross_entropy_distance: lambda p, q: -(q * np.log(p) + (1 - q) * np.log(1 - p)).sum(axis=1),
    kl_divergence_distance: lambda p, q: (q * np.log(q / p)).sum(axis=1),
}
TORCH_DISTANCES = {
    squared_distance: lambda p, q: F.mse_loss(p, q, reduction="none").sum(dim=1),
    mean_squared_distance: lambda p, q: F.mse_loss(p, q, reduction="none").mean(dim=1),
    binary_cross_entropy_distance: lambda p, q: F.binary_cross_entropy(p, q, reduction="none").sum(dim=1),
    kl_divergence_distance: lambda p, q: F.kl_div(p.log(), q, reduction="none").sum(dim=1),
}
every_distance = pytest.mark.parametrize("distance", NUMPY_DISTANCES, ids=lambda distance: distance.__name__)
every_consistency_loss = pytest.mark.parametrize(
    "make", [L2ConsistencyLoss, lambda *a, **k: ConsistencyLoss(squared_distance, *a, **k)], ids=["l2", "general"]
)


def probabilities(n: int = 6, classes: int = 4, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).dirichlet(np.ones(classes), size=n)).to(dtype)


@st.composite
def two_distributions(draw):
    n, classes = draw(st.integers(1, 4)), draw(st.integers(2, 5))
    logits = st.lists(st.floats(-4, 4), min_size=n * classes, max_size=n * classes)
    return tuple(torch.tensor(draw(logits), dtype=torch.float64).reshape(n, classes).softmax(dim=1) for _ in range(2))


few_examples = settings(max_examples=40, deadline=None)


# --- distances


@pytest.mark.parametrize(
    ("distance", "y", "y_teacher", "expected"),
    [
        (squared_distance, [0.7, 0.2, 0.1], [0.6, 0.3, 0.1], 0.02),
        (squared_distance, [1.0, 0.0], [0.0, 1.0], 2.0),
        (mean_squared_distance, [0.7, 0.2, 0.1], [0.6, 0.3, 0.1], 0.02 / 3),
        (mean_squared_distance, [1.0, 0.0], [0.0, 1.0], 1.0),
        (binary_cross_entropy_distance, [0.5, 0.5], [1.0, 0.0], 2 * math.log(2)),
        (binary_cross_entropy_distance, [0.25, 0.75], [0.5, 0.5], math.log(16 / 3)),
        (kl_divergence_distance, [0.5, 0.5], [1.0, 0.0], math.log(2)),
        (kl_divergence_distance, [0.25, 0.75], [0.5, 0.5], math.log(4 / 3) / 2),
    ],
)
def test_distances_give_the_values_computed_by_hand(distance, y, y_teacher, expected):
    assert distance(torch.tensor([y]), torch.tensor([y_teacher])).tolist() == pytest.approx([expected], abs=1e-6)


@every_distance
def test_distances_equal_the_numpy_oracle(distance):
    p, q = probabilities(seed=1), probabilities(seed=2)
    expected = NUMPY_DISTANCES[distance](p.numpy(), q.numpy())
    np.testing.assert_allclose(distance(p, q).numpy(), expected, rtol=1e-12)


@every_distance
def test_distances_equal_torchs_own_losses(distance):
    p, q = (probabilities(seed=seed, dtype=torch.float32) for seed in (1, 2))
    torch.testing.assert_close(distance(p, q), TORCH_DISTANCES[distance](p, q))


@every_distance
def test_distances_are_finite_in_value_and_gradient_at_probabilities_of_0_and_1(distance):
    y = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.5, 0.5]], requires_grad=True)
    values = distance(y, torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]))
    values.sum().backward()
    assert values.isfinite().all()
    assert y.grad.isfinite().all()
    assert values[0] > values[2] > values[1]


@pytest.mark.parametrize("distance", [binary_cross_entropy_distance, kl_divergence_distance])
def test_a_class_that_the_student_rules_out_is_still_pulled_up(distance):
    y = torch.tensor([[1.0, 0.0]], requires_grad=True)
    distance(y, torch.tensor([[0.1, 0.9]])).sum().backward()
    assert y.grad[0, 1] < 0


@few_examples
@given(two_distributions())
def test_squared_distance_is_symmetric_and_within_0_and_2(pair):
    y, y_teacher = pair
    forth, back = squared_distance(y, y_teacher), squared_distance(y_teacher, y)
    assert torch.equal(forth, back)
    assert forth.min() >= 0
    assert forth.max() <= 2


@few_examples
@given(two_distributions())
def test_squared_distance_is_zero_only_between_equals(pair):
    y, y_teacher = pair
    assert torch.equal(squared_distance(y, y), torch.zeros(len(y), dtype=y.dtype))
    differ = ((y - y_teacher).abs() > 1e-6).any(dim=1)
    assert (squared_distance(y, y_teacher)[differ] > 0).all()


@few_examples
@given(two_distributions())
def test_kl_divergence_is_never_negative_and_zero_between_equals(pair):
    y, y_teacher = pair
    assert kl_divergence_distance(y, y_teacher).min() >= -1e-12
    assert torch.equal(kl_divergence_distance(y, y), torch.zeros(len(y), dtype=y.dtype))


@few_examples
@given(two_distributions())
def test_binary_cross_entropy_is_at_least_the_teachers_own_entropy(pair):
    y, y_teacher = pair
    entropy = binary_cross_entropy_distance(y_teacher, y_teacher)
    assert (binary_cross_entropy_distance(y, y_teacher) >= entropy - 1e-12).all()


# --- ConsistencyLoss


@every_consistency_loss
@pytest.mark.parametrize(
    ("reduction", "expected"), [("none", [2.0, 0.0, 0.5]), ("mean", 2.5 / 3), ("sum", 2.5)], ids=["none", "mean", "sum"]
)
@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.int64])
def test_each_reduction_counts_masked_images_as_zero(make, reduction, expected, dtype):
    y = torch.tensor([[1.0, 0.0], [0.2, 0.8], [0.5, 0.5]])
    y_teacher = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    loss = make(reduction=reduction)(y, y_teacher, torch.tensor([1, 0, 1]).to(dtype))
    torch.testing.assert_close(loss, torch.tensor(expected))


@every_distance
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_consistency_equals_the_numpy_oracle(distance, reduction):
    p, q = probabilities(seed=3), probabilities(seed=4)
    weights = np.random.default_rng(5).random(len(p))
    expected = NUMPY_DISTANCES[distance](p.numpy(), q.numpy()) * weights
    expected = {"none": expected, "mean": expected.sum() / len(p), "sum": expected.sum()}[reduction]
    loss = ConsistencyLoss(distance, reduction)(p, q, torch.from_numpy(weights))
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_no_mask_counts_every_image(reduction):
    y, y_teacher = probabilities(seed=1), probabilities(seed=2)
    loss = L2ConsistencyLoss(reduction)
    torch.testing.assert_close(loss(y, y_teacher), loss(y, y_teacher, torch.ones(len(y), dtype=torch.bool)))


def test_the_sum_over_classes_is_the_mean_over_classes_times_their_number():
    y, y_teacher = probabilities(classes=7, seed=1), probabilities(classes=7, seed=2)
    torch.testing.assert_close(
        L2ConsistencyLoss()(y, y_teacher), 7 * ConsistencyLoss(mean_squared_distance)(y, y_teacher)
    )


@pytest.mark.parametrize("shape", [(4, 1), (1, 4), (1,), (3,), ()])
def test_a_mask_that_would_broadcast_is_refused(shape):
    with pytest.raises(ValueError, match=r"mask: expected shape \(4,\)"):
        L2ConsistencyLoss()(probabilities(4), probabilities(4), torch.ones(shape))


def test_a_mask_that_is_no_tensor_is_refused():
    with pytest.raises(ValueError, match=r"mask: expected a tensor of shape \(4,\), got list"):
        L2ConsistencyLoss()(probabilities(4), probabilities(4), [True] * 4)


@pytest.mark.parametrize("loss", [ClassBalanceLoss(3), information_loss], ids=["class balance", "information"])
def test_the_tuple_of_a_classifier_in_training_mode_is_no_prediction(loss):
    with pytest.raises(ValueError, match=r"y: expected a tensor of probabilities .*, got tuple; .* the first"):
        loss((probabilities(4), torch.zeros(4, 8)))


@pytest.mark.parametrize(
    ("shape", "teacher_shape"),
    [((4, 3), (4, 2)), ((4, 3), (3, 3)), ((4, 3), (1, 3)), ((4,), (4,)), ((4, 3, 2), (4, 3, 2)), ((0, 3), (0, 3))],
)
def test_probabilities_of_other_shapes_are_refused(shape, teacher_shape):
    with pytest.raises(ValueError, match="y, y_teacher: expected"):
        L2ConsistencyLoss()(torch.ones(shape), torch.ones(teacher_shape))


@pytest.mark.parametrize(
    "distance",
    [
        lambda p, q: (p - q).square(),
        lambda p, q: (p - q).square().mean(),
        lambda p, q: (p - q).square().sum(dim=1, keepdim=True),
        lambda p, q: (p - q).square().sum(dim=0),
    ],
    ids=["per class", "scalar", "column", "over images"],
)
@pytest.mark.parametrize("mask", [None, torch.ones(6)], ids=["no mask", "mask"])
def test_a_distance_that_is_not_one_per_image_is_refused(distance, mask):
    with pytest.raises(ValueError, match="distance_measure: expected one distance per image"):
        ConsistencyLoss(distance)(probabilities(6), probabilities(6, seed=1), mask)


@every_consistency_loss
@pytest.mark.parametrize("reduction", ["average", "", None, "Mean"])
def test_an_unknown_reduction_is_refused(make, reduction):
    with pytest.raises(ValueError, match="reduction: expected one of"):
        make(reduction=reduction)


@every_distance
def test_consistency_reaches_the_student_and_not_the_teacher(distance):
    y, y_teacher = (probabilities(seed=seed).requires_grad_() for seed in (1, 2))
    ConsistencyLoss(distance)(y, y_teacher).backward()
    assert (y.grad != 0).all()
    assert y_teacher.grad is None


@every_distance
def test_masked_images_get_no_gradient(distance):
    y = probabilities().requires_grad_()
    mask = torch.tensor([True, False, True, False, False, True])
    ConsistencyLoss(distance)(y, probabilities(seed=1), mask).backward()
    assert torch.equal((y.grad != 0).any(dim=1), mask)


def test_the_gradient_of_l2_is_twice_the_masked_difference_over_n():
    y, y_teacher = probabilities().requires_grad_(), probabilities(seed=1)
    mask = torch.tensor([1.0, 0.0, 0.5, 1.0, 1.0, 0.0], dtype=torch.float64)
    L2ConsistencyLoss()(y, y_teacher, mask).backward()
    torch.testing.assert_close(y.grad, 2 * (y.detach() - y_teacher) * mask[:, None] / 6)


@every_distance
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_consistency_passes_gradcheck(distance, reduction):
    y_teacher, mask = probabilities(3, seed=1), torch.tensor([True, False, True])
    loss = ConsistencyLoss(distance, reduction)
    assert torch.autograd.gradcheck(lambda y: loss(y, y_teacher, mask), probabilities(3).requires_grad_())


@every_distance
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_consistency_is_computed_in_float32_for_half_precision_inputs(distance, dtype):
    y, y_teacher = probabilities(seed=1).to(dtype).requires_grad_(), probabilities(seed=2).to(dtype)
    mask = torch.tensor([1, 0, 1, 1, 0, 1]).to(dtype)
    loss = ConsistencyLoss(distance)(y, y_teacher, mask)
    loss.backward()
    assert torch.equal(loss, ConsistencyLoss(distance)(y.float(), y_teacher.float(), mask.float()))
    assert y.grad.dtype == dtype
    assert y.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_does_not_reach_into_the_distance(dtype):
    def through_a_matrix_product(p, q):
        return (p - q) @ torch.ones(p.shape[1])

    y, y_teacher = (probabilities(seed=seed, dtype=torch.float32) for seed in (1, 2))
    with torch.autocast("cpu", dtype):
        loss = ConsistencyLoss(through_a_matrix_product, "none")(y, y_teacher)
    assert torch.equal(loss, through_a_matrix_product(y, y_teacher))


# --- ClassBalanceLoss

PRIORS = {"uniform": None, "imbalanced": torch.tensor([0.7, 0.15, 0.1, 0.05])}
every_prior = pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS.keys())


def torch_class_balance(y: torch.Tensor, prior: torch.Tensor | None) -> torch.Tensor:
    mean = y.mean(dim=0)
    return F.binary_cross_entropy(mean, torch.full_like(mean, 1 / len(mean)) if prior is None else prior.to(mean))


def test_class_balance_gives_the_value_computed_by_hand():
    y = torch.tensor([[1.0, 0.0], [0.5, 0.5]])  # mean 3/4, 1/4
    assert ClassBalanceLoss(2)(y).item() == pytest.approx(math.log(16 / 3) / 2)
    assert ClassBalanceLoss(2, torch.tensor([0.75, 0.25]))(y).item() == pytest.approx(
        -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    )


@every_prior
def test_class_balance_equals_torchs_binary_cross_entropy_of_the_batch_mean(prior):
    y = probabilities(classes=4, dtype=torch.float32)
    torch.testing.assert_close(ClassBalanceLoss(4, prior)(y), torch_class_balance(y, prior))


@every_prior
def test_class_balance_equals_the_numpy_oracle(prior):
    y = probabilities(classes=4)
    mean, u = y.numpy().mean(axis=0), np.full(4, 0.25) if prior is None else prior.double().numpy()
    expected = -(u * np.log(mean) + (1 - u) * np.log(1 - mean)).sum() / 4
    assert ClassBalanceLoss(4, prior)(y).item() == pytest.approx(expected, rel=1e-9)


@every_prior
def test_class_balance_passes_gradcheck(prior):
    assert torch.autograd.gradcheck(ClassBalanceLoss(4, prior), probabilities(3, classes=4).requires_grad_())


@every_prior
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_collapsed_batch_has_a_finite_loss_that_pulls_the_lost_classes_up(prior, dtype):
    y = torch.tensor([[1.0, 0.0, 0.0, 0.0]] * 3, dtype=dtype, requires_grad=True)
    loss = ClassBalanceLoss(4, prior)(y)
    loss.backward()
    assert loss.isfinite()
    assert y.grad.isfinite().all()
    assert (y.grad[:, 0] > 0).all()
    assert (y.grad[:, 1:] < 0).all()


@pytest.mark.parametrize("classes", [2, 10, 31])
def test_the_gradient_in_float32_is_torchs(classes):
    torch.manual_seed(0)
    y = torch.randn(36, classes).mul(2).softmax(dim=1).requires_grad_()
    (ours,) = torch.autograd.grad(ClassBalanceLoss(classes)(y), y)
    (theirs,) = torch.autograd.grad(F.binary_cross_entropy(y.mean(dim=0), torch.full((classes,), 1 / classes)), y)
    assert (ours - theirs).norm() < 1e-5 * theirs.norm()


@pytest.mark.parametrize(
    "loss",
    [
        information_loss,
        lambda y: binary_cross_entropy_distance(y, y.detach().flip(0)).sum(),
        lambda y: kl_divergence_distance(y, y.detach().flip(0)).sum(),
    ],
    ids=["information", "binary cross-entropy", "Kullback-Leibler"],
)
def test_the_gradient_in_float32_is_that_in_float64(loss):
    torch.manual_seed(0)
    exact = torch.randn(36, 10, dtype=torch.float64).mul(2).softmax(dim=1)
    gradients = [
        torch.autograd.grad(loss(y), y)[0].double()
        for y in (exact.float().requires_grad_(), exact.clone().requires_grad_())
    ]
    assert (gradients[0] - gradients[1]).norm() < 1e-5 * gradients[1].norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_class_balance_is_computed_in_float32_for_half_precision_inputs(dtype):
    y = probabilities(64).to(dtype)
    assert torch.equal(ClassBalanceLoss(4)(y), ClassBalanceLoss(4)(y.float()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))],
)
def test_class_balance_works_under_autocast(device, dtype):
    torch.manual_seed(0)
    layer, images = nn.Linear(5, 4).to(device), torch.randn(6, 5, device=device)
    with torch.autocast(device, dtype):
        y = layer(images).softmax(dim=1)
        loss = ClassBalanceLoss(4).to(device)(y)
    loss.backward()
    torch.testing.assert_close(loss, torch_class_balance(y.float(), None))
    assert layer.weight.grad.isfinite().all()
    assert (layer.weight.grad != 0).any()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_torchs_own_binary_cross_entropy_still_raises_under_cuda_autocast():
    y = probabilities(dtype=torch.float32).cuda()
    with torch.autocast("cuda"), pytest.raises(RuntimeError, match="autocast"):
        torch_class_balance(y, None)


@pytest.mark.parametrize(
    "prior",
    [[0.5, 0.5], [[0.5, 0.25, 0.25]], [0.5, 0.5, 0.5], [1.5, -0.25, -0.25], [math.nan, 0.5, 0.5], [5.0, 3.0, 2.0]],
    ids=["too short", "a row", "sums to 1.5", "negative", "nan", "counts"],
)
def test_a_prior_that_is_not_a_distribution_over_the_classes_is_refused(prior):
    with pytest.raises(ValueError, match="prior: expected"):
        ClassBalanceLoss(3, torch.tensor(prior))


@pytest.mark.parametrize("num_classes", [1, 0, -1])
def test_fewer_than_two_classes_cannot_be_balanced(num_classes):
    with pytest.raises(ValueError, match="num_classes: expected at least 2"):
        ClassBalanceLoss(num_classes)


@pytest.mark.parametrize("shape", [(4,), (5, 3), (0, 4), (5, 4, 1)])
def test_class_balance_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match=r"y: expected shape \(N > 0, 4\)"):
        ClassBalanceLoss(4)(torch.full(shape, 0.25))


def test_the_prior_is_no_part_of_a_checkpoint():
    assert ClassBalanceLoss(4, PRIORS["imbalanced"]).state_dict() == {}


def test_the_callers_prior_may_change_without_changing_the_loss():
    prior = torch.tensor([0.75, 0.25])
    loss, y = ClassBalanceLoss(2, prior), torch.tensor([[0.6, 0.4]])
    before = loss(y)
    prior.copy_(torch.tensor([0.25, 0.75]))
    assert torch.equal(loss(y), before)


def test_on_an_imbalanced_target_only_the_true_prior_rests_at_the_truth():
    shares = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)

    def slope_along_the_simplex(loss: ClassBalanceLoss) -> torch.Tensor:
        y = shares.expand(5, 3).clone().requires_grad_()
        loss(y).backward()
        gradient = y.grad.sum(dim=0)
        return gradient - gradient.mean()

    informed, uniform = ClassBalanceLoss(3, shares), ClassBalanceLoss(3)
    torch.testing.assert_close(slope_along_the_simplex(informed), torch.zeros_like(shares), atol=1e-6, rtol=0)
    pull = slope_along_the_simplex(uniform)
    assert pull[0] > 0.1  # descent takes mass from the frequent class
    assert pull[2] < -0.1  # and gives it to the rare one


@few_examples
@given(two_distributions())
def test_class_balance_is_smallest_at_its_prior(pair):
    y, prior = pair[0], pair[1].mean(dim=0)
    loss = ClassBalanceLoss(len(prior), prior)
    assert loss(y) >= loss(prior[None]) - 1e-7


def test_the_loss_of_the_global_mean_is_not_the_mean_of_the_shards_losses():
    # two processes that each see one class: together balanced, alone collapsed
    shards = torch.tensor([[1.0, 0.0]] * 4), torch.tensor([[0.0, 1.0]] * 4)
    loss = ClassBalanceLoss(2)
    global_loss = loss(torch.cat(shards))
    mean_of_losses = torch.stack([loss(shard) for shard in shards]).mean()
    synchronised_mean = torch.stack([shard.mean(dim=0) for shard in shards]).mean(dim=0)
    assert global_loss.item() == pytest.approx(math.log(2))
    assert mean_of_losses > 10 * global_loss
    torch.testing.assert_close(loss(synchronised_mean[None]), global_loss)


# --- mutual information


def test_information_loss_equals_numpy():
    y = probabilities(7, 5)
    p = y.numpy()
    mean = p.mean(axis=0)
    expected = -(p * np.log(p)).sum(axis=1).mean() + (mean * np.log(mean)).sum()
    assert information_loss(y).item() == pytest.approx(expected, rel=1e-9)


def test_information_is_greatest_for_sure_predictions_of_all_classes():
    sure = torch.eye(4).repeat(3, 1)
    assert information_loss(sure).item() == pytest.approx(-math.log(4), rel=1e-5)
    assert information_loss(sure[:1].expand(12, 4)).item() == pytest.approx(0, abs=1e-6)  # one class alone
    assert information_loss(torch.full((12, 4), 0.25)).item() == pytest.approx(0, abs=1e-6)  # sure of nothing


def test_descending_the_information_loss_makes_sure_and_various():
    logits = torch.randn(32, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    optimizer = torch.optim.SGD([logits], lr=5.0)
    for _ in range(300):
        optimizer.zero_grad()
        information_loss(logits.softmax(dim=1)).backward()
        optimizer.step()
    p = logits.detach().softmax(dim=1)
    assert p.amax(dim=1).mean() > 0.95
    assert p.mean(dim=0).min() > 0.15


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_information_loss_is_finite_at_exact_zeros(dtype):
    y = torch.eye(3, dtype=dtype).requires_grad_()
    loss = information_loss(y)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert y.grad.isfinite().all()


@pytest.mark.parametrize("shape", [(3,), (0, 3), (2, 3, 4)])
def test_information_loss_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match="N > 0, C"):
        information_loss(torch.zeros(shape))


def test_information_loss_with_a_prior_equals_numpy_and_is_least_at_the_prior():
    prior = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    y = probabilities(20, classes=3)
    p, u = y.numpy(), prior.numpy()
    mean = p.mean(axis=0)
    expected = -(p * np.log(p)).sum(axis=1).mean() + (mean * np.log(mean / u)).sum() - np.log(3)
    assert information_loss(y, prior).item() == pytest.approx(expected, rel=1e-9)
    at_the_prior = torch.eye(3, dtype=torch.float64)[[0] * 7 + [1] * 2 + [2]]
    assert information_loss(at_the_prior, prior).item() == pytest.approx(-math.log(3), rel=1e-5)
    assert information_loss(torch.eye(3, dtype=torch.float64), prior).item() > -math.log(3) + 0.1


def test_a_uniform_prior_changes_nothing_of_the_information_loss():
    y = probabilities(20, classes=4)
    torch.testing.assert_close(information_loss(y, torch.full((4,), 0.25)), information_loss(y))


def test_a_prior_of_another_shape_is_refused_by_the_information_loss():
    with pytest.raises(ValueError, match="prior: expected shape"):
        information_loss(probabilities(5, classes=4), torch.full((3,), 1 / 3))


def test_a_name_is_no_distance():
    with pytest.raises(ValueError, match="distance_measure: expected a function of two tensors, got 'squared'"):
        ConsistencyLoss("squared")
