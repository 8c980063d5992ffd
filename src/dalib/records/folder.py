"""A run is a folder: the names of what is in it, and reading and writing its small files. Knows no torch.

::

    config.yaml          the resolved configuration: `dalib train --config RUN/config.yaml` repeats the run
    summary.json         what the run was and came to (Summary below)
    metrics.jsonl        one line each time of logging
    checkpoints/         the last ones, to go on from
    selection.json       which model is selected, and who selected it (Selection below); all that predicts asks it
    model/               config.json and model.safetensors: the selected model, with class names and preprocessing
    adapted/model/       the adapted model, where there is a source-only one too; older runs have it only where
                         source-only was judged better
    kept/                with --select: the weights kept so far, and kept.json: their step and why
    source-only/         metrics.jsonl, checkpoints/ and model/ of the baseline, if there is one
    predictions.safetensors, images.json
                         what each model says of every target and validation image, and the images' names
    judgement.json       did adaptation help? The evidence that needs no target label (Judgement below)
    embedding.json       where images lie in the models' features, to be drawn
    evaluations/         NAME.json for each labelled set that was measured
    labelled.json        accuracies estimated from labels of a few target images (`dalib eval --labels`, or a part of
                         --target_labels that was held out)
    views.png            a sheet of augmented views: a row an image, columns: original, then two views of the student,
                         two of the teacher
    samples/             NNN.png, target images, and samples.json: what the models say of each
    unreadable.json      image files that could not be read: [{"path", "reason"}]
    left_out.json        files and folders beside them that are not used, by their names:
                         {"source": [{"path", "reason"}], "target": [the same]}
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
                "target_labelled": n,                     (with --target_labels: labels that the adaptation learns from)
                "target_held_out": n},                    (and those that are held out to judge)
     "ranges": {"source": [low, high] or null, "target": the same},    (of images of whole numbers beyond 8 bits)
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
     "at_chance": [NAME of each model that is not better than chance on the source's validation images],
     "prior": {"kind": text, "shares": [by class], "estimate": [by class]},
     "selection": {"step": s, "of": s, "score": text, "reason": text}}                (of the adaptation's checkpoint)

    ESTIMATE: {"value": share or null, "low": share, "high": share, "method": text, "reliable": bool, "reason": text}
    BIN: {"confidence": mean, "accuracy": share, "count": n}, of the source's validation images; null where n is 0

``shipped`` is the choice that was made without labels, or by --keep adapted, at the end of training; it never changes.
What is selected now is in selection.json, which measurements and ``dalib keep`` rewrite::

    {"version": 1, "model": NAME, "by": "judgement" | "measurement" | "user", "when": ISO time,
     "measured": null or, by measurement, {"data": text, "labels": "evaluation" | "labelled", "count": labelled images,
                  "adapted": share, "source_only": share, "difference": share, "low": share, "high": share}}

A run without this file was written by an older version: the selected model is the one in model/. Each model has a
folder of its own, source-only/model/ and adapted/model/, which selecting does not move; model/ is a copy for other
programs.

embedding.json::

    {"method": "t-SNE" | "PCA", "models": {NAME: {"source": [[x, y, class]], "target": [[x, y, predicted class]]}}}

samples/samples.json::

    [{"file": "000.png", "name": path, "group": "differ" | "least" | "most",
      "surer": NAME,                                     (of group differ: the model that is surer; not in older runs)
      "predictions": {NAME: {"class": name, "confidence": share}}}]

evaluations/NAME.json::

    {"data": text, "count": n, "when": ISO time, "classes": [names],
     "asked": false for the test set that a named target is measured on by default, else true,
     "models": {NAME: {"accuracy": share, "interval": [low, high],
                       "confusion": [[counts]],        (a row a true class, a column a predicted one)
                       "calibration": {"error": share, "bins": [BIN]}}},
     "paired": {"adapted": n, "source_only": n}}       (images that only the one model gets right)

labelled.json, of the labels given last::

    {"labels": path of the list, "when": ISO time, "count": labelled images, "target": images of the target,
     "design": "stratified" | "simple random", "notes": [text],
     "trained_on": n,                               (only where the adapted model was trained on some of these labels)
     "held_out": true,                              (only for labels of --target_labels that were held out to judge)
     "models": {NAME: MEASURED}, "difference": MEASURED}                          (adapted less source-only, if both)

    MEASURED: {"value": share or null, "low": share, "high": share, "count": n}   (95% interval; n labels that tell)
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from dalib.core.errors import UserError
from dalib.core.files import expanded, quoted, read_json, write_json

ModelName = Literal["adapted", "source-only"]
SelectedBy = Literal["judgement", "measurement", "user"]
SELECTION_VERSION = 1


@dataclass(frozen=True)
class Measurement:
    """Both models of a run on the same labelled images.

    Attributes:
        data: where the images or labels are from, as it was given.
        labels: evaluation, a labelled set; or labelled, labels of a few of the target's own images.
        count: labelled images.
        adapted, source_only: accuracies, shares.
        difference: adapted less source-only; low and high are its 95% interval.
    """

    data: str
    labels: Literal["evaluation", "labelled"]
    count: int
    adapted: float
    source_only: float
    difference: float
    low: float
    high: float

    @property
    def better(self) -> ModelName | None:
        """The better model, where the interval of the difference leaves out 0."""
        return "adapted" if self.low > 0 else "source-only" if self.high < 0 else None

    def in_words(self) -> str:
        """Both accuracies, and the difference in percentage points: the better model first, else both by name."""
        points = [100 * each for each in (self.difference, self.low, self.high)]
        said = f"adapted {self.adapted:.1%}, source-only {self.source_only:.1%}"
        if self.better == "adapted":
            said = f"{self.adapted:.1%} against {self.source_only:.1%}"
        elif self.better == "source-only":
            said, points = f"{self.source_only:.1%} against {self.adapted:.1%}", [-points[0], -points[2], -points[1]]
        difference, low, high = points
        return f"{said} on {images(self.count)} ({difference:+.1f} points, 95% interval {low:+.1f} to {high:+.1f})"


@dataclass(frozen=True)
class Selection:
    """Which model of a run is selected, and by whom.

    Attributes:
        by: judgement, without target labels; measurement, with labels; or user, by ``dalib keep`` or --keep adapted.
        measured: what was measured, where it selected.
        when: ISO time; empty where a run of an older version does not tell.
    """

    model: ModelName
    by: SelectedBy
    measured: Measurement | None = None
    when: str = ""

    def chosen_on(self, labels: str, data: object) -> bool:
        """Whether the model was selected by these labels, so that its accuracy on them is a little too high."""
        return (
            self.by == "measurement"
            and self.measured is not None
            and (self.measured.labels == labels and self.measured.data == data)
        )

    @property
    def sentence(self) -> str:
        """That it is selected, and by whom."""
        return f"The {self.model} model is the selected model of this run ({self.reason})"

    @property
    def reason(self) -> str:
        """Who selected it, to stand behind the model's name."""
        if self.by == "measurement" and self.measured is not None:
            return f"selected by measurement on {images(self.measured.count)}"
        return "selected by the user" if self.by == "user" else "selected without target labels"


