"""
Your own photographs
====================

At the end you will have turned two folders of images into a table of predictions and a measured accuracy, with the
calls that you will use on your own folders.

You have labelled images of one domain, here of a studio with plain backgrounds, and unlabelled images of another, here
of the street. So that this page runs anywhere, the images are drawn: balls, books, bottles and keys.
"""

import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw, ImageFilter

import dalib

ADAPTED, SOURCE_ONLY = "#0072b2", "#b85c00"  # told apart by colour-blind readers too
plt.style.use({"axes.spines.top": False, "axes.spines.right": False, "figure.constrained_layout.use": True})

folder = Path(tempfile.mkdtemp(prefix="dalib-"))
os.environ["DALIB_CACHE"] = str(folder / "cache")  # beside the runs; you need not set it

# %%
# Two folders
# -----------
#
# ``studio/`` has a folder for each class. ``street/`` is flat, and its file names do not contain the class.
# ``labelled/`` is a small second set of the street with labels, for a measurement at the end; it is optional.

CLASSES = ("ball", "book", "bottle", "key")


def thing(kind: str, colour: tuple[int, ...]) -> Image.Image:
    """An object on nothing, 128 pixels."""
    picture = Image.new("RGBA", (128, 128))
    pen, dark = ImageDraw.Draw(picture), tuple(int(0.6 * channel) for channel in colour)
    if kind == "ball":
        pen.ellipse([24, 24, 104, 104], fill=colour)
        pen.arc([44, 24, 84, 104], 90, 270, fill=dark, width=5)
        pen.line([24, 64, 104, 64], fill=dark, width=5)
    elif kind == "book":
        pen.rectangle([30, 18, 98, 110], fill=colour)
        pen.rectangle([30, 18, 42, 110], fill=dark)
        pen.rectangle([54, 32, 86, 46], fill=dark)
    elif kind == "bottle":
        pen.rounded_rectangle([46, 52, 82, 114], 8, fill=colour)
        pen.polygon([(46, 58), (58, 38), (70, 38), (82, 58)], fill=colour)
        pen.rectangle([58, 12, 70, 40], fill=colour)
        pen.rectangle([46, 72, 82, 92], fill=dark)
    else:
        pen.ellipse([14, 44, 58, 88], outline=colour, width=11)
        pen.rectangle([54, 60, 116, 71], fill=colour)
        pen.rectangle([86, 70, 95, 88], fill=colour)
        pen.rectangle([104, 70, 113, 92], fill=colour)
    return picture


def photograph(kind: str, street: bool, rng: np.random.Generator) -> Image.Image:
    """The object before a pale backdrop, or on a busy street in other light."""
    colour = tuple(int(channel) for channel in rng.integers(20, 170, 3))
    if street:
        picture = Image.fromarray(rng.integers(90, 240, (3, 3, 3), dtype=np.uint8)).resize((128, 128), 3)
        pen = ImageDraw.Draw(picture)
        for _ in range(4):
            (left, top), (width, height) = rng.integers(0, 128, 2), rng.integers(16, 64, 2)
            patch = tuple(int(channel) for channel in rng.integers(90, 240, 3))
            pen.rectangle([int(left), int(top), int(left + width), int(top + height)], fill=patch)
        picture = picture.filter(ImageFilter.GaussianBlur(6))
    else:
        picture = Image.fromarray(rng.integers(195, 256, (2, 1, 3), dtype=np.uint8)).resize((128, 128), 3)
    side = int(128 * rng.uniform(0.75 if street else 0.8, 0.95))
    turned = thing(kind, colour).rotate(rng.normal(0, 10 if street else 6), 3).resize((side, side), 3)
    left, top = (128 - side) // 2 + rng.integers(-6, 7, 2)
    picture.paste(turned, (int(left), int(top)), turned)
    light = rng.uniform(0.65, 1.0) if street else 1.0
    return picture.resize((32, 32), 4).point(lambda value: int(value * light))


rng = np.random.default_rng(0)
for domain, count in (("studio", 90), ("street", 90), ("labelled", 50)):
    kinds = rng.permutation(np.repeat(CLASSES, count))
    for number, kind in enumerate(kinds):
        place = folder / domain if domain == "street" else folder / domain / kind
        place.mkdir(parents=True, exist_ok=True)
        photograph(kind, domain != "studio", rng).save(place / f"{number:04}.jpg", quality=90)

(folder / "street" / "broken.jpg").write_bytes(b"not an image")  # as happens
(folder / "street" / "notes.txt").write_text("taken on Tuesday")

