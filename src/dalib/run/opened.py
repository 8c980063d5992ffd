"""Runs on disk: ``dalib.open_run`` opens one, and a :class:`Run` does with it what the commands do."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from dalib.core.console import CountedProgress, say_note, say_unreadable
from dalib.core.errors import Setting, UserError
from dalib.core.files import LastingPath, expanded, required_path
from dalib.core.places import in_short
from dalib.core.refusals import refusals_in_words
from dalib.core.words import counted, share_in_words
from dalib.records.content import read_list
from dalib.records.folder import RunFolder
from dalib.records.pictures import Sample
from dalib.records.several import SeveralFolder, SeveralTargets
from dalib.records.summary import Summary
from dalib.report.verdict import verdict_of
from dalib.run.settings.given_places import place_of_labelled

if TYPE_CHECKING:
    from dalib.core.files import Unreadable
    from dalib.data.reading_options import CachePolicy
    from dalib.records.evaluation import Evaluation
    from dalib.records.judgement import Judgement
    from dalib.records.labelled import Labelled
    from dalib.records.selection import ModelName, Selection
    from dalib.run.export import ExportFormat
    from dalib.run.finished.image_features import ImageFeatures
    from dalib.run.finished.image_predictions import Predictions
    from dalib.run.finished.load import Predictor

SHOWN_PICTURES = 12
"""Target images that a run shows in a notebook."""


class Indexed(Protocol):
    """Images by number: an array, a tensor, a list, a data set of torch, or one of Hugging Face's ``datasets``."""

    def __getitem__(self, index: Any, /) -> Any: ...


def open_run(path: str | Path) -> Run:
    """Opens the folder of a run.

    Raises:
        UserError: no such folder, or not a run.
    """
    return Run(RunFolder.existing(path))


def open_runs(path: str | Path) -> Runs:
    """Opens the folder of several targets' runs.

    Raises:
        UserError: no such folder, or not one of several targets.
    """
    return Runs(SeveralFolder.existing(path))


def compare(*runs: Run | str | Path) -> list[str]:
    """Prints a table of runs on the same target, the best first, and returns their folders in that order.

    Where all of them were measured on one labelled set, the accuracy of each run's selected model decides, else
    label-free scores do.

    Args:
        runs: at least two, or their folders.

    Raises:
        UserError: fewer than two, a run without a judgement, or runs on different images or classes.
    """
    from dalib.run.finished.compare import compare_runs

    for each in runs:
        if not isinstance(each, Run | str | Path):
            raise UserError(
                f"compare: expected runs or their folders, got {type(each).__name__}; give them one by one: "
                "compare(first, second)"
            )
    return compare_runs([each.folder if isinstance(each, Run) else each for each in runs])


