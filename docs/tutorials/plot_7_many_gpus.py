"""
Several processes, several GPUs
===============================

At the end you will have trained with one process and with two, checked that both reach the same weights up to
rounding where this is promised, and know the commands for several GPUs and for SLURM.

No GPU is needed: two processes on one machine, which communicate by gloo, stand for two GPUs. The results
hold for ``torchrun`` with any number of processes.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from dalib.data.digits import handwritten_digits, render_digits

ADAPTED, SOURCE_ONLY = "#0072b2", "#b85c00"  # distinct for colour-blind readers, too
plt.style.use({"axes.spines.top": False, "axes.spines.right": False, "figure.constrained_layout.use": True})

folder = Path(tempfile.mkdtemp(prefix="dalib-"))
environment = {**os.environ, "OMP_NUM_THREADS": "1", "DALIB_CACHE": str(folder / "cache")}

# %%
# The same sum
# ------------
#
# A batch of 32 in one process, or of 16 in each of two: the gradients of the parts, averaged, are the gradient of the
# whole. This holds for class balance, too, whose mean prediction is taken over all processes. To show it, everything
# else that may differ is left out: this network has no batch normalisation, and these views are not random. Only
# the order in which numbers are added still differs.
#
# Each process runs this program. The first process writes the loss and the teacher's weights of each step.

WORKER = """
import json, sys
import torch
from torch import nn
from dalib.adaptation.self_ensemble import SelfEnsemble
from dalib.data.stream import DomainViews, Sampling, TwoDomainStream
from dalib.engine.distributed import joined, mean_over_ranks


def main():
    torch.set_num_threads(1)
    with joined() as world:
        generator = torch.Generator().manual_seed(0)
        source, target = torch.randn(2, 400, 6, generator=generator, dtype=torch.float64)
        labels = (source[:, 0] > 0).long() + (source[:, 1] > 0).long()
        torch.manual_seed(1)
        network = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3)).double()
        method = SelfEnsemble(network, 3, alpha=0.9, threshold=0.5, class_balance_weight=0.3)
        batches = TwoDomainStream(
            source, labels, target + 0.5,
            views=DomainViews(
                lambda rows, generator: rows, (lambda rows, generator: rows, lambda rows, generator: 1.1 * rows)
            ),
            sampling=Sampling(32 // world.size, seed=0, rank=world.rank, world=world.size),
            device=torch.device("cpu"),
        )
        optimizer = torch.optim.SGD(network.parameters(), lr=0.2, momentum=0.9)
        course = []
        for step in range(150):
            loss = method.loss(batches.batch_at(step), step).total
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            method.after_step(step)
            weights = torch.cat([each.flatten() for each in method.predictor().parameters()])
            course.append({"loss": mean_over_ranks(loss.detach()).item(), "weights": weights.tolist()})
        if world.first:
            json.dump(course, open(sys.argv[1], "w"))


main()
"""
(folder / "worker.py").write_text(WORKER)


def printed_by(line: list[str]) -> str:
    """Runs a Python command in the folder and returns its output."""
    print("$", *line, flush=True)
    known = {"python": [sys.executable], "torchrun": [sys.executable, "-m", "torch.distributed.run"]}
    done = subprocess.run(  # noqa: S603 - our own programs
        known[line[0]] + line[1:], cwd=folder, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


two_processes = ["torchrun", "--standalone", "--nproc-per-node", "2"]
courses = {}
for processes, start in ((1, ["python"]), (2, two_processes)):
    printed_by([*start, "worker.py", f"course-{processes}.json"])
    courses[processes] = json.loads((folder / f"course-{processes}.json").read_text())

weights = {processes: np.array([each["weights"] for each in course]) for processes, course in courses.items()}
differences = np.abs(weights[1] - weights[2]).max(axis=1)
greatest, moved = float(differences.max()), float(np.abs(weights[1][-1] - weights[1][0]).max())
print(f"weights moved by up to {moved:.2f}; one process and two differ by {greatest:.1e} at most")

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3))
left.plot([each["loss"] for each in courses[1]], color=SOURCE_ONLY, label="one process, 32")
left.plot([each["loss"] for each in courses[2]], color=ADAPTED, ls="--", label="two processes, 16 each")
left.set(xlabel="step", ylabel="loss", ylim=(0, None))
left.legend(frameon=False)
right.semilogy(np.where(differences > 0, differences, np.nan), color=ADAPTED)
right.axhline(moved, color="0.4", ls=":")
right.annotate("how far the weights moved", (0, moved), (0, -11), textcoords="offset points", fontsize=8, color="0.3")
right.set(xlabel="step", ylabel="greatest difference of a weight")
plt.show()

# %%
# What differs
# ------------
#
# - Augmentation is drawn for each process, and batch normalisation uses its process's part of the batch (unless
#   ``--sync_norms true``, on GPUs). Real runs of one process and of two therefore differ as runs of two seeds do.
# - ``--batch`` is the size of the global batch: a recipe keeps its meaning, and each process gets less work. Batch
#   normalisation needs the part of each process to be large enough.
#
# A whole run
# -----------
#
# The command is the same, behind ``torchrun``. The first process prints, judges and writes; there is one folder and
# one report.

printed, digits = render_digits(400, seed=0)
for number, (image, digit) in enumerate(zip(printed, digits, strict=True)):
    path = folder / "printed" / str(digit) / f"{number:04}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
(folder / "handwritten").mkdir()
for number, image in enumerate(handwritten_digits()[0][:200]):
    Image.fromarray(image).save(folder / "handwritten" / f"{number:04}.png")

settings = "--source printed --target handwritten --data.size 16 --data.channels 1 --self_ensemble.threshold 0.5"
settings += " --steps 30 --batch 32 --device cpu"
print(printed_by([*two_processes, "-m", "dalib", "train", *settings.split(), "--out", "two"]))
summary = json.loads((folder / "two" / "summary.json").read_text())
print("trained on:", summary["device"])

# %%
# A stopped run resumes with any number of processes, and bit for bit with the same number::
#
#     torchrun --nproc-per-node 4 -m dalib train --resume two
#
# What to try next
# ----------------
#
# The GPUs of one machine; several machines; and SLURM, where rank, world size and address are read from its variables::
#
#     torchrun --nproc-per-node 8 -m dalib train --source renders/ --target photos/ --out runs/eight
#     torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29500 -m dalib train ...
#     srun --nodes 2 --ntasks-per-node 8 --gpus-per-node 8 python -m dalib train ...
#
# ``docs/scaling.md`` describes what the processes share and what limits scaling. nccl has not been tried yet; the runs
# above used gloo.
