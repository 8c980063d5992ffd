"""A run from Python: ``dalib.adapt`` trains one, ``dalib.open_run`` opens it again, and both return a :class:`Run`."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dalib.core.console import CountedProgress, say, say_unreadable
from dalib.core.errors import Call, Setting, UserError
from dalib.core.files import expanded, required_path
from dalib.core.places import in_short
from dalib.records.content import read_list
from dalib.records.folder import RunFolder
from dalib.records.pictures import Sample
from dalib.records.several import SeveralFolder, SeveralTargets
from dalib.records.summary import Summary
from dalib.report.verdict import verdict_of
from dalib.run.settings.config import NOT_BOTH
from dalib.run.settings.config_file import backbone_of_run, read_plain_config
from dalib.run.settings.given_places import (
    Place,
    check_before_kept,
    place_of_labelled,
    place_of_source,
    place_of_target,
    place_of_targets,
)
from dalib.run.settings.image_defaults import (
    require_weights_of_short_names,
    settings_of_images,
    settings_of_preset,
    settings_of_short_name,
)
from dalib.run.settings.kit_settings import settings_of
from dalib.run.settings.presets import configured, implied_preset
from dalib.run.timing.opening import say_opening

if TYPE_CHECKING:
    from collections.abc import Callable

    from dalib.core.files import Unreadable
    from dalib.data.reading_options import CachePolicy
    from dalib.judge.evidence import Evidence
    from dalib.records.evaluation import Evaluation
    from dalib.records.judgement import Judgement
    from dalib.records.labelled import Labelled
    from dalib.records.selection import ModelName, Selection
    from dalib.run.export import ExportFormat
    from dalib.run.finished.image_features import ImageFeatures
    from dalib.run.finished.image_predictions import Predictions
    from dalib.run.finished.load import Predictor
    from dalib.run.settings.config import TrainConfig
    from dalib.run.track import Tracker

SHOWN_PICTURES = 12
"""Target images that a run shows in a notebook."""


class Indexed(Protocol):
    """Images by number: an array, a tensor, a list, a data set of torch, or one of Hugging Face's ``datasets``."""

    def __getitem__(self, index: Any, /) -> Any: ...


def adapt(
    source: str | Path | Indexed | None = None,
    target: str | Path | Indexed | None = None,
    *,
    config: TrainConfig | None = None,
    resume: str | Path | None = None,
    allow_changes: bool = False,
    trackers: Sequence[Tracker] = (),
    on_evidence: Callable[[str, int, Evidence], None] | None = None,
    **settings: Any,
) -> Run:
    """Trains on labelled source images and unlabelled target images as ``dalib train`` does, and returns the run.

    Images that are objects are kept as files in the cache, once for all runs; ``dalib cache ls`` lists them.

    Args:
        source: labelled images, one of these:

            * a folder with a folder of images for each class, list file, or name of a data set; or several of these;
            * a pair ``(images, labels)``. Images are an array or a tensor (N, H, W), (N, H, W, C) or (N, C, H, W) with
              1, 3 or 4 channels, uint8 or floats from 0 to 1, or a list or series. Labels are numbers or class names;
            * a list of pairs ``(image, label)``; an image is a path, a PIL image, an array or a tensor;
            * a data frame of path and label, or a map-style data set of torch, class names in ``.classes`` or none;
            * a data set of Hugging Face's ``datasets`` with a column of images and one of labels.
        target: folder, list file, name of a data set, list of paths, or images as objects; labels are not used.
        config: the whole configuration in place of everything else.
        resume: folder of a run that was stopped, to resume it as it was configured. If images that were objects have
            gone from the cache, ``source``, ``target`` and ``evaluate`` put them back.
        allow_changes: with ``resume``, whether images and settings may differ from what they were.
        trackers: called at the events of the run; see :mod:`dalib.run.track`.
        on_evidence: called at each evaluation with the training's name, its step, and its model's predictions.
        settings: fields of :class:`dalib.run.settings.config.TrainConfig`, such as ``out="runs/first"``,
            ``preset="digits"`` or ``steps=500``. Groups are dictionaries: ``optimizer={"lr": 1e-4}``. ``evaluate``
            takes labelled images of any kind. ``hints`` takes a file, probabilities (N, C) in the target's order, a
            data frame, or a dictionary of images and classes (:func:`dalib.run.others.hints.hints_file`). ``kit`` names
            a file of ``dalib export --format kit``, or the folder of a model alone, in place of ``source``. A backbone
            of timm's without a preset takes the preset photo-features, as photographs without a backbone do.

    Returns:
        The finished run.

    Raises:
        UserError: bad input, before anything is trained.
        RunStoppedError: Ctrl-C; the step is saved, and ``adapt(resume=...)`` resumes from there.
    """
    _require_one(target)
    _check_changes_allowed(allow_changes, resume)
    given = {"source": source, "target": target}
    if resume is None:
        images = [name for name, value in given.items() if value is not None]
        _check_alone({"config": config}, images + list(settings))
        config = config or _configuration(source, target, settings)
    else:
        given["evaluate"] = settings.pop("evaluate", None)
        _check_alone({"config": config, "resume": resume}, list(settings))
        config = _of_run(resume, given)
    return _trained(config, resume, {"allow_changes": allow_changes, "trackers": trackers, "on_evidence": on_evidence})


