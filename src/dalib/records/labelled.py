"""``labelled.json``: accuracies estimated from labels of a few target images, those that were given last."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from dalib.core.errors import Call, Message, Setting
from dalib.core.places import behind
from dalib.core.words import counted, range_in_words, share_in_words
from dalib.records.content import ABSENT, Record
from dalib.records.estimate import OpenSet, Share  # noqa: TC001 - the hints are read at run time

Design = Literal["stratified", "simple random"]


@dataclass(frozen=True)
class LabelledValue:
    """An accuracy, or a difference of two.

    Attributes:
        value: a share; None where the labels do not determine it.
        low, high: its 95% interval.
        count: how many labels it is estimated from.
    """

    value: float | None
    low: float | None
    high: float | None
    count: int = 0


@dataclass(frozen=True)
class Labelled(Record):
    """Holds the accuracies of a run's models as estimated from labels of a few target images.

    Attributes:
        labels: path of the list.
        count: labelled images; ``target`` is how many the target has.
        models: accuracies by the model's name.
        design: how the images were chosen.
        notes: what to know of the numbers, sentences.
        when: ISO time.
        difference: adapted less the baseline, where there are both.
        baseline: name of that model; older runs do not have it, theirs is source-only.
        trained_on: how many of the labels the adapted model was trained on, where there are such.
        unknown: share of the target's images that are of none of the classes, where labels are ``unknown`` or the run
            expects such images.
        open_sets: measures on known and unknown images by the model's name, likewise.
        shares: share of the target's images that are of each of the run's classes, in this order, among those of any of
            them; None in older runs.
        groups: number of groups that the labelled images stand in, where some belong together; intervals count these.
        held_out: True where the labels are those of --target_labels that were held out to judge.
    """

    REMEDY: ClassVar[Message] = Message(
        "Delete it and measure again: ",
        Call("dalib.run.finished.label_estimates.evaluate_labels", Setting("run"), Setting("labels", "FILE")),
        ".",
    )

    labels: str
    count: int
    models: dict[str, LabelledValue]
    target: int = 0
    design: Design = "simple random"
    notes: tuple[str, ...] = ()
    when: str = ""
    difference: LabelledValue | None = field(default=None, metadata=ABSENT)
    baseline: str | None = field(default=None, metadata=ABSENT)
    trained_on: int | None = field(default=None, metadata=ABSENT)
    held_out: bool | None = field(default=None, metadata=ABSENT)
    unknown: Share | None = field(default=None, metadata=ABSENT)
    open_sets: dict[str, OpenSet] | None = field(default=None, metadata=ABSENT)
    groups: int | None = field(default=None, metadata=ABSENT)
    shares: tuple[Share, ...] | None = field(default=None, metadata=ABSENT)
    version: int = Record.VERSION

    def __repr__(self) -> str:
        lines = [f"Labelled: {counted(self.count, 'label')} of target images{behind(' in ', self.labels)}"]
        for name, each in self.models.items():
            told = "accuracy not estimated"
            if each.value is not None and each.low is not None and each.high is not None:
                told = f"{share_in_words(each.value)} are right ({range_in_words(each.low, each.high)})"
            lines.append(f"  {name:<12}{told}")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])