class Run:
    """A run on disk: what came of it, and what can be done with it.

    :func:`dalib.run.adapt.adapt` or :func:`open_run` makes one.

    Args:
        folder: the files of the run.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._place = LastingPath(folder.root)
        self._loaded: dict[tuple[str, str], tuple[object, Predictor]] = {}

    def __fspath__(self) -> str:
        """Returns the folder, so that a run may be given wherever its folder may: ``resume``, ``init``, ``prior``."""
        return str(self.folder.root)

    @property
    def folder(self) -> RunFolder:
        """The files of the run, also where the working directory has changed since a relative path was given."""
        return RunFolder(self._place.path)

    @property
    def path(self) -> Path:
        """The folder of the run, as it was given where that leads there."""
        return self.folder.root

    @property
    def summary(self) -> Summary:
        """The summary of the run."""
        return Summary.read(self.folder.summary)

    @property
    def judgement(self) -> Judgement:
        """The judgement: whether adaptation helped, by evidence that needs no target label.

        Raises:
            UserError: training has not finished.
        """
        judged = self.folder.read_judgement()
        if judged is None:
            how = self.folder.resume_call
            raise UserError(f"{self.path}: no judgement yet, because training has not finished; ", how, " resumes it")
        return judged

    @property
    def selected(self) -> ModelName:
        """The model that predicts, or will once it is trained: adapted, aligned or source-only."""
        return self.folder.selection().model

    @property
    def report(self) -> Path:
        """The report, written anew from the run's folder."""
        return self._write_report()

    def _write_report(self) -> Path:
        from dalib.report.page import write_report

        with refusals_in_words():
            return write_report(self.folder)

    def predict(
        self,
        images: str | Path | Indexed,
        *,
        out: str | Path | None = None,
        model: str | None = None,
        device: str = "auto",
    ) -> Predictions:
        """Predicts images with the selected model.

        Args:
            images: a folder, flat or nested, a list file, one image file, several of these paths, or images that are
                objects, as :func:`dalib.run.adapt.adapt` takes them for a target.
            out: also write a table, CSV or Parquet by the ending, as ``dalib predict`` does. Images that are objects
                have the names there that their predictions have.
            model: adapted, aligned or source-only; by default the selected model.
            device: auto, cpu, cuda or mps.

        Raises:
            UserError: no image, no such model, or a place that cannot be written; its attribute ``result`` has the
                predictions where that came to light after them.
        """
        from dalib.run.finished.image_predictions import predict_images
        from dalib.run.finished.predict import check_table, write_table

        table = None if out is None else check_table(required_path(out, "out"))
        predictor = self.predictor(model=model, device=device)
        with CountedProgress("predictions") as progress:
            found = predict_images(images, predictor, progress)
        if table is not None:
            _require_some(found.paths, found.unreadable)
            with refusals_in_words(found, "predictions"):
                write_table(table, found.paths, found.probabilities, found.description)
        return found

    def features(
        self,
        images: str | Path | Indexed,
        *,
        out: str | Path | None = None,
        model: str | None = None,
        device: str = "auto",
    ) -> ImageFeatures:
        """Computes the features of images, a vector for each.

        They are what the frozen backbone gives, or the input of the classifier of a network that was trained as a
        whole; :mod:`dalib.run.finished.features` defines them.

        Args:
            images: as :meth:`predict` takes them.
            out: also write them, as ``dalib features`` does: .npz, .parquet, or a folder of arrays without an ending.
            model: adapted, aligned or source-only; by default the selected model.
            device: auto, cpu, cuda or mps.

        Raises:
            UserError: no image, no such model, or a place that cannot be written; as for :meth:`predict`.
        """
        from dalib.run.finished.feature_table import check_features, write_features
        from dalib.run.finished.image_features import features_of_images

        place = None if out is None else check_features(required_path(out, "out"))
        predictor = self.predictor(model=model, device=device)
        with CountedProgress("features") as progress:
            found = features_of_images(images, predictor, progress)
        if place is not None:
            _require_some(found.paths, found.unreadable)
            with refusals_in_words(found, "features"):
                write_features(place, found.paths, found.features)
        return found

    def predictor(self, *, model: str | None = None, device: str = "auto") -> Predictor:
        """Returns a model as a function of images, see :func:`dalib.load`; it is loaded once.

        It is loaded anew where another run was written into the folder, or the model was selected by others. Where the
        selected model is not trained yet, a note names the model that predicts in its place.
        """
        from dalib.run.finished.load import chosen_model, load

        name = model or self.selected
        folder = self.folder.model_folders().get(cast("ModelName", name))
        if folder is None:  # not kept: the run may be resumed before the next prediction
            found = load(self.path, model=model, device=device)
            say_note(f"this is the {found.name}")
            return found
        state = chosen_model(self.path, model).in_words, _state_of(folder)
        kept = self._loaded.get((name, device))
        if kept is None or kept[0] != state:
            kept = state, load(self.path, model=model, device=device)
            self._loaded[name, device] = kept
        return kept[1]

    def evaluate(
        self,
        data: str | Path | Indexed,
        *,
        device: str = "auto",
        strict: bool = False,
        root: str | None = None,
        download: bool = False,
        cache: CachePolicy = "disk",
        groups: str | None = None,
    ) -> Evaluation:
        """Measures the models on labelled images, and lets them decide which model is selected.

        Args:
            data: folder with a folder of images for each class, list file, name of a labelled set, or images that are
                objects, as :func:`dalib.run.adapt.adapt` takes them for a source.
            device: where the models predict: auto, cpu, cuda or mps.
            strict: whether unreadable images are refused instead of skipped.
            root: where named sets are.
            download: whether a named set that is not there is fetched.
            cache: where decoded images are kept: disk, ram or off.
            groups: images that belong together, as a setting of a run; None takes the run's.
        """
        from dalib.run.finished.measure import evaluate

        recorded = self.folder.read_groups() if groups is None else None
        place = place_of_labelled(data, "data", strict, groups if recorded is None else recorded.definition)
        with refusals_in_words():
            measured = evaluate(
                self.folder,
                str(place.name),
                device=device,
                strict=strict,
                root=root,
                download=download,
                cache=cache,
                groups=groups,
            )
        self._write_report()
        return measured

    def evaluate_labels(self, labels: Any, *, groups: str | None = None) -> Labelled:
        """Estimates accuracies from labels of some target images; labels of enough images decide the selection.

        Args:
            labels: a list with the columns path and label, such as the one of :meth:`query`, filled in; or what it has
                as a data frame, or a dictionary of images' names and classes
                (:func:`dalib.run.others.given_labels.labels_file`).
            groups: images that belong together, as a setting of a run; None takes the run's.
        """
        from dalib.run.finished.label_estimates import evaluate_labels
        from dalib.run.others.given_labels import labels_file

        with refusals_in_words():
            table = labels_file(labels, self.summary.target, "labels")
            estimated = evaluate_labels(self.folder, table, groups)
        self._write_report()
        return estimated

    def query(
        self, count: int = 50, *, out: str | Path = "to_label.csv", seed: int = 0, groups: str | None = None
    ) -> Path:
        """Chooses target images from whose labels the accuracies are estimated; returns the list to fill in.

        Args:
            count: how many images.
            out: the list, a CSV file; a page to label them on is written beside it.
            seed: seed of the draw.
            groups: images that belong together, of which few of one group are drawn; None takes the run's.
        """
        from dalib.run.finished.query import query

        with refusals_in_words():
            query(self.folder, count, out, seed=seed, groups=groups)
        return Path(expanded(out))

    def compare(self, *others: Run | str | Path) -> list[str]:
        """Ranks this run and others on the same target as :func:`compare` does; returns their folders, best first."""
        return compare(self, *others)

    def export(self, out: str | Path, format: ExportFormat | None = None, *, model: str | None = None) -> Path:
        """Writes the selected model for other programs; returns where.

        Args:
            out: what to write; it must not be there yet.
            format: onnx, torch-export, torch, hf or kit; by default onnx for the ending .onnx, torch-export for .pt2,
                kit for .dalib, and torch for a folder, whose name has no ending.
            model: adapted, aligned or source-only; by default the selected model. A kit holds source-only.

        Raises:
            UserError: without a format, an ending that is of none; see also :func:`dalib.run.export.export`.
        """
        from dalib.run.export import export

        with refusals_in_words():
            return export(self.folder, format or _format_of(required_path(out, "out")), out, model=model)

    def keep(self, model: ModelName) -> Selection:
        """Selects a model by hand; no measurement changes this choice any more."""
        from dalib.run.finished.select import keep

        with refusals_in_words():
            selection = keep(self.folder, model)
        self._write_report()
        return selection

    def __repr__(self) -> str:
        return "\n".join(self._lines())

    @property
    def verdict(self) -> str:
        """Whether adaptation helped, in a sentence: by labels where there are some, as in the report, else judged."""
        found = verdict_of(self.folder.read_records(), str(self.path))
        return found.headline if found.kind == "measured" else self.judgement.headline

    def _lines(self) -> list[str]:
        summary = self.summary
        counts = summary.counts
        lines = [
            f"Run {self._place.given}: {in_short(summary.source)} -> {in_short(summary.target)} ({summary.method}, "
            f"{counts.get('source', 0)} source and {counted(counts.get('target', 0), 'target image')}, "
            f"{counted(len(summary.classes), 'class', 'classes')})"
        ]
        if not self.folder.judgement.is_file():
            if summary.status != "running":
                return [*lines, f"status: {summary.status}; no judgement yet"]
            return [*lines, f"training has not finished; if it was stopped, {self.folder.resume_call} goes on with it"]
        lines.append(f"{self.verdict}.")
        selected, records = self.selected, self.folder.read_records()
        for name, judged in self.judgement.models.items():
            mark, end = (">", ", selected") if name == selected else (" ", "")
            lines.append(f"{mark} {name:<12}{records.measured_in_words(name) or judged.in_words}{end}")
        if unknown := summary.unknown_in_words(selected):
            lines.append(f"{unknown}.")
        return [*lines, f"report: {self.folder.report}"]

    def _repr_html_(self) -> str:
        first, *rest = (html.escape(line.strip()) for line in self._lines())
        return (
            f"<div><p><b>{first}</b></p><ul>{''.join(f'<li>{line}</li>' for line in rest)}</ul>"
            f"<div style='display:flex;flex-wrap:wrap;gap:8px'>{''.join(self._pictures())}</div></div>"
        )

    def _pictures(self) -> list[str]:
        """Returns target images with both models' answers; those on which they differ first, as the report has them."""
        listed = self.folder.samples / "samples.json"
        found: list[str] = []
        samples = {each.file: each for each in (read_list(Sample, listed) if listed.is_file() else ())}  # each once
        for sample in list(samples.values())[:SHOWN_PICTURES]:
            file = self.folder.samples / Path(sample.file).name
            if not file.is_file():
                continue
            answers = "<br>".join(
                html.escape(f"{name}: {said.label} {share_in_words(said.confidence, 0)}")
                for name, said in sample.predictions.items()
            )
            data = base64.b64encode(file.read_bytes()).decode("ascii")
            kind = "jpeg" if file.suffix == ".jpg" else "png"
            found.append(
                f"<figure style='margin:0;font-size:80%'><img width='96' alt='{html.escape(sample.name, quote=True)}' "
                f"src='data:image/{kind};base64,{data}'><figcaption>{answers}</figcaption></figure>"
            )
        return found


