"""
Classes that are not equally frequent
=====================================

At the end you will know the effect of class balance on a target with rare classes, how to set the real class shares,
and when to switch class balance off.

Class balance keeps a training from collapsing: it pulls the mean prediction for the target towards a *class prior*, by
default equal shares of all classes. If the target's shares are not equal, this makes the model wrong.
"""

import contextlib
import csv
import io
import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.datasets import load_digits

import dalib
from dalib.data.digits import render_digits

ADAPTED, SOURCE_ONLY, THIRD, FOURTH = "#0072b2", "#b85c00", "#00795a", "#8a4f9e"  # for colour-blind readers too
plt.style.use({"axes.spines.top": False, "axes.spines.right": False, "figure.constrained_layout.use": True})

folder = Path(tempfile.mkdtemp(prefix="dalib-"))
os.environ["DALIB_CACHE"] = str(folder / "cache")  # beside the runs; you need not set it

# %%
# A target with rare classes
# --------------------------
#
# The source has equally many printed digits of each class. The shares of the handwritten ones fall from a quarter
# to 3%. Their labels are held out for evaluation.

printed, printed_labels = render_digits(900, seed=0)
for number, (image, digit) in enumerate(zip(printed, printed_labels, strict=True)):
    path = folder / "printed" / str(digit) / f"{number:04}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)

falling = np.geomspace(0.3, 0.03, 10)
shares = np.random.default_rng(0).permutation(falling / falling.sum())
digits = load_digits()
rows = np.concatenate(
    [np.flatnonzero(digits.target == digit)[: round(350 * share)] for digit, share in enumerate(shares)]
)
rows = np.random.default_rng(0).permutation(rows)
truth = torch.from_numpy(digits.target[rows])
(folder / "handwritten").mkdir()
for number, row in enumerate(rows):
    pixels = np.rint(digits.images[row] * (255 / 16)).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "handwritten" / f"{number:04}.png")
true_shares = torch.bincount(truth, minlength=10) / len(truth)
print("true shares:", {digit: f"{share:.0%}" for digit, share in enumerate(true_shares.tolist())})

# %%
# Sources of class shares
# -----------------------
#
# ``--prior`` takes
#
# - ``uniform``, the default;
# - ``halfway``, the geometric mean of uniform and of the source's shares, the default of ``photo-features``;
# - ``source``: the source's own shares, if you know that the target has the same;
# - a file of classes and shares, CSV or JSON. They need not add up to 1, so counts work, too;
# - ``estimate``: shares estimated from the predictions in the second half of the steps, averaged with uniform ones. It
#   gained little where it was measured (``benchmarks/RESULTS.md``), because an estimate repeats the model's own errors.
#
# Real shares often come from elsewhere: a register, last year's statistics, or a count of some random images. Below,
# a hundred images are counted. One is added to each count, because every existing class has a share above 0.

