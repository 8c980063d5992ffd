"""The course of the trainings: curves over their steps, from the lines of their metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dalib.records.candidates import in_order
from dalib.records.judgement import KeptStep
from dalib.records.metrics import curve, read_metrics
from dalib.report.figures import Chart, Series, line_chart
from dalib.report.parts import loss_parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dalib.records.folder import RunFolder, RunRecords
    from dalib.records.judgement import MaskThreshold
    from dalib.records.metrics import MetricsLine

Lines = tuple["MetricsLine", ...]


def metrics_of(run: RunFolder, records: RunRecords) -> dict[str, Lines]:
    """Reads the metrics of each training by the name of its model, in the models' order."""
    if records.own == "source-only":
        return {"source-only": read_metrics(run.metrics)}
    return in_order({"source-only": read_metrics(run.source_only.metrics), records.own: read_metrics(run.metrics)})


def kept_step(records: RunRecords) -> KeptStep | None:
    """Returns the step whose weights were kept, from the judgement, or from the metrics of a run that has none."""
    if records.judgement and records.judgement.selection:
        return records.judgement.selection
    return None if records.summary.kept_step is None else KeptStep(records.summary.kept_step)


def training_charts(metrics: dict[str, Lines], records: RunRecords) -> list[Chart]:
    """Returns the charts of a run that have a curve."""
    kept = kept_step(records)
    course = _Course(
        records.own,
        metrics[records.own],
        len(records.summary.classes),
        kept.step if kept else None,
        records.judgement.mask_threshold if records.judgement else None,
    )
    charts = (
        course.loss(),
        course.teacher_and_student(),
        _validation(metrics, course.kept),
        course.scores(),
        course.doubt(),
        course.classes_in_use(),
    )
    return [chart for chart in charts if chart is not None]


def _validation(metrics: dict[str, Lines], kept: int | None) -> Chart | None:
    return line_chart(
        "Source validation accuracy",
        "On source images kept from training; it says nothing about the target.",
        [Series(name, name, curve(lines, "source_validation_accuracy")) for name, lines in metrics.items()],
        shares=True,
        kept_step=kept,
    )


@dataclass(frozen=True)
class _Course:
    """The training of the run's own model.

    Attributes:
        own: its name.
        kept: the step whose weights were kept.
        mask_threshold: that of the mask rate; None where it is not known.
    """

    own: str
    lines: Lines
    classes: int
    kept: int | None
    mask_threshold: MaskThreshold | None = None

    def loss(self) -> Chart | None:
        parts = [(key, look, curve(self.lines, key)) for key, look in loss_parts(self.lines).items()]
        # a part that is switched off is zero throughout
        series = [Series(_in_words(key), look, points) for key, look, points in parts if any(y for _, y in points)]
        return self._chart(f"Loss parts, {self.own}", "Weighted: they add up to the loss.", series)

    def teacher_and_student(self) -> Chart | None:
        found = [("mask rate", "two", "mask_rate"), ("agreement", "one", "agreement")] if self.own == "adapted" else []
        above = "" if self.mask_threshold is None else f", above {self.mask_threshold.in_words}"
        return self._chart(
            "Teacher and student on the target",
            f"Mask rate: share of target images on which the teacher is confident enough to count{above}. "
            "Agreement: share on which both predict the same class.",
            [Series(name, look, curve(self.lines, key)) for name, look, key in found],
            shares=True,
        )

    def scores(self) -> Chart | None:
        above = "" if self.mask_threshold is None else f" Mask rate: confidence above {self.mask_threshold.in_words}."
        return self._chart(
            f"Label-free scores, {self.own}",
            "Of target images as they are, at each evaluation; 100% is the maximum. A fall warns; "
            f"a rise does not prove that answers are right.{above}",
            self._on_target(("mask_rate", "two"), ("agreement", "one"), ("nuclear_norm", "three"), ("corr_c", "four")),
            shares=True,
        )

    def doubt(self) -> Chart | None:
        return self._chart(
            f"Uncertainty and diversity, {self.own}",
            "In nats. Mean entropy: uncertainty, lower is better. Mutual information: confident and diverse, higher is "
            "better.",
            self._on_target(("mean_entropy", "two"), ("mutual_information", "one")),
        )

    def classes_in_use(self) -> Chart | None:
        return self._chart(
            f"Classes in use on the target, {self.own}",
            f"The effective number of predicted classes, of {self.classes}. A fall means that classes are lost.",
            self._on_target(("classes", "one")),
        )

    def _on_target(self, *keys_and_looks: tuple[str, str]) -> list[Series]:
        return [Series(_in_words(key), look, curve(self.lines, f"target_{key}")) for key, look in keys_and_looks]

    def _chart(self, title: str, note: str, series: Sequence[Series], *, shares: bool = False) -> Chart | None:
        return line_chart(title, note, list(series), shares=shares, kept_step=self.kept)


_WORDS = {"corr_c": "class correlation", "classes": "effective classes"}


def _in_words(key: str) -> str:
    return _WORDS.get(key, key.replace("_", " "))
