import copy
import importlib
import math

import numpy as np
import pytest
import torch
from torch import nn

from dalib.adaptation.losses import (
    ClassBalanceLoss,
    ConsistencyLoss,
    information_loss,
    mean_squared_distance,
    squared_distance,
)
from dalib.adaptation.self_ensemble import SelfEnsemble, ramp_up, self_ensemble_objective
from dalib.core.types import Batch

CLASSES = 3
PARTS = ("supervised", "consistency", "class_balance")


def logits(n: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(scale=2, size=(n, CLASSES)))


def objective(source, labels, student, teacher, *, distance=mean_squared_distance, **settings):
    settings = {"consistency_weight": 3.0, "threshold": 0.6, "class_balance_weight": 0.1} | settings
    return self_ensemble_objective(
        source,
        labels,
        student,
        teacher,
        consistency_loss=ConsistencyLoss(distance),
        class_balance_loss=ClassBalanceLoss(CLASSES),
        **settings,
    )


def four_inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    return logits(6, seed=1), torch.tensor([0, 1, 2, 2, 1, 0]), logits(8, seed=2), logits(8, seed=3)


def softmax(z: np.ndarray) -> np.ndarray:
    return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)


def numpy_objective(source, labels, student, teacher, *, w, tau, b, smoothing):
    log_p = np.log(softmax(source))
    wanted = (1 - smoothing) * np.eye(CLASSES)[labels] + smoothing / CLASSES
    p, q = softmax(student), softmax(teacher)
    m = q.max(axis=1) > tau
    mean, u = p.mean(axis=0), 1 / CLASSES
    return {
        "supervised": -(wanted * log_p).sum(axis=1).mean(),
        "consistency": w * (m * ((p - q) ** 2).sum(axis=1) / CLASSES).sum() / len(p),
        "class_balance": -b * m.mean() * (u * np.log(mean) + (1 - u) * np.log(1 - mean)).sum() / CLASSES,
    }


def student_of(features: int = 4) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.BatchNorm1d(features), nn.Linear(features, CLASSES))


