"""Pictures that training leaves in the run's folder for the report: augmented views and sample predictions.

This file knows torch; the page does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from dalib.data.stream import permuted
from dalib.randomness import derive_seed, generator_for
from dalib.runfolder import write_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dalib.data.sources import UnlabelledImages
    from dalib.data.stream import Rows
    from dalib.types import Augment

SHEET_IMAGES = 8
SAMPLES = 24
CELL, LARGEST_CELL = 72, 112  # pixels of one image; larger ones would make a heavy report


def write_view_sheet(path: Path, images: Rows, student: Augment, teacher: Augment, seed: int) -> None:
    """PNG: a row for each of some images (N, C, H, W) uint8; columns: itself, two student views, two teacher views."""
    chosen = images[_choose(len(images), SHEET_IMAGES, seed)]
    columns = [chosen.float()]
    for name, view in (("student", student), ("teacher", teacher)):
        columns += [view(chosen, generator_for("cpu", seed, "sheet", name, number)) for number in range(2)]
    size = chosen.shape[-1]  # a view may be smaller, and is shown in the middle
    sheet = torch.ones(chosen.shape[1], len(chosen) * (size + 2), len(columns) * (size + 2))
    for column, views in enumerate(columns):
        for row, view in enumerate(_stretched(views)):
            seen = view.shape[-1]
            top, left = row * (size + 2) + (size - seen) // 2, column * (size + 2) + (size - seen) // 2
            sheet[:, top : top + seen, left : left + seen] = view
    _shown(_picture((sheet * 255).byte()), size).save(path)


def write_samples(
    folder: Path, target: UnlabelledImages, probabilities: dict[str, Tensor], classes: Sequence[str], seed: int
) -> None:
    """PNG files of some target images, and samples.json with what each model (name -> (N, C)) says of them.

    Half of them, as far as there are any, are images on which the models differ.
    """
    folder.mkdir(parents=True, exist_ok=True)
    order = _choose(len(target.names), len(target.names), seed)
    votes = torch.stack([each.argmax(dim=1) for each in probabilities.values()])
    differ = (votes != votes[0]).any(dim=0)[order]
    chosen = torch.cat([order[differ][: SAMPLES // 2], order[~differ]])[:SAMPLES]
    samples = []
    for number, index in enumerate(chosen.tolist()):
        file = f"{number:03d}.png"
        picture = _picture(target.images[index])
        _shown(picture, picture.width).save(folder / file)
        predictions = {}
        for name, each in probabilities.items():
            confidence, label = each[index].max(dim=0)
            predictions[name] = {"class": classes[int(label)], "confidence": confidence.item()}
        samples.append({"file": file, "name": target.names[index], "predictions": predictions})
    write_json(folder / "samples.json", samples)


def _choose(size: int, count: int, seed: int) -> Tensor:
    positions = torch.arange(min(size, count)).numpy()
    return torch.from_numpy(permuted(positions, size, derive_seed(seed, "samples")))


def _shown(picture: Image.Image, size: int) -> Image.Image:
    """The picture, whose images are ``size`` pixels wide, at a size to look at: pixels repeated, or averaged."""
    if size > LARGEST_CELL:
        scale = LARGEST_CELL / size
        return picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)
    factor = max(1, CELL // size)
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def _stretched(views: Tensor) -> Tensor:
    """Each image to [0, 1] between its own least and greatest value."""
    low = views.amin(dim=(1, 2, 3), keepdim=True)
    return (views - low) / (views.amax(dim=(1, 2, 3), keepdim=True) - low).clamp_min(1e-6)


def _picture(pixels: Tensor) -> Image.Image:
    """(C, H, W) uint8 -> PIL image."""
    array = pixels.permute(1, 2, 0).numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)
