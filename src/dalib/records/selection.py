"""``selection.json``: which model of a run is selected, and who selected it.

``judgement.json`` has the choice that was made at the end of training, which never changes. This record has what is
selected now; measurements and ``dalib keep`` rewrite it. A run without this file was written by an older version: the
selected model is the one in ``model/``. Each model has a folder of its own, ``source-only/model/`` and
``adapted/model/``, which selecting does not move; ``model/`` is a copy for other programs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from dalib.core.errors import Call, Message, Setting
from dalib.records.content import Record

ModelName = Literal["adapted", "source-only"]
SelectedBy = Literal["judgement", "measurement", "user"]


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

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count: expected at least 1 image, got {self.count}")

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
class Selection(Record):
    """Tells which model of a run is selected, and by whom.

    Attributes:
        by: judgement, without target labels; measurement, with labels; or user, by ``dalib keep`` or --keep adapted.
        measured: what was measured, where it selected.
        when: ISO time; empty where a run of an older version does not tell.
    """

    REMEDY: ClassVar[Message] = Message(
        "Write it anew: ",
        Call("dalib.run.select.keep", Setting("run"), Setting("model", "adapted")),
        " (or source-only)",
    )

    model: ModelName
    by: SelectedBy
    measured: Measurement | None = None
    when: str = ""
    version: int = Record.VERSION

    def __repr__(self) -> str:
        return f"Selection: {self.model} model ({self.reason})"

    def chosen_on(self, labels: str, data: object) -> bool:
        """Returns whether the model was selected by these labels, so that its accuracy on them is a little too high."""
        return (
            self.by == "measurement"
            and self.measured is not None
            and (self.measured.labels == labels and self.measured.data == data)
        )

    @property
    def sentence(self) -> str:
        """Sentence that says which model is selected, and by whom."""
        return f"The {self.model} model is the selected model of this run ({self.reason})"

    @property
    def reason(self) -> str:
        """Words for who selected it, to stand behind the model's name."""
        if self.by == "measurement" and self.measured is not None:
            return f"selected by measurement on {images(self.measured.count)}"
        return "selected by the user" if self.by == "user" else "selected without target labels"


def images(count: int) -> str:
    """Returns so many labelled images in words.

    >>> images(1), images(200)
    ('1 labelled image', '200 labelled images')
    """
    return f"{count} labelled image{'' if count == 1 else 's'}"