seen = np.random.default_rng(1).choice(len(truth), 100, replace=False)
counts = torch.bincount(truth[torch.from_numpy(seen)], minlength=10) + 1
for name, values in (("counted", counts), ("true", true_shares)):
    with (folder / f"{name}.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("class", "share"), *enumerate(values.tolist())])
print((folder / "counted.csv").read_text())

# %%
# Four runs from one start
# ------------------------
#
# Each run starts from the same source-only model (``init``). The weight of class balance is 10 instead of the default
# 0.3, so that its effect is clearly visible. ``keep="adapted"`` selects the adapted model even if it is judged worse.

common = {
    "data": {"size": 8, "channels": 1},
    "every": {"log": 30, "evaluate": 130},
    "batch": 32,
    "device": "cpu",
}
adapting = {
    "init": folder / "start",
    "baseline_steps": 1,
    "keep": "adapted",
    "select": "last",
    "steps": 130,
    "self_ensemble": {"threshold": 0.6, "class_balance": 10.0},
}
settings = {
    "off": {"self_ensemble": {"threshold": 0.6, "class_balance": 0.0}},
    "uniform": {},
    "counted": {"prior": folder / "counted.csv"},
    "true": {"prior": folder / "true.csv"},
}

domains = folder / "printed", folder / "handwritten"
predicted: dict[str, torch.Tensor] = {}
with contextlib.redirect_stdout(io.StringIO()):
    first = dalib.adapt(*domains, method="source-only", steps=200, out=folder / "start", **common)
    predicted["source-only"] = load_file(first.folder.predictions)["target/source-only"].argmax(dim=1)
    for name, own in settings.items():
        run = dalib.adapt(*domains, out=folder / name, **{**common, **adapting, **own})
        predicted[name] = load_file(run.folder.predictions)["target/adapted"].argmax(dim=1)
print("class prior of the last run:", [round(share, 2) for share in run.judgement.prior.shares])

# %%
# Results
# -------
#
# The table shows the accuracy over all images; the mean of the accuracies of the classes, in which rare classes count
# as much as frequent ones; and the distance of the predicted shares from the true ones, half the sum of the absolute
# differences, which is the share of images that would have to change class.

accuracy, by_class, distance = {}, {}, {}
for name, classes in predicted.items():
    right = (classes == truth).float()
    accuracy[name] = right.mean().item()
    by_class[name] = torch.stack([right[truth == digit].mean() for digit in range(10)]).mean().item()
    found = torch.bincount(classes, minlength=10) / len(truth)
    distance[name] = (found - true_shares).abs().sum().item() / 2
    print(
        f"{name:12} {accuracy[name]:.1%} of images, {by_class[name]:.1%} mean of classes, "
        f"predicted shares off by {distance[name]:.1%}"
    )

# %%
# Classes from the most frequent to the rarest, and how often each is predicted:

order = true_shares.argsort(descending=True)
figure, axes = plt.subplots(figsize=(8, 3.2))
places = np.arange(10)
axes.bar(places, 100 * true_shares[order].numpy(), width=0.8, color="0.85", label="true")
for name, colour, mark, shift in (
    ("off", FOURTH, "v", -0.24),
    ("uniform", SOURCE_ONLY, "s", -0.08),
    ("counted", THIRD, "D", 0.08),
    ("true", ADAPTED, "o", 0.24),
):
    found = 100 * torch.bincount(predicted[name], minlength=10)[order].numpy() / len(truth)
    label = "class balance off" if name == "off" else f"prior: {name}"
    axes.plot(places + shift, found, mark, color=colour, ms=5, label=label)
axes.axhline(10, color=SOURCE_ONLY, ls=":", lw=1)
axes.annotate("uniform", (9.5, 10), (0, 3), textcoords="offset points", ha="right", fontsize=8, color=SOURCE_ONLY)
axes.set(xticks=places, xticklabels=order.tolist(), xlabel="digit, the most frequent first")
axes.set_ylabel("share of target images in percent")
axes.legend(frameon=False)
plt.show()

# %%
# This is one seed and some hundred images: the order of runs with similar results is chance. The two accuracies
# need not agree: equal shares favour the rare classes, which the mean of classes counts as much as the frequent ones.
#
# In summary:
#
# - If you know the shares roughly, write them into a file and use ``--prior``.
# - If you do not know them and they may be far from equal, count the classes of some random images.
# - If you cannot count, lower ``--self_ensemble.class_balance`` (0 switches it off) and watch for classes that vanish;
#   the report warns about them.
# - In each case, also compare the mean of the classes: a class of 3% can vanish for 3 points of accuracy.
#
# What to try next
# ----------------
# ::
#
#     dalib train --source printed/ --target handwritten/ --prior shares.csv --out runs/prior
#     dalib train --source printed/ --target handwritten/ --self_ensemble.class_balance 0 --out runs/off
#     dalib compare runs/prior runs/off
#     dalib query runs/prior --n 100 --out to_label.csv