def _trained(config: TrainConfig, resume: str | Path | None, options: Mapping[str, Any]) -> Run:
    """Names the images, and trains; ``options`` are those of :func:`dalib.run.train.train`."""
    say_opening(config.source, config.target, kit=config.kit, resume=resume)
    from dalib.run.train import train  # torch takes seconds to import

    return Run(train(config, resume=resume is not None, **options))


def adapt_each(
    source: str | Path | Indexed | None = None,
    targets: Mapping[str, Any] | None = None,
    *,
    config: TrainConfig | None = None,
    resume: str | Path | None = None,
    allow_changes: bool = False,
    trackers: Sequence[Tracker] = (),
    on_evidence: Callable[[str, int, Evidence], None] | None = None,
    **settings: Any,
) -> Runs:
    """Adapts to each of several targets by a run of its own; the source's features and model are computed once.

    A dictionary distinguishes several targets from one target that is a list of images, and names the folder of each
    run.

    Args:
        source: labelled images, as :func:`adapt` takes them.
        targets: target of each name, as :func:`adapt` takes them: ``{"street": "street/", "night": images}``.
        config: the whole configuration in place of everything else; its ``target`` is a dictionary of names and places.
        resume: folder of several targets, to train those that are not finished.
        allow_changes: with ``resume``, whether images and settings may differ from what they were.
        trackers: called at the events of each run.
        on_evidence: called at each evaluation, see :func:`adapt`.
        settings: as :func:`adapt` has them. ``evaluate`` is a dictionary, of some of the targets' names and labelled
            images. ``target_labels``, ``hints`` and ``time_limit`` are for one target alone.

    Returns:
        The finished runs by the names of their targets.

    Raises:
        UserError: bad input, before anything is trained.
        TrainingDivergedError: one of the runs diverged; the others are finished.
        RunStoppedError: Ctrl-C; ``adapt_each(resume=...)`` resumes from there.
    """
    images = [name for name, value in (("source", source), ("targets", targets)) if value is not None]
    _check_alone({"config": config, "resume": resume}, images + list(settings))
    _check_changes_allowed(allow_changes, resume)
    if resume is not None:
        folder = SeveralFolder.existing(resume)
        config = read_plain_config(folder.config, out=str(folder.root))
    elif config is None:
        if not isinstance(targets, Mapping) or not targets:
            raise UserError(f"targets: expected a dictionary of names and targets, got {type(targets).__name__}")
        config = _configuration(source, dict(targets), settings)
    say_opening(config.source, config.target, kit=config.kit, resume=resume)
    from dalib.run.several import Options, train_several  # torch takes seconds to import

    options = Options(allow_changes=allow_changes, trackers=trackers, on_evidence=on_evidence)
    return Runs(train_several(config, resume=resume is not None, options=options))


def open_runs(path: str | Path) -> Runs:
    """Opens the folder of several targets' runs.

    Raises:
        UserError: no such folder, or not one of several targets.
    """
    return Runs(SeveralFolder.existing(path))


def open_run(path: str | Path) -> Run:
    """Opens the folder of a run.

    Raises:
        UserError: no such folder, or not a run.
    """
    return Run(RunFolder.existing(path))


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


def _require_one(target: object) -> None:
    if type(target) is dict:
        raise UserError(
            "target: expected images, or their place, got a dictionary; for several targets, each of which gets a run "
            "of its own: dalib.adapt_each(source, {name: target})"
        )


def _check_alone(either: Mapping[str, object], others: Sequence[str]) -> None:
    """Raises UserError: two of the arguments that configure a run alone, or one of them and ``others``."""
    given = [name for name, value in either.items() if value is not None]
    if given and (len(given) > 1 or others):
        raise UserError(
            f"{given[0]}: expected alone, got {', '.join([*given[1:], *others])} with it; a run is configured by "
            "source, target and settings, or by config, or resumed"
        )


def _check_changes_allowed(allow_changes: bool, resume: object) -> None:
    """Raises UserError: changes are allowed without a run that is resumed."""
    if allow_changes and resume is None:
        raise UserError("allow_changes=True: expected resume with it, the folder of the run that may have changed")


