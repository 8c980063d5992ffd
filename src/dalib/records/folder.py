"""A run is a folder: the names of what is in it, and reading and writing its small files. Knows no torch.

::

    config.yaml          the resolved configuration: `dalib train --config RUN/config.yaml` repeats the run
    summary.json         what the run was and came to
    metrics.jsonl        one line each time of logging
    checkpoints/         the last ones, to resume from
    selection.json       which model is selected, and who selected it
    model/               config.json and model.safetensors: the selected model, with class names and preprocessing
    adapted/model/       the adapted model, where there is a source-only one too; older runs have it only where
                         source-only was judged better
    kept/                with --select: the weights kept so far, and kept.json: their step and why
    source-only/         metrics.jsonl, checkpoints/ and model/ of the baseline, if there is one
    frozen/              with --model.trained_stages: metrics.jsonl, checkpoints/ and model/ of the adapted model before
                         the backbone's last stages were trained
    aligned/model/       source-only with the target's normalisation statistics, if there is a source-only model
    predictions.safetensors, images.json
                         each model's predictions for every target and validation image, and their names
    groups.json          with --groups: which of these images belong together
    hints.json           with --hints: how far they were trusted, by class
    judgement.json       did adaptation help? The evidence that needs no target label
    embedding.json       where images lie in the models' features, to be drawn
    map.jpg              thumbnails of these images, in one picture
    evaluations/         NAME.json for each labelled set that was measured
    mistakes/            NAME/ for each of them: pictures of some images that a model predicts wrongly
    labelled.json        accuracies estimated from labels of a few target images (`dalib eval --labels`, or a part of
                         --target_labels that was held out)
    shares.csv           the target's class shares by these labels, which --prior takes
    views.png            a sheet of augmented views: a row an image, columns: original, then two views of the student,
                         two of the teacher
    samples/             NNN.png or NNN.jpg, target images, and samples.json: the models' predictions for each
    unreadable.json      image files that could not be read: [{"path", "reason"}]
    left_out.json        files and folders beside them that are not used, by their names:
                         {"source": [{"path", "reason"}], "target": [the same]}
    report.html          made from the rest
    tensorboard/, wandb/ with --track: what these read
    tracking.json        the run's id at MLflow, wandb, or a service of that kind: {service: id}
    lock                 held by the process that trains

Each JSON file is a record, whose class describes its content: :class:`~dalib.records.summary.Summary`,
:class:`~dalib.records.judgement.Judgement`, :class:`~dalib.records.selection.Selection`,
:class:`~dalib.records.evaluation.Evaluation`, :class:`~dalib.records.labelled.Labelled`,
:class:`~dalib.records.pictures.Embedding`, :class:`~dalib.records.images.ImageNames`,
:class:`~dalib.records.images.ImageGroups`, :class:`~dalib.records.hints.Hints`,
:class:`~dalib.records.images.LeftOut` and, in a list, :class:`~dalib.records.pictures.Sample` and
:class:`~dalib.core.files.Unreadable`; a line of metrics.jsonl is a :class:`~dalib.records.metrics.MetricsLine`.

NAME, of a model, is "adapted", "aligned" or "source-only". predictions.safetensors holds target/NAME and
validation/NAME, float32 (N, C), and validation/labels, int64; images.json their names:
{"target": [names], "validation": [names]}.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dalib.core.errors import Call, Setting, UserError
from dalib.core.files import Unreadable, required_path
from dalib.core.places import in_short
from dalib.core.words import counted, share_in_words, share_within
from dalib.records.content import read_list
from dalib.records.evaluation import Evaluation
from dalib.records.hints import Hints
from dalib.records.images import ImageGroups, LeftOut
from dalib.records.judgement import Judgement
from dalib.records.labelled import Labelled
from dalib.records.pictures import Embedding, Sample
from dalib.records.selection import Selection
from dalib.records.summary import Summary

if TYPE_CHECKING:
    from dalib.records.selection import ModelName, SelectedBy

_MOST_NAMED = 5  # runs in an error

SEVERAL = "targets.json"
"""The file by which the folder of several targets' runs is known (:mod:`dalib.records.several`)."""


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
    def existing(cls, path: str | Path, argument: str = "run") -> RunFolder:
        """Returns the run at ``path``, which errors call the value of an argument.

        Raises:
            UserError: no such folder, or not a run.
        """
        run = cls(Path(required_path(path, argument)))
        if is_exported(run.root):
            raise UserError(
                Setting(argument, path),
                ": a model without its run, as `",
                Call("dalib.run.export.export"),
                "` writes them; `",
                Call("dalib.run.finished.predict.predict"),
                "` and dalib.load take it, this needs the run: give the folder that `",
                Call("dalib.adapt"),
                "` printed",
            )
        if run.root.suffix == ".dalib" and run.root.is_file():
            raise UserError(
                Setting(argument, path),
                ": a kit, from which a run begins and which does not predict by itself; adapt from it: ",
                Call("dalib.adapt", Setting("kit", path)),
            )
        if run.root.is_file():
            raise _not_a_folder(run.root, path, argument)
        if not run.root.is_dir():
            raise UserError(
                Setting(argument, path),
                ": no such folder; give the folder that `",
                Call("dalib.adapt"),
                "` printed. A training that was killed before its first step has left none: start it again",
            )
        if (run.root / SEVERAL).is_file():
            names = sorted(each.parent.name for each in run.root.glob("*/summary.json"))
            listed = "none has begun yet" if not names else ", ".join(str(run.root / name) for name in names)
            raise UserError(
                Setting(argument, path),
                f": the folder of several targets, each of which has a run in it; give one: {listed}",
            )
        if not run.config.is_file() or not run.summary.is_file():
            if inside := sorted(each.parent for each in run.root.glob("*/summary.json")):
                some = ", ".join(map(str, inside[:_MOST_NAMED])) + (", ..." if len(inside) > _MOST_NAMED else "")
                raise UserError(Setting(argument, path), f": a folder with runs in it; give one of them: {some}")
            raise UserError(
                Setting(argument, path),
                ": not a run folder, config.yaml or summary.json is missing; give the folder that `",
                Call("dalib.adapt"),
                "` printed",
            )
        return run

    @classmethod
    def of(cls, run: RunFolder | str | Path) -> RunFolder:
        """Returns a run, which is given itself or by its path, see :meth:`existing`."""
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
    def frozen(self) -> TrainingFolder:
        """Folder of the adapted model with a frozen backbone, from which the last stages are trained, if they are."""
        return TrainingFolder(self.root / "frozen")

    @property
    def aligned(self) -> TrainingFolder:
        """Folder of the aligned model, which is made of the source-only one without a training."""
        return TrainingFolder(self.root / "aligned")

    @property
    def adapted(self) -> TrainingFolder:
        """Folder of the adapted model if there is a source-only one too; runs that train have it in model/ first."""
        return TrainingFolder(self.root / "adapted")

    @property
    def predictions(self) -> Path:
        return self.root / "predictions.safetensors"

    @property
    def images(self) -> Path:
        return self.root / "images.json"

    @property
    def groups(self) -> Path:
        return self.root / "groups.json"

    @property
    def hints(self) -> Path:
        return self.root / "hints.json"

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
    def mistakes(self) -> Path:
        return self.root / "mistakes"

    @property
    def labelled(self) -> Path:
        return self.root / "labelled.json"

    @property
    def shares(self) -> Path:
        return self.root / "shares.csv"

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

    @property
    def resume_call(self) -> Call:
        """What resumes the run: a remedy for messages."""
        return Call("dalib.adapt", Setting("resume", self.root))

    def models(self) -> dict[str, Path]:
        """Returns the model folders that are there, by name; the selected one first.

        Raises:
            UserError: summary.json or selection.json is damaged.
        """
        found = self.model_folders()
        selected = self.selection().model
        return {name: found[name] for name in sorted(found, key=lambda name: name != selected)}

    def model_folders(self) -> dict[ModelName, Path]:
        """Returns the model folders that are there, by name, adapted first. Selecting another model moves none."""
        found: dict[ModelName, Path]
        if Summary.read(self.summary).own == "source-only":
            found = {"source-only": self.model}
        else:
            aside = (self.adapted.model / "config.json").is_file()
            found = {
                "adapted": self.adapted.model if aside else self.model,
                "aligned": self.aligned.model,
                "source-only": self.source_only.model,
            }
        return {name: folder for name, folder in found.items() if (folder / "config.json").is_file()}

    def selection(self) -> Selection:
        """Returns which model is selected; of a run of an older version, the one that it has in model/.

        Raises:
            UserError: selection.json is damaged, or of a newer version.
        """
        if self.selected.is_file():
            return Selection.read(self.selected)
        summary = Summary.read(self.summary)
        by: SelectedBy = "user" if summary.run_settings.keep == "adapted" else "judgement"
        if summary.own == "source-only" or (self.adapted.model / "config.json").is_file():
            return Selection("source-only", by)
        if not (self.model / "config.json").is_file() and self.judgement.is_file():  # models that were deleted
            return Selection(Judgement.read(self.judgement).shipped, by)
        return Selection("adapted", by)

    def read_judgement(self) -> Judgement | None:
        """Reads judgement.json; None before training has ended."""
        return Judgement.read(self.judgement) if self.judgement.is_file() else None

    def read_evaluations(self) -> tuple[Evaluation, ...]:
        """Reads all evaluations: the one that decided the selection first, then the first one measured first."""
        found = [Evaluation.read(path) for path in sorted(self.evaluations.glob("*.json"))]
        if len(found) < 2:
            return tuple(found)
        selection = self.selection()
        return tuple(sorted(found, key=lambda each: (not selection.chosen_on("evaluation", each.data), each.when)))

    def read_labelled(self) -> Labelled | None:
        """Reads labelled.json; None where no labels of a few target images were given."""
        return Labelled.read(self.labelled) if self.labelled.is_file() else None

    def read_left_out(self) -> LeftOut:
        """Reads left_out.json, which runs of older versions do not have."""
        return LeftOut.read(self.left_out) if self.left_out.is_file() else LeftOut()

    def read_groups(self) -> ImageGroups | None:
        """Reads groups.json; None where each image counts for itself, as in runs of older versions."""
        return ImageGroups.read(self.groups) if self.groups.is_file() else None

    def read_hints(self) -> Hints | None:
        """Reads hints.json; None of a run without hints."""
        return Hints.read(self.hints) if self.hints.is_file() else None

    def read_records(self) -> RunRecords:
        """Reads all small files of the run.

        Evaluations from before the run's own model was trained are left out where that has been judged since: they say
        nothing of it.

        Raises:
            UserError: a file is damaged, or of a newer version.
        """
        samples, summary, judgement = self.samples / "samples.json", Summary.read(self.summary), self.read_judgement()
        evaluations = self.read_evaluations()
        if judgement is not None and summary.own in judgement.models:
            evaluations = tuple(each for each in evaluations if summary.own in each.models)
        return RunRecords(
            summary,
            evaluations,
            self.read_labelled(),
            judgement,
            self._selection_of_several(),
            Embedding.read(self.embedding) if self.embedding.is_file() else Embedding(),
            read_list(Sample, samples) if samples.is_file() else (),
            read_list(Unreadable, self.unreadable) if self.unreadable.is_file() else (),
            self.read_hints(),
        )

    def _selection_of_several(self) -> Selection | None:
        models = len(self.model_folders())
        return None if models == 1 or (models == 0 and not self.selected.is_file()) else self.selection()