def batch_of(n: int = 6, features: int = 4, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    source, first, second = torch.randn(3, n, features, generator=generator)
    return Batch(source=source, labels=torch.arange(n) % CLASSES, target=(first + 3, second - 3))


def method_of(student: nn.Module | None = None, **settings) -> SelfEnsemble:
    settings = {"threshold": 0.0, "class_balance_weight": 0.1} | settings
    return SelfEnsemble(student_of() if student is None else student, CLASSES, **settings)


@pytest.mark.parametrize(
    "name", ["ConsistencyLoss", "L2ConsistencyLoss", "ClassBalanceLoss", "EmaTeacher", "ImageClassifier"]
)
def test_the_public_names_are_where_the_readme_says(name):
    module = importlib.import_module("dalib.adaptation.self_ensemble")
    assert isinstance(getattr(module, name), type)
    assert name in module.__all__


# --- the objective


def test_information_is_a_part_of_its_own_where_it_is_asked_for():
    source, labels, student, teacher = four_inputs()
    student.requires_grad_()
    losses = objective(source, labels, student, teacher, information_weight=0.5)
    assert tuple(losses.parts) == (*PARTS, "information")
    assert losses.parts["information"].item() == pytest.approx(0.5 * information_loss(student.softmax(1)).item())
    losses.parts["information"].backward()
    assert student.grad.abs().sum() > 0


def test_the_information_weight_rises_with_the_consistency_weight():
    method = method_of(information_weight=0.5, ramp_up_steps=10)
    batch = batch_of()
    early, late = (method.loss(batch, step).parts["information"].item() for step in (5, 10))
    assert early == pytest.approx(late * ramp_up(5, 10), rel=1e-4)


def test_the_prior_is_where_the_student_is_from_the_beginning_and_after_it_is_set():
    method = method_of(student_of().to("meta"))
    assert method.class_balance_loss.prior.device.type == "meta"
    method.set_prior(torch.full((CLASSES,), 1 / CLASSES))
    assert method.class_balance_loss.prior.device.type == "meta"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_no_loss_makes_the_host_wait():
    method = method_of(student_of().cuda(), information_weight=0.1)
    batch = batch_of()
    batch = Batch(batch.source.cuda(), batch.labels.cuda(), tuple(view.cuda() for view in batch.target))
    method.loss(batch, 0)  # the first call loads kernels
    torch.cuda.set_sync_debug_mode("error")
    try:
        method.loss(batch, 1).total.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_negative_information_weight_is_refused():
    with pytest.raises(ValueError, match="information_weight"):
        method_of(information_weight=-0.1)


@pytest.mark.parametrize("threshold", [0.0, 0.6, 0.9])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_parts_equal_the_numpy_equation(threshold, smoothing):
    inputs = four_inputs()
    losses = objective(*inputs, threshold=threshold, label_smoothing=smoothing)
    expected = numpy_objective(*(each.numpy() for each in inputs), w=3.0, tau=threshold, b=0.1, smoothing=smoothing)
    assert tuple(losses.parts) == PARTS
    for name, part in losses.parts.items():
        assert part.item() == pytest.approx(expected[name], rel=1e-6), name
    assert losses.total.item() == pytest.approx(sum(expected.values()), rel=1e-6)


def test_the_metrics_are_what_they_are_called():
    source = torch.tensor([[2.0, 0, 0], [0, 2, 0], [0, 0, 2], [0, 0, 2]])
    student = torch.tensor([[9.0, 0, 0], [0, 9, 0], [0, 0, 9], [0, 0, 9]])
    teacher = torch.tensor([[9.0, 0, 0], [0, 1, 0], [9, 0, 0], [0, 0, 9]])
    metrics = objective(source, torch.tensor([0, 1, 1, 1]), student, teacher, threshold=0.9).metrics
    assert {name: value.item() for name, value in metrics.items()} == {
        "mask_rate": 0.75,
        "agreement": 0.75,
        "source_accuracy": 0.5,
    }


def test_a_sum_over_classes_with_weight_w_is_a_mean_with_weight_w_times_the_classes():
    inputs = four_inputs()
    by_sum = objective(*inputs, distance=squared_distance, consistency_weight=3.0)
    by_mean = objective(*inputs, distance=mean_squared_distance, consistency_weight=3.0 * CLASSES)
    torch.testing.assert_close(by_sum.parts["consistency"], by_mean.parts["consistency"])


def test_only_the_teachers_confidence_opens_the_mask():
    source, labels, _, _ = four_inputs()
    sure, unsure = torch.tensor([[9.0, 0.0, 0.0]] * 4), torch.tensor([[0.1, 0.0, 0.0]] * 4)
    assert objective(source, labels, sure, unsure, threshold=0.9).metrics["mask_rate"] == 0
    assert objective(source, labels, unsure, sure, threshold=0.9).metrics["mask_rate"] == 1


def test_a_confidence_equal_to_the_threshold_does_not_count():
    source, labels, student, _ = four_inputs()
    half = torch.tensor([[0.0, 0.0, -math.inf]] * 8)
    assert objective(source, labels, student, half, threshold=0.5).metrics["mask_rate"] == 0
    assert objective(source, labels, student, half, threshold=0.4999).metrics["mask_rate"] == 1


def test_threshold_0_counts_every_image_and_threshold_1_none():
    source, labels, student, teacher = four_inputs()
    student.requires_grad_()
    assert objective(source, labels, student, teacher, threshold=0.0).metrics["mask_rate"] == 1
    losses = objective(source, labels, student, teacher * 1000, threshold=1.0)
    assert losses.metrics["mask_rate"] == 0
    for name in ("consistency", "class_balance"):
        assert losses.parts[name] == 0
        (gradient,) = torch.autograd.grad(losses.parts[name], student, retain_graph=True)
        assert (gradient == 0).all()


@pytest.mark.parametrize("name", PARTS)
def test_every_part_reaches_the_student_and_none_the_teacher(name):
    source, labels, student, teacher = four_inputs()
    for each in (source, student, teacher):
        each.requires_grad_()
    objective(source, labels, student, teacher).parts[name].backward()
    reached = source if name == "supervised" else student
    assert (reached.grad != 0).any()
    assert teacher.grad is None
    if name != "supervised":
        assert source.grad is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_judged_in_float32(dtype):
    source, labels, student, teacher = four_inputs()
    halves = source.to(dtype), labels, student.to(dtype), teacher.to(dtype)
    wholes = (each.float() if each.is_floating_point() else each for each in halves)
    losses, expected = objective(*halves), objective(*wholes)
    for name in PARTS:
        torch.testing.assert_close(losses.parts[name], expected.parts[name])
    assert torch.equal(losses.metrics["mask_rate"], expected.metrics["mask_rate"])


# --- ramp-up


@pytest.mark.parametrize(
    ("step", "steps", "expected"),
    [
        (0, 100, math.exp(-5)),
        (50, 100, math.exp(-1.25)),
        (100, 100, 1.0),
        (101, 100, 1.0),
        (0, 0, 1.0),
        (0, 1, math.exp(-5)),
    ],
)
def test_ramp_up_gives_the_values_computed_by_hand(step, steps, expected):
    assert ramp_up(step, steps) == pytest.approx(expected)


def test_ramp_up_only_rises():
    shares = [ramp_up(step, 20) for step in range(25)]
    assert shares == sorted(shares)


# --- the method


def test_consistency_moves_the_students_parameters_and_no_teachers():
    method = method_of()
    consistency = method.loss(batch_of(), step=0).parts["consistency"]
    gradients = torch.autograd.grad(consistency, list(method.student.parameters()))
    assert all((gradient != 0).any() for gradient in gradients)
    assert not any(parameter.requires_grad for parameter in method.teacher.module.parameters())


def test_the_student_sees_the_first_view_and_the_teacher_the_second():
    method, batch = method_of(), batch_of()
    student, teacher = (copy.deepcopy(method.student) for _ in range(2))
    expected = objective(
        student(batch.source), batch.labels, student(batch.target[0]), teacher(batch.target[1]), threshold=0.0
    )
    losses = method.loss(batch, step=0)
    for name in PARTS:
        torch.testing.assert_close(losses.parts[name], expected.parts[name])


def test_of_several_views_the_teacher_gives_the_mean_of_its_probabilities():
    method, batch = method_of(teacher_views=3), batch_of()
    assert method.target_views == 4
    views = (*batch.target, batch.target[1].flip(1), batch.target[1] * 2)
    student, teacher = (copy.deepcopy(method.student) for _ in range(2))
    with torch.no_grad():
        mean = torch.stack([teacher(view).softmax(dim=1) for view in views[1:]]).mean(dim=0)
    expected = objective(student(batch.source), batch.labels, student(batch.target[0]), mean.log(), threshold=0.0)
    losses = method.loss(Batch(batch.source, batch.labels, views), step=0)
    for name in PARTS:
        torch.testing.assert_close(losses.parts[name], expected.parts[name])


def test_source_and_target_pass_batch_normalisation_apart():
    method, batch = method_of(), batch_of()
    method.loss(batch, step=0)
    source, (student_view, teacher_view) = batch.source, batch.target
    student_norm, teacher_norm = method.student[0], method.teacher.module[0]
    assert student_norm.num_batches_tracked == 2
    assert teacher_norm.num_batches_tracked == 1
    after_both = 0.9 * 0.1 * source.mean(dim=0) + 0.1 * student_view.mean(dim=0)
    torch.testing.assert_close(student_norm.running_mean, after_both)
    torch.testing.assert_close(teacher_norm.running_mean, 0.1 * teacher_view.mean(dim=0))


def test_the_target_does_not_shift_what_the_source_is_normalised_by():
    batch = batch_of()
    elsewhere = Batch(batch.source, batch.labels, tuple(view * 7 + 100 for view in batch.target))
    supervised, undisturbed = (method_of().loss(each, step=0).parts["supervised"] for each in (elsewhere, batch))
    assert torch.equal(supervised, undisturbed)


def test_the_teacher_keeps_its_statistics_through_an_update():
    method = method_of()
    method.loss(batch_of(), step=0)
    before = method.teacher.module[0].running_mean.clone()
    method.after_step(step=0)
    assert torch.equal(method.teacher.module[0].running_mean, before)


def test_the_teacher_is_in_training_mode_even_if_the_student_was_not():
    assert all(module.training for module in method_of(student_of().eval()).teacher.module.modules())


def test_after_step_averages_the_student_into_the_teacher():
    method = method_of(alpha=0.75)
    before = method.teacher.module[1].weight.clone()
    with torch.no_grad():
        method.student[1].weight.add_(1.0)
    method.after_step(step=0)
    torch.testing.assert_close(method.predictor()[1].weight, before + 0.25)


def test_with_a_ramp_up_consistency_starts_as_a_small_share_of_its_weight():
    def consistency(step: int) -> float:
        return method_of(ramp_up_steps=100).loss(batch_of(), step).parts["consistency"].item()

    assert consistency(0) / consistency(100) == pytest.approx(math.exp(-5), rel=1e-5)
    assert consistency(50) / consistency(100) == pytest.approx(math.exp(-1.25), rel=1e-5)
    assert consistency(100) == pytest.approx(method_of().loss(batch_of(), 0).parts["consistency"].item())


def test_ramp_up_leaves_the_other_parts_alone():
    early, late = (method_of(ramp_up_steps=100).loss(batch_of(), step).parts for step in (0, 100))
    assert torch.equal(early["supervised"], late["supervised"])
    assert torch.equal(early["class_balance"], late["class_balance"])


def test_a_given_prior_replaces_the_uniform_one():
    uniform, given = (
        method_of(prior=prior).loss(batch_of(), step=0).parts for prior in (None, torch.tensor([0.8, 0.1, 0.1]))
    )
    assert not torch.isclose(uniform["class_balance"], given["class_balance"])
    assert torch.equal(uniform["consistency"], given["consistency"])


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("threshold", -0.1),
        ("threshold", 1.1),
        ("threshold", math.nan),
        ("consistency_weight", -1.0),
        ("consistency_weight", math.nan),
        ("class_balance_weight", -0.01),
        ("class_balance_weight", math.nan),
        ("ramp_up_steps", -1),
        ("alpha", 1.5),
        ("teacher_views", 0),
        ("buffers", "student"),
        ("prior", torch.tensor([0.5, 0.5])),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(setting, value):
    with pytest.raises(ValueError, match=setting):
        method_of(**{setting: value})


@pytest.mark.parametrize("views", [0, 1, 3])
def test_a_batch_without_two_target_views_is_refused(views):
    batch = batch_of()
    with pytest.raises(ValueError, match=f"batch.target: expected 2 views.*got {views}"):
        method_of().loss(Batch(batch.source, batch.labels, batch.target[:1] * views), step=0)