def _configuration(source: object, target: object, settings: Mapping[str, Any]) -> TrainConfig:
    kit = settings.get("kit")
    if kit is not None:
        if source is not None:
            place = isinstance(source, str | Path)
            given = f"source={source!r}" if place else f"source ({type(source).__name__})"
            raise UserError(f"{given}: expected no source with kit={str(kit)!r}{NOT_BOTH}")
        source = str(kit)
    for name, value in (("source", source), ("target", target)):
        if value is None:
            raise UserError(
                f"{name}: expected a folder, a list file or the name of a data set, got nothing; arrays, lists and "
                "data sets do as well"
            )
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        group = isinstance(value, dict) and name not in ("hints", "evaluate")
        flat |= {f"{name}.{part}": each for part, each in value.items()} if group else {name: value}
    evaluated = flat.pop("evaluate", None)
    if flat.get("hints") is not None:
        from dalib.run.others.hints import hints_file

        flat["hints"] = hints_file(flat["hints"])
    if kit is not None:
        flat = {**settings_of(str(source), flat), **flat, "kit": source}
    if flat.get("init") is not None and flat.get("backbone") is None:
        flat["backbone"] = backbone_of_run(flat["init"])
    _configured(flat)  # mistakes in settings are told before images are read
    strict = bool(flat.get("strict", False))
    check_before_kept(None if kit is not None else source, target, evaluated)
    target_place = place_of_targets(target, strict) if type(target) is dict else place_of_target(target, strict)
    source_place = Place(source, source) if kit is not None else place_of_source(source, strict)
    flat |= {"source": source_place.name, "target": target_place.name}
    if evaluated is not None:
        several = evaluated if isinstance(evaluated, dict) else {"": evaluated}
        places = {name: place_of_labelled(each, "evaluate", strict).name for name, each in several.items()}
        flat["evaluate"] = places if isinstance(evaluated, dict) else places[""]
    chosen, note = settings_of_images(source_place.looked_at, target_place.looked_at, flat)
    if note:
        lite0, digits = 'backbone="lite0"', 'preset="digits"'
        filled = note.format(other='backbone=..., weights="hub"', none='backbone="small"', lite0=lite0, digits=digits)
        say(f"note: {filled}")
    return _configured({**flat, **chosen})


def _configured(flat: Mapping[str, Any]) -> TrainConfig:
    """Returns the configuration of settings under their dotted names."""
    of_short_name = settings_of_short_name(flat.get("backbone"), flat)
    require_weights_of_short_names(flat.get("backbone"), of_short_name)
    settings = {**flat, **settings_of_preset(flat), **of_short_name}
    preset = settings.pop("preset", None) or implied_preset(settings.get("backbone"))
    try:
        return configured(preset, settings)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(str(error)) from None


def _of_run(resume: str | Path, given: Mapping[str, object]) -> TrainConfig:
    """Returns the configuration of a run to resume; its images that are given are kept once more."""
    folder = RunFolder.existing(resume, "resume")
    config = read_plain_config(folder.config, out=str(folder.root))
    _put_back(config, given)
    return config


def _put_back(config: TrainConfig, given: Mapping[str, Any]) -> None:
    """Keeps the images of a run that is resumed once more, where they are given.

    Raises:
        UserError: other images than the run's.
    """
    for argument, images in given.items():
        if images is None:
            continue
        if argument == "source":
            place = place_of_source(images, config.strict)
        elif argument == "target":
            place = place_of_target(images, config.strict)
        else:
            place = place_of_labelled(images, argument, config.strict)
        own = _as_texts(getattr(config, argument))
        if _as_texts(place.name) != own:
            raise UserError(
                f"{argument}: not the images that the run has ({', '.join(own)}); leave it out, or begin a new run "
                "without resume"
            )


def _as_texts(places: Any) -> list[str]:
    return [expanded(each) for each in (places if isinstance(places, list | tuple) else [places]) if each is not None]


