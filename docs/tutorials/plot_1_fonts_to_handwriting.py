"""
Fonts to handwriting in five minutes
====================================

At the end you will have a classifier of handwritten digits that was trained without a label of a handwritten digit, and
a report that judges whether adaptation helped.

The source is digits drawn from the fonts that matplotlib ships; a font knows which digit it draws, so its labels are
free. The target is scikit-learn's handwritten digits: 1200 without their labels for training, and 597 held out for
evaluation. Nothing is downloaded. The training here is short; the default of ``dalib train`` has about four times as
many steps, of twice as many images.
"""

import json
import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import dalib
from dalib.data.digits import handwritten_digits, render_digits
from dalib.records.evaluation import Evaluation

ADAPTED, SOURCE_ONLY, THIRD = "#0072b2", "#b85c00", "#00795a"  # distinct for colour-blind readers, too
plt.style.use({"axes.spines.top": False, "axes.spines.right": False, "figure.constrained_layout.use": True})

folder = Path(tempfile.mkdtemp(prefix="dalib-"))
os.environ["DALIB_CACHE"] = str(folder / "cache")  # beside the runs; you need not set it

# %%
# The two domains
# ---------------
#
# Both are 8 by 8 pixels. Only the way they were drawn differs, and that is enough to cost a classifier accuracy.

printed, printed_labels = render_digits(200, seed=0)
unlabelled, held_out, labels = handwritten_digits()

figure, rows = plt.subplots(2, 10, figsize=(8, 2.4))
for digit in range(10):
    rows[0, digit].imshow(printed[printed_labels == digit][0], cmap="gray_r")
    rows[0, digit].set_title(str(digit), fontsize=9)
    rows[1, digit].imshow(unlabelled[digit], cmap="gray_r")
    for axes in rows[:, digit]:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
rows[0, 0].set_ylabel("source", rotation=0, ha="right", va="center")
rows[1, 0].set_ylabel("target", rotation=0, ha="right", va="center")
figure.suptitle("Source with its labels; target without")
plt.show()

# %%
# Train
# -----
#
# One call does the work of ``dalib train``. A source-only model is trained first. The adaptation starts from its
# weights: the student continues to learn from the labelled source, and learns to agree with its teacher on the target.
# ``evaluate`` names labelled images on which the models are measured at the end; a clearly better model becomes the
# selected model. In place of the names ``fonts`` and ``digits`` stand your folders, arrays or data sets.

run = dalib.adapt(
    "fonts",
    "digits",
    evaluate="digits-held-out",
    steps=250,
    batch=32,
    every={"log": 10, "evaluate": 50},
    out=folder / "run",
    device="cpu",
)

# %%
# In a notebook the run shows its verdict and some target images, elsewhere six lines:

print(run)

# %%
# Read the judgement
# ------------------
#
# The judgement uses no target label. It holds the verdict whether adaptation helped, the favoured model, and an
# estimated accuracy of each model. The held-out labels, which real targets lack, show here how far to trust it.

judgement = run.judgement
(measured,) = run.folder.evaluations.iterdir()
evaluation = Evaluation.read(measured)

print(judgement)
print(evaluation)
accuracy = {name: model.accuracy for name, model in evaluation.models.items()}
estimates = {name: model.estimate for name, model in judgement.models.items()}
for name, estimate in estimates.items():
    low, high = evaluation.models[name].interval
    trust = "" if estimate.reliable else f"; not to be trusted: {estimate.reason}"
    print(
        f"{name:12} estimated {estimate.value:.1%} ({estimate.low:.1%} to {estimate.high:.1%}{trust}), "
        f"measured {accuracy[name]:.1%} ({low:.1%} to {high:.1%})"
    )

# %%
# How the training went
# ---------------------
#
# ``metrics.jsonl`` has a line for each logging step; the baseline has its own file in ``source-only/``. Watch the mask
# rate, the share of target images on which the teacher is confident: at 0 the target teaches nothing, and at 1 from the
# first step on the threshold is too low.


