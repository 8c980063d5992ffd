"""
A second camera
===============

A classifier of parts was made for the camera of one line; a second line has another camera, and nobody has labelled its
images. At the end you will have a classifier for the second camera, and a measurement of what the change of the camera
costs without adaptation and with it.

The images are generated so that this page runs anywhere, and the task is easier than a real one: four kinds of parts on
a conveyor belt. The second camera is what differs: warmer and darker light, a lens that is out of focus and darkens the
corners, and a noisy sensor.
"""

import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw, ImageFilter

import dalib

ADAPTED, SOURCE_ONLY = "#0072b2", "#b85c00"  # distinct for colour-blind readers, too
plt.style.use({"axes.spines.top": False, "axes.spines.right": False, "figure.constrained_layout.use": True})

folder = Path(tempfile.mkdtemp(prefix="dalib-"))
os.environ["DALIB_CACHE"] = str(folder / "cache")  # beside the runs; you need not set it

# %%
# Three folders
# -------------
#
# ``camera-1/`` has a folder for each kind of part, ``camera-2/`` is what the second camera saved in a shift: flat, and
# without labels. ``labelled/`` has some more images of the second camera with labels. It is optional, and serves only
# to measure.

PARTS = ("nut", "screw", "spring", "washer")
SIDE = 112


def drawn(part: str, metal: tuple[int, ...]) -> Image.Image:
    """Returns a part of this colour, on nothing."""
    picture = Image.new("RGBA", (SIDE, SIDE))
    pen, dark = ImageDraw.Draw(picture), tuple(int(0.7 * channel) for channel in metal)
    if part == "nut":
        pen.regular_polygon((56, 56, 34), 6, fill=metal, outline=dark)
        pen.ellipse([40, 40, 72, 72], fill=(0, 0, 0, 0), outline=dark, width=3)
    elif part == "washer":
        pen.ellipse([22, 22, 90, 90], fill=metal, outline=dark)
        pen.ellipse([36, 36, 76, 76], fill=(0, 0, 0, 0), outline=dark, width=2)
    elif part == "screw":
        pen.rectangle([48, 34, 64, 102], fill=metal)
        pen.rounded_rectangle([36, 16, 76, 36], 6, fill=metal, outline=dark)
        for y in range(42, 100, 7):
            pen.line([48, y, 64, y + 4], fill=dark, width=2)
    else:
        turns = [(38 + 36 * (number % 2), 14 + 7 * number) for number in range(13)]
        pen.line(turns, fill=metal, width=6, joint="curve")
    return picture


def on_belt(part: str, rng: np.random.Generator) -> Image.Image:
    """Returns a part as it lies on the belt: turned, shifted, of some shade of metal."""
    grain = rng.normal(85, 5, (SIDE, SIDE, 1)) + np.zeros(3)
    picture = Image.fromarray(grain.astype(np.uint8))
    shade = rng.integers(150, 235)
    part_image = drawn(part, (shade, shade, int(0.85 * shade) if rng.random() < 0.4 else shade))
    part_image = part_image.resize([int(SIDE * rng.uniform(0.7, 0.95))] * 2).rotate(rng.uniform(0, 360), 3)
    left, top = (SIDE - part_image.width) // 2 + rng.integers(-8, 9, 2)
    picture.paste(part_image, (int(left), int(top)), part_image)
    return picture


