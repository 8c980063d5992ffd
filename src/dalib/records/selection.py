"""``selection.json``: which model of a run is selected, and who selected it.

``judgement.json`` has the choice that was made at the end of training, which never changes. This record has what is
selected now; measurements and ``dalib keep`` rewrite it. A run without this file was written by an older version: the
selected model is the one in ``model/``. Each model has a folder of its own, ``source-only/model/`` and
``adapted/model/``, which selecting does not move; ``model/`` is a copy for other programs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from dalib.core.errors import Call, Message, Setting
from dalib.core.places import same_place
from dalib.core.words import counted, difference_in_words, points_in_words, share_in_words
from dalib.records.content import ABSENT, Record

if TYPE_CHECKING:
    from pathlib import Path

ModelName = Literal["adapted", "aligned", "source-only"]
"""Models of a run: aligned is source-only with the normalisation statistics of the target."""

SelectedBy = Literal["judgement", "measurement", "user"]


@dataclass(frozen=True)
class Measurement:
    """Two models of a run on the same labelled images: the selected one and the best other one.

    Attributes:
        data: where the images or labels are from, as it was given.
        labels: evaluation, a labelled set; or labelled, labels of a few of the target's own images.
        count: labelled images.
        first, second: names of the models.
        accuracies: of the two, shares, in this order.
        difference: accuracy of the first less that of the second; low and high are its 95% interval.
        groups: number of groups that the images stand in, where some belong together.
    """

    data: str
    labels: Literal["evaluation", "labelled"]
    count: int
    first: ModelName
    second: ModelName
    accuracies: tuple[float, float]
    difference: float
    low: float
    high: float
    groups: int | None = field(default=None, metadata=ABSENT)

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count: expected at least 1 image, got {self.count}")

    @property
    def better(self) -> ModelName | None:
        """The better model, where the interval of the difference leaves out 0."""
        return self.first if self.low > 0 else self.second if self.high < 0 else None

    def in_words(self) -> str:
        """Returns both accuracies and the difference in percentage points; the better model stands first."""
        difference, ends = self.difference, (self.low, self.high)
        first, second = self.accuracies
        one, other = (f"{name} {share_in_words(each)}" for name, each in ((self.first, first), (self.second, second)))
        said = f"{one}, {other}"
        if self.better == self.second:
            said, difference = f"{other}, {one}", -difference
            ends = (-self.high, -self.low)
        where = counted(self.count, "labelled image")
        if self.groups is not None:
            where += f" in {counted(self.groups, 'group')}"
        points = f"{difference_in_words(difference)} points (95% interval {points_in_words(ends)})"
        return f"{said} on {where}; difference {points}"


@dataclass(frozen=True)
class Selection(Record):
    """Records which model of a run is selected, and by whom.

    Attributes:
        by: judgement, without target labels; measurement, with labels; or user, by ``dalib keep`` or --keep adapted.
        measured: what was measured, where it selected.
        when: ISO time; empty in a run of an older version.
    """

    VERSION: ClassVar[int] = 2
    REMEDY: ClassVar[Message] = Message(
        "Write it anew: ",
        Call("dalib.run.finished.select.keep", Setting("run"), Setting("model", "adapted")),
        " (or source-only)",
    )

    model: ModelName
    by: SelectedBy
    measured: Measurement | None = None
    when: str = ""
    version: int = VERSION

    @classmethod
    def from_json(cls, content: Any, path: Path | str) -> Selection:
        """Makes the record of a file's content; files of before version 2 measured adapted and source-only alone."""
        measured = content.get("measured") if isinstance(content, Mapping) else None
        if isinstance(measured, Mapping) and {"adapted", "source_only"} <= measured.keys():
            measured = dict(measured)
            accuracies = [measured.pop(name) for name in ("adapted", "source_only")]
            measured |= {"first": "adapted", "second": "source-only", "accuracies": accuracies}
            content = {**content, "measured": measured}
        return super().from_json(content, path)

    def __repr__(self) -> str:
        return f"Selection: {self.model} model ({self.reason})"

    def chosen_on(self, labels: str, data: str | None) -> bool:
        """Returns whether the model was selected by these labels, so that its accuracy on them is a little too high.

        Args:
            labels: evaluation or labelled.
            data: where they are from, however the path was given; None or empty is nowhere.
        """
        measured = self.measured
        if self.by != "measurement" or measured is None or not data or measured.labels != labels:
            return False
        return same_place(data, measured.data)

    @property
    def sentence(self) -> str:
        """The sentence that names the selected model and who selected it."""
        return f"The {self.model} model is the selected model of this run ({self.reason})"

    @property
    def reason(self) -> str:
        """Words for who selected it, to stand behind the model's name."""
        if self.by == "measurement" and self.measured is not None:
            return f"selected by measurement on {counted(self.measured.count, 'labelled image')}"
        return "selected by the user" if self.by == "user" else "selected without target labels"
