"""Target images with what the models predict for them, from the pictures that training left in the run's folder."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from dalib.records.candidates import ADAPTED, BASELINE, CANDIDATES, in_order
from dalib.report.figures import Picture, percent, picture

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from dalib.records.pictures import Sample, SamplePrediction
    from dalib.records.summary import Summary

DIFFER = "differ"
"""The group of the images on which the models differ."""
OF_CLASS = "class"
"""The group of images that show each class."""
MOST_FIRST = 12
"""Images on which the models differ that are seen first; the others are folded in."""


@dataclass(frozen=True)
class ShownSample:
    """One image with its predictions.

    Attributes:
        differ: whether the models predict different classes.
        models: predictions by the model's name, in the models' order.
        surer: name of the surer model, where it is known.
        truth: the class of a labelled image, else empty.
    """

    image: Picture
    name: str
    differ: bool
    models: Mapping[str, SamplePrediction]
    surer: str
    truth: str = ""


@dataclass(frozen=True)
class ClassSamples:
    """Images that a model predicts as one class."""

    name: str
    samples: list[ShownSample]


@dataclass(frozen=True)
class SampleGroup:
    """Images that were chosen for one reason; ``model`` is the one whose confidence chose them."""

    title: str
    note: str
    samples: list[ShownSample]
    model: str = ""


@dataclass(frozen=True)
class Differing:
    """Images on which the models differ.

    Attributes:
        models: names of the models that are compared, in the order of the run.
        first: the first ones to be seen, of each kind as many as there are and have place.
        others: the rest by the model that is surer.
        surest: whether the surest come first; older runs draw them at random.
        count: how many there are in the whole target, in words.
    """

    models: tuple[str, ...]
    first: list[ShownSample]
    others: list[SampleGroup]
    surest: bool
    count: str


def sample_groups(folder: Path, samples: Sequence[Sample], known: Sequence[str]) -> dict[str, list[ShownSample]]:
    """Returns the samples whose pictures are in the folder by their group.

    Args:
        known: names of groups; samples of others, as runs of before there were groups have them, are of the group "".
    """
    groups: dict[str, list[ShownSample]] = {}
    for sample in samples:
        # only a file of the folder itself, whatever the list says
        image = picture_of(folder / sample.file) if is_plain(sample.file) else None
        if image is not None:
            models = in_order(sample.predictions)
            surer = sample.surer if sample.surer in _KINDS else ""
            differ = len({prediction.label for prediction in models.values()}) > 1
            shown = ShownSample(image, sample.name or sample.file, differ, models, surer, sample.truth or "")
            groups.setdefault(sample.group if sample.group in known else "", []).append(shown)
    return groups


def is_plain(file: str) -> bool:
    """Returns whether a name is that of a file in a folder, and leads to no other place."""
    return bool(file) and "/" not in file and "\\" not in file and file not in (".", "..")


def differing(groups: Mapping[str, list[ShownSample]], summary: Summary) -> Differing | None:
    """Returns the images on which the models differ: how many there are, and some of them; None without any."""
    found = groups.get(DIFFER, [])
    if not found:
        return None
    kinds = {surer: [each for each in found if each.surer == surer] for surer in _KINDS}
    turns = zip_longest(*kinds.values())
    first = [each for turn in turns for each in turn if each is not None][:MOST_FIRST]
    others = [
        SampleGroup(title, "", rest)
        for surer, title in _KINDS.items()
        if (rest := [each for each in kinds[surer] if not any(each is other for other in first)])
    ]
    count, target = "", summary.counts.get("target")
    if summary.changed is not None and target is not None:
        count = f"{round(summary.changed * target):,} of {target:,} target images ({percent(summary.changed)})"
        open_set = summary.expects_unknown  # both may be right to call an image unknown
        count += ", by the most probable known class" if open_set else ", where at least one of them is wrong"
    return Differing(tuple(found[0].models), first, others, any(each.surer for each in found), count)


_KINDS = {
    ADAPTED: "The adapted model is the surer one",
    **{each.name: f"The {each.name} model is the surer one" for each in CANDIDATES if each.name != ADAPTED},
    "": "The models differ",  # of runs of before they were told apart
}


def class_samples(groups: Mapping[str, list[ShownSample]], classes: Sequence[str]) -> list[ClassSamples]:
    """Returns images of each class that the last model predicts; none for a run that has kept none."""
    found = groups.get(OF_CLASS, [])
    by_class: dict[str, list[ShownSample]] = {name: [] for name in classes}
    for sample in found:
        last = [*sample.models.values()][-1:]
        if last and last[0].label in by_class:
            by_class[last[0].label].append(sample)
    return [ClassSamples(name, samples) for name, samples in by_class.items()] if found else []


def wrong_samples(folder: Path, samples: Sequence[Sample]) -> list[SampleGroup]:
    """Returns labelled images that were predicted wrongly, by which model is wrong."""
    groups = sample_groups(folder, samples, [*_WRONG])
    names = [name for sample in samples for name in sample.predictions if name != ADAPTED]
    baseline = names[0] if names else BASELINE
    return [
        SampleGroup(title, note.format(baseline=baseline), groups[group])
        for group, (title, note) in _WRONG.items()
        if group in groups
    ]


_WRONG = {
    "lost": ("Lost by adaptation", "The {baseline} model is right, the adapted one is not."),
    "both": (
        "Not corrected by adaptation",
        "The {baseline} and the adapted model are both wrong. Some of these images may not show their class clearly.",
    ),
    "mended": ("Corrected by adaptation", "The adapted model is right, the {baseline} one is not."),
    "wrong": ("Wrong", "The surest mistakes of each class."),
}


def other_samples(groups: Mapping[str, list[ShownSample]]) -> list[SampleGroup]:
    """Returns the groups of images that were chosen for other reasons than that the models differ."""
    found = []
    for group, (title, note) in _GROUPS.items():
        if samples := groups.get(group):
            # the last model's confidence chose them: that of adapted, where there is one
            models = [*samples[0].models] if group in ("least", "most") else []
            found.append(SampleGroup(title, note, samples, models[-1] if models else ""))
    return found


_GROUPS = {
    "least": ("Least confident", "Where to look first for what the model cannot do, or for images that do not belong."),
    "most": ("Most confident", "If one of these is wrong, confidence means little on this target."),
    "": ("Some images", "The choice favours images on which the models differ: their share says nothing."),
}


GROUPS = (DIFFER, OF_CLASS, *_GROUPS)
"""Names of the groups that a run's samples have."""


def picture_of(path: Path) -> Picture | None:
    """Reads a picture; None where there is none."""
    return picture(path.read_bytes()) if path.is_file() else None
