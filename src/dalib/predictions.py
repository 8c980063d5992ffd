"""What is done with the models that a run has left: measure them against labels, or let one predict a folder."""

from __future__ import annotations

import csv
import datetime
import hashlib
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dalib import build
from dalib.console import CountedProgress, say, say_unreadable
from dalib.data.sources import BUILT_IN_LABELLED, open_labelled, read_folder
from dalib.domains import failures
from dalib.engine.predict import predict_probabilities
from dalib.errors import UserError
from dalib.feature_space import FeatureSpace, features_folder
from dalib.judge.accuracy import confusion_matrix, reliability_bins, wilson_interval
from dalib.judge.estimate import expected_calibration_error
from dalib.models.saved import load_description
from dalib.runfolder import write_json, write_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dalib.data.sources import CachePolicy, LabelledImages
    from dalib.data.stream import Rows
    from dalib.runfolder import RunFolder

BINS = 10  # of the reliability diagram


def evaluate(
    run: RunFolder,
    data: str,
    *,
    device: str = "auto",
    strict: bool = False,
    root: str | None = None,
    download: bool = False,
    cache: CachePolicy = "disk",
) -> dict[str, Any]:
    """Measure every model of the run against labels, and keep the result in the run's folder.

    Args:
        data: a folder with a folder of images for each class, ``digits-held-out``, or a named test set.
        root, download: where named sets are, and whether to fetch one that is not there.
        cache: where decoded images are kept, as for ``train``.

    Returns:
        What is written to ``evaluations/NAME.json`` (:mod:`dalib.runfolder`).
    """
    description = load_description(next(iter(models_of(run).values())))
    where = build.make_device(device)
    with CountedProgress(f"reading {data}", sys.stdout) as progress:
        labelled = open_labelled(
            data,
            description.preprocessing,
            description.classes,
            strict=strict,
            root=root,
            download=download,
            cache=cache,
            on_progress=progress,
            on_note=say,
        )
    return measure(run, data, labelled, where)


def measure(run: RunFolder, data: str, labelled: LabelledImages, device: torch.device) -> dict[str, Any]:
    """Measure every model of the run on ``labelled``, print and write the result."""
    predictions = {name: _predicted(folder, labelled.images, data, device) for name, folder in models_of(run).items()}
    failed = failures([labelled.images])  # another image stood in for these
    say_unreadable((*failed, *labelled.unreadable))
    readable = _readable(labelled.names, [each.path for each in failed])
    labels = labelled.labels[readable]
    models: dict[str, Any] = {}
    right: dict[str, Tensor] = {}
    for name, every in predictions.items():
        probabilities = every[readable]
        predicted = probabilities.argmax(dim=1)
        right[name] = predicted == labels
        correct = int(right[name].sum())
        models[name] = {
            "accuracy": correct / len(predicted),
            "interval": wilson_interval(correct, len(predicted)),
            "confusion": confusion_matrix(labels, predicted, len(labelled.classes)).tolist(),
            "calibration": {
                "error": expected_calibration_error(probabilities, labels, BINS),
                "bins": reliability_bins(probabilities, labels, BINS),
            },
        }
        low, high = models[name]["interval"]
        say(f"{name:12} {correct / len(predicted):.1%} of {len(predicted)} images of {data} ({low:.1%} to {high:.1%})")
    result = {
        "data": data,
        "count": len(labels),
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "classes": list(labelled.classes),
        "models": models,
    }
    if {"adapted", "source-only"} <= right.keys():
        adapted, source_only = right["adapted"], right["source-only"]
        result["paired"] = {
            "adapted": int((adapted & ~source_only).sum()),
            "source_only": int((source_only & ~adapted).sum()),
        }
    file = data
    if data not in BUILT_IN_LABELLED:  # two folders of one name are two evaluations; the same folder is one
        file = f"{slug(data)}-{hashlib.blake2b(str(Path(data).resolve()).encode(errors='replace')).hexdigest()[:6]}"
    write_json(run.evaluations / f"{file}.json", result)
    return result


