"""The contract of :class:`dalib.core.types.Method`, which every method fulfils alike.

Methods of the list are in it by themselves, built from their settings; variants of some stand beside them.
"""

import dataclasses
import io

import pytest
import torch
from torch import nn

from dalib.adaptation.adamatch import AdaMatch
from dalib.adaptation.fixmatch import FixMatch
from dalib.adaptation.inputs import MethodInputs
from dalib.adaptation.losses import binary_cross_entropy_distance, kl_divergence_distance, squared_distance
from dalib.adaptation.masked_consistency import MaskedConsistency
from dalib.adaptation.mcc import Mcc
from dalib.adaptation.mean_teacher import MeanTeacher
from dalib.adaptation.methods import METHODS as LIST
from dalib.adaptation.methods import adapts, method_class, one_of_the_methods, settings_of_method
from dalib.adaptation.self_ensemble import SelfEnsemble
from dalib.adaptation.source_only import SourceOnly
from dalib.core.types import Batch, Losses, Method
from dalib.judge.evidence import Confidence
from dalib.models.classifier import ImageClassifier

CLASSES = 3


def convolutional() -> nn.Module:
    backbone = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.3))
    backbone.out_features = 6
    return ImageClassifier(backbone, CLASSES, bottleneck_dim=5)


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, CLASSES))


def self_ensemble(student: nn.Module, **settings) -> SelfEnsemble:
    return SelfEnsemble(student, CLASSES, **{"threshold": 0.0, "class_balance_weight": 0.1, "alpha": 0.9} | settings)


def listed(name: str, **inputs):
    """Builds a method of the list from its settings, in which every target image counts."""
    settings = None if settings_of_method(name) is None else settings_of_method(name)()
    if hasattr(settings, "threshold"):
        settings = dataclasses.replace(settings, threshold=0.0)
    return lambda student: method_class(name).build(settings, MethodInputs(student, CLASSES, steps=10, **inputs))


def masked(make):
    return lambda student: MaskedConsistency(make(student), threshold=0.0)


LISTED = {f"{name}, listed": listed(name) for name in LIST}
LISTED |= {f"{name}, masked": masked(make) for name, make in LISTED.items() if make(perceptron()).target_views}
SELF_ENSEMBLES = {
    "mean squared": self_ensemble,
    "squared, ramp-up": lambda student: self_ensemble(student, distance=squared_distance, ramp_up_steps=10),
    "binary cross-entropy": lambda student: self_ensemble(student, distance=binary_cross_entropy_distance),
    "kl, prior": lambda student: self_ensemble(
        student, distance=kl_divergence_distance, prior=torch.tensor([0.5, 0.3, 0.2])
    ),
    "warm-up, copied buffers": lambda student: self_ensemble(student, alpha_warmup=True, buffers="copy"),
    "averaged buffers, smoothing": lambda student: self_ensemble(student, buffers="ema", label_smoothing=0.1),
    "three teacher views": lambda student: self_ensemble(student, teacher_views=3),
}
WITH_TEACHER = SELF_ENSEMBLES | {
    "mean teacher": lambda student: MeanTeacher(student, alpha=0.9, ramp_up_steps=10),
    "fixmatch": lambda student: FixMatch(student, alpha=0.9, threshold=0.0),
    "adamatch": lambda student: AdaMatch(student, CLASSES, steps=10, alpha=0.9, threshold=0.0),
    "self-ensemble, masked": masked(self_ensemble),
}
WITH_TEACHER |= {
    name: make for name, make in LISTED.items() if (made := make(perceptron())).predictor() != made.student
}
METHODS = WITH_TEACHER | {"source only": SourceOnly, "mcc": Mcc, "mcc, masked": masked(Mcc)} | LISTED
WITHOUT_TEACHER = {name: make for name, make in METHODS.items() if name not in WITH_TEACHER}
every_method = pytest.mark.parametrize("make", METHODS.values(), ids=METHODS.keys())
every_teacher = pytest.mark.parametrize("make", WITH_TEACHER.values(), ids=WITH_TEACHER.keys())
every_student = pytest.mark.parametrize("make_student", [convolutional, perceptron])


