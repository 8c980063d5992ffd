"""A run from Python: ``dalib.adapt`` trains one, ``dalib.open_run`` opens it again, and both return a :class:`Run`."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from dalib.core.console import say
from dalib.core.errors import Setting, UserError
from dalib.core.files import Unreadable, expanded
from dalib.records.content import read_list
from dalib.records.folder import RunFolder
from dalib.records.judgement import Judgement
from dalib.records.pictures import Sample
from dalib.records.summary import Summary
from dalib.run.config_file import read_plain_config
from dalib.run.photographs import PHOTOGRAPHS_NOTE, photograph_settings, settings_of_short_name
from dalib.run.presets import configured, implied_preset

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dalib.records.evaluation import Evaluation
    from dalib.records.selection import ModelName, Selection
    from dalib.run.config import TrainConfig
    from dalib.run.export import ExportFormat
    from dalib.run.load import Prediction, Predictor

SHOWN_PICTURES = 12
"""Target images that a run shows in a notebook."""

_PREDICTED_TOGETHER = 64


def adapt(
    source: str | Path | Sequence[str | Path] | None = None,
    target: str | Path | None = None,
    *,
    config: TrainConfig | None = None,
    resume: str | Path | None = None,
    **settings: Any,
) -> Run:
    """Trains on labelled source images and unlabelled target images as ``dalib train`` does, and returns the run.

    Args:
        source: folder with a folder of images for each class, list file, or name of a data set; or several of these.
        target: folder of images, list file, or name of a data set; its labels are not used.
        config: the whole configuration in place of everything else.
        resume: folder of a run that was stopped, to resume it as it was configured.
        settings: fields of :class:`dalib.run.config.TrainConfig`, such as ``out="runs/first"``, ``preset="digits"`` or
            ``steps=500``. Groups are dictionaries: ``optimizer={"lr": 1e-4}``. A backbone of timm's without a preset
            takes the preset photo-features, and so do colour photographs for which no network is named.

    Returns:
        The finished run.

    Raises:
        UserError: bad input, before anything is written.
        RunStoppedError: Ctrl-C; the step is saved, and ``adapt(resume=...)`` goes on from there.
    """
    from dalib.run.train import train  # torch takes seconds to import

    given = [name for name, value in (("config", config), ("resume", resume)) if value is not None]
    others = [name for name, value in (("source", source), ("target", target)) if value is not None] + list(settings)
    if given and (len(given) > 1 or others):
        raise UserError(
            f"{given[0]}: expected alone, got {', '.join([*given[1:], *others])} with it; a run is configured by "
            "source, target and settings, or by config, or resumed"
        )
    if resume is not None:
        folder = RunFolder.existing(resume)
        return Run(train(read_plain_config(folder.config, out=str(folder.root)), resume=True))
    return Run(train(config or _configuration(source, target, settings)))


def open_run(path: str | Path) -> Run:
    """Opens the folder of a run.

    Raises:
        UserError: no such folder, or not a run.
    """
    return Run(RunFolder.existing(path))


def _configuration(source: object, target: object, settings: Mapping[str, Any]) -> TrainConfig:
    for name, value in (("source", source), ("target", target)):
        several = name == "source" and isinstance(value, list | tuple)
        if not all(isinstance(each, str | Path) for each in (value if several else [value])):  # type: ignore[attr-defined]
            raise UserError(
                f"{name}: expected a folder, a list file or the name of a data set, got "
                f"{'nothing' if value is None else type(value).__name__}"
            )
    flat: dict[str, Any] = {"source": source, "target": target}
    for name, value in settings.items():
        flat |= {f"{name}.{part}": each for part, each in value.items()} if isinstance(value, dict) else {name: value}
    if chosen := photograph_settings(source, target, settings.keys() | flat.keys()):  # type: ignore[arg-type]
        note = PHOTOGRAPHS_NOTE.format(other="backbone=..., weights=...", none='backbone="small"')
        say(f"note: {note}")
        flat |= chosen
    flat |= settings_of_short_name(flat.get("backbone"), flat.keys())
    preset = flat.pop("preset", None) or implied_preset(flat.get("backbone"))
    try:
        return configured(preset, flat)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(str(error)) from None


@dataclass(frozen=True)
class ImagePrediction:
    """A model's prediction for one image file.

    Attributes:
        path: the file.
        label: the most probable class.
        confidence: its probability.
        probabilities: of each class, the most probable first.
    """

    path: str
    label: str
    confidence: float
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Predictions(Sequence[ImagePrediction]):
    """Predictions for image files, in their order.

    Attributes:
        rows: one for each image that can be read.
        unreadable: the others, with the reason.
    """

    rows: tuple[ImagePrediction, ...]
    unreadable: tuple[Unreadable, ...] = ()

    @overload
    def __getitem__(self, index: int) -> ImagePrediction: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ImagePrediction]: ...
    def __getitem__(self, index: int | slice) -> ImagePrediction | Sequence[ImagePrediction]:
        return self.rows[index]

    def __len__(self) -> int:
        return len(self.rows)

    def to_pandas(self) -> Any:
        """Returns a data frame: path, label, confidence, and a column of probabilities for each class.

        Raises:
            UserError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise UserError("to_pandas: the package pandas is not installed; pip install pandas") from None
        return pd.DataFrame(
            [
                {
                    "path": row.path,
                    "label": row.label,
                    "confidence": row.confidence,
                    **dict(sorted(row.probabilities.items())),
                }
                for row in self.rows
            ]
        )

    def __repr__(self) -> str:
        counts: dict[str, int] = {}
        for row in self.rows:
            counts[row.label] = counts.get(row.label, 0) + 1
        most = sorted(counts.items(), key=lambda each: -each[1])[:6]
        lost = f", {len(self.unreadable)} unreadable" if self.unreadable else ""
        return f"<Predictions: {len(self.rows)} images{lost}; {', '.join(f'{name} {count}' for name, count in most)}>"