def camera_1(scene: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Returns the scene as the first camera sees it: sharp, in even light."""
    pixels = np.asarray(scene) * rng.uniform(0.95, 1.1) + rng.normal(0, 2, (SIDE, SIDE, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def camera_2(scene: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Returns the scene out of focus, in warm and dim light, with dark corners and a noisy sensor."""
    pixels = np.asarray(scene.filter(ImageFilter.GaussianBlur(1.8)), dtype=np.float32)
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    light = rng.uniform(0.4, 0.6) * np.array([1.15, 0.95, 0.7]) * (1 - 0.35 * (x**2 + y**2))[..., None]
    pixels = 255 * (pixels * light / 255) ** 0.9 + rng.normal(0, 12, (SIDE, SIDE, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


rng = np.random.default_rng(0)
for name, camera, count in (("camera-1", camera_1, 40), ("camera-2", camera_2, 40), ("labelled", camera_2, 25)):
    for number, part in enumerate(rng.permutation(np.repeat(PARTS, count))):
        place = folder / name if name == "camera-2" else folder / name / part
        place.mkdir(parents=True, exist_ok=True)
        camera(on_belt(part, rng), rng).save(place / f"{number:03}.jpg", quality=90)

figure, rows = plt.subplots(2, 8, figsize=(8, 2.4))
shown = [path for part in PARTS for path in sorted((folder / "camera-1" / part).iterdir())[:2]]
shown += sorted((folder / "camera-2").iterdir())[:8]
for axes, path in zip(rows.flat, shown, strict=True):
    axes.imshow(Image.open(path))
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
for axes, path in zip(rows[0], shown, strict=False):
    axes.set_title(path.parent.name, fontsize=9)
rows[0, 0].set_ylabel("camera-1/", rotation=0, ha="right", va="center")
rows[1, 0].set_ylabel("camera-2/", rotation=0, ha="right", va="center")
plt.show()

# %%
# Train
# -----
#
# Two folders are enough: ``dalib.adapt("camera-1/", "camera-2/")``. Colour photographs are then seen by a frozen
# pretrained network, and what follows it is trained. The settings below make this page quick: fewer pixels, two stored
# views of each image in place of four, and a tenth of the steps. Leave them out.

quick = {
    "backbone": "lite0",
    "features": 2,
    "steps": 120,
    "batch": 64,
    "data": {"size": 112, "crop": 96},
    "every": {"log": 50, "evaluate": 60},
    "self_ensemble": {"ramp_up_steps": 30},
}
run = dalib.adapt(folder / "camera-1", folder / "camera-2", out=folder / "run", device="cpu", **quick)

# %%
# What came of it
# ---------------
#
# A run shows its verdict, and images of the target. Accuracies are not estimated here: that takes 20 validation images,
# and a tenth of these 160 labelled images is 16.

run

# %%
# Measure
# -------
#
# 100 labelled images of the second camera are better evidence than any judgement without labels. Here that judgement
# ruled out source-only, the worst of the three models, and could not tell aligned from adapted, which give the same
# class to all of the images that it saw but one.

evaluation = run.evaluate(folder / "labelled")
accuracy = {name: model.accuracy for name, model in evaluation.models.items()}
for name, model in evaluation.models.items():
    print(f"{name:12} {model.accuracy:.1%} ({model.interval[0]:.1%} to {model.interval[1]:.1%})")
print("selected:", run.selected)

figure, axes = plt.subplots(figsize=(7, 2.2))
for name, colour in (("source-only", SOURCE_ONLY), ("aligned", "gray"), ("adapted", ADAPTED)):
    model = evaluation.models[name]
    axes.plot([100 * bound for bound in model.interval], [name, name], color=colour)
    axes.plot(100 * model.accuracy, name, "o", color=colour)
axes.set(xlabel="accuracy on the second camera in percent, with its 95% interval", xlim=(0, 100), ylim=(-0.6, 2.6))
plt.show()

# %%
# Use it
# ------
#
# The second camera's next images, with their classes and confidences:

for row in run.predict(sorted((folder / "camera-2").iterdir())[:4]):
    print(Path(row.path).name, row.label, f"{row.confidence:.0%}")

# %%
# Where real cameras differ from this page
# ----------------------------------------
#
# - Both cameras must see the same classes. A part that only the second line makes would get one of the known names.
# - The shares of the classes should be alike. If the second line makes mostly screws, count a hundred of its images,
#   and give the shares: ``prior="shares.csv"``.
# - Do not judge by eye whether it helped: label fifty images, as ``run.query(50)`` chooses them.
