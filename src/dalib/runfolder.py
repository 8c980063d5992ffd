"""A run is a folder: the names of what is in it, and reading and writing its small files. Knows no torch.

::

    config.yaml          the resolved configuration: `dalib train --config RUN/config.yaml` repeats the run
    summary.json         what the run was and came to (Summary below)
    metrics.jsonl        one line each time of logging
    checkpoints/         the last ones, to go on from
    model/               config.json and model.safetensors: what predicts, with class names and preprocessing
    adapted/model/       the adapted model, where the source-only one was judged better and is in model/
    kept/                with --select: the weights kept so far, and kept.json: their step and why
    source-only/         metrics.jsonl, checkpoints/ and model/ of the baseline, if there is one
    predictions.safetensors, images.json
                         what each model says of every target and validation image, and the images' names
    judgement.json       did adaptation help? The evidence that needs no target label (Judgement below)
    embedding.json       where images lie in the models' features, to be drawn
    evaluations/         NAME.json for each labelled set that was measured
    labelled.json        accuracies estimated from labels of a few target images (`dalib eval --labels`)
    views.png            a sheet of augmented views: a row an image, columns: original, then two views of the student,
                         two of the teacher
    samples/             NNN.png, target images, and samples.json: what the models say of each
    unreadable.json      image files that could not be read: [{"path", "reason"}]
    report.html          made from the rest
    tensorboard/, wandb/ with --track: what these read
    tracking.json        the run's id at wandb, or at a service of that kind: {service: id}
    lock                 held by the process that trains

summary.json::

    {"dalib": version, "torch": version, "python": version, "device": text,
     "status": "running" | "done" | "diverged" | "collapsed",
     "settings": {setting: value}, "fingerprints": {"source": hex, "target": hex},     (what --resume compares)
     "contents": {"weights": hex, "init": hex, "prior": hex},                          (likewise, of files it names)
     "started": ISO time, "method": as --method names it,
     "source": text, "target": text, "classes": [names],
     "counts": {"source": n, "source_validation": n, "target": n, "unreadable": n,
                "target_labelled": n},                                                (with --target_labels)
     "seconds": {"data": s, "features": s, "source-only": s, "adapted": s},
     "models": {NAME: {"source_validation_accuracy": share, "target_histogram": [counts by class],
                       "target_confidence": mean of the largest probability}},
     "kept_step": step of the adapted model's weights,                                (without --select last)
     "stopped": {"step": s, "reason": text},                                          (collapsed)
     "changed": share of target images on which source-only and adapted differ}       (where both are there)

NAME is "adapted" or "source-only". predictions.safetensors holds target/NAME and validation/NAME, float32 (N, C), and
validation/labels, int64; images.json their names: {"target": [names], "validation": [names]}. judgement.json::

    {"shipped": NAME, "outcome": "helped" | "unclear" | "hurt" | "collapsed" | "alone",
     "headline": text, "reasons": [text],
     "models": {NAME: {"scores": {score: number}, "estimate": ESTIMATE, "classes": [ESTIMATE],
                       "calibration": {"temperature": t, "error": share, "bins": [BIN]}}},
     "distance": how well the domains can be told apart in the shipped model's features, 0 to 2,
     "votes": {NAME: target images that side with it, "differ": images on which the two differ, "count": all images},
     "prior": {"kind": text, "shares": [by class], "estimate": [by class]},
     "selection": {"step": s, "of": s, "score": text, "reason": text}}

    ESTIMATE: {"value": share or null, "low": share, "high": share, "method": text, "reliable": bool, "reason": text}
    BIN: {"confidence": mean, "accuracy": share, "count": n}, of the source's validation images; null where n is 0

embedding.json::

    {"method": "t-SNE" | "PCA", "models": {NAME: {"source": [[x, y, class]], "target": [[x, y, predicted class]]}}}

samples/samples.json::

    [{"file": "000.png", "name": path, "group": text, "predictions": {NAME: {"class": name, "confidence": share}}}]

evaluations/NAME.json::

    {"data": text, "count": n, "when": ISO time, "classes": [names],
     "models": {NAME: {"accuracy": share, "interval": [low, high],
                       "confusion": [[counts]],        (a row a true class, a column a predicted one)
                       "calibration": {"error": share, "bins": [BIN]}}},
     "paired": {"adapted": n, "source_only": n}}       (images that only the one model gets right)

labelled.json, of the labels given last::

    {"labels": path of the list, "when": ISO time, "count": labelled images, "target": images of the target,
     "design": "stratified" | "simple random", "notes": [text],
     "models": {NAME: MEASURED}, "difference": MEASURED}                          (adapted less source-only, if both)

    MEASURED: {"value": share or null, "low": share, "high": share, "count": n}   (95% interval; n labels that tell)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dalib.errors import UserError
from dalib.files import expanded, put_in_place


@dataclass(frozen=True)
class TrainingFolder:
    """One training's part of a run: the adapted one at the run's root, the baseline's in source-only/."""

    root: Path

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def model(self) -> Path:
        return self.root / "model"

    @property
    def kept(self) -> Path:
        return self.root / "kept"