figure, rows = plt.subplots(2, 8, figsize=(8, 2.3))
studio = [path for kind in CLASSES for path in sorted((folder / "studio" / kind).iterdir())[:2]]
for axes, path in zip(rows[0], studio, strict=True):
    axes.imshow(Image.open(path))
    axes.set_title(path.parent.name, fontsize=9)
for axes, path in zip(rows[1], sorted((folder / "street").glob("0*.jpg")), strict=False):
    axes.imshow(Image.open(path))
for axes in rows.flat:
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
rows[0, 0].set_ylabel("studio/", rotation=0, ha="right", va="center")
rows[1, 0].set_ylabel("street/", rotation=0, ha="right", va="center")
plt.show()

# %%
# Train
# -----
#
# ``dalib.adapt`` trains a source-only model and an adapted one, and judges without labels whether adaptation helped.
# ``backbone="small"`` is a small network that is trained from scratch, which suits small images like these; of larger
# photographs a pretrained network is the default. ``broken.jpg`` is listed and skipped; ``strict=True`` would refuse
# it. Groups of settings are dictionaries.

run = dalib.adapt(
    folder / "studio",
    folder / "street",
    backbone="small",
    data={"size": 20},
    steps=70,
    batch=32,
    self_ensemble={"weight": 10.0},
    out=folder / "first",
    device="cpu",
)

# %%
# In a notebook the run shows its verdict and twelve target images, elsewhere six lines:

run  # noqa: B018 - a notebook shows the last line of a cell

# %%
# Predict
# -------
#
# One row for each readable image: the class, its confidence, and the probability of each class. ``to_pandas()`` makes a
# data frame of them, and ``out`` also writes the table of ``dalib predict``.

table = run.predict(folder / "street", out=folder / "street.csv", device="cpu")
for row in table[:3]:
    print(Path(row.path).name, row.label, f"{row.confidence:.0%}")
print(table)
print("unreadable:", [Path(each.path).name for each in table.unreadable])

# %%
# Did it help?
# ------------
#
# The judgement in the run's report was made without labels. With some labels, ``run.evaluate`` measures the models and
# adds the result to the report.

evaluation = run.evaluate(folder / "labelled", device="cpu")
accuracy = {name: each.accuracy for name, each in evaluation.models.items()}

figure, axes = plt.subplots(figsize=(7, 1.8))
for name, colour in (("source-only", SOURCE_ONLY), ("adapted", ADAPTED)):
    low, high = evaluation.models[name].interval
    axes.plot([100 * low, 100 * high], [name, name], color=colour)
    axes.plot(100 * accuracy[name], name, "o", color=colour)
axes.set(xlabel="accuracy on labelled/ in percent, with its 95% interval", xlim=(None, 100), ylim=(-0.6, 1.6))
plt.show()

# %%
# Least confident predictions
# ---------------------------
#
# Inspect these images first, and label them if you can.

figure, panels = plt.subplots(1, 8, figsize=(8, 1.5))
for axes, row in zip(panels, sorted(table, key=lambda row: row.confidence), strict=False):
    first, second, *_ = row.probabilities
    axes.imshow(Image.open(row.path))
    axes.set_title(f"{first}\nor {second}?", fontsize=8)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
plt.show()

# %%
# Real photographs
# ----------------
#
# They need a network that was pretrained on photographs; without ``backbone``, ``dalib.adapt`` takes a small one that
# is installed with it. Any of timm's works, with its weights in a file on your disk or in an installed package. Three
# things change:
#
# - A ``backbone`` of timm's implies the preset ``photo-features``: the backbone stays frozen, its features of four
#   random views of each image are computed once and stored, and only the layers behind it are trained. That takes
#   minutes on a laptop. The preset brings its own settings, so leave out the ones above.
# - ``weights`` names the file: safetensors, or a state dict of torch, which is never unpickled; or ``package:NAME``.
#   Without weights a backbone of timm's would compute random features, and dalib refuses to train on these.
# - Size, crop and normalisation come from the backbone's configuration.
#
# What to try next
# ----------------
#
# ``run.query(50)`` chooses the images to label, ``run.evaluate_labels`` estimates from them, and ``run.export`` writes
# the model for other programs. On the command line::
#
#     dalib checks --source studio/ --target street/         # counts, unreadable files, time; keeps nothing
#     dalib train --source studio/ --target street/ --out runs/photos
#     dalib query runs/photos --n 50 --out to_label.csv      # which images to label
#     dalib eval  runs/photos --labels to_label.csv          # filled in
#     dalib export runs/photos --format onnx --out model.onnx