def batch_for(method: Method, seed: int = 0, n: int = 9) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(1 + method.target_views, n, 1, 6, 6, generator=generator)
    return Batch(source=images[0], labels=torch.arange(n) % CLASSES, target=tuple(images[1:] + 1))


def optimizer_for(method: Method) -> torch.optim.Optimizer:
    return torch.optim.Adam(method.student.parameters(), lr=0.01)


def take_steps(method: Method, optimizer: torch.optim.Optimizer, steps: range) -> list[torch.Tensor]:
    totals = []
    for step in steps:
        torch.manual_seed(step)
        total = method.loss(batch_for(method, seed=step), step).total
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        method.after_step(step)
        totals.append(total.detach())
    return totals


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def same_tensors(a: nn.Module, b: nn.Module) -> bool:
    mine, other = a.state_dict(), b.state_dict()
    return mine.keys() == other.keys() and all(torch.equal(mine[name], other[name]) for name in mine)


@every_method
@every_student
def test_the_student_moves(make, make_student):
    torch.manual_seed(0)
    method = make(make_student())
    before = [parameter.detach().clone() for parameter in method.student.parameters()]
    take_steps(method, optimizer_for(method), range(1))
    moved = [not torch.equal(old, new) for old, new in zip(before, method.student.parameters(), strict=True)]
    assert all(moved)


@every_method
@every_student
def test_every_advertised_part_has_a_gradient_into_the_student(make, make_student):
    torch.manual_seed(0)
    method = make(make_student())
    losses = method.loss(batch_for(method), step=5)  # some weights begin at 0
    weights = [parameter for parameter in method.student.parameters() if parameter.ndim > 1]
    for name, part in losses.parts.items():
        assert part.ndim == 0, name
        gradients = torch.autograd.grad(part, weights, retain_graph=True)
        assert all((gradient != 0).any() and gradient.isfinite().all() for gradient in gradients), name


@every_method
def test_the_total_is_the_sum_of_the_parts(make):
    method = make(perceptron())
    losses = method.loss(batch_for(method), step=3)
    assert losses.total.item() == pytest.approx(sum(part.item() for part in losses.parts.values()))
    assert losses.total.requires_grad


def test_the_total_of_one_part_is_that_part():
    part = torch.tensor(2.0, requires_grad=True)
    assert Losses(parts={"only": part}).total is part


@every_method
def test_metrics_are_scalars_without_gradient_and_never_named_like_a_part(make):
    method = make(perceptron())
    losses = method.loss(batch_for(method), step=0)
    assert losses.metrics
    assert not losses.metrics.keys() & losses.parts.keys()
    for value in losses.metrics.values():
        assert value.ndim == 0
        assert not value.requires_grad
        assert 0 <= value <= 1


@every_teacher
def test_nothing_reaches_the_teacher(make):
    method = make(convolutional())
    method.loss(batch_for(method), step=0).total.backward()
    assert method.predictor() is not method.student
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in method.predictor().parameters())


@pytest.mark.parametrize("make", WITHOUT_TEACHER.values(), ids=WITHOUT_TEACHER.keys())
def test_without_a_teacher_the_student_is_the_predictor(make):
    method = make(perceptron())
    assert method.predictor() is method.student


@every_teacher
def test_the_optimizers_step_leaves_the_teacher_to_after_step(make):
    method = make(perceptron())
    optimizer = optimizer_for(method)
    take_steps(method, optimizer, range(2))
    weight = method.predictor()[1].weight
    before = weight.clone()
    method.loss(batch_for(method), step=2).total.backward()
    optimizer.step()
    assert torch.equal(weight, before)
    method.after_step(2)
    assert not torch.equal(weight, before)


