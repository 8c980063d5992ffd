"""Runs whose predictions are written here, and what a person does with them."""

import csv
import json

import torch
from safetensors.torch import save_file

from dalib.commands.main import run

CLASSES = ["cat", "dog", "=cow"]
IMAGES = 400
NAMES = [
    "photos/0, hostile\n.png",
    "photos/=HYPERLINK(1).png",
    *(f"photos/{number}.png" for number in range(2, IMAGES)),
]


def made(folder, models=("adapted", "source-only"), images=IMAGES):
    """Returns a run and its target's classes, of which adapted has about 90% right and source-only 75%."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (images,), generator=generator)
    tensors = {}
    for name, sharpness in (("adapted", 2.5), ("source-only", 1.5)):
        logits = torch.randn(images, 3, generator=generator)
        logits[torch.arange(images), labels] += sharpness
        tensors[f"target/{name}"] = (1.5 * logits).softmax(dim=1)
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text("seed: 0\n")
    summary = {"dalib": "0", "torch": "2", "python": "3", "device": "CPU", "status": "done"}
    summary |= {"started": "2026-01-01T00:00:00+00:00", "method": "self-ensemble", "source": "drawings"}
    summary |= {"target": "photos", "classes": CLASSES, "models": {}, "seconds": {"data": 1.0}}
    summary["counts"] = {"source": 1, "source_validation": 0, "target": images, "unreadable": 0}
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "images.json").write_text(json.dumps({"target": NAMES[:images], "validation": []}))
    save_file({f"target/{name}": tensors[f"target/{name}"] for name in models}, folder / "predictions.safetensors")
    return folder, labels.tolist(), tensors


def query(found, out, *more):
    assert run(["query", str(found), "--out", str(out), *more]) == 0
    with out.open(newline="") as file:
        return list(csv.DictReader(file))


def fill_in(rows, labels, out, *, columns=None, only=None):
    """Labels the rows as a person would, all or the first few."""
    classes = {name: CLASSES[label] for name, label in zip(NAMES, labels, strict=False)}
    with out.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns or rows[0].keys(), extrasaction="ignore")
        writer.writeheader()
        for number, row in enumerate(rows):
            writer.writerow({**row, "label": classes[row["path"]] if only is None or number < only else ""})


def evaluate(found, out):
    assert run(["eval", str(found), "--labels", str(out)]) == 0
    return json.loads((found / "labelled.json").read_text())