class Run:
    """A run on disk: what came of it, and what can be done with it. Make one with :func:`adapt` or :func:`open_run`.

    Args:
        folder: the files of the run.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self._loaded: dict[tuple[str, str], Predictor] = {}

    @property
    def path(self) -> Path:
        """The folder of the run."""
        return self.folder.root

    @property
    def summary(self) -> Summary:
        """What the run was and came to."""
        return Summary.read(self.folder.summary)

    @property
    def judgement(self) -> Judgement:
        """Whether adaptation helped, by evidence that needs no target label.

        Raises:
            UserError: training has not finished.
        """
        return Judgement.read(self.folder.judgement)

    @property
    def selected(self) -> ModelName:
        """The model that predicts: adapted or source-only."""
        return self.folder.selection().model

    @property
    def report(self) -> Path:
        """The report, written anew from the run's folder."""
        from dalib.report.page import write_report

        return write_report(self.folder)

    def predict(
        self,
        images: str | Path | Iterable[str | Path],
        *,
        out: str | Path | None = None,
        model: str | None = None,
        device: str = "auto",
    ) -> Predictions:
        """Predicts image files with the selected model.

        Args:
            images: a folder, flat or nested, a list file, one image file, or several of these paths.
            out: also write a table, CSV or Parquet by the ending, as ``dalib predict`` does; ``images`` is then a
                folder or a list file.
            model: adapted or source-only; by default the selected model.
            device: auto, cpu or cuda.

        Raises:
            UserError: no image, or no such model.
        """
        if out is not None:
            from dalib.run.predict import predict

            if not isinstance(images, str | Path):
                raise UserError(Setting("out", str(out)), ": expected one folder or list file of images with it")
            predict(self.folder, str(images), str(out), model=model, device=device)
        return self._predicted(images, self.predictor(model=model, device=device))

    def predictor(self, *, model: str | None = None, device: str = "auto") -> Predictor:
        """Returns a model as a function of images, see :func:`dalib.load`; it is loaded once."""
        from dalib.run.load import load

        key = (model or self.selected, device)
        if key not in self._loaded:
            self._loaded[key] = load(self.path, model=model, device=device)
        return self._loaded[key]

    @staticmethod
    def _predicted(images: str | Path | Iterable[str | Path], predictor: Predictor) -> Predictions:
        paths, unreadable = _image_files([images] if isinstance(images, str | Path) else images)
        rows: list[ImagePrediction] = []
        for first in range(0, len(paths), _PREDICTED_TOGETHER):
            some = paths[first : first + _PREDICTED_TOGETHER]
            for path, found in zip(some, _predict_or_explain(predictor, some), strict=True):
                if isinstance(found, str):
                    unreadable.append(Unreadable(str(path), found))
                else:
                    rows.append(ImagePrediction(str(path), found.label, found.confidence, found.probabilities))
        return Predictions(tuple(rows), tuple(unreadable))

    def evaluate(self, data: str | Path, **options: Any) -> Evaluation:
        """Measures the models on labelled images, and lets them decide which model is selected.

        Args:
            data: folder with a folder of images for each class, list file, or name of a labelled set.
            options: see :func:`dalib.run.measure.evaluate`.
        """
        from dalib.run.measure import evaluate

        return evaluate(self.folder, str(data), **options)

    def evaluate_labels(self, file: str | Path) -> None:
        """Estimates accuracies from labels of some target images, such as the list of :meth:`query`, filled in."""
        from dalib.run.query import evaluate_labels

        evaluate_labels(self.folder, str(file))

    def query(self, count: int = 50, *, out: str | Path = "to_label.csv", seed: int = 0) -> Path:
        """Chooses target images to label, so that a few labels tell the accuracies; returns the list to fill in."""
        from dalib.run.query import query

        query(self.folder, count, str(out), seed=seed)
        return Path(expanded(out))

    def compare(self, *others: Run | str | Path) -> list[str]:
        """Ranks this run and others on the same target; returns their folders, the best first."""
        from dalib.run.compare import compare_runs

        return compare_runs([self.folder, *(each.folder if isinstance(each, Run) else each for each in others)])

    def export(self, out: str | Path, format: ExportFormat | None = None, *, model: str | None = None) -> Path:
        """Writes the selected model for other programs; returns where.

        Args:
            out: what to write; it must not be there yet.
            format: onnx, torch-export, torch or hf; by default onnx for the ending .onnx, torch-export for .pt2, and
                torch for a folder.
            model: adapted or source-only; by default the selected model.
        """
        from dalib.run.export import export

        by_ending: dict[str, ExportFormat] = {".onnx": "onnx", ".pt2": "torch-export"}
        return export(self.folder, format or by_ending.get(Path(out).suffix.lower(), "torch"), out, model=model)

    def keep(self, model: ModelName) -> Selection:
        """Selects a model by hand; no measurement changes this choice any more."""
        from dalib.run.select import keep

        return keep(self.folder, model)

    def __repr__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> list[str]:
        summary = self.summary
        counts = summary.counts
        lines = [
            f"Run {self.path}: {summary.source} -> {summary.target} ({summary.method}, {counts.get('source', 0)} "
            f"source and {counts.get('target', 0)} target images, {len(summary.classes)} classes)"
        ]
        if not self.folder.judgement.is_file():
            return [*lines, f"status: {summary.status}; no judgement yet"]
        judgement = self.judgement
        lines.append(f"{judgement.headline}.")
        lines += [f"  {name:<12}{text}" for name, text in self._accuracies(judgement).items()]
        return [*lines, f"selected: {self.selected} model", f"report: {self.folder.report}"]

    @staticmethod
    def _accuracies(judgement: Judgement) -> dict[str, str]:
        found = {}
        for name, judged in judgement.models.items():
            estimate = judged.estimate
            if estimate is None or estimate.value is None:
                found[name] = "accuracy on the target not estimated"
            else:
                found[name] = (
                    f"accuracy on the target about {estimate.value:.0%} ({estimate.low:.0%} to {estimate.high:.0%}), "
                    "estimated without its labels"
                )
        return found

    def _repr_html_(self) -> str:
        first, *rest = (html.escape(line.strip()) for line in self._lines())
        return (
            f"<div><p><b>{first}</b></p><ul>{''.join(f'<li>{line}</li>' for line in rest)}</ul>"
            f"<div style='display:flex;flex-wrap:wrap;gap:8px'>{''.join(self._pictures())}</div></div>"
        )

    def _pictures(self) -> list[str]:
        """Target images with both models' answers; those on which they differ first, as the report has them."""
        listed = self.folder.samples / "samples.json"
        found: list[str] = []
        samples = {each.file: each for each in (read_list(Sample, listed) if listed.is_file() else ())}  # each once
        for sample in list(samples.values())[:SHOWN_PICTURES]:
            file = self.folder.samples / Path(sample.file).name
            if not file.is_file():
                continue
            answers = "<br>".join(
                html.escape(f"{name}: {said.label} {said.confidence:.0%}") for name, said in sample.predictions.items()
            )
            data = base64.b64encode(file.read_bytes()).decode("ascii")
            kind = "jpeg" if file.suffix == ".jpg" else "png"
            found.append(
                f"<figure style='margin:0;font-size:80%'><img width='96' alt='{html.escape(sample.name, quote=True)}' "
                f"src='data:image/{kind};base64,{data}'><figcaption>{answers}</figcaption></figure>"
            )
        return found


def _image_files(places: Iterable[str | Path]) -> tuple[list[Path], list[Unreadable]]:
    """Returns the image files of folders, list files and single paths, and those that a list names in vain."""
    from dalib.data.listing import list_images
    from dalib.data.tables import LIST_ENDINGS

    files: list[Path] = []
    unreadable: list[Unreadable] = []
    for place in places:
        path = Path(expanded(place))
        if path.is_dir() or path.suffix.lower() in LIST_ENDINGS:
            listing = list_images(path, argument="images")
            files += listing.paths
            unreadable += listing.unreadable
        else:
            files.append(path)
    return files, unreadable


def _predict_or_explain(predictor: Predictor, paths: Sequence[Path]) -> list[Prediction | str]:
    """Returns the prediction of each image, or why it cannot be read."""
    try:
        return list(predictor(list(paths)))
    except UserError:  # one of them: each by itself
        pass
    found: list[Prediction | str] = []
    for path in paths:
        try:
            found.append(predictor(path))
        except UserError as error:
            found.append(str(error))
    return found