@every_method
@every_student
def test_a_run_that_was_saved_and_loaded_goes_on_as_if_never_stopped(make, make_student):
    torch.manual_seed(0)
    method = make(make_student())
    optimizer = optimizer_for(method)
    take_steps(method, optimizer, range(3))
    state, optimizer_state = through_a_file([method.state_dict(), optimizer.state_dict()])

    torch.manual_seed(1)
    resumed = make(make_student())
    resumed_optimizer = optimizer_for(resumed)
    assert not same_tensors(resumed.predictor(), method.predictor())
    resumed.load_state_dict(state)
    resumed_optimizer.load_state_dict(optimizer_state)
    assert same_tensors(resumed.student, method.student)
    assert same_tensors(resumed.predictor(), method.predictor())

    never_stopped = take_steps(method, optimizer, range(3, 6))
    assert never_stopped == take_steps(resumed, resumed_optimizer, range(3, 6))
    assert same_tensors(resumed.student, method.student)
    assert same_tensors(resumed.predictor(), method.predictor())


@every_teacher
def test_the_state_holds_a_teacher_that_is_not_the_student(make):
    method = make(perceptron())
    take_steps(method, optimizer_for(method), range(3))
    state = method.state_dict()
    assert state["teacher"].keys() == state["student"].keys()
    assert not torch.equal(state["teacher"]["1.weight"], state["student"]["1.weight"])
    assert torch.equal(state["teacher"]["1.weight"], method.predictor()[1].weight)


def test_a_batch_has_no_place_for_target_labels():
    assert [field.name for field in dataclasses.fields(Batch)] == ["source", "labels", "target", "outside", "hints"]
    with pytest.raises(TypeError, match="target_labels"):
        Batch(torch.zeros(1), torch.zeros(1), (), target_labels=torch.zeros(1))
    with pytest.raises(dataclasses.FrozenInstanceError):
        Batch(torch.zeros(1), torch.zeros(1), ()).target_labels = torch.zeros(1)


@pytest.mark.parametrize(("make", "views"), [(self_ensemble, 2), (SourceOnly, 0), (Mcc, 1), (FixMatch, 2)])
def test_a_method_says_how_many_target_views_it_wants(make, views):
    assert make(perceptron()).target_views == views


@every_method
def test_a_method_takes_as_many_views_as_it_says_and_source_only_none(make):
    method = make(perceptron())
    assert isinstance(method.target_views, int)
    assert (method.target_views == 0) == isinstance(method, SourceOnly)


@every_method
def test_a_class_prior_that_is_set_is_kept_and_saved(make):
    method = make(perceptron())
    if method.class_prior is None:
        return
    shares = torch.tensor([0.1, 0.3, 0.6])
    assert method.class_prior.prior.shape == shares.shape
    assert not torch.equal(method.class_prior.prior, shares)
    method.class_prior.set_prior(shares)
    resumed = make(perceptron())
    resumed.load_state_dict(through_a_file(method.state_dict()))
    assert torch.equal(resumed.class_prior.prior, shares)
    with pytest.raises(ValueError, match="prior: expected"):
        method.class_prior.set_prior(torch.ones(CLASSES))


@pytest.mark.parametrize("name", LIST)
def test_a_listed_method_takes_what_every_method_is_given(name):
    torch.manual_seed(0)
    student, prior = perceptron(), torch.tensor([0.5, 0.3, 0.2])
    method = listed(name, prior=prior, label_smoothing=0.2)(student)
    assert method.student is student
    if method.class_prior is not None:
        assert torch.equal(method.class_prior.prior, prior)
    batch, plain = batch_for(method), listed(name)(student)
    torch.manual_seed(1)
    smooth = method.loss(batch, step=0).parts["supervised"]
    torch.manual_seed(1)
    assert smooth != plain.loss(batch, step=0).parts["supervised"]


@pytest.mark.parametrize("name", [name for name in LIST if settings_of_method(name) is not None])
def test_a_setting_below_its_range_is_named_in_the_error(name):
    made = settings_of_method(name)
    numbers = [field.name for field in dataclasses.fields(made) if field.type in (int, float)]
    assert numbers
    for setting in numbers:
        settings = made(**{setting: -1})
        with pytest.raises(ValueError, match=f"^{setting}: expected .*, got -1"):
            method_class(name).build(settings, MethodInputs(perceptron(), CLASSES, steps=10))


