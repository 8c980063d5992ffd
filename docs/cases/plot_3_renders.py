"""
Renders of your objects
=======================

Images of an object from its CAD model cost nothing and come with labels; photographs of it have to be taken and sorted
by hand. At the end you will have a classifier for photographs that was trained on the labels of renders alone, and a
file of it for another program.

The images are generated, the photographs too: four solids with simple shading. The renders have a plain ground and one
light; the photographs have a textured ground, shadows, other light, noise and objects in front.
"""

import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from scipy import ndimage

import dalib

plt.style.use({"axes.spines.top": False, "axes.spines.right": False, "figure.constrained_layout.use": True})

folder = Path(tempfile.mkdtemp(prefix="dalib-"))
os.environ["DALIB_CACHE"] = str(folder / "cache")  # beside the runs; you need not set it

# %%
# Renders and photographs
# -----------------------
#
# Each solid is a height above the ground; the light falls on its slopes.

SOLIDS = ("cone", "cube", "ring", "sphere")
SIDE = 48
DOWN, ACROSS = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]


def height(solid: str, rng: np.random.Generator) -> np.ndarray:
    """Returns the height of a solid over the ground, 0 beside it; turned, shifted and scaled."""
    turn, size, shift = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 0.7), rng.uniform(-0.15, 0.15, 2)
    x, y = (ACROSS - shift[0]) / size, (DOWN - shift[1]) / size
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    radius = np.hypot(u, v)
    if solid == "cone":
        return np.clip(1 - radius, 0, None)
    if solid == "cube":  # on its edge, so that two faces are seen
        return np.where((abs(u) < 0.8) & (abs(v) < 0.8), 0.9 - abs(u), 0)
    if solid == "ring":
        return np.sqrt(np.clip(0.09 - (radius - 0.65) ** 2, 0, None))
    return np.sqrt(np.clip(0.85 - radius**2, 0, None))


def image_of(solid: str, ground: np.ndarray, light: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Returns the colours (SIDE, SIDE, 3) of a solid of a random colour in this light, before this ground."""
    above = height(solid, rng)
    slope_down, slope_across = np.gradient(above, 2 / SIDE)
    normal = np.stack([-slope_across, -slope_down, np.ones_like(above)]) / np.sqrt(1 + slope_down**2 + slope_across**2)
    shade = 0.35 + 0.65 * np.clip(np.tensordot([*light, 0.7], normal, 1), 0, 1)
    inside = ndimage.gaussian_filter((above > 0).astype(float), 0.6)[..., None]
    return inside * rng.uniform(0.35, 1, 3) * shade[..., None] + (1 - inside) * ground


def render(solid: str, rng: np.random.Generator) -> np.ndarray:
    """Returns a solid before a plain ground, with the light from the upper left."""
    return image_of(solid, np.full((SIDE, SIDE, 3), rng.uniform(0.85, 1)), (-0.5, -0.5), rng)


def photograph(solid: str, rng: np.random.Generator) -> np.ndarray:
    """Returns a solid before a texture, in light from anywhere, with a shadow, something in front, and noise."""
    texture = ndimage.gaussian_filter(rng.random((SIDE, SIDE, 3)), (2.5, 2.5, 0))
    texture = rng.uniform(0.55, 0.85) + 0.8 * (texture - texture.mean())
    angle = rng.uniform(0, 2 * np.pi)
    pixels = image_of(solid, texture, (0.5 * np.cos(angle), 0.5 * np.sin(angle)), rng)
    pixels = (
        pixels * np.where(ACROSS * np.cos(angle) + DOWN * np.sin(angle) < rng.uniform(-0.3, 0.9), 1, 0.8)[..., None]
    )
    left, top = rng.integers(0, SIDE - 6, 2)
    pixels[top : top + 6, left : left + 6] = rng.random(3)
    return 0.9 * pixels * rng.uniform([0.8, 0.8, 0.7], 1.05) + rng.normal(0, 0.02, pixels.shape)


rng = np.random.default_rng(0)
for name, make, count in (("renders", render, 120), ("photos", photograph, 90), ("labelled", photograph, 60)):
    for number, solid in enumerate(rng.permutation(np.repeat(SOLIDS, count))):
        place = folder / name / ("" if name == "photos" else solid)
        place.mkdir(parents=True, exist_ok=True)
        pixels = (255 * make(solid, rng)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(place / f"{number:03}.png")

figure, rows = plt.subplots(2, 8, figsize=(8, 2.4))
shown = [path for solid in SOLIDS for path in sorted((folder / "renders" / solid).iterdir())[:2]]
shown += sorted((folder / "photos").iterdir())[:8]
for axes, path in zip(rows.flat, shown, strict=True):
    axes.imshow(Image.open(path))
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
for axes, path in zip(rows[0], shown, strict=False):
    axes.set_title(path.parent.name, fontsize=9)
rows[0, 0].set_ylabel("renders/", rotation=0, ha="right", va="center")
rows[1, 0].set_ylabel("photos/", rotation=0, ha="right", va="center")
plt.show()

# %%
# Train
# -----
#
# The images are small, so that a small network is trained from scratch. For photographs of usual size leave out
# the settings: photographs are then seen by a frozen pretrained network.

run = dalib.adapt(
    folder / "renders",
    folder / "photos",
    out=folder / "run",
    steps=80,
    baseline_steps=60,
    batch=32,
    self_ensemble={"weight": 10.0},
    data={"size": 24},
    views={"flip": True},
    every={"log": 40, "evaluate": 40},
    device="cpu",
)

# %%
# What came of it
# ---------------

run

# %%
# Which solids are confused
# -------------------------
#
# Photographs with labels measure all three models: source-only, the same with the photographs' statistics (aligned),
# and adapted. Rows are true solids, columns predicted ones.

evaluation = run.evaluate(folder / "labelled")
accuracy = {name: model.accuracy for name, model in evaluation.models.items()}
figure, panels = plt.subplots(1, len(evaluation.models), figsize=(10, 3.4), sharey=True)
for axes, (name, model) in zip(panels, sorted(evaluation.models.items(), reverse=True), strict=True):
    counts = np.array(model.confusion)
    axes.imshow(counts, cmap="Blues", vmin=0, vmax=counts.sum(axis=1).max())
    for true, predicted in np.ndindex(*counts.shape):
        dark = counts[true, predicted] > counts[true].sum() / 2
        axes.text(predicted, true, counts[true, predicted], ha="center", va="center", color="w" if dark else "k")
    axes.set(title=f"{name}: {model.accuracy:.1%}", xlabel="predicted")
    axes.set_xticks(range(len(SOLIDS)), SOLIDS)
    axes.set_yticks(range(len(SOLIDS)), SOLIDS)
panels[0].set_ylabel("true")
plt.show()

# %%
# For another program
# -------------------
#
# The exported model knows its preprocessing and its classes. ``model.onnx`` in place of a folder writes ONNX, for
# programs without Python.

exported = run.export(folder / "model")
print(sorted(path.name for path in exported.iterdir()))
found = dalib.load(exported)(next((folder / "photos").iterdir()))
print(found.label, f"{found.confidence:.0%}")

# %%
# Where real renders differ from this page
# ----------------------------------------
#
# - Vary in the renders whatever varies in the photographs and costs you nothing: pose, light, ground, colour. What the
#   source covers needs no adaptation.
# - Render each class about as often as it will be photographed, or give the shares: ``prior="shares.csv"``.
# - A photograph of nothing gets the name of some solid. Render an empty ground as a class of its own if there are such.