def course(path: Path, name: str) -> tuple[list[int], list[float]]:
    """Steps and values of a metric, where it was written."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line["step"] for line in lines if name in line], [line[name] for line in lines if name in line]


figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3))
left.plot(*course(run.folder.source_only.metrics, "supervised"), color=SOURCE_ONLY, label="source-only")
left.plot(*course(run.folder.metrics, "supervised"), color=ADAPTED, ls="--", label="adapted, from there on")
left.set(xlabel="step", ylabel="cross-entropy on source", ylim=(0, None))
left.legend(frameon=False)
right.plot(*course(run.folder.metrics, "mask_rate"), color=ADAPTED, label="teacher is confident")
right.plot(*course(run.folder.metrics, "agreement"), color=THIRD, ls="--", label="student agrees with teacher")
right.set(xlabel="step of the adaptation", ylabel="share of target images", ylim=(0, 1))
right.legend(frameon=False, loc="lower right")
plt.show()

# %%
# Which digits are confused
# -------------------------
#
# Rows are true digits, columns predicted ones. The diagonal, the correct predictions, is left out, so that the colour
# shows the errors.

figure, panels = plt.subplots(1, 2, figsize=(8, 4.2), sharey=True)
errors = {name: np.array(evaluation.models[name].confusion) for name in ("source-only", "adapted")}
for matrix in errors.values():
    np.fill_diagonal(matrix, 0)
most = max(matrix.max() for matrix in errors.values())
for axes, (name, matrix) in zip(panels, errors.items(), strict=True):
    picture = axes.imshow(matrix, cmap="Blues", vmin=0, vmax=most)
    for true, predicted in zip(*np.nonzero(matrix), strict=True):
        count = matrix[true, predicted]
        axes.text(predicted, true, count, ha="center", va="center", fontsize=8, color="w" if count > most / 2 else "k")
    axes.set(title=f"{name}: {matrix.sum()} errors of {len(labels)}", xlabel="predicted digit")
    axes.set(xticks=range(10), yticks=range(10))
panels[0].set_ylabel("true digit")
figure.colorbar(picture, ax=panels, label="held-out images", shrink=0.7)
plt.show()

# %%
# Predict
# -------
#
# ``run.predict`` takes what ``dalib.adapt`` takes for a target: a folder, a list, an array, a data set; later,
# ``dalib.open_run`` opens the run again. The second row shows its most confident errors, the first row digits that it
# predicts correctly.

predictions = run.predict(held_out, device="cpu")
print(predictions)
wrong = [i for i, found in enumerate(predictions) if int(found.label) != labels[i]]
wrong.sort(key=lambda i: -predictions[i].confidence)
right_ones = [i for i, found in enumerate(predictions) if int(found.label) == labels[i]]

figure, rows = plt.subplots(2, 8, figsize=(8, 2.9))
for axes, i in zip(rows.flat, right_ones[:8] + wrong[:8], strict=False):
    axes.imshow(held_out[i], cmap="gray_r")
    axes.set_title(f"{predictions[i].label} at {predictions[i].confidence:.0%}", fontsize=8)
    axes.set_xlabel("" if i in right_ones else f"is a {labels[i]}", fontsize=8, color=SOURCE_ONLY)
for axes in rows.flat:
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
rows[0, 0].set_ylabel("right")
rows[1, 0].set_ylabel("wrong")
plt.show()

# %%
# What to try next
# ----------------
#
# The whole training, which takes a minute or two, and its report; then the recipe with augmentation made for
# characters, and on real data::
#
#     dalib train --out runs/demo
#     dalib train --preset digits --source fonts --target digits --evaluate digits-held-out --out runs/digits
#     dalib train --preset digits --source mnist --target usps --root data --download
#
# Then your own folders. Labels of some images of your own target give better evidence than any estimate::
#
#     dalib query runs/first --n 50 --out to_label.csv
#
# The report of the run above opens in a browser:

print(run.report)