@pytest.mark.parametrize("name", LIST)
def test_a_class_says_what_its_method_does(name):
    made, method = method_class(name), listed(name)(perceptron())
    assert adapts(name) == (method.target_views > 0)
    assert made.takes_hints == hasattr(method, "refining")
    passes = []
    method.student.register_forward_pre_hook(lambda module, given: passes.append(given[0]))
    batch = batch_for(method)
    method.loss(batch, step=0)
    joint = any(
        len(given) > len(batch.source) and torch.equal(given[: len(batch.source)], batch.source) for given in passes
    )
    assert made.joins_domains == joint


@pytest.mark.parametrize("name", LIST)
def test_a_confidence_is_that_of_the_settings(name):
    settings = settings_of_method(name) and settings_of_method(name)()
    found = method_class(name).confidence(settings)
    assert found.threshold == getattr(settings, "threshold", Confidence().threshold)
    if hasattr(settings, "threshold"):
        assert method_class(name).confidence(dataclasses.replace(settings, threshold=0.25)).threshold == 0.25


@pytest.mark.parametrize("name", LIST)
def test_a_weight_that_rises_by_a_setting_has_its_whole_height_at_0(name):
    made, settings = method_class(name), settings_of_method(name) and settings_of_method(name)()
    if not made.rising:
        return
    parts = []
    for steps in (0, 10):
        torch.manual_seed(0)
        own = dataclasses.replace(settings, **dict.fromkeys(made.rising, steps))
        if hasattr(own, "threshold"):
            own = dataclasses.replace(own, threshold=0.0)
        method = made.build(own, MethodInputs(perceptron(), CLASSES, steps=1))
        parts.append([method.loss(batch_for(method), step).parts["consistency"].item() for step in (0, 20)])
    assert parts[0][0] > 10 * parts[1][0] > 0
    assert parts[0][1] == parts[1][1]


def test_a_remedy_names_the_methods_that_fit():
    assert str(one_of_the_methods(lambda method: not method.joins_domains)) == "method='self-ensemble'"


@pytest.mark.parametrize("make", [SelfEnsemble, SourceOnly, Mcc], ids=lambda made: made.__name__)
def test_a_label_smoothing_that_leaves_nothing_of_labels_is_refused(make):
    own = {"num_classes": CLASSES} if make is SelfEnsemble else {}
    with pytest.raises(ValueError, match="label_smoothing: expected a number in"):
        make(perceptron(), label_smoothing=1.0, **own)
    with pytest.raises(ValueError, match="label_smoothing: expected a number in"):
        MethodInputs(perceptron(), CLASSES, steps=10, label_smoothing=-0.1)


def test_stored_views_bound_those_of_the_teacher():
    settings = settings_of_method("self-ensemble")(teacher_views=5)
    for stored, views in ((0, 6), (4, 4), (8, 6)):
        inputs = MethodInputs(perceptron(), CLASSES, steps=10, stored_views=stored)
        assert method_class("self-ensemble").build(settings, inputs).target_views == views


def test_a_prior_that_is_set_changes_the_loss_and_goes_on_after_a_stop():
    prior = torch.tensor([0.8, 0.1, 0.1])
    method = self_ensemble(perceptron(), class_balance_weight=1.0, information_weight=1.0, threshold=0.0)
    batch = batch_for(method)
    before = method.loss(batch, step=0).parts
    method.set_prior(prior)
    after = method.loss(batch, step=0).parts
    assert before["class_balance"] != after["class_balance"]
    assert before["information"] != after["information"]
    gone_on = self_ensemble(perceptron(), class_balance_weight=1.0, information_weight=1.0, threshold=0.0)
    gone_on.load_state_dict(method.state_dict())
    torch.testing.assert_close(gone_on.class_balance_loss.prior, prior)
    with pytest.raises(ValueError, match="prior: expected"):
        method.set_prior(torch.ones(3))


def test_a_checkpoint_from_before_priors_were_kept_still_loads():
    method = self_ensemble(perceptron())
    state = method.state_dict()
    del state["prior"]
    self_ensemble(perceptron()).load_state_dict(state)
