"""The preset ``paper-small`` against an implementation of its own, written from the paper's facts and not from ours.

Taken over are the random views, which tests/augment/ checks, and the seed of dropout.
"""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dalib.core.seeds import derive_seed
from dalib.core.types import Batch
from dalib.data.domain_images import LabelledImages, UnlabelledImages
from dalib.engine.fit import Every, fit
from dalib.engine.runlog import MetricsLog
from dalib.models.dropout import Dropout
from dalib.run.recipe import image_network, recipe
from dalib.run.settings.presets import from_preset
from dalib.run.start.domains import Domains

STEPS, BATCH = 6, 16


def network():
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 5), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3), nn.BatchNorm2d(64), nn.ReLU()),
        *(nn.Conv2d(64, 64, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Dropout(0.5), nn.Linear(1024, 256), nn.ReLU(), nn.Linear(256, 10)),
    )


class Adam:
    """Kingma & Ba 2015, algorithm 1, with the paper's rate."""

    def __init__(self, parameters):
        self.parameters = list(parameters)
        self.first = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.second = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.time = 0

    @torch.no_grad()
    def step(self):
        self.time += 1
        for parameter, m, v in zip(self.parameters, self.first, self.second, strict=True):
            m.mul_(0.9).add_(0.1 * parameter.grad)
            v.mul_(0.999).add_(0.001 * parameter.grad**2)
            unbiased = m / (1 - 0.9**self.time), v / (1 - 0.999**self.time)
            parameter -= 1e-3 * unbiased[0] / (unbiased[1].sqrt() + 1e-8)
            parameter.grad = None


def in_float64(batch):
    return Batch(batch.source.double(), batch.labels, tuple(view.double() for view in batch.target))


def independent(batches, weights):
    """Student and teacher after the steps on these batches, and the loss of each step."""
    student, teacher = network(), network()
    for model in (student.double(), teacher.double()):
        model.load_state_dict(dict(zip(model.state_dict(), weights, strict=True)))
        model.train()
    optimizer, losses = Adam(student.parameters()), []
    for step, (source, labels, student_view, teacher_view) in enumerate(batches):
        torch.manual_seed(derive_seed(0, "dropout", step, 0))
        log_p = student(source).log_softmax(1)
        supervised = -sum(log_p[row, label] for row, label in enumerate(labels)) / len(labels)
        p = student(student_view).exp()
        p = p / p.sum(1, keepdim=True)
        with torch.no_grad():
            q = teacher(teacher_view).softmax(1)
        total = 0.0
        for row in range(len(p)):
            if q[row].max() > 1 - 10**-1.5:
                total = total + sum((p[row, k] - q[row, k]) ** 2 for k in range(10)) / 10
        loss = supervised + 3 * total / len(p)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
                slow.copy_(0.99 * slow + 0.01 * fast)
        losses.append(loss.item())
    return student, teacher, losses


@pytest.fixture(scope="module")
def domains():
    """Ten kinds of stripes, so easy that the teacher of a few steps is sure of some images."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 10
    stripes = torch.zeros(200, 1, 28, 28)
    for index, label in enumerate(labels.tolist()):
        stripes[index, 0, 2 * label + 2 : 2 * label + 8] = 200
    images = (stripes + 40 * torch.rand(stripes.shape, generator=generator)).byte()
    names = tuple(map(str, range(200)))
    source = LabelledImages(images, labels, tuple("0123456789"), names)
    target = images.flip(0)
    return Domains(source, source, UnlabelledImages(target, names), target)


def test_its_steps_are_those_of_an_independent_implementation(domains, tmp_path, monkeypatch):
    monkeypatch.setattr(Dropout, "forward", torch.nn.Dropout.forward)  # the same masks as the other's
    config = from_preset("paper-small", source="mnist", target="usps", steps=STEPS, batch=BATCH)
    preprocessing = image_network.make_preprocessing(config)
    inputs = image_network.image_inputs(config, preprocessing)
    training = recipe.make_training(config, inputs, domains.train, domains.target, torch.device("cpu"), steps=STEPS)
    # in float64, because Adam makes whole steps of gradients that are zero but for rounding: a bias before BatchNorm
    for model in (training.method.student, training.method.predictor()):
        model.double()
    batch_at = training.stream.batch_at
    training.stream.batch_at = lambda step: in_float64(batch_at(step))
    weights = [tensor.clone() for tensor in training.method.student.state_dict().values()]
    weights[-2:] = [weights[-2] * 40, weights[-1]]  # a head that is sure from the start: the mask lets some pass
    training.method.load_state_dict(
        {
            "student": dict(zip(training.method.student.state_dict(), weights, strict=True)),
            "teacher": dict(zip(training.method.student.state_dict(), weights, strict=True)),
            "teacher_updates": 0,
        }
    )
    batches = [training.stream.batch_at(step) for step in range(STEPS)]
    student, teacher, losses = independent([(b.source, b.labels, *b.target) for b in batches], weights)

    lines = []
    fit(training, MetricsLog(tmp_path / "metrics.jsonl", on_line=lines.append), every=Every(log=1))
    rates = [line["mask_rate"] for line in lines]
    assert 0 < sum(rates) < STEPS, "the mask must let some images pass and hold some back, or nothing is compared"
    assert [line["loss"] for line in lines] == pytest.approx(losses, rel=1e-6)  # logged in float32
    ours = training.method.state_dict()
    for mine, theirs in ((ours["student"], student), (ours["teacher"], teacher)):
        for (name, a), b in zip(mine.items(), theirs.state_dict().values(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-7, msg=lambda text, name=name: f"{name}: {text}")


def test_an_epoch_is_the_larger_of_both_sets_and_there_are_300(domains):
    config = from_preset("paper-small")
    assert config.batch == 256
    assert recipe.steps_for(config, len(domains.train.labels), len(domains.target.names)) == math.ceil(300 * 200 / 256)


def test_its_views_translate_by_two_pixels_bend_the_matrix_by_a_tenth_and_add_noise_of_a_tenth():
    config = from_preset("paper-small")
    views = image_network.make_views(config, image_network.make_preprocessing(config))
    assert views.source == views.student == views.teacher
    images = torch.zeros(4000, 1, 28, 28, dtype=torch.uint8)
    images[:, :, 8:20, 8:20] = 255
    seen = views.student(images, torch.Generator().manual_seed(0))
    # far from the square only ground and noise are left; beyond the border zeros, the mean of a standardised image
    ground = (images[:1].float() / 255 - (144 / 784)) / math.sqrt(144 / 784 * (1 - 144 / 784))
    corner = seen[:, 0, 3, 3]
    assert corner[corner.abs() < 2].std() < 0.25
    assert corner.median().item() == pytest.approx(ground[0, 0, 0, 0].item(), abs=0.02)
    # centres of mass: a uniform shift in +-2 has standard deviation 2 / sqrt(3)
    ink = (seen - ground[0, 0, 0, 0]).clamp_min(1)[:, 0] - 1
    across = (ink.sum(1) * torch.arange(28)).sum(1) / ink.sum((1, 2))
    assert across.std().item() == pytest.approx(2 / math.sqrt(3), rel=0.1)
    assert F.l1_loss(across.mean(), torch.tensor(13.5)) < 0.1
