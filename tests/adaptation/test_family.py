"""The family's losses against the papers' equations, written again in NumPy."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from dalib.adaptation.adamatch import AdaMatch, aligned, rising_weight
from dalib.adaptation.fixmatch import FixMatch
from dalib.adaptation.masked_consistency import MaskedConsistency, masked
from dalib.adaptation.mcc import Mcc, class_confusion
from dalib.adaptation.mean_teacher import MeanTeacher
from dalib.adaptation.pseudo_labels import pseudo_label_loss
from dalib.adaptation.source_only import SourceOnly
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


# --- Mean Teacher


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


# --- FixMatch


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


# --- AdaMatch


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


def test_the_source_alone_leaves_no_trace_in_the_running_statistics():
    method, batch = AdaMatch(student_of(), CLASSES, steps=10), batch_of()
    joint = copy.deepcopy(method.student)
    joint(torch.cat([batch.source, *batch.target]))
    method.loss(batch, step=0)
    torch.testing.assert_close(method.student[0].running_mean, joint[0].running_mean)
    torch.testing.assert_close(method.student[0].running_var, joint[0].running_var)
    assert method.student[0].momentum == 0.1


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


# --- Minimum Class Confusion


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


# --- masked consistency


def image_batch(views: int = 2) -> Batch:
    images = torch.randn(1 + views, N, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Batch(images[0], torch.arange(N) % CLASSES, tuple(images[1:]))


def image_student() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES)).double()


def test_whole_patches_are_hidden_each_image_by_itself():
    torch.manual_seed(0)
    hidden = masked(torch.ones(200, 2, 8, 8), ratio=0.7, patch=0.25)
    patches = hidden.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
    assert torch.equal(patches.amin(dim=4), patches.amax(dim=4))
    assert torch.equal(hidden[:, 0], hidden[:, 1])
    assert hidden.mean().item() == pytest.approx(0.3, abs=0.03)
    assert not torch.equal(hidden[0], hidden[1])


def test_features_have_no_patches():
    with pytest.raises(ValueError, match="N, C, H, W"):
        masked(torch.ones(3, 5), 0.5, 0.5)


@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_masked_consistency_is_its_equation_beside_the_method(threshold):
    batch = image_batch()
    method = MaskedConsistency(Mcc(image_student()), weight=2.0, threshold=threshold, patch=0.25)
    batch = Batch(batch.source, batch.labels, batch.target[:1])
    q = softmax(logits_of(method.teacher.module, batch.target[0]))
    torch.manual_seed(3)
    z = logits_of(method.student, masked(batch.target[0], 0.7, 0.25))
    expected = 2 * (q.max(axis=1) > threshold).mean() * cross_entropy(z, q.argmax(axis=1)).mean()
    torch.manual_seed(3)
    losses = method.loss(batch, step=0)
    assert losses.parts["masked"].item() == pytest.approx(expected, rel=1e-6)
    alone = Mcc(image_student()).loss(batch, step=0)
    for name, part in alone.parts.items():
        assert losses.parts[name].item() == pytest.approx(part.item())


def test_a_method_without_target_views_is_given_none_of_them():
    method = MaskedConsistency(SourceOnly(image_student()))
    assert method.target_views == 1
    assert tuple(method.loss(image_batch(1), step=0).parts) == ("supervised", "masked")


def test_its_teacher_has_no_dropout_and_goes_on_after_a_stop():
    def make():
        return MaskedConsistency(SourceOnly(nn.Sequential(nn.Dropout(0.5), *image_student()).double()))

    method = make()
    assert not method.teacher.module[0].training
    assert method.teacher.module.training
    with torch.no_grad():
        method.student[2].weight += 1
    method.after_step(0)
    other = make()
    other.load_state_dict(method.state_dict())
    assert other.teacher.updates == 1
    assert torch.equal(other.teacher.module[2].weight, method.teacher.module[2].weight)


@pytest.mark.parametrize("settings", [{"ratio": 1.0}, {"patch": 0.0}, {"weight": -1.0}, {"threshold": 1.5}])
def test_masked_consistency_refuses_settings_out_of_range_by_name(settings):
    ((name, value),) = settings.items()
    with pytest.raises(ValueError, match=f"^{name}: expected .*, got {value}$"):
        MaskedConsistency(SourceOnly(image_student()), **settings)


# --- shared


def test_pseudo_labels_count_by_their_weights_over_all_images():
    z = torch.tensor([[0.0, 0.0], [0.0, 0.0], [9.0, 0.0]])
    loss = pseudo_label_loss(z, torch.tensor([0, 1, 0]), torch.tensor([0.5, 1.0, 0.0]))
    assert loss.item() == pytest.approx(1.5 * np.log(2) / 3)
    with pytest.raises(ValueError, match="logits, labels, weights"):
        pseudo_label_loss(z, torch.tensor([0, 1, 0]), torch.ones(3, 1))
