"""Target images with what the models predict for them, from the pictures that training left in the run's folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dalib.records.candidates import ADAPTED, CANDIDATES, in_order
from dalib.report.figures import Picture, percent, picture

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dalib.records.folder import RunFolder
    from dalib.records.pictures import Sample, SamplePrediction
    from dalib.records.summary import Summary

DIFFER = "differ"
"""The group of the images on which the models differ."""


@dataclass(frozen=True)
class ShownSample:
    """One image with its predictions.

    Attributes:
        differ: whether the models predict different classes.
        models: predictions by the model's name, in the models' order.
        surer: name of the surer model, where it is known.
    """

    image: Picture
    name: str
    differ: bool
    models: Mapping[str, SamplePrediction]
    surer: str


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
        kinds: by the model that is surer.
        surest: whether the surest come first; older runs draw them at random.
        count: how many there are in the whole target, in words.
    """

    kinds: list[SampleGroup]
    surest: bool
    count: str


def sample_groups(run: RunFolder, samples: tuple[Sample, ...]) -> dict[str, list[ShownSample]]:
    """Returns the samples whose pictures are there by their group; runs of before there were groups have one."""
    groups: dict[str, list[ShownSample]] = {}
    for sample in samples:
        # only a file of the folder itself, whatever the list says
        plain = sample.file and "/" not in sample.file and "\\" not in sample.file
        image = picture_of(run.samples / sample.file) if plain else None
        if image is not None:
            models = in_order(sample.predictions)
            group = sample.group if sample.group in (DIFFER, *_GROUPS) else ""
            surer = sample.surer if sample.surer in _KINDS else ""
            differ = len({prediction.label for prediction in models.values()}) > 1
            shown = ShownSample(image, sample.name or sample.file, differ, models, surer)
            groups.setdefault(group, []).append(shown)
    return groups


def differing(groups: Mapping[str, list[ShownSample]], summary: Summary) -> Differing | None:
    """Returns the images on which the models differ: how many there are, and some of them; None without any."""
    found = groups.get(DIFFER, [])
    kinds = [
        SampleGroup(title, "", chosen)
        for surer, title in _KINDS.items()
        if (chosen := [each for each in found if each.surer == surer])
    ]
    if not kinds:
        return None
    count, target = "", summary.counts.get("target")
    if summary.changed is not None and target is not None:
        count = f"{round(summary.changed * target):,} of {target:,} target images ({percent(summary.changed)})"
    return Differing(kinds, any(each.surer for each in found), count)


_KINDS = {
    ADAPTED: "The adapted model is the surer one",
    **{each.name: f"The {each.name} model is the surer one" for each in CANDIDATES if each.name != ADAPTED},
    "": "The models differ",  # of runs of before they were told apart
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


def picture_of(path: Path) -> Picture | None:
    """Reads a picture; None where there is none."""
    return picture(path.read_bytes()) if path.is_file() else None
