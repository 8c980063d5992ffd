"""The folder of the runs of several targets: a run for each, by its name, and ``targets.json``, what they came to.

::

    config.yaml      the configuration of all: `dalib train --config PARENT/config.yaml` repeats them
    targets.json     what each run came to
    report.html      the targets side by side
    NAME/            the run of a target (:mod:`dalib.records.folder`)
    lock             held by the process that trains
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from dalib.core.errors import Call, Message, Setting, UserError
from dalib.core.files import expanded
from dalib.records.content import ABSENT, Record
from dalib.records.estimate import Estimate  # noqa: TC001 - the hints are read at run time
from dalib.records.folder import SEVERAL, RunFolder, RunRecords
from dalib.records.judgement import Outcome  # noqa: TC001
from dalib.records.selection import ModelName  # noqa: TC001
from dalib.records.summary import Summary

OWN_FILES = ("config.yaml", "report.html", "lock", SEVERAL)
"""Names that no target can have."""

DONE = ("done", "collapsed")
"""Status of a run that has ended with a judgement."""


@dataclass(frozen=True)
class Measured:
    """An accuracy that was measured: on how many labelled images of which set, and its 95% interval."""

    accuracy: float
    interval: tuple[float, float]
    count: int
    data: str


@dataclass(frozen=True)
class TargetModel:
    """One model of a target's run.

    Attributes:
        estimate: of its accuracy, without labels; None where the source has too few validation images.
        measured: its accuracy by the labels that the run's verdict rests on; None without any.
    """

    estimate: Estimate | None = field(default=None, metadata=ABSENT)
    measured: Measured | None = field(default=None, metadata=ABSENT)


@dataclass(frozen=True)
class TargetResult:
    """The run of one target.

    Attributes:
        name: of the target and of its run's folder.
        target: as it was given.
        status: of the run, as its summary has it; waiting where it has not begun.
        images: of the target.
        outcome, headline: of the judgement, where the run has one.
        probability: that adaptation helped, where the judgement has one (``Judgement.probability_of_help``).
        selected: the selected model.
        models: by name.
    """

    name: str
    target: str
    status: str = "waiting"
    images: int | None = field(default=None, metadata=ABSENT)
    outcome: Outcome | None = field(default=None, metadata=ABSENT)
    headline: str | None = field(default=None, metadata=ABSENT)
    probability: float | None = field(default=None, metadata=ABSENT)
    selected: ModelName | None = field(default=None, metadata=ABSENT)
    models: dict[str, TargetModel] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # a run's report and lock are written there, also of a folder that somebody else made
        if self.name in ("", ".", "..") or re.search(r"[/\\:\0]", self.name):
            raise ValueError(f"name: expected that of a folder beside {SEVERAL}, got {self.name!r}")


@dataclass(frozen=True)
class SeveralTargets(Record):
    """The targets of one source, in the order in which they are trained."""

    REMEDY: ClassVar[Message] = Message(
        "Write it anew: ",
        Call("dalib.report.several.write_comparison", Setting("run")),
        ", or restore it from a copy.",
    )

    source: str
    targets: tuple[TargetResult, ...]
    version: int = Record.VERSION


@dataclass(frozen=True)
class SeveralFolder:
    """The names of the files of several targets' runs."""

    root: Path

    @classmethod
    def existing(cls, path: str | Path) -> SeveralFolder:
        """Returns the folder at ``path``.

        Raises:
            UserError: no such folder, or not one of several targets.
        """
        folder = cls(Path(expanded(path)))
        if not folder.is_one():
            raise UserError(
                Setting("run", path),
                f": not the folder of several targets, {SEVERAL} is missing; give the one that was printed when they ",
                "were trained",
            )
        return folder

    def is_one(self) -> bool:
        """Returns whether runs of several targets were begun here."""
        return self.record.is_file() and self.config.is_file()

    @property
    def config(self) -> Path:
        return self.root / "config.yaml"

    @property
    def record(self) -> Path:
        return self.root / SEVERAL

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    def run(self, name: str) -> RunFolder:
        """Returns the run of a target."""
        return RunFolder(self.root / name)

    def names(self) -> tuple[str, ...]:
        """Returns the targets in the order in which they are trained.

        Raises:
            UserError: targets.json is damaged.
        """
        return tuple(each.name for each in SeveralTargets.read(self.record).targets)

    def runs(self) -> dict[str, RunFolder]:
        """Returns the runs that have begun, by the names of their targets.

        Raises:
            UserError: targets.json is damaged.
        """
        found = {name: self.run(name) for name in self.names()}
        return {name: run for name, run in found.items() if run.config.is_file() and run.summary.is_file()}

    def read(self) -> SeveralTargets:
        """Reads what the runs came to from their own records, which may be newer than targets.json.

        Raises:
            UserError: a file is damaged, or of a newer version.
        """
        known = SeveralTargets.read(self.record)
        results = [_result_of(each.name, each.target, self.run(each.name)) for each in known.targets]
        return SeveralTargets(known.source, tuple(results))


def is_finished(run: RunFolder) -> bool:
    """Returns whether a run has ended with its judgement and its report."""
    if not run.config.is_file() or not run.summary.is_file() or not run.report.is_file():
        return False
    return Summary.read(run.summary).status in DONE and run.judgement.is_file()


def _result_of(name: str, target: str, run: RunFolder) -> TargetResult:
    if not run.summary.is_file():
        return TargetResult(name, target)
    records = run.read_records()
    summary, judgement = records.summary, records.judgement
    result = TargetResult(name, target, summary.status, summary.counts.get("target"))
    if judgement is None or summary.status not in DONE:
        return result
    selection, measured = records.selection, _measured(records)
    models = {
        model: TargetModel(judgement.models[model].estimate if model in judgement.models else None, measured.get(model))
        for model in dict.fromkeys([*judgement.models, *measured])
    }
    return TargetResult(
        name,
        target,
        summary.status,
        summary.counts.get("target"),
        judgement.outcome,
        judgement.headline,
        judgement.probability_of_help,
        judgement.shipped if selection is None else selection.model,
        models,
    )


def _measured(records: RunRecords) -> dict[str, Measured]:
    """Returns the accuracy of each model by the labels that the run's verdict rests on; empty without any."""
    labelled, evaluation = records.labelled, next(iter(records.evaluations), None)
    if labelled is not None and records.few_labels_first:
        return {
            model: Measured(each.value, (each.low, each.high), labelled.count, labelled.labels)
            for model, each in labelled.models.items()
            if each.value is not None and each.low is not None and each.high is not None
        }
    if evaluation is None:
        return {}
    return {
        model: Measured(each.accuracy, each.interval, evaluation.count, evaluation.data)
        for model, each in evaluation.models.items()
    }