def _require_some(paths: Sequence[str], unreadable: Sequence[Unreadable]) -> None:
    """Reports images that cannot be read, before the others are written.

    Raises:
        UserError: there are no others.
    """
    if not paths:
        example = "".join(f" (for instance {each.path}: {each.reason})" for each in unreadable[:1])
        raise UserError(Setting("images"), f": none of the images can be read{example}")
    say_unreadable(unreadable)


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
            how = Call("dalib.adapt", Setting("resume", self.path))
            raise UserError(f"{self.path}: no judgement yet, because training has not finished; ", how, " resumes it")
        return judged

    @property
    def selected(self) -> ModelName:
        """The model that predicts: adapted, aligned or source-only."""
        return self.folder.selection().model

    @property
    def report(self) -> Path:
        """The report, written anew from the run's folder."""
        return self._write_report()

    def _write_report(self) -> Path:
        from dalib.report.page import write_report

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
                objects, as :func:`adapt` takes them for a target.
            out: also write a table, CSV or Parquet by the ending, as ``dalib predict`` does. Images that are objects
                have the names there that their predictions have.
            model: adapted, aligned or source-only; by default the selected model.
            device: auto, cpu, cuda or mps.

        Raises:
            UserError: no image, or no such model.
        """
        from dalib.run.finished.image_predictions import predict_images
        from dalib.run.finished.predict import check_table, write_table

        table = None if out is None else check_table(required_path(out, "out"))
        predictor = self.predictor(model=model, device=device)
        with CountedProgress("predictions") as progress:
            found = predict_images(images, predictor, progress)
        if table is not None:
            _require_some(found.paths, found.unreadable)
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
            UserError: no image, or no such model.
        """
        from dalib.run.finished.feature_table import check_features, write_features
        from dalib.run.finished.image_features import features_of_images

        place = None if out is None else check_features(required_path(out, "out"))
        predictor = self.predictor(model=model, device=device)
        with CountedProgress("features") as progress:
            found = features_of_images(images, predictor, progress)
        if place is not None:
            _require_some(found.paths, found.unreadable)
            write_features(place, found.paths, found.features)
        return found

    def predictor(self, *, model: str | None = None, device: str = "auto") -> Predictor:
        """Returns a model as a function of images, see :func:`dalib.load`; it is loaded once."""
        from dalib.run.finished.load import load

        key = (model or self.selected, device)
        if key not in self._loaded:
            self._loaded[key] = load(self.path, model=model, device=device)
        return self._loaded[key]

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
                objects, as :func:`adapt` takes them for a source.
            device: where the models predict: auto, cpu, cuda or mps.
            strict: whether unreadable images are refused instead of skipped.
            root: where named sets are.
            download: whether a named set that is not there is fetched.
            cache: where decoded images are kept: disk, ram or off.
            groups: images that belong together, as a setting of a run; None takes the run's.
        """
        from dalib.run.finished.measure import evaluate

        place = place_of_labelled(data, "data", strict)
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

    def evaluate_labels(self, labels: str | Path, *, groups: str | None = None) -> Labelled:
        """Estimates accuracies from labels of some target images; labels of enough images decide the selection.

        Args:
            labels: a list with the columns path and label, such as the one of :meth:`query`, filled in.
            groups: images that belong together, as a setting of a run; None takes the run's.
        """
        from dalib.run.finished.label_estimates import evaluate_labels

        estimated = evaluate_labels(self.folder, labels, groups)
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

        query(self.folder, count, str(out), seed=seed, groups=groups)
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

        return export(self.folder, format or _format_of(required_path(out, "out")), out, model=model)

    def keep(self, model: ModelName) -> Selection:
        """Selects a model by hand; no measurement changes this choice any more."""
        from dalib.run.finished.select import keep

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
            f"Run {self.path}: {in_short(summary.source)} -> {in_short(summary.target)} ({summary.method}, "
            f"{counts.get('source', 0)} source and {counts.get('target', 0)} target images, "
            f"{len(summary.classes)} classes)"
        ]
        if not self.folder.judgement.is_file():
            if summary.status != "running":
                return [*lines, f"status: {summary.status}; no judgement yet"]
            going_on = Call("dalib.adapt", Setting("resume", self.path))
            return [*lines, f"training has not finished; if it was stopped, {going_on} goes on with it"]
        lines.append(f"{self.verdict}.")
        selected, records = self.selected, self.folder.read_records()
        for name, judged in self.judgement.models.items():
            mark, end = (">", ", selected") if name == selected else (" ", "")
            lines.append(f"{mark} {name:<12}{records.measured_in_words(name) or judged.in_words}{end}")
        return [*lines, f"report: {self.folder.report}"]

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


class Runs(Mapping[str, Run]):
    """Runs of several targets by their names. Make them with :func:`adapt_each` or :func:`open_runs`.

    Args:
        folder: the folder that the runs lie in.
    """

    def __init__(self, folder: SeveralFolder) -> None:
        self.folder = folder

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

        return write_comparison(self.folder)

    def __repr__(self) -> str:
        lines = [f"Runs {self.path}: {in_short(self.targets.source)} -> {len(self.targets.targets)} targets"]
        for each in self.targets.targets:
            said = self[each.name].verdict if each.headline else each.status
            selected = "" if each.selected is None else f"; selected: {each.selected}"
            lines.append(f"  {each.name}: {said}{selected}")
        return "\n".join([*lines, f"report: {self.folder.report}"])
