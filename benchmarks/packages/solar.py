"""Solar cells under electroluminescence: monocrystalline against polycrystalline silicon, by how likely a defect is.

Photographs of the elpv-dataset; experts gave each cell one of four probabilities of a defect.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from pictures import SIZE, Writer, shuffled
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

PACKAGES = ("elpv-dataset",)

LABELS = {0.0: "sound", 1 / 3: "unlikely", 2 / 3: "likely", 1.0: "defective"}
DOMAINS = {"mono": "monocrystalline", "poly": "polycrystalline"}
MOST_OF_CLASS = 100


def build(source: Path, out: Path) -> None:
    """Writes the family."""
    writer = Writer(out, "solar")
    data = source / "elpv-dataset/elpv_dataset/data"
    found: dict[tuple[str, str], list[Path]] = {}
    with (data / "labels.csv").open(newline="") as file:
        for path, probability, kind in csv.reader(file, delimiter=" ", skipinitialspace=True):
            nearest = min(LABELS, key=lambda value: abs(value - float(probability)))
            found.setdefault((DOMAINS[kind], LABELS[nearest]), []).append(data / path)
    for (domain, label), files in sorted(found.items()):
        for file in shuffled(files, 1)[:MOST_OF_CLASS]:
            image = Image.open(file).convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS)
            writer.add(domain, label, file.stem, image)
