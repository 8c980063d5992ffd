"""
Choosing between runs without labels
====================================

At the end you will have ranked five runs, two of them spoilt on purpose, without a label of the target, and checked
with labels which scores are trustworthy.

Without target labels nobody can measure which settings are best. ``dalib compare`` ranks runs by properties of their
predictions: are they confident, are they diverse, do they follow the clusters of the features? Here the
labels are known, so that the ranking itself can be evaluated. Real targets have none, and no choice below uses them.
"""

import contextlib
import io
import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from PIL import Image
from safetensors.torch import load_file
from scipy.stats import spearmanr

import dalib
from dalib.data.digits import handwritten_digits, render_digits
from dalib.judge.evidence import Evidence, quick_scores

ADAPTED, SOURCE_ONLY, THIRD = "#0072b2", "#b85c00", "#00795a"  # distinct for colour-blind readers, too
plt.style.use({"axes.spines.top": False, "axes.spines.right": False, "figure.constrained_layout.use": True})

folder = Path(tempfile.mkdtemp(prefix="dalib-"))
os.environ["DALIB_CACHE"] = str(folder / "cache")  # beside the runs; you need not set it

# %%
# Two domains
# -----------
#
# Printed digits in a folder for each class; handwritten ones in a flat folder, whose labels are kept aside.

printed, printed_labels = render_digits(900, seed=0)
for number, (image, digit) in enumerate(zip(printed, printed_labels, strict=True)):
    path = folder / "printed" / str(digit) / f"{number:04}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
_, handwritten, labels = handwritten_digits()
handwritten, labels = handwritten[:300], labels[:300]
(folder / "handwritten").mkdir()
for number, image in enumerate(handwritten):
    Image.fromarray(image).save(folder / "handwritten" / f"{number:04}.png")
truth = torch.from_numpy(labels)

# %%
# Five runs
# ---------
#
# All runs start from one source-only run (``init``), which avoids training the same baseline five times. ``keep``
# makes the adapted model the selected model of each run: by default, a run would select the source-only model if
# adaptation is judged to have hurt, and little would be left to compare. ``select`` takes the last step for the same
# reason.
#
# Two are spoilt: in ``no-average`` the teacher is a copy of the student and counts without a threshold, and
# ``wrong-prior`` has a class prior of 91% ones and a strong weight on it.

common = {
    "data": {"size": 8, "channels": 1},
    "every": {"log": 25, "evaluate": 20},
    "batch": 32,
    "device": "cpu",
}
adapting = {
    "init": folder / "start",
    "baseline_steps": 1,
    "keep": "adapted",
    "select": "last",
    "steps": 120,
}
(folder / "wrong.csv").write_text("".join(f"{digit},{91 if digit == 1 else 1}\n" for digit in range(10)))
settings = {
    "default": {},
    "short": {"steps": 20},
    "no-augmentation": {"views": {"source": "none", "student": "none", "teacher": "none"}},
    "no-average": {"self_ensemble": {"alpha": 0.0, "threshold": 0.0, "weight": 300.0, "class_balance": 0.0}},
    "wrong-prior": {"prior": folder / "wrong.csv", "self_ensemble": {"information": 10.0}},
}

courses: dict[str, list[tuple[int, dict[str, float], float]]] = {}
domains = folder / "printed", folder / "handwritten"
runs: dict[str, dalib.Run] = {}
with contextlib.redirect_stdout(io.StringIO()):
    dalib.adapt(*domains, method="source-only", steps=200, out=folder / "start", **common)
for name, own in settings.items():
    course = courses.setdefault(name, [])

    def look(training: str, step: int, evidence: Evidence, course=course) -> None:
        """Records the label-free scores of a checkpoint and its true accuracy."""
        if training == "adapted":
            accuracy = (evidence.target.argmax(dim=1) == truth).float().mean().item()
            course.append((step, quick_scores(evidence, threshold=0.9), accuracy))

    with contextlib.redirect_stdout(io.StringIO()):
        every = {**common, **adapting, **own}
        runs[name] = dalib.adapt(*domains, out=folder / name, on_evidence=look, **every)
    print(f"{name:15} {runs[name].judgement.headline}")
judgements = {name: run.judgement for name, run in runs.items()}

# %%
# Rank them
# ---------
#
# What ``dalib compare`` prints, too; the paths are returned in this order:

with contextlib.chdir(folder):
    first, *others = map(dalib.open_run, runs)
    order = first.compare(*others)

# %%
# How good is the ranking?
# ------------------------
#
# Now with the labels. The regret is the accuracy, in points, that a choice by the ranking loses against the best run.
# Each line also shows the gain of adaptation over the source-only model, and the judgement. Where the two
# disagree the judgement was wrong: a gain that was judged as hurt is a false alarm, and costs that gain.