@dataclass(frozen=True)
class RunRecords:
    """The contents of the small files of a run, read once.

    Attributes:
        evaluations: the one that decided the selection first, then the first one measured first.
        labelled: None where no labels of a few target images were given.
        judgement: None before training has ended.
        selection: None where it is not known yet which model is selected, or where there is only one.
        embedding, samples, unreadable: empty where their files are missing.
        hints: None of a run without hints.
    """

    summary: Summary
    evaluations: tuple[Evaluation, ...] = ()
    labelled: Labelled | None = None
    judgement: Judgement | None = None
    selection: Selection | None = None
    embedding: Embedding = field(default_factory=Embedding)
    samples: tuple[Sample, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    hints: Hints | None = None

    @property
    def own(self) -> ModelName:
        """The model that the run's method makes."""
        return self.summary.own

    @property
    def few_labels_first(self) -> bool:
        """Whether labels of a few target images speak before the evaluations: there are none, or they selected."""
        labelled, selection = self.labelled, self.selection
        if labelled is None or not self.evaluations:
            return labelled is not None
        return selection is not None and selection.chosen_on("labelled", labelled.labels)

    def measured_in_words(self, name: str) -> str:
        """Returns a model's accuracy by the labels that the verdict rests on; empty without any."""
        if self.labelled is not None and self.few_labels_first:
            found = self.labelled.models.get(name)
            if found is None or found.value is None or found.low is None or found.high is None:
                return ""
            about = f"about {share_within(found.value, found.low, found.high)} right"
            return f"{about}, from the labels of {counted(self.labelled.count, 'target image')}"
        measured = next(iter(self.evaluations), None)
        if measured is None or name not in measured.models:
            return ""
        where = f"{counted(measured.count, 'labelled image')} of {in_short(measured.data)}"
        return f"{share_in_words(measured.models[name].accuracy)} right on {where}"


def models_of(run: RunFolder) -> dict[str, Path]:
    """Returns the model folders of a run by name, at least one; the selected one first.

    Raises:
        UserError: none yet.
    """
    models = run.models()
    if not models:
        raise UserError(
            Setting("run", run.root),
            ": no model in it yet; training has not finished (",
            run.resume_call,
            ")",
        )
    return models


def is_exported(path: Path) -> bool:
    """Returns whether a path is a model without a run."""
    if path.is_file():
        return path.suffix.lower() in (".onnx", ".pt2")
    return (path / "model.safetensors").is_file() and not (path / "summary.json").is_file()


def _not_a_folder(file: Path, given: str | Path, argument: str) -> UserError:
    """Returns the error for a file in place of a run's folder, which names the folder where the file is of a run."""
    folder = RunFolder(file.parent)
    if folder.config.is_file() and folder.summary.is_file():
        return UserError(Setting(argument, given), f": a file of a run; expected the run's folder, {folder.root}")
    if file.name == "model.safetensors" and (file.parent / "config.json").is_file():
        return UserError(Setting(argument, given), f": a file of a model; expected the model's folder, {file.parent}")
    return UserError(
        Setting(argument, given),
        ": a file; expected the folder of a run, which `",
        Call("dalib.adapt"),
        "` printed",
    )
