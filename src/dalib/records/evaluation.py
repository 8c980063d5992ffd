"""``evaluations/NAME.json``: every model of a run, measured against one labelled set."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from dalib.records.content import ABSENT, Record
from dalib.records.estimate import Calibration  # noqa: TC001 - the hints are read at run time
from dalib.records.pictures import Sample  # noqa: TC001


@dataclass(frozen=True)
class MeasuredModel:
    """One model, measured.

    Attributes:
        accuracy: a share.
        interval: the 95% interval of the accuracy.
        confusion: counts; a row is a true class, a column a predicted one.
        calibration: on these images; older runs have none.
    """

    accuracy: float
    interval: tuple[float, float]
    confusion: tuple[tuple[int, ...], ...] = ()
    calibration: Calibration | None = field(default=None, metadata=ABSENT)


@dataclass(frozen=True)
class Paired:
    """Images that only one of the two models gets right."""

    adapted: int
    source_only: int


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
        paired: where both models are there; older runs have none.
        pictures: name of the folder in ``mistakes/`` that has the pictures of ``mistakes``, images that at least one
            model predicts wrongly, with their true class. Older runs have none.
    """

    REMEDY: ClassVar[str] = "Delete it and measure again: dalib eval RUN --data DATA."

    data: str
    count: int
    models: dict[str, MeasuredModel]
    classes: tuple[str, ...] = ()
    when: str = ""
    asked: bool | None = field(default=None, metadata=ABSENT)
    paired: Paired | None = field(default=None, metadata=ABSENT)
    pictures: str | None = field(default=None, metadata=ABSENT, repr=False)
    mistakes: tuple[Sample, ...] | None = field(default=None, metadata=ABSENT, repr=False)
    version: int = Record.VERSION