@dataclass(frozen=True)
class RunFolder(TrainingFolder):
    """The names of the files of a run."""

    @classmethod
    def existing(cls, path: str | Path) -> RunFolder:
        """The run at ``path``.

        Raises:
            UserError: no such folder, or not a run.
        """
        run = cls(Path(expanded(path)))
        if _is_exported(run.root):
            raise UserError(
                f"RUN {path}: a model without its run, as `dalib export` writes them; `dalib predict` and dalib.load "
                "take it, this needs the run: give the folder that `dalib train` printed"
            )
        if not run.root.is_dir():
            raise UserError(
                f"RUN {path}: no such folder; give the folder that `dalib train` printed. A training that was killed "
                "before its first step has left none: start it again"
            )
        if not run.config.is_file() or not run.summary.is_file():
            raise UserError(
                f"RUN {path}: not a run folder, config.yaml or summary.json is missing; "
                "give the folder that `dalib train` printed"
            )
        return run

    @classmethod
    def of(cls, run: RunFolder | str | Path) -> RunFolder:
        """A run as functions take it: itself, or its path, see :meth:`existing`."""
        return run if isinstance(run, RunFolder) else cls.existing(run)

    @property
    def config(self) -> Path:
        return self.root / "config.yaml"

    @property
    def summary(self) -> Path:
        return self.root / "summary.json"

    @property
    def source_only(self) -> TrainingFolder:
        return TrainingFolder(self.root / "source-only")

    @property
    def adapted(self) -> TrainingFolder:
        """Where the adapted model is if it is not the one that predicts."""
        return TrainingFolder(self.root / "adapted")

    @property
    def predictions(self) -> Path:
        return self.root / "predictions.safetensors"

    @property
    def images(self) -> Path:
        return self.root / "images.json"

    @property
    def judgement(self) -> Path:
        return self.root / "judgement.json"

    @property
    def embedding(self) -> Path:
        return self.root / "embedding.json"

    @property
    def evaluations(self) -> Path:
        return self.root / "evaluations"

    @property
    def labelled(self) -> Path:
        return self.root / "labelled.json"

    @property
    def views(self) -> Path:
        return self.root / "views.png"

    @property
    def samples(self) -> Path:
        return self.root / "samples"

    @property
    def unreadable(self) -> Path:
        return self.root / "unreadable.json"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    def models(self) -> dict[str, Path]:
        """The model folders that are there, by name; the one that predicts first."""
        method = read_json(self.summary)["method"]
        if method == "source-only":
            found = {"source-only": self.model}
        elif (self.adapted.model / "config.json").is_file():  # the source-only model was judged better
            found = {"source-only": self.model, "adapted": self.adapted.model}
        else:
            found = {"adapted": self.model, "source-only": self.source_only.model}
        return {name: folder for name, folder in found.items() if (folder / "config.json").is_file()}


def _is_exported(path: Path) -> bool:
    """Whether a path is a model without a run."""
    if path.is_file():
        return path.suffix.lower() in (".onnx", ".pt2")
    return (path / "model.safetensors").is_file() and not (path / "summary.json").is_file()


def read_json(path: Path) -> Any:
    """The content of a JSON file of ours.

    Raises:
        UserError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; is the run complete?") from None
    except (ValueError, RecursionError) as error:  # also numbers of more digits, and lists deeper, than Python takes
        raise UserError(f"{path}: expected JSON ({error}); the file is damaged") from None


def read_texts(path: Path, key: str) -> list[str]:
    """A list of texts in a JSON file of ours.

    Raises:
        UserError: the file is missing, is not JSON, or has no such list.
    """
    content = read_json(path)
    texts = content.get(key) if isinstance(content, dict) else None
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UserError(f"{path}: expected a list of texts under {key}; the file is damaged")
    return texts


def write_json(path: Path, content: Any) -> None:
    """Write whole or not at all."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def write_text(path: Path, content: str) -> None:
    """Write whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    # file names need not be text: bytes that are not UTF-8 come as lone surrogates, and are written as escapes
    temporary.write_text(content, encoding="utf-8", errors="backslashreplace")
    put_in_place(temporary, path)
