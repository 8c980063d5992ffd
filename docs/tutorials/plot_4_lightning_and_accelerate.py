"""
In Lightning and in Accelerate
==============================

At the end you will have the method in a ``LightningModule`` and in a loop of Hugging Face Accelerate. Both update the
teacher at the right moment and save it in the checkpoint.

Both packages expect one network that learns. Here there are two, and the second, the teacher, is different:

- it is not optimised: the optimiser gets the student's parameters alone;
- it is not wrapped for several processes: it has no gradient to share, and each process averages the same student;
- it is part of the checkpoint only if you save it;
- it moves to the student's device only if you move it.

``EmaTeacher`` is not an ``nn.Module``, so the packages neither optimise nor wrap it; saving and moving it is your part.
Install both packages with ``pip install lightning accelerate``.
"""

import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import lightning
import matplotlib.pyplot as plt
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F

from dalib.adaptation.self_ensemble import (
    ClassBalanceLoss,
    EmaTeacher,
    ImageClassifier,
    L2ConsistencyLoss,
    self_ensemble_objective,
)
from dalib.data.digits import handwritten_digits, render_digits
from dalib.engine.distributed import mean_over_ranks
from dalib.judge.accuracy import wilson_interval

ADAPTED, SOURCE_ONLY, THIRD = "#0072b2", "#b85c00", "#00795a"  # distinct for colour-blind readers, too
plt.style.use({"axes.spines.top": False, "axes.spines.right": False, "figure.constrained_layout.use": True})
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", category=FutureWarning, module="lightning")  # about itself

folder = Path(tempfile.mkdtemp(prefix="dalib-"))
STEPS, BATCH = 120, 64

# %%
# Shared parts
# ------------
#
# Batches of a labelled source and of two views of an unlabelled target, a network, and the objective.


def as_images(pixels) -> Tensor:
    """uint8 (N, 8, 8) -> float32 (N, 1, 8, 8) in [0, 1]."""
    return torch.from_numpy(pixels).float()[:, None] / 255


printed, printed_labels = render_digits(2000, seed=0)
source, labels = as_images(printed), torch.from_numpy(printed_labels)
unlabelled, held_out_pixels, held_out_labels = handwritten_digits()
target, held_out, truth = as_images(unlabelled), as_images(held_out_pixels), torch.from_numpy(held_out_labels)