def _predicted(folder: Path, rows: Rows, source: str, device: torch.device) -> Tensor:
    """Probabilities (N, K) of a saved model; where its backbone is frozen, from features that are kept for the next."""
    model, description = build.load_classifier(folder)
    architecture = description.architecture
    if not architecture.get("features"):
        predictor = build.make_predictor(model, architecture).eval().to(device)
        return predict_probabilities(predictor, rows, description.preprocessing.normalize, device=device)
    space = FeatureSpace.of(model, description.preprocessing, features_folder(), device, architecture["averaged_views"])
    inputs = space.inputs(architecture)
    head = build.make_classifier(inputs.architecture, len(description.classes))
    head.load_state_dict(space.without_backbone(model.state_dict()))
    with CountedProgress(f"features of {source}, plain", sys.stdout) as progress:
        features = space.plain(rows, source, progress)
    return predict_probabilities(
        build.make_predictor(head.eval(), inputs.architecture).to(device), features, inputs.plain, device=device
    )


def predict(
    run: RunFolder,
    images: str,
    out: str,
    *,
    model: str | None = None,
    device: str = "auto",
    strict: bool = False,
    cache: CachePolicy = "off",
) -> int:
    """Write ``path, class, confidence, runner_up, runner_up_confidence`` for each image below a folder.

    Args:
        images: a folder of images, flat or nested, or a list of them.
        out: the CSV file, written whole or not at all.
        model: ``adapted`` or ``source-only``; by default the run's own.
        strict: refuse unreadable images; otherwise they are told and have no row.
        cache: where decoded images are kept, as for ``train``; off needs the same memory for any number of images.

    Returns:
        How many images were predicted.
    """
    models = models_of(run)
    if model is not None and model not in models:
        raise UserError(f"--model {model}: this run has {', '.join(models)}")
    where = build.make_device(device)
    if not Path(out).absolute().parent.is_dir():
        raise UserError(f"--out {out}: its folder does not exist; make it first")
    network, description = build.load_model(models[model] if model else next(iter(models.values())))
    with CountedProgress(f"reading {images}", sys.stdout) as progress:
        target = read_folder(
            Path(images),
            description.preprocessing,
            argument="--images",
            strict=strict,
            cache=cache,
            on_progress=progress,
            on_note=say,
        )
    with CountedProgress("predictions", sys.stdout) as progress:
        probabilities = predict_probabilities(
            network.to(where), _Counted(target.images, progress), description.preprocessing.normalize, device=where
        )
    failed = failures([target.images])
    if failed and strict:
        raise UserError(f"--images {images}: {failed[0].path}: {failed[0].reason}; leave out --strict to skip it")
    say_unreadable((*failed, *target.unreadable))
    readable = _readable(target.names, [each.path for each in failed]).tolist()
    best = probabilities.topk(2, dim=1)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "class", "confidence", "runner_up", "runner_up_confidence"])
    rows = list(zip(target.names, best.indices.tolist(), best.values.tolist(), strict=True))
    for position in readable:
        name, (first, second), (share, next_share) = rows[position]
        classes = description.classes
        writer.writerow([name, classes[first], f"{share:.4f}", classes[second], f"{next_share:.4f}"])
    write_text(Path(out), text.getvalue())
    return len(readable)


def models_of(run: RunFolder) -> dict[str, Path]:
    """The run's models by name, at least one.

    Raises:
        UserError: none yet.
    """
    models = run.models()
    if not models:
        raise UserError(
            f"RUN {run.root}: no model in it yet; training has not finished (dalib train --resume {run.root})"
        )
    return models


def slug(where: str) -> str:
    """A name for a file or folder, of the last part of a path or of any other name."""
    name = Path(where).resolve().name if os.sep in where else where
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)[:60].strip(".") or "data"


def _readable(names: Sequence[str], failed: Sequence[str]) -> Tensor:
    """Positions (N,) of the names that did not fail."""
    unreadable = set(failed)
    return torch.tensor([position for position, name in enumerate(names) if name not in unreadable], dtype=torch.int64)


class _Counted:
    """Rows that tell how many of them were asked for."""

    def __init__(self, rows: Rows, progress: CountedProgress) -> None:
        self.rows, self.progress, self.done = rows, progress, 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: Tensor, /) -> Tensor:
        images = self.rows[indices]
        self.done += len(images)
        self.progress(self.done, len(self.rows))
        return images