def accuracy_of(run: dalib.Run, model: str) -> float:
    predicted = load_file(run.folder.predictions)[f"target/{model}"].argmax(dim=1)
    return (predicted == truth).float().mean().item()


accuracies = {name: accuracy_of(run, "adapted") for name, run in runs.items()}
for place, name in enumerate(order, 1):
    gain = 100 * (accuracies[name] - accuracy_of(runs[name], "source-only"))
    print(f"{place}  {name:16} {accuracies[name]:.1%}  {gain:+5.1f} points, judged {judgements[name].outcome}")
regret = 100 * (max(accuracies.values()) - accuracies[order[0]])
print(
    f"regret {regret:.1f} points; the worst choice would have cost "
    f"{100 * (max(accuracies.values()) - min(accuracies.values())):.1f}"
)

# %%
# Some scores mislead
# -------------------
#
# A model that predicts the same class for every image is confident: its entropy is low and its mask rate high. Scores
# that also require diverse predictions detect this. Each point is a run; a score is useful if points rise to
# the right.

scores = {name: judgement.models["adapted"].scores for name, judgement in judgements.items()}
outcomes = {name: judgement.outcome for name, judgement in judgements.items()}
SHOWN = {"target_class_ami": "ClassAMI", "target_corr_c": "Corr-C", "target_mask_rate": "mask rate"}
figure, panels = plt.subplots(1, 3, figsize=(9, 3.3), sharey=True)
rank_correlations = {}
for axes, (score, title) in zip(panels, SHOWN.items(), strict=True):
    values = [scores[name].get(score, 0.0) for name in runs]
    truths = [accuracies[name] for name in runs]
    rank_correlations[score] = spearmanr(values, truths).statistic
    print(f"{title:10} rank correlation with accuracy {rank_correlations[score]:+.2f}")
    for name, value, accuracy in zip(runs, values, truths, strict=True):
        failed = outcomes[name] in {"hurt", "collapsed"}
        axes.plot(value, accuracy, "X" if failed else "o", color=SOURCE_ONLY if failed else ADAPTED)
        if name in {"no-average", "wrong-prior"}:
            axes.annotate(name, (value, accuracy), (0, -12), textcoords="offset points", ha="center", fontsize=7)
    axes.margins(x=0.2)
    axes.set(xlabel=f"{title}, no label needed", title=f"rank correlation {rank_correlations[score]:+.2f}")
panels[0].set(ylabel="true accuracy", ylim=(0, 1))
panels[0].plot([], [], "X", color=SOURCE_ONLY, label="judged hurt or collapsed")
panels[0].plot([], [], "o", color=ADAPTED, label="judged otherwise")
panels[0].legend(frameon=False, fontsize=8, loc="lower right")
plt.show()

# %%
# Checkpoints of one run
# ----------------------
#
# Within a run, each evaluation scores a checkpoint, and by default the checkpoint with the highest Corr-C
# is kept. In a good run the last checkpoints are alike, and the choice matters little. In a bad run it matters.
# The run on the right ends early, because a collapse stops it.

figure, panels = plt.subplots(1, 2, figsize=(8, 3), sharey=True)
for axes, name in zip(panels, ("default", "wrong-prior"), strict=True):
    steps, found, true = zip(*courses[name], strict=True)
    axes.plot(steps, [each["target_corr_c"] for each in found], "o--", color=THIRD, label="Corr-C")
    axes.plot(steps, [each["target_mask_rate"] for each in found], "s:", color=SOURCE_ONLY, label="mask rate")
    axes.plot(steps, true, "o-", color=ADAPTED, label="true accuracy")
    axes.set(title=name, xlabel="step of the adaptation", ylim=(0, 1.03))
panels[0].set_ylabel("score, or share that is right")
panels[0].legend(frameon=False, loc="lower right")
plt.show()

# %%
# Where this fails
# ----------------
#
# - A rank is not an accuracy. Between good runs the differences of the scores are smaller than their errors: the order
#   of runs with similar scores is chance.
# - Scores that reward diversity expect the classes to be about equally frequent. If the target's are not, they punish a
#   model that is right.
# - If all runs are wrong in the same way, for instance because two classes are swapped, the clusters are as
#   clean as ever. No score without labels can detect this.
# - The accuracy on the source's validation split is a poor guide: it ignores the target.
#
# ``benchmarks/RESULTS.md`` of the repository has a study of 84 runs with the regret of each score.
#
# What to try next
# ----------------
#
# Compare runs of your own, and then label some images: fifty labels settle what scores cannot::
#
#     dalib compare runs/first runs/second runs/third
#     dalib query   runs/first --n 50 --out to_label.csv
#     dalib eval    runs/first --labels to_label.csv
