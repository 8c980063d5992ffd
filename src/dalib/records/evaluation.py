"""``evaluations/NAME.json``: every model of a run, measured against one labelled set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from dalib.core.errors import Call, Message, Setting
from dalib.core.places import in_short
from dalib.core.words import counted, range_in_words, share_in_words
from dalib.records.content import ABSENT, Record
from dalib.records.estimate import Calibration, OpenSet, Share  # noqa: TC001 - the hints are read at run time
from dalib.records.pictures import Sample  # noqa: TC001

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class MeasuredModel:
    """One model, measured.

    Attributes:
        accuracy: a share.
        interval: the 95% interval of the accuracy.
        confusion: counts; a row is a true class, a column a predicted one.
        calibration: on these images; older runs have none.
        open_set: measures on known and unknown images, of a run that expects unknown ones.
    """

    accuracy: float
    interval: tuple[float, float]
    confusion: tuple[tuple[int, ...], ...] = ()
    calibration: Calibration | None = field(default=None, metadata=ABSENT)
    open_set: OpenSet | None = field(default=None, metadata=ABSENT)


@dataclass(frozen=True)
class Paired:
    """Images that only one of two models gets right.

    Attributes:
        first, second: names of the models.
        only_first, only_second: numbers of images.
        p: p value of the sign test of groups, where images belong together; otherwise it follows from the counts.
        interval: likewise, the 95% interval of the first model's accuracy less the second's.
    """

    first: str
    second: str
    only_first: int
    only_second: int
    p: float | None = field(default=None, metadata=ABSENT)
    interval: tuple[float, float] | None = field(default=None, metadata=ABSENT)

    @property
    def swapped(self) -> Paired:
        """The same with the second model first."""
        ends = None if self.interval is None else (-self.interval[1], -self.interval[0])
        return Paired(self.second, self.first, self.only_second, self.only_first, self.p, ends)


@dataclass(frozen=True)
class Evaluation(Record):
    """The models of a run on one labelled set.

    Attributes:
        data: the labelled set, as it was given.
        count: labelled images.
        models: by name.
        classes: names, in the order of the confusion matrices.
        when: ISO time.
        asked: whether the user asked for it; False for the test set that a named target is measured on by default.
            None where a run of an older version does not record it.
        unknown: share of the images that are of none of the run's classes, of a run that expects such; these are of
            the class unknown, the last one.
        paired: each pair of models; older runs have none.
        pictures: name of the folder in ``mistakes/`` that has the pictures of ``mistakes``, images that at least one
            model predicts wrongly, with their true class. Older runs have none.
        groups: number of groups that the images stand in, where some belong together; intervals count these.
    """

    VERSION: ClassVar[int] = 2

    REMEDY: ClassVar[Message] = Message(
        "Delete it and measure again: ",
        Call("dalib.run.finished.measure.evaluate", Setting("run"), Setting("data", "DATA")),
        ".",
    )

    data: str
    count: int
    models: dict[str, MeasuredModel]
    classes: tuple[str, ...] = ()
    when: str = ""
    asked: bool | None = field(default=None, metadata=ABSENT)
    paired: tuple[Paired, ...] | None = field(default=None, metadata=ABSENT)
    unknown: Share | None = field(default=None, metadata=ABSENT)
    pictures: str | None = field(default=None, metadata=ABSENT, repr=False)
    mistakes: tuple[Sample, ...] | None = field(default=None, metadata=ABSENT, repr=False)
    groups: int | None = field(default=None, metadata=ABSENT)
    version: int = VERSION

    @classmethod
    def from_json(cls, content: Any, path: Path | str) -> Evaluation:
        """Makes the record of a file's content; files of before version 2 have the pair of adapted and source-only."""
        paired = content.get("paired") if isinstance(content, Mapping) else None
        if isinstance(paired, Mapping) and {"adapted", "source_only"} <= paired.keys():
            pair = {"first": "adapted", "second": "source-only"}
            pair |= {"only_first": paired["adapted"], "only_second": paired["source_only"]}
            content = {**content, "paired": [pair]}
        return super().from_json(content, path)

    @property
    def baseline(self) -> str | None:
        """The most accurate of the models that the adapted one is compared with; None without both."""
        others = [name for name in self.models if name != "adapted"]
        if len(others) == len(self.models) or not others:
            return None
        return max(others, key=lambda name: self.models[name].accuracy)

    def compared(self, first: str, second: str) -> Paired | None:
        """Returns the comparison of two models, the first of them first; None if unknown."""
        for each in self.paired or ():
            if (each.first, each.second) == (first, second):
                return each
            if (each.second, each.first) == (first, second):
                return each.swapped
        return None

    def __repr__(self) -> str:
        lines = [f"Evaluation: {counted(self.count, 'labelled image')} of {in_short(self.data)}"]
        for name, measured in self.models.items():
            low, high = measured.interval
            lines.append(f"  {name:<12}{share_in_words(measured.accuracy)} are right ({range_in_words(low, high)})")
        lines += [
            f"  only {pair.first} is right on {counted(pair.only_first, 'image')}, only {pair.second} on "
            f"{pair.only_second:,}"
            for pair in self.paired or ()
        ]
        return "\n".join(lines)
