"""Handwritten digits as the student and the teacher see them."""

import sys

import matplotlib.pyplot as plt
import torch
from _style import WIDTH, save, styled

from dalib.augment.views import View, strong_warp_operations, weak_warp_operations
from dalib.data.preprocessing import Preprocessing
from dalib.data.sources import open_target

SHOWN = 6


def draw(folder: str) -> None:
    styled()
    preprocessing = Preprocessing(size=24, channels=1)
    images = open_target("digits", preprocessing).images[torch.arange(SHOWN) * 41 + 3]
    rows = {
        "target": images.float(),
        "student's view": View(preprocessing.normalize, strong_warp_operations(24))(images, seeded(1)),
        "teacher's view": View(preprocessing.normalize, weak_warp_operations(24))(images, seeded(2)),
        "student's, later": View(preprocessing.normalize, strong_warp_operations(24))(images, seeded(3)),
    }
    figure, axes = plt.subplots(len(rows), SHOWN, figsize=(WIDTH, WIDTH * len(rows) / (SHOWN + 2.2)))
    for line, (name, views) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for axis, view in zip(line, views, strict=True):
            axis.imshow(view[0], cmap="gray")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
    figure.subplots_adjust(wspace=0.06, hspace=0.06)
    save(figure, folder, "views")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


if __name__ == "__main__":
    draw(sys.argv[1])
