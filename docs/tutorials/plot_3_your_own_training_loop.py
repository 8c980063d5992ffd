"""
The losses and the teacher in your own loop
===========================================

At the end you will have your own training loop of some thirty lines, with a teacher that classifies handwritten
digits better than a network trained on the printed ones alone.

The loop needs two losses and :class:`~dalib.adaptation.self_ensemble.EmaTeacher` from dalib. Data, network,
augmentation and optimiser are your own, and the loop below has one of each.
"""

import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dalib.adaptation.self_ensemble import ClassBalanceLoss, EmaTeacher, ImageClassifier, L2ConsistencyLoss
from dalib.data.digits import handwritten_digits, render_digits

ADAPTED, SOURCE_ONLY, THIRD = "#0072b2", "#b85c00", "#00795a"  # distinct for colour-blind readers, too
plt.style.use({"axes.spines.top": False, "axes.spines.right": False, "figure.constrained_layout.use": True})

# %%
# Your own data
# -------------
#
# Labelled source, unlabelled target, and held-out images with labels for evaluation, as tensors in [0, 1].


def as_images(pixels) -> Tensor:
    """uint8 (N, 8, 8) -> float32 (N, 1, 8, 8) in [0, 1]."""
    return torch.from_numpy(pixels).float()[:, None] / 255


printed, printed_labels = render_digits(2000, seed=0)
source, labels = as_images(printed), torch.from_numpy(printed_labels)
unlabelled, held_out_pixels, held_out_labels = handwritten_digits()
target, held_out, truth = as_images(unlabelled), as_images(held_out_pixels), torch.from_numpy(held_out_labels)

# %%
# Your own network
# ----------------
#
# ``ImageClassifier`` puts pooling, a bottleneck and a head on any module that has ``out_features``. Any other network
# that returns logits works as well. In training mode ``ImageClassifier`` returns logits and features, in evaluation
# mode the logits alone.


def network() -> ImageClassifier:
    backbone = nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(64, 64, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.Flatten()),
    )
    backbone.out_features = 256
    return ImageClassifier(backbone, num_classes=10, bottleneck_dim=64, finetune=False)


# %%
# Your own augmentation
# ---------------------
#
# Student and teacher must get *different* views of a target image: each call draws new parameters for each image.
# A flip would turn some digits into others; small rotations, scalings and shifts do not.


def view(images: Tensor) -> Tensor:
    """(N, 1, 8, 8) -> the same, each image turned, scaled, sheared and shifted a little, with noise."""
    linear = torch.eye(2) + 0.12 * torch.randn(len(images), 2, 2)
    shift = 0.12 * torch.randn(len(images), 2, 1)
    grid = F.affine_grid(torch.cat([linear, shift], dim=2), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False) + 0.05 * torch.randn_like(images)


# %%
# The loop
# --------
#
# With ``weight=0`` it is the source-only baseline and does not use the target. Four details matter:
#
# - source and target pass through the student in separate calls, so that batch normalisation treats each by itself;
# - the teacher receives no gradient, is not part of the optimiser, and stays in training mode, in which it keeps its
#   own batch statistics of the target;
# - only target images on which the teacher is confident count; at first there are none;
# - ``teacher.update()`` comes after the optimiser's step.

STEPS, BATCH = 200, 64


def train(weight: float) -> tuple[ImageClassifier, EmaTeacher, list[tuple[int, float, float, float]]]:
    """Student, teacher, and at times: step, confident share, held-out accuracy of student and teacher."""
    torch.manual_seed(0)
    student = network().train()
    teacher = EmaTeacher(student, alpha=0.98, warmup=True)
    consistency, balance = L2ConsistencyLoss(), ClassBalanceLoss(num_classes=10)
    optimizer = torch.optim.Adam(student.get_parameters(base_lr=2e-3))
    course = []
    for step in range(1, STEPS + 1):
        rows = torch.randint(len(source), (BATCH,))
        source_logits, _ = student(view(source[rows]))
        loss = F.cross_entropy(source_logits, labels[rows])
        confident = torch.zeros(BATCH, dtype=torch.bool)
        if weight:
            images = target[torch.randint(len(target), (BATCH,))]
            student_logits, _ = student(view(images))
            teacher_logits, _ = teacher(view(images))
            p, q = student_logits.softmax(dim=1), teacher_logits.softmax(dim=1)
            confident = q.amax(dim=1) > 0.8
            loss = loss + weight * consistency(p, q, confident)
            loss = loss + 0.1 * confident.float().mean() * balance(p)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        teacher.update()
        if step % 20 == 0:
            course.append((step, confident.float().mean().item(), accuracy(student), accuracy(teacher.module)))
    return student, teacher, course


# %%
# For the measurement the model switches to evaluation mode and back. The held-out labels serve this purpose only: a
# loop that stops at its best step by these labels has learnt from them.


@torch.no_grad()
def accuracy(model: nn.Module) -> float:
    """Share of the held-out digits that are right."""
    logits = model.eval()(held_out)
    model.train()
    return (logits.argmax(dim=1) == truth).float().mean().item()


baseline, _, baseline_course = train(weight=0)
student, teacher, course = train(weight=3)
source_only, of_student, of_teacher = accuracy(baseline), accuracy(student), accuracy(teacher.module)
print(
    f"source-only {source_only:.1%}, student {of_student:.1%}, teacher {of_teacher:.1%} of {len(truth)} held-out digits"
)

# %%
# The course of the training
# --------------------------
#
# Use the teacher. As an average of many steps it is steadier, and its batch statistics come from the target alone,
# while the student's mix both domains. The line above shows the final difference; on 597 images, less than two points
# may be chance.

steps, confident_share, student_course, teacher_course = zip(*course, strict=True)
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3))
left.plot(steps, [each[2] for each in baseline_course], color=SOURCE_ONLY, ls=":", label="source-only")
left.plot(steps, student_course, color=THIRD, ls="--", label="student")
left.plot(steps, teacher_course, color=ADAPTED, label="teacher")
left.set(xlabel="step", ylabel="accuracy on held-out digits", ylim=(0, 1))
left.legend(frameon=False, loc="lower right")
right.plot(steps, confident_share, color=ADAPTED)
right.set(xlabel="step", ylabel="share of target that counts", ylim=(0, 1))
plt.show()

# %%
# The checkpoint
# --------------
#
# A checkpoint needs the teacher, which cannot be recovered from the student. ``state_dict()`` has exactly the student's
# keys; also save the number of updates, which determines the warm-up::
#
#     torch.save({"student": student.state_dict(), "teacher": teacher.state_dict(), "updates": teacher.updates,
#                 "optimizer": optimizer.state_dict()}, "checkpoint.pt")
#
# What to try next
# ----------------
#
# The whole objective is one function to read beside the paper: ``self_ensemble_objective``. Replace ``source``,
# ``labels`` and ``target`` by your own tensors; with a pretrained backbone use ``finetune=True``, which trains it at a
# tenth of the learning rate. The same without a loop::
#
#     dalib train --preset digits --source printed/ --target handwritten/ --out runs/characters