def images(count: int) -> str:
    """Returns so many labelled images in words.

    >>> images(1), images(200)
    ('1 labelled image', '200 labelled images')
    """
    return f"{count} labelled image{'' if count == 1 else 's'}"


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
        """Where the adapted model is if there is a source-only one too; runs that train have it in model/ first."""
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
    def selected(self) -> Path:
        return self.root / "selection.json"

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
    def left_out(self) -> Path:
        return self.root / "left_out.json"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    def models(self) -> dict[str, Path]:
        """The model folders that are there, by name; the selected one first.

        Raises:
            UserError: summary.json or selection.json is damaged.
        """
        found = self.model_folders()
        selected = self.selection().model
        return {name: found[name] for name in sorted(found, key=lambda name: name != selected)}

    def model_folders(self) -> dict[ModelName, Path]:
        """The model folders that are there, by name, adapted first. Selecting another model moves none of them."""
        found: dict[ModelName, Path]
        if read_json(self.summary)["method"] == "source-only":
            found = {"source-only": self.model}
        else:
            aside = (self.adapted.model / "config.json").is_file()
            found = {"adapted": self.adapted.model if aside else self.model, "source-only": self.source_only.model}
        return {name: folder for name, folder in found.items() if (folder / "config.json").is_file()}

    def selection(self) -> Selection:
        """Which model is selected; of a run of an older version, the one that it has in model/.

        Raises:
            UserError: selection.json is damaged, or of a newer version.
        """
        if self.selected.is_file():
            return _selection_of(read_json(self.selected), self)
        summary = read_json(self.summary)
        settings = summary.get("settings")
        by: SelectedBy = "user" if isinstance(settings, dict) and settings.get("keep") == "adapted" else "judgement"
        if summary.get("method") == "source-only" or (self.adapted.model / "config.json").is_file():
            return Selection("source-only", by)
        if not (self.model / "config.json").is_file() and self.judgement.is_file():  # models that were deleted
            judgement = read_json(self.judgement)
            if isinstance(judgement, dict) and judgement.get("shipped") == "source-only":
                return Selection("source-only", by)
        return Selection("adapted", by)

    def write_selection(self, selection: Selection) -> None:
        """Write selection.json, whole or not at all."""
        write_json(self.selected, {"version": SELECTION_VERSION, **asdict(selection)})