def view(images: Tensor) -> Tensor:
    """Each image turned, scaled, sheared and shifted a little, by itself."""
    linear = torch.eye(2) + 0.12 * torch.randn(len(images), 2, 2)
    shift = 0.12 * torch.randn(len(images), 2, 1)
    grid = F.affine_grid(torch.cat([linear, shift], dim=2), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


class Batches:
    """``STEPS`` random batches: source views, labels, and two views of the same target images."""

    def __len__(self) -> int:
        return STEPS

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        for _ in range(STEPS):
            rows, images = torch.randint(len(source), (BATCH,)), target[torch.randint(len(target), (BATCH,))]
            yield view(source[rows]), labels[rows], view(images), view(images)


class BothDomains(nn.Module):
    """The student on both domains, one after the other, in one forward pass."""

    def __init__(self) -> None:
        super().__init__()
        backbone = nn.Sequential(
            *(nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
            *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(64, 64, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.Flatten()),
        )
        backbone.out_features = 256
        self.student = ImageClassifier(backbone, num_classes=10, bottleneck_dim=64, finetune=False)

    def forward(self, source_view: Tensor, target_view: Tensor) -> tuple[Tensor, Tensor]:
        return self.student(source_view)[0], self.student(target_view)[0]


def objective(source_logits: Tensor, labels: Tensor, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Computes the loss of one step; ``mean_over_ranks`` does nothing in a single process."""
    return self_ensemble_objective(
        source_logits,
        labels,
        student_logits,
        teacher_logits,
        consistency_loss=L2ConsistencyLoss(),
        consistency_weight=3.0,
        threshold=0.8,
        class_balance_loss=ClassBalanceLoss(num_classes=10),
        class_balance_weight=0.1,
        mean_over_ranks=mean_over_ranks,
    ).total


@torch.no_grad()
def right(model: nn.Module) -> int:
    """Returns the number of held-out digits that a model predicts correctly in evaluation mode."""
    training = model.training
    logits = model.eval()(held_out)
    model.train(training)
    return int((logits.argmax(dim=1) == truth).sum())


# %%
# Lightning
# ---------
#
# ``optimizer_step`` is called once for each step of the optimiser, also with ``accumulate_grad_batches``;
# ``on_train_batch_end`` would be called for each part. Lightning saves and moves submodules only; the teacher is none,
# so hooks do both. Nothing here calls ``self.teacher.eval()``: the teacher computes its batch statistics in
# training mode, and Lightning, which does not know the teacher, leaves it in this mode during validation.


class Adaptation(lightning.LightningModule):
    """Self-ensembling as a LightningModule."""

    def __init__(self) -> None:
        super().__init__()
        self.both = BothDomains()
        self.teacher = EmaTeacher(self.both.student, alpha=0.98, warmup=True).train()

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor, Tensor], batch_idx: int) -> Tensor:
        source_view, classes, student_view, teacher_view = batch
        source_logits, student_logits = self.both(source_view, student_view)
        teacher_logits, _ = self.teacher(teacher_view)
        return objective(source_logits, classes, student_logits, teacher_logits)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.both.student.get_parameters(base_lr=2e-3))

    def optimizer_step(self, *args, **kwargs) -> None:
        super().optimizer_step(*args, **kwargs)
        self.teacher.update()

    def on_fit_start(self) -> None:
        self.teacher.module.to(self.device)

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["teacher"] = {"weights": self.teacher.state_dict(), "updates": self.teacher.updates}

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.teacher.load_state_dict(checkpoint["teacher"]["weights"])
        self.teacher.updates = checkpoint["teacher"]["updates"]


torch.manual_seed(0)
adaptation = Adaptation()
trainer = lightning.Trainer(
    max_steps=STEPS,
    accelerator="cpu",
    devices=1,
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
    default_root_dir=folder,
)
trainer.fit(adaptation, Batches())
trainer.save_checkpoint(folder / "lightning.ckpt")
in_lightning = {"student": right(adaptation.both.student), "teacher": right(adaptation.teacher.module)}

# %%
# After loading, the teacher is the one that was saved. Without the two hooks no error appears, and the teacher is a
# copy of a student with random weights.

torch.manual_seed(1)
loaded = Adaptation()
loaded.on_load_checkpoint(torch.load(folder / "lightning.ckpt", weights_only=True))
same = right(loaded.teacher.module) == in_lightning["teacher"]
print(f"teacher after loading: {right(loaded.teacher.module)} of {len(truth)} right, as before: {same}")


class Forgetful(Adaptation):
    """What happens without the hooks."""

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        pass


forgetful = Forgetful.load_from_checkpoint(folder / "lightning.ckpt")
forgotten = right(forgetful.teacher.module)
print(f"without on_load_checkpoint: student {right(forgetful.both.student)}, teacher {forgotten}")

# %%
# Accelerate
# ----------
#
# ``prepare`` wraps the student for several processes and mixed precision. The teacher is created afterwards from the
# unwrapped student, and is therefore on its device from the start. ``register_for_checkpointing`` takes any object with
# ``state_dict`` and ``load_state_dict``; the small class adds the number of updates, which the warm-up needs and the
# teacher's weights do not contain.


class Kept:
    """The teacher and its number of updates, saved together."""

    def __init__(self, teacher: EmaTeacher) -> None:
        self.teacher = teacher

    def state_dict(self) -> dict:
        return {"weights": self.teacher.state_dict(), "updates": self.teacher.updates}

    def load_state_dict(self, state: dict) -> None:
        self.teacher.load_state_dict(state["weights"])
        self.teacher.updates = state["updates"]


torch.manual_seed(0)
accelerator = Accelerator(cpu=True, gradient_accumulation_steps=1)
both = BothDomains()
optimizer = torch.optim.Adam(both.student.get_parameters(base_lr=2e-3))
both, optimizer = accelerator.prepare(both, optimizer)
student = accelerator.unwrap_model(both).student
teacher = EmaTeacher(student, alpha=0.98, warmup=True).train()
accelerator.register_for_checkpointing(Kept(teacher))

both.train()
for source_view, classes, student_view, teacher_view in Batches():
    with accelerator.accumulate(both):
        with accelerator.autocast():
            source_logits, student_logits = both(source_view, student_view)
            teacher_logits, _ = teacher(teacher_view)
        loss = objective(source_logits, classes, student_logits, teacher_logits)
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        if accelerator.sync_gradients:  # a step of the optimiser, and not a part of one
            teacher.update()
in_accelerate = {"student": right(student), "teacher": right(teacher.module)}

# %%
# Save, overwrite with zeros, and load again:

accelerator.save_state(str(folder / "accelerate"))
with torch.no_grad():
    for parameter in teacher.module.parameters():
        parameter.zero_()
spoilt = right(teacher.module)
accelerator.load_state(str(folder / "accelerate"))
restored = right(teacher.module)
print(f"teacher: {in_accelerate['teacher']} right, spoilt {spoilt}, loaded {restored}")

# %%
# Results
# -------
#
# From one seed both loops draw the same batches, and their counts show that they are the same training. A loop without
# the target is the baseline. The lines are 95% intervals for this number of held-out digits; they do not cover other
# seeds. After so few steps the student can be ahead of its average; after a longer training, use the average.

torch.manual_seed(0)
baseline = BothDomains().student
optimizer = torch.optim.Adam(baseline.get_parameters(base_lr=2e-3))
for source_view, classes, _, _ in Batches():
    optimizer.zero_grad()
    F.cross_entropy(baseline(source_view)[0], classes).backward()
    optimizer.step()
counts = {
    "source-only": (right(baseline), SOURCE_ONLY),
    "Lightning, student": (in_lightning["student"], THIRD),
    "Lightning, teacher": (in_lightning["teacher"], ADAPTED),
    "Accelerate, student": (in_accelerate["student"], THIRD),
    "Accelerate, teacher": (in_accelerate["teacher"], ADAPTED),
}
figure, axes = plt.subplots(figsize=(7, 2.8))
for name, (count, colour) in counts.items():
    low, high = wilson_interval(count, len(truth))
    print(f"{name:20} {count / len(truth):.1%} ({low:.1%} to {high:.1%})")
    axes.plot([100 * low, 100 * high], [name, name], color=colour)
    axes.plot(100 * count / len(truth), name, "o", color=colour)
axes.set(xlabel=f"accuracy on {len(truth)} held-out digits in percent")
axes.margins(y=0.12)
axes.invert_yaxis()
plt.show()

# %%
# With several processes
# ----------------------
#
# Under ``torchrun``, ``accelerate launch`` or ``Trainer(devices=2, strategy="ddp")``:
#
# - Use one forward pass for both domains. Accelerate wraps the student in ``DistributedDataParallel``, and two calls of
#   it before one backward pass raise an error with batch normalisation on some versions of torch; ``BothDomains``
#   is therefore the prepared module. Lightning wraps the whole module and calls ``training_step`` inside, which is one
#   pass already.
# - Inside, call the *network* twice, once for each domain, because batch normalisation must treat each domain by
#   itself.
# - The class-balance loss needs the mean prediction of the whole batch; the mean of the losses of each process's part
#   differs from it. ``mean_over_ranks`` computes it; ``self_ensemble_objective`` takes it as an argument.
# - Each process must draw other rows and other views: seed them by rank, which ``Batches`` above does not do.
# - Batch statistics of the teacher differ between processes. Before evaluating or saving, call
#   ``dalib.engine.distributed.average_buffers(teacher.module)`` in all of them.
#
# What to try next
# ----------------
#
# Save this file without its Lightning part as ``two.py``, draw rows and views by rank, and run
# ``torchrun --nproc-per-node 2 two.py``. (``accelerate launch --num_processes 2`` starts two processes if there are
# two GPUs, and one on a CPU.) Or use::
#
#     torchrun --nproc-per-node 2 -m dalib train --preset digits --source fonts --target digits --out runs/two
#
# which does all of the above by itself.