class Runs(Mapping[str, Run]):
    """Runs of several targets by their names. Make them with :func:`dalib.run.adapt.adapt_each` or :func:`open_runs`.

    Args:
        folder: the folder that the runs lie in.
    """

    def __init__(self, folder: SeveralFolder) -> None:
        self._place = LastingPath(folder.root)

    @property
    def folder(self) -> SeveralFolder:
        """The files of all runs, as :attr:`Run.folder` has those of one."""
        return SeveralFolder(self._place.path)

    def __getitem__(self, name: str) -> Run:
        return Run(self.folder.runs()[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.folder.runs())

    def __len__(self) -> int:
        return len(self.folder.runs())

    @property
    def path(self) -> Path:
        """The folder of all runs."""
        return self.folder.root

    @property
    def targets(self) -> SeveralTargets:
        """What each run came to, also those that have not begun."""
        return self.folder.read()

    @property
    def report(self) -> Path:
        """The page that compares the targets, written anew."""
        from dalib.report.several import write_comparison

        with refusals_in_words():
            return write_comparison(self.folder)

    def __repr__(self) -> str:
        count = counted(len(self.targets.targets), "target")
        lines = [f"Runs {self._place.given}: {in_short(self.targets.source)} -> {count}"]
        for each in self.targets.targets:
            said = self[each.name].verdict if each.headline else each.status
            selected = "" if each.selected is None else f"; selected: {each.selected}"
            lines.append(f"  {each.name}: {said}{selected}")
        return "\n".join([*lines, f"report: {self.folder.report}"])


def _state_of(folder: Path) -> tuple[tuple[str, int, int, int], ...]:
    """Returns a stamp that changes when other files are written into a folder."""
    states = [(file.name, file.stat()) for file in sorted(folder.iterdir())]
    return tuple((name, each.st_ino, each.st_size, each.st_mtime_ns) for name, each in states)


def _require_some(paths: Sequence[str], unreadable: Sequence[Unreadable]) -> None:
    """Reports images that cannot be read, before the others are written.

    Raises:
        UserError: there are no others.
    """
    if not paths:
        example = "".join(f" (for instance {each.path}: {each.reason})" for each in unreadable[:1])
        raise UserError(Setting("images"), f": none of the images can be read{example}")
    say_unreadable(unreadable)


_FORMATS: dict[str, ExportFormat] = {".onnx": "onnx", ".pt2": "torch-export", ".dalib": "kit", "": "torch"}


def _format_of(out: str) -> ExportFormat:
    """Returns the format of an export by the ending of its place.

    Raises:
        UserError: an ending that is of no format.
    """
    found = _FORMATS.get(Path(out).suffix.lower())
    if found is None:
        raise UserError(
            f"out={out!r}: expected a name that ends in {', '.join(filter(None, _FORMATS))} or in nothing, for a "
            "folder; or name the format, such as format='torch'"
        )
    return found
