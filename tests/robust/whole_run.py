"""A finished run's folder with every file that a run may have, written without training."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from safetensors.torch import save_file

from dalib.core.files import write_json
from dalib.data.preprocessing import Preprocessing
from dalib.models.architecture import Architecture
from dalib.models.network import make_classifier
from dalib.models.saved import ModelDescription, save_model
from dalib.records.folder import RunFolder

if TYPE_CHECKING:
    from pathlib import Path

ARCHITECTURE = Architecture(backbones=("small",), bottleneck_dim=4, channels=1, size=8)
BINS = [{"confidence": 0.4, "accuracy": 0.3, "count": 9}, {"confidence": None, "accuracy": None, "count": 0}]
SURE = {"value": 0.9, "low": 0.8, "high": 0.95, "method": "atc", "reliable": True, "reason": ""}
UNSURE = {"value": None, "low": 0.0, "high": 1.0, "method": "atc", "reliable": False, "reason": "few images"}
IMAGES = 6


def contents(text: str = "photos", classes: tuple[str, ...] = ("ant", "bee", "cat")) -> dict[str, Any]:
    """The JSON files by their paths in the folder; ``text`` is in every free text of them."""
    count = len(classes)
    adapted = {
        "scores": {"target_class_ami": 0.5, "target_corr_c": 0.4, f"target_{text}": 0.3},
        "estimate": SURE | {"reason": text},
        "classes": [SURE, UNSURE | {"reason": text}, *([SURE] * (count - 2))],
        "calibration": {"temperature": 1.5, "error": 0.04, "bins": BINS},
    }
    measured = {
        "accuracy": 0.9,
        "interval": [0.8, 0.95],
        "confusion": [[8 if row == column else 1 for column in range(count)] for row in range(count)],
        "calibration": {"error": 0.04, "bins": BINS},
    }
    points = [[0.1 * index, -0.1 * index, index % count] for index in range(6)]
    tiles = list(range(6))
    labelled = {"value": 0.8, "low": 0.6, "high": 0.9, "count": 5}
    predictions = {name: {"class": classes[0], "confidence": 0.9} for name in ("adapted", "source-only")}
    return {
        "summary.json": {
            "dalib": "1",
            "torch": "2",
            "python": "3",
            "device": text,
            "status": "done",
            "settings": {"seed": 0},
            "fingerprints": {"source": "ab", "target": text},
            "started": "2026-01-02T03:04:05+00:00",
            "method": "self-ensemble",
            "source": text,
            "target": text,
            "classes": list(classes),
            "counts": {"source": 90, "source_validation": 10, "target": IMAGES, "unreadable": 1},
            "seconds": {"data": 1.0, "source-only": 6.0, "adapted": 12.0},
            "models": {
                name: {"source_validation_accuracy": 0.9, "target_confidence": 0.9, "target_histogram": [2] * count}
                for name in ("source-only", "adapted")
            },
            "kept_step": 50,
            "changed": 0.25,
        },
        "judgement.json": {
            "shipped": "adapted",
            "outcome": "helped",
            "headline": f"Adaptation probably helped {text}",
            "reasons": [text],
            "models": {"source-only": adapted | {"estimate": UNSURE}, "adapted": adapted},
            "distance": 1.25,
            "prior": {"kind": text, "shares": [1 / count] * count, "estimate": [1 / count] * count},
            "selection": {"step": 50, "of": 75, "score": text, "reason": text},
        },
        "embedding.json": {
            "method": text,
            "models": {
                name: {"source": points, "target": points, "source_tiles": tiles, "target_tiles": tiles}
                for name in ("source-only", "adapted")
            },
            "sheet": {"file": "map.png", "size": 4, "columns": 3},
        },
        "evaluations/labelled.json": {
            "data": text,
            "count": 30,
            "when": "2026",
            "classes": list(classes),
            "models": {"adapted": measured, "source-only": measured},
            "paired": {"adapted": 6, "source_only": 2},
            "pictures": "labelled",
            "mistakes": [
                {"file": "000.png", "name": text, "group": group, "truth": classes[1], "predictions": predictions}
                for group in ("lost", "both", "mended")
            ],
        },
        "labelled.json": {
            "labels": text,
            "when": "2026",
            "count": 5,
            "target": IMAGES,
            "design": "stratified",
            "notes": [text],
            "models": {"adapted": labelled, "source-only": labelled},
            "difference": labelled | {"value": 0.1, "low": -0.1, "high": 0.2},
        },
        "selection.json": {
            "version": 1,
            "model": "adapted",
            "by": "measurement",
            "measured": {
                "data": text,
                "labels": "evaluation",
                "count": 30,
                "adapted": 0.9,
                "source_only": 0.7,
                "difference": 0.2,
                "low": 0.05,
                "high": 0.35,
            },
            "when": "2026",
        },
        "samples/samples.json": [
            {"file": "000.png", "name": text, "group": group, "predictions": predictions}
            for group in ("most", "least", "differ", "class")
        ],
        "unreadable.json": [{"path": text, "reason": text}],
        "left_out.json": {"source": [], "target": [{"path": text, "reason": text}]},
        "images.json": {"target": [f"{number}-{text}.png" for number in range(IMAGES)], "validation": [text]},
    }


def write_run(root: Path, text: str = "photos", classes: tuple[str, ...] = ("ant", "bee", "cat")) -> RunFolder:
    run = RunFolder(root)
    for name, content in contents(text, classes).items():
        write_json(root / name, content)
    run.config.write_text(f"target: {json.dumps(text)}\n", encoding="utf-8", errors="replace")
    line = {
        "step": 25,
        "supervised": 1.5,
        "consistency": 0.5,
        "mask_rate": 0.5,
        "agreement": 0.7,
        "target_classes": 2.0,
    }
    run.metrics.write_text(f"{json.dumps(line)}\n{json.dumps(line | {'step': 50})}\n")
    Image.new("L", (10, 16)).save(run.views)
    Image.new("L", (8, 8)).save(run.samples / "000.png")
    Image.new("L", (12, 8)).save(root / "map.png")
    (run.mistakes / "labelled").mkdir(parents=True)
    Image.new("L", (8, 8)).save(run.mistakes / "labelled" / "000.png")
    probabilities = torch.eye(len(classes)).repeat(IMAGES, 1)[:IMAGES] * 0.8 + 0.2 / len(classes)
    save_file({f"target/{name}": probabilities.clone() for name in ("adapted", "source-only")}, run.predictions)
    torch.manual_seed(0)
    for folder in (run.model, run.source_only.model):
        network = make_classifier(ARCHITECTURE, len(classes))
        save_model(folder, network, ModelDescription(ARCHITECTURE, classes, Preprocessing(8, 1)))
    return run
