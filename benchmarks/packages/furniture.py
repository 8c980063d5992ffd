"""Furniture of Sweet Home 3D: shaded renders against line drawings of other models."""

from __future__ import annotations

import hashlib
import math
import re
from typing import TYPE_CHECKING

from pictures import Writer, shuffled, square

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PACKAGES = ("sweethome3d-furniture",)

CLASSES = {
    "chair": "chair|stool",
    "table": "table|desk",
    "bed": "bed",
    "lamp": "lamp|light|lantern|chandelier",
    "sofa": "sofa|couch",
    "cabinet": "cabinet|wardrobe|bookcase|shelves|chest|dresser|cupboard|sideboard|shelf",
    "plant": "plant|tree|flower|hedge|bush|palm",
    "person": "female|male|man|woman|girl|boy",
}
"""The classes, by words of the names in the catalogue. A name of two classes is left out."""

NOT_PEOPLE = "shoe|snowman"
"""Models whose names hold the name of a person. They count among the models, which fixes the views of the others."""
VIEWS = ((30, 18), (-35, 22), (65, 15), (-70, 28), (10, 35), (150, 20), (-20, 10), (48, 30))
"""Azimuth and elevation of the camera, in degrees."""
MOST_MODELS = 50
PICTURES_OF_CLASS = 36


def _models(source: Path) -> Iterator[tuple[str, str, Path]]:
    """Yields the id, the name in lower case and the file of each model of the catalogues."""
    for catalogue in sorted((source / "furniture").glob("*/PluginFurnitureCatalog.properties")):
        text = catalogue.read_text(encoding="latin-1")
        for number in re.findall(r"(?m)^id#(\d+)=", text):
            name, model = (re.search(rf"(?m)^{key}#{number}=(.*)$", text) for key in ("name", "model"))
            if name and model:
                path = catalogue.parent / model.group(1).strip().lstrip("/")
                yield f"{catalogue.parent.name}_{number}", name.group(1).strip().lower(), path


def build(source: Path, out: Path) -> None:
    """Writes the family. A model belongs to one domain, by its id; it is seen from two to eight sides."""
    from renders import Scene  # needs VTK

    writer = Writer(out, "furniture")
    found: dict[tuple[str, str], list[tuple[str, Path]]] = {}
    for number, name, path in _models(source):
        hits = [label for label, words in CLASSES.items() if re.search(rf"\b\w*({words})\b", name)]
        if len(hits) == 1 and path.suffix == ".obj" and path.exists():
            domain = "render" if int(hashlib.sha1(number.encode()).hexdigest(), 16) % 2 else "line"
            file_name = f"{number}_" + re.sub(r"\W+", "_", name)
            found.setdefault((domain, hits[0]), []).append((file_name, path))
    for (domain, label), models in sorted(found.items()):
        chosen = shuffled(models, 2)[:MOST_MODELS]
        views = min(8, max(2, math.ceil(PICTURES_OF_CLASS / len(chosen))))
        for position, (name, path) in enumerate(chosen):
            for view in range(0 if re.search(NOT_PEOPLE, name) else views):
                scene = Scene()
                scene.read_obj(path)
                scene.look(*VIEWS[(view + position) % 8])
                image = scene.colours() if domain == "render" else scene.outlines()
                writer.add(domain, label, f"{name}_{view}", square(image) if image else None)
