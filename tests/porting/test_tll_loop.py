"""A loop that calls what Transfer-Learning-Library's example calls, in its order, and the same numbers by formula."""

import copy
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR

from dalib.adaptation.self_ensemble import (
    ClassBalanceLoss,
    ConsistencyLoss,
    EmaTeacher,
    ImageClassifier,
    L2ConsistencyLoss,
    ramp_up,
)

CLASSES, WIDTH = 3, 6
OPTIONS = SimpleNamespace(
    alpha=0.8, threshold=0.42, trade_off_cons=3, trade_off_balance=0.5, lr=1e-2, lr_gamma=0.001, lr_decay=0.75
)
KEYS = {
    *("backbone.0.weight", "backbone.0.bias", "backbone.1.weight", "backbone.1.bias"),
    *("backbone.1.running_mean", "backbone.1.running_var", "backbone.1.num_batches_tracked"),
    *("bottleneck.0.weight", "bottleneck.0.bias", "bottleneck.1.weight", "bottleneck.1.bias"),
    *("bottleneck.1.running_mean", "bottleneck.1.running_var", "bottleneck.1.num_batches_tracked"),
    *("head.weight", "head.bias"),
}


class Backbone(nn.Sequential):
    """As theirs: feature maps come out, and ``out_features`` is a property."""

    def __init__(self):
        super().__init__(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())

    @property
    def out_features(self) -> int:
        return 8


@pytest.fixture(autouse=True)
def doubles():
    torch.set_default_dtype(torch.float64)  # so that a difference is one of method and not of rounding
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def batches(steps: int) -> list[tuple[torch.Tensor, ...]]:
    """Source images and their classes, and two views of target images."""
    generator = torch.Generator().manual_seed(1)
    patterns = torch.randn(CLASSES, 3, 6, 6, generator=generator)
    made = []
    for _ in range(steps):
        source, target = torch.randint(CLASSES, (2, 8), generator=generator)
        noise = torch.randn(3, 8, 3, 6, 6, generator=generator)
        made.append((patterns[source] + noise[0], source, patterns[target] + noise[1], patterns[target] + noise[2]))
    return made


