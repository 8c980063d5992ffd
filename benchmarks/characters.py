"""Characters in colour: MNIST to MNIST blended over photographs, made as MNIST-M is, by any recipe.

    python benchmarks/characters.py --root data --photographs data/pairs/clothes/user_photo --out blended --seeds 3
    python benchmarks/characters.py ... --preset none       # the default recipe instead

The source is MNIST's training set. The target is half of MNIST's test images, |patch - character| in each channel, with
patches of 28 x 28 pixels of photographs whose longer side is at most 481 pixels, as in the set that MNIST-M is made of.
The other half, over other photographs, is read after training, to measure; it chooses nothing: *selected* is the run's
selected model, judged without labels.
"""

from __future__ import annotations

import argparse
import platform
import random
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from micro import cpu_model
from PIL import Image
from torchvision.datasets import MNIST

import dalib

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGER_SIDE = 481
SIZE = 28


def patches(photographs: Sequence[Path], count: int, seed: int) -> np.ndarray:
    """Returns patches (count, SIZE, SIZE, 3) of photographs, at random places."""
    rng, scaled = np.random.default_rng(seed), []
    for file in photographs:
        with Image.open(file) as image:
            picture = image.convert("RGB")
        picture.thumbnail((LONGER_SIDE, LONGER_SIDE))
        if min(picture.size) >= SIZE:
            scaled.append(np.asarray(picture))
    found = np.empty((count, SIZE, SIZE, 3), np.uint8)
    for place in range(count):
        pixels = scaled[rng.integers(len(scaled))]
        top, left = (rng.integers(side - SIZE + 1) for side in pixels.shape[:2])
        found[place] = pixels[top : top + SIZE, left : left + SIZE]
    return found


def write_blended(characters: np.ndarray, labels: Sequence[int], grounds: np.ndarray, folder: Path) -> Path:
    """Writes |ground - character| of each as a PNG into a folder for each digit; returns ``folder``."""
    for digit in range(10):
        (folder / str(digit)).mkdir(parents=True, exist_ok=True)
    pictures = np.abs(grounds.astype(np.int16) - characters[..., None].astype(np.int16)).astype(np.uint8)
    for number, (pixels, digit) in enumerate(zip(pictures, labels, strict=True)):
        Image.fromarray(pixels).save(folder / str(digit) / f"{number:05d}.png")
    return folder


def write_target(root: Path, photographs: Path, out: Path) -> tuple[Path, Path]:
    """Writes the unlabelled target and the images that measure, once; returns their folders."""
    target, measured = out / "target", out / "measured"
    if not measured.exists():
        files = sorted(photographs.rglob("*.jpg"))
        random.Random(0).shuffle(files)
        half = len(files) // 2
        test = MNIST(root, train=False)
        characters, labels = test.data.numpy(), test.targets.tolist()
        write_blended(characters[::2], labels[::2], patches(files[:half], len(labels[::2]), 0), target)
        write_blended(characters[1::2], labels[1::2], patches(files[half:], len(labels[1::2]), 1), measured)
    return target, measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="holds MNIST/raw")
    parser.add_argument("--photographs", type=Path, required=True, help="folder of .jpg files")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--preset", default="coloured-characters", help="none is the default recipe")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int)
    given = parser.parse_args()
    print(
        f"{cpu_model()}, {torch.get_num_threads()} threads; "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )
    target, measured = write_target(given.root, given.photographs, given.out)
    # the default network is named, or the images would choose the preset
    recipe = {"backbone": "small"} if given.preset == "none" else {"preset": given.preset}
    length = {} if given.steps is None else {"steps": given.steps}
    found: dict[str, list[float]] = {}
    for seed in range(given.seeds):
        out, began = given.out / f"{given.preset}-{seed}", time.perf_counter()
        run = dalib.adapt("mnist", str(target), root=str(given.root), seed=seed, out=str(out), **recipe, **length)
        seconds, selected = time.perf_counter() - began, run.selected
        of_each = {name: 100 * model.accuracy for name, model in run.evaluate(measured).models.items()}
        of_each["selected"] = of_each[selected]
        for name, accuracy in of_each.items():
            found.setdefault(name, []).append(accuracy)
        shown = ", ".join(f"{name} {accuracy:.2f}" for name, accuracy in of_each.items())
        print(f"seed {seed}: {shown} (selected is {selected}; {seconds:.0f} s)", flush=True)
    for name, each in found.items():
        print(f"| {name} | {statistics.mean(each):.2f} ({min(each):.2f} - {max(each):.2f}) |")


if __name__ == "__main__":
    main()