def models_of(run: RunFolder) -> dict[str, Path]:
    """Returns the model folders of a run by name, at least one; the selected one first.

    Raises:
        UserError: none yet.
    """
    models = run.models()
    if not models:
        raise UserError(
            f"RUN {run.root}: no model in it yet; training has not finished (dalib train --resume {quoted(run.root)})"
        )
    return models


def _selection_of(content: Any, run: RunFolder) -> Selection:
    try:
        if content["version"] > SELECTION_VERSION:
            raise UserError(
                f"{run.selected}: written as version {content['version']}; this version of dalib reads up to "
                f"{SELECTION_VERSION}: update dalib"
            )
        model, by, measured, when = (content[key] for key in ("model", "by", "measured", "when"))
        if model not in get_args(ModelName) or by not in get_args(SelectedBy) or not isinstance(when, str):
            raise ValueError(f"model {model!r}, by {by!r}, when {when!r}")
        return Selection(model, by, None if measured is None else _measurement_of(measured), when)
    except UserError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{run.selected}: expected a selection ({type(error).__name__}: {error}); the file is damaged. "
            f"Write it anew: dalib keep {quoted(run.root)} adapted (or source-only)"
        ) from None


def _measurement_of(content: dict[str, Any]) -> Measurement:
    found = Measurement(**content)
    shares = (found.adapted, found.source_only, found.difference, found.low, found.high)
    if not all(isinstance(each, int | float) and math.isfinite(each) for each in shares):
        raise ValueError(f"measured: expected shares, got {shares}")
    if not isinstance(found.data, str) or found.labels not in ("evaluation", "labelled"):
        raise ValueError(f"measured: data {found.data!r}, labels {found.labels!r}")
    if not isinstance(found.count, int) or found.count < 1:
        raise ValueError(f"measured: expected a count of images, got {found.count!r}")
    return found


def _is_exported(path: Path) -> bool:
    """Whether a path is a model without a run."""
    if path.is_file():
        return path.suffix.lower() in (".onnx", ".pt2")
    return (path / "model.safetensors").is_file() and not (path / "summary.json").is_file()
