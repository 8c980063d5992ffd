"""The next steps that the report ends its verdict with: what to do, and the command or the call that does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dalib.core.errors import Call, Setting
from dalib.core.files import quoted
from dalib.core.words import counted
from dalib.records.candidates import ADAPTED, BASELINE

if TYPE_CHECKING:
    from dalib.records.folder import RunRecords
    from dalib.records.judgement import Judgement
    from dalib.records.summary import RunSettings

Tone = Literal["helped", "hurt", "unclear", "unknown", "unfinished"]
"""What came of a run, as far as it is known."""

FIRST_LABELS, MORE_LABELS = 30, 200
"""Images to label at first, and where labels did not decide."""

FROM_SCRATCH = ("small", "digits", "paper-small", "paper-large")
"""Backbones that are trained from random weights."""


@dataclass(frozen=True)
class Step:
    """One thing to do next, and the command or the call that does it."""

    text: str
    command: str


@dataclass(frozen=True)
class NextSteps:
    """The next steps for a run.

    Attributes:
        run: its folder.
        config: its config.yaml.
        selected, baseline: names of these two of its models; ``selected`` is empty before there is one.
        settings: those of its training.
        left: how many more images the target has than were measured on, which may be others.
        few: whether the target seems to have few of the classes.
        decided: whether the labels that give the verdict have selected the model.
    """

    run: str
    config: str
    selected: str
    baseline: str
    settings: RunSettings
    left: int
    few: bool
    decided: bool = False

    @classmethod
    def of(cls, records: RunRecords, run: str, config: str) -> NextSteps:
        """Returns the next steps by the records of a run, its folder and its config.yaml."""
        judgement, selection = records.judgement, records.selection
        return cls(
            run,
            config,
            selection.model if selection else judgement.shipped if judgement else "",
            _baseline(records) or (judgement.baseline if judgement else None) or BASELINE,
            records.summary.run_settings,
            _left(records),
            judgement is not None and bool(judgement.few_classes),
            _decided(records),
        )

    def estimated(self, judgement: Judgement) -> tuple[Step, ...]:
        """Returns the next steps after a judgement without labels: labels first where only they can decide."""
        outcome = judgement.outcome
        if judgement.nothing_learnt:
            return (self._train_again(),)
        # where both predict the same, labels measure both alike
        steps = [self._label("alone" if judgement.same_predictions else outcome), self._measure()]
        if self.selected and outcome in ("helped", "unclear", "hurt") and not judgement.same_predictions:
            other = self._other()
            steps.append(Step(f"If the {other} model's answers look better to you, select it.", self.keep(other)))
        return (*steps, *([] if outcome == "helped" else [self._train_again()]))

    def measured(self, tone: Tone) -> tuple[Step, ...]:
        """Returns the next steps after a measurement."""
        if better := self.better(tone):
            return (Step(f"Select the {better} model.", self.keep(better)),)
        if tone == "unclear":
            more = "Label more target images, until the interval of the difference excludes 0."
            # not to_label.csv, which holds the labels of the first time: the query would refuse it
            steps = [Step(more, self._query(min(self.left, MORE_LABELS), "more_to_label.csv"))] if self.left > 0 else []
            return (*steps, self._train_again())
        return (self._train_again(),) if tone == "hurt" else ()

    def unfinished(self) -> tuple[Step, ...]:
        """Returns the next steps after a training that failed and left models."""
        return self._label("collapsed"), self._measure()

    def unknown(self) -> tuple[Step, ...]:
        """Returns the next steps where nothing was judged or measured."""
        return (self._measure(),)

    def better(self, tone: Tone) -> str:
        """Returns the model that is better by the labels, where another one is selected; else empty.

        Labels that selected a third model find that one better.
        """
        found = "" if self.decided else {"helped": ADAPTED, "hurt": self.baseline}.get(tone, "")
        return found if self.selected and found != self.selected else ""

    def keep(self, model: str) -> str:
        """Returns the call that selects a model."""
        return str(Call("dalib.run.finished.select.keep", Setting("run", self.run), Setting("model", model)))

    def _other(self) -> str:
        return self.baseline if self.selected == ADAPTED else ADAPTED

    def _label(self, outcome: str) -> Step:
        """Returns the step to label some images, with what labels are good for after this outcome of a judgement."""
        count = max(1, min(FIRST_LABELS, self.left))
        images = counted(count, "target image")
        text = {
            "unclear": f"Label {images}: only labels can tell the models apart. A clear result selects the better one.",
            "alone": f"Label {images}, to know how good the model is.",
        }
        sure = f"To make sure, label {images}. A clear result selects the better model."
        labels = "to_label.csv"
        evaluated = Call(
            "dalib.run.finished.label_estimates.evaluate_labels", Setting("run", self.run), Setting("labels", labels)
        )
        return Step(text.get(outcome, sure), f"{self._query(count, labels)}\n{evaluated}")

    def _query(self, count: int, out: str) -> str:
        settings = (Setting("run", self.run), Setting("count", count), Setting("out", out))
        return str(Call("dalib.run.finished.query.query", *settings))

    def _measure(self) -> Step:
        return Step(
            "If you have labelled target images, in a folder for each class, measure on them.",
            str(Call("dalib.run.finished.measure.evaluate", Setting("run", self.run), Setting("data", "FOLDER"))),
        )

    def _train_again(self) -> Step:
        """Returns the step to train again with the one change that promises most."""
        if self.few and self.settings.classes != "fewer":
            text = "Train again for a target with some of the classes, if it has only these."
            return Step(text, self._train_with("--classes fewer"))
        settings = self.settings
        if settings.kit:
            text = "Ask who has the source for a kit of a stronger backbone: it most often raises both models."
            kit = (Setting("run", "RUN-OF-THE-SOURCE"), Setting("format", "kit"), Setting("out", "NEW.dalib"))
            return Step(text, str(Call("dalib.run.export.export", *kit)))
        if not settings.backbones or settings.backbones[0] not in FROM_SCRATCH:
            text = "Train again with a stronger backbone: it most often raises both models."
            return Step(text, self._train_with("--backbone NAME --weights hub"))
        # without the run's configuration: a frozen backbone takes other settings than one that is trained whole
        again = Call(
            "dalib.adapt",
            Setting("source", settings.sources[0] if len(settings.sources) == 1 else "SOURCE"),
            Setting("target", settings.target or "TARGET"),
            Setting("backbone", "lite0"),
            Setting("out", "NEW-FOLDER"),
        )
        return Step(
            f"Photographs? Train again with a pretrained backbone, in place of “{settings.backbones[0]}”.", str(again)
        )

    def _train_with(self, changes: str) -> str:
        """Returns the command that trains again with some settings changed; adapt takes no file of settings."""
        return f"dalib train --config {quoted(self.config)} {changes} --out NEW-FOLDER"


def _baseline(records: RunRecords) -> str | None:
    """Returns the model that the labels which give the verdict compare adapted with; None without any."""
    if records.labelled is not None and records.few_labels_first:
        return records.labelled.baseline or BASELINE
    return next((each.baseline for each in records.evaluations if each.baseline), None)


def _decided(records: RunRecords) -> bool:
    """Returns whether the labels that give the verdict have selected the model."""
    selection, labelled, evaluations = records.selection, records.labelled, records.evaluations
    if selection is None:
        return False
    if labelled is not None and records.few_labels_first:
        return selection.chosen_on("labelled", labelled.labels)
    return bool(evaluations) and selection.chosen_on("evaluation", evaluations[0].data)


def _left(records: RunRecords) -> int:
    """Returns how many more images the target has than were measured on; none where no further label tells anything.

    A list of a few labelled ones leaves all: the next list replaces it.
    """
    count, labelled = records.summary.counts.get("target", MORE_LABELS), records.labelled
    difference = None if labelled is None else labelled.difference
    if difference is not None and difference.low == difference.high:  # all are labelled, or the models agree on all
        return 0
    return count - max((each.count for each in records.evaluations), default=0)