def train_as_their_example_does(classifier: ImageClassifier, data, options=OPTIONS):
    """Our loop with their calls: which arguments go where, which are named, and what is unpacked."""
    rate = Rate(options)
    optimizer = Adam(classifier.get_parameters(), options.lr)
    scheduler = LambdaLR(optimizer, rate)  # the groups come with 1 and 0.1, and the schedule holds the rate itself
    teacher = EmaTeacher(classifier, alpha=options.alpha)
    consistency, balance = L2ConsistencyLoss().to("cpu"), ClassBalanceLoss(CLASSES).to("cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch prefers get_last_lr
        assert scheduler.get_lr()[-1] == options.lr

    classifier.train()
    teacher.train()
    confident_shares = []
    for source, labels, student_view, teacher_view in data:
        source_logits, _ = classifier(source)
        student_logits, _ = classifier(student_view)
        teacher_logits, _ = teacher(teacher_view)
        student, average = F.softmax(student_logits, dim=1), F.softmax(teacher_logits, dim=1)
        largest, _ = average.max(dim=1)
        confident = (largest > options.threshold).float()
        weighted = (
            F.cross_entropy(source_logits, labels),
            options.trade_off_cons * consistency(student, average, confident),
            options.trade_off_balance * (balance(student) * confident.mean()),
        )
        optimizer.zero_grad()
        sum(weighted).backward()
        optimizer.step()
        scheduler.step()
        teacher.update()
        confident_shares.append(confident.mean().item())
    return teacher, confident_shares


class Rate:
    """Their learning rate at a step."""

    def __init__(self, options):
        self.options = options

    def __call__(self, step: int) -> float:
        return self.options.lr / (1 + self.options.lr_gamma * step) ** self.options.lr_decay


def forward_by_formula(state, images):
    """Logits of batches in training mode, whose statistics are the batch's own."""
    maps = F.conv2d(images, state["backbone.0.weight"], state["backbone.0.bias"])
    maps = F.batch_norm(maps, None, None, state["backbone.1.weight"], state["backbone.1.bias"], training=True)
    pooled = maps.clamp_min(0).flatten(2).mean(dim=2)
    hidden = pooled @ state["bottleneck.0.weight"].T + state["bottleneck.0.bias"]
    hidden = (hidden - hidden.mean(dim=0)) / (hidden.var(dim=0, correction=0) + 1e-5).sqrt()
    hidden = (hidden * state["bottleneck.1.weight"] + state["bottleneck.1.bias"]).clamp_min(0)
    return hidden @ state["head.weight"].T + state["head.bias"]


def train_by_formula(start, data, options=OPTIONS):
    """The same training with nothing of the library's: dicts of weights, and the objective written out."""
    student = {name: value.clone().requires_grad_() for name, value in start.items()}
    teacher = {name: value.clone() for name, value in start.items()}
    rate = {name: 0.1 if name.startswith("backbone") else 1.0 for name in start}
    optimizer = Adam([{"params": [value], "lr": rate[name]} for name, value in student.items()])
    for step, (source, labels, first, second) in enumerate(data):
        for group, name in zip(optimizer.param_groups, student, strict=True):
            group["lr"] = rate[name] * Rate(options)(step)
        p = forward_by_formula(student, first).exp()
        p = p / p.sum(dim=1, keepdim=True)
        q = forward_by_formula(teacher, second).exp()
        q = q / q.sum(dim=1, keepdim=True)
        mask = torch.tensor([float(row.max() > options.threshold) for row in q])
        log_p = forward_by_formula(student, source).log_softmax(dim=1)
        loss = -log_p[range(len(labels)), labels].mean()
        loss = loss + options.trade_off_cons * torch.einsum("nc,nc,n->", p - q, p - q, mask) / len(p)
        mean, share = p.mean(dim=0), 1 / CLASSES
        entropy = -(share * mean.log() + (1 - share) * (1 - mean).log()).sum() / CLASSES
        loss = loss + options.trade_off_balance * entropy * mask.sum() / len(p)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for name, average in teacher.items():
            teacher[name] = options.alpha * average + (1 - options.alpha) * student[name].detach()
    return student, teacher


def made_classifier(**settings) -> ImageClassifier:
    return ImageClassifier(Backbone(), CLASSES, bottleneck_dim=WIDTH, pool_layer=None, finetune=True, **settings).to(
        torch.device("cpu")
    )


def test_their_loop_gives_the_numbers_of_the_formulas():
    classifier = made_classifier()
    start = {name: value.detach().clone() for name, value in classifier.named_parameters()}
    data = batches(steps=10)
    teacher, shares = train_as_their_example_does(classifier, data)
    student_weights, teacher_weights = train_by_formula(start, data)
    assert 0.1 < np.mean(shares) < 0.9  # some images count and some do not
    # Adam makes steps of the rounding in the gradients of biases that a BatchNorm follows, which are 0
    for name, value in classifier.named_parameters():
        torch.testing.assert_close(value, student_weights[name], rtol=0, atol=1e-7)
        torch.testing.assert_close(teacher.state_dict()[name], teacher_weights[name], rtol=0, atol=1e-7)
    moved = max((student_weights[name] - start[name]).abs().max().item() for name in start)
    apart = max((student_weights[name] - teacher_weights[name]).abs().max().item() for name in start)
    assert moved > 1e-3
    assert apart > 1e-3


def test_their_script_round_the_loop(tmp_path):
    backbone = Backbone()
    options = {"bottleneck_dim": WIDTH, "pool_layer": None, "finetune": True}
    classifier = ImageClassifier(backbone, CLASSES, **options)
    pretrained = ImageClassifier(backbone, CLASSES, **options)  # of the same backbone, as their script has it
    torch.save(pretrained.state_dict(), tmp_path / "pretrain.pth")
    classifier.load_state_dict(torch.load(tmp_path / "pretrain.pth", map_location="cpu"))
    assert torch.equal(classifier.head.weight, pretrained.head.weight)

    train_as_their_example_does(classifier, batches(steps=2))
    torch.save(classifier.state_dict(), tmp_path / "latest.pth")

    images = batches(steps=1)[0][0]
    classifier.eval()
    with torch.no_grad():
        logits = classifier(images)
    assert logits.shape == (8, CLASSES)

    fresh = made_classifier().eval()
    fresh.load_state_dict(torch.load(tmp_path / "latest.pth"))
    torch.testing.assert_close(fresh(images), logits)
    extractor = nn.Sequential(fresh.backbone, fresh.pool_layer, fresh.bottleneck).eval()
    assert extractor(images).shape == (8, fresh.features_dim) == (8, WIDTH)


def test_no_pool_and_from_scratch():
    class Flat(nn.Module):
        out_features = 5

        def forward(self, images):
            return images.flatten(1)[:, :5]

    classifier = ImageClassifier(Flat(), CLASSES, bottleneck_dim=WIDTH, pool_layer=nn.Identity(), finetune=False)
    assert classifier(torch.randn(4, 3, 2, 2))[0].shape == (4, CLASSES)
    assert {group["lr"] for group in classifier.get_parameters()} == {1.0}


def test_a_state_dict_has_the_keys_of_theirs():
    classifier = made_classifier()
    assert set(classifier.state_dict()) == KEYS
    assert set(EmaTeacher(classifier, 0.9).state_dict()) == KEYS


def test_two_groups_where_theirs_has_three():
    classifier = made_classifier()
    groups = classifier.get_parameters(base_lr=0.1)
    assert [round(group["lr"], 6) for group in groups] == [0.01, 0.1]
    assert [len(group["params"]) for group in groups] == [4, 6]
    classifier.backbone.requires_grad_(False)
    assert [group["lr"] for group in classifier.get_parameters(base_lr=0.1)] == [0.1]


def test_the_second_prediction_is_a_constant_and_no_mask_counts_all():
    p, q = torch.randn(2, 5, CLASSES).softmax(dim=2).requires_grad_().unbind()
    q.retain_grad()
    loss = L2ConsistencyLoss()(p, q)
    torch.testing.assert_close(loss, L2ConsistencyLoss()(p, q, torch.ones(5)))
    loss.backward()
    assert q.grad is None


@pytest.mark.parametrize("mask", [torch.ones(4, 1), torch.ones(1)])
def test_a_mask_that_would_broadcast_is_refused(mask):
    p, q = torch.randn(2, 4, CLASSES).softmax(dim=2)
    with pytest.raises(ValueError, match=r"^mask: expected shape \(4,\)"):
        L2ConsistencyLoss()(p, q, mask)


def test_a_distance_without_one_number_an_image_is_refused():
    p, q = torch.randn(2, 4, CLASSES).softmax(dim=2)
    with pytest.raises(ValueError, match="one distance per image"):
        ConsistencyLoss(F.mse_loss)(p, q, torch.ones(4))


def test_sum_is_a_sum():
    p, q = torch.randn(2, 4, CLASSES).softmax(dim=2)
    mask = torch.tensor([1.0, 0.0, 1.0, 1.0])
    expected = sum(mask[i] * ((p[i] - q[i]) ** 2).sum() for i in range(4))
    torch.testing.assert_close(L2ConsistencyLoss(reduction="sum")(p, q, mask), expected)
    torch.testing.assert_close(L2ConsistencyLoss(reduction="none")(p, q, mask).sum(), expected)


def test_class_balance_is_torchs_cross_entropy_with_a_bounded_gradient_where_nobody_predicts_a_class():
    p = torch.randn(6, CLASSES).softmax(dim=1)
    uniform = torch.full((CLASSES,), 1 / CLASSES)
    torch.testing.assert_close(ClassBalanceLoss(CLASSES)(p), F.binary_cross_entropy(p.mean(dim=0), uniform))
    gradients = []
    for loss in (ClassBalanceLoss(CLASSES), lambda vanished: F.binary_cross_entropy(vanished.mean(dim=0), uniform)):
        vanished = torch.tensor([[0.5, 0.5, 0.0]] * 4, requires_grad=True)
        loss(vanished).backward()
        gradients.append(vanished.grad[:, 2])
    assert (gradients[0] < -1e4).all()
    torch.testing.assert_close(gradients[1] / gradients[0], torch.full((4,), 1e6), rtol=1e-3, atol=0)


def test_their_module_is_here_for_every_student():
    student = nn.Linear(2, 2)
    teacher = EmaTeacher(student, 0.5)
    assert isinstance(teacher.module, nn.Linear)
    wrapped = EmaTeacher(nn.DataParallel(student), 0.5)
    assert set(wrapped.state_dict()) == {"weight", "bias"}


def test_their_decay_that_grows_is_the_warm_up():
    student = nn.Linear(2, 2)
    by_hand, ours = EmaTeacher(student, 0.75), EmaTeacher(student, 0.75, warmup=True)
    for step in range(1, 9):
        with torch.no_grad():
            student.weight.add_(torch.randn(2, 2))
        by_hand.set_alpha(min(0.75, 1 - 1 / step))
        by_hand.update()
        ours.update()
        torch.testing.assert_close(ours.module.weight, by_hand.module.weight)
    assert (ours.module.weight - student.weight).abs().max() > 1e-3


def test_their_update_bn_is_a_policy_that_misses_no_layer():
    classifier = made_classifier()
    own, copied = EmaTeacher(classifier, 0.9), EmaTeacher(classifier, 0.9, buffers="copy")
    classifier(torch.randn(8, 3, 6, 6))
    for teacher in (own, copied):
        teacher.update()
    for name, value in classifier.named_buffers():
        assert torch.equal(copied.state_dict()[name], value), name
        assert not torch.equal(own.state_dict()[name], value), name


def test_the_teacher_keeps_the_statistics_of_its_own_batches():
    classifier = made_classifier()
    teacher = EmaTeacher(classifier, 0.9)
    twin = copy.deepcopy(classifier)
    images = torch.randn(8, 3, 6, 6)
    teacher.train()
    teacher(images)
    teacher.update()
    functional_call(twin, dict(twin.named_parameters()), (images,))
    for name, value in twin.named_buffers():
        assert torch.equal(teacher.state_dict()[name], value), name


@pytest.mark.parametrize("steps", [0, 10])
def test_the_ramp_up_is_their_sigmoid_warm_up(steps):
    for step in range(15):
        theirs = 1.0 if steps == 0 else np.exp(-5 * (1 - min(step, steps) / steps) ** 2)
        assert ramp_up(step, steps) == pytest.approx(theirs)
