"""A target that has some of the source's classes and not the others (``--classes fewer``): partial adaptation.

Losses that ask for every class put images into classes that are not there, and batch normalisation compares a target
of ten classes with a source of thirty. So the source is drawn in the shares that the target is estimated to have, and
the losses expect these shares. Nothing of it depends on the method.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from dalib.core.console import some_classes
from dalib.core.seeds import derive_seed
from dalib.data.rows import chosen_rows
from dalib.data.stream import drawn
from dalib.judge.comparison import MIN_IMAGES
from dalib.judge.evidence import effective_classes
from dalib.judge.few_classes import few_classes
from dalib.judge.kinds import TargetKind, kind_of_target
from dalib.judge.prior import ShareEstimate, estimate_shares
from dalib.run.classes.prior import read_prior

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from dalib.data.domain_images import LabelledImages
    from dalib.judge.evidence import Evidence
    from dalib.judge.structure import Representation

UNIFORM_PART = 0.1
"""Part of the shares that is uniform: classes that seem absent are neither forgotten nor forbidden."""

MIN_PRESENT = 0.2
"""Share, as a part of the uniform one, from which a class counts as present; the upper end of its interval decides."""

FEWEST_OF_CLASS = 3
"""Target images, for each of the source's classes, from which a class without one counts as absent: of fewer it may
be missing by chance, and be among the images to come."""

MAX_LISTED = 12
"""Class names in a sentence."""


@dataclass(frozen=True)
class ExpectedClasses:
    """The classes that a target seems to have.

    Attributes:
        shares: (C,) float64 with sum 1 that the adaptation draws the source in and expects of the target.
        present: (C,) bool, whether a class seems to be there.
    """

    shares: Tensor
    present: Tensor

    @classmethod
    def of(cls, estimate: ShareEstimate) -> ExpectedClasses:
        """Returns what an estimate speaks for, with caution.

        >>> shares = torch.tensor([0.5, 0.5, 0.0, 0.0], dtype=torch.float64)
        >>> ExpectedClasses.of(ShareEstimate(shares, shares, shares)).shares
        tensor([0.4750, 0.4750, 0.0250, 0.0250], dtype=torch.float64)
        """
        uniform = 1 / len(estimate.shares)
        present = estimate.high >= MIN_PRESENT * uniform
        return cls((1 - UNIFORM_PART) * estimate.shares + UNIFORM_PART * uniform, present)

    @property
    def most_classes(self) -> float:
        """The effective number of the classes that are expected, more of which no model need predict."""
        return effective_classes(self.shares)

    def among(self, evidence: Evidence) -> Evidence:
        """Returns the evidence with the validation images of present classes alone; all, if that leaves none.

        A model that is fitted to a target of ten classes may forget the others: that is no sign of a collapse.
        """
        rows = self.present[evidence.labels].nonzero().flatten()
        if not len(rows):
            return evidence
        features = evidence.validation_features
        return replace(
            evidence,
            validation=evidence.validation[rows],
            labels=evidence.labels[rows],
            validation_features=None if features is None else features[rows],
            validation_groups=None if evidence.validation_groups is None else evidence.validation_groups[rows],
        )

    def seen_in(self, representation: Representation) -> Representation:
        """Returns the representation with the images that :meth:`among` leaves of the target: all of them."""
        return representation

    def in_words(self, classes: Sequence[str]) -> str:
        """Returns a sentence that names the classes that seem to be there."""
        there = [name for name, present in zip(classes, self.present.tolist(), strict=True) if present]
        if len(there) == len(classes):
            return f"The target seems to have all of the source's {len(classes)} classes"
        rest = "the other one weighs little" if len(classes) - len(there) == 1 else "the others weigh little"
        return (
            f"The target seems to have {len(there)} of the source's {len(classes)} classes: "
            f"{some_classes(there, MAX_LISTED)}; {rest} in the adaptation"
        )


def expected_classes(
    before: Mapping[str, Evidence], labels: Tensor, classes: Sequence[str], given: Path | None = None
) -> ExpectedClasses:
    """Returns the classes that the target seems to have, by the models that are there before the adaptation.

    Args:
        before: predictions of source-only and, where there is one, aligned for the evaluated images.
        labels: (N,) int64 of the source images that they were trained on.
        classes: C names.
        given: file of shares (:func:`dalib.run.classes.prior.read_prior`) that replaces the estimate.

    Raises:
        UserError: a file that cannot be read or does not fit the classes.
    """
    if given is not None:
        shares = read_prior(given, classes)
        return ExpectedClasses.of(ShareEstimate(shares, shares, shares))
    return ExpectedClasses.of(_estimated(before, labels, len(classes)))


def target_kind(before: Mapping[str, Evidence], labels: Tensor, num_classes: int, *, others: bool = True) -> TargetKind:
    """Judges the kind of the target, by the models that are there before the adaptation.

    Args:
        before: predictions of source-only and, where there is one, aligned for the evaluated images.
        labels: (N,) int64 of the source images that they were trained on.
        num_classes: C.
        others: whether it may have images of other classes.

    Of fewer than 30 target images, or fewer than 3 for each class, it is ``same``. Models that know little of the
    classes find some absent from any target. So a class counts only if they recognise it in the source, and as many
    count as nothing as would seem absent if all were there.
    """
    if len(before["source-only"].target) < fewest_images(num_classes):
        return TargetKind(1.0, 0.0, 0.0)
    absent = ~ExpectedClasses.of(_estimated(before, labels, num_classes)).present
    count = float((absent & _recognised(before)).sum())
    if count and len(before["source-only"].labels):
        count = max(0.0, count - _absent_by_mistake(before, labels, num_classes))
    model = before.get("aligned", before["source-only"]) if others else None
    return kind_of_target(count, num_classes, model)


def _recognised(before: Mapping[str, Evidence]) -> Tensor:
    """Returns (C,) bool: of which classes the models name at least half of the validation images rightly.

    Each class has two images more, of which the models name as many as of all: classes may have one or none. Without
    any validation image, all classes are recognised.
    """
    recalls = []
    for model in before.values():
        if not len(model.labels):
            return torch.ones(model.target.shape[1], dtype=torch.bool)
        classes, named = model.target.shape[1], (model.validation.argmax(dim=1) == model.labels).double()
        right, count = (torch.bincount(model.labels, each, classes) for each in (named, torch.ones_like(named)))
        recalls.append((right + 2 * named.mean()) / (count + 2))
    return torch.stack(recalls).mean(dim=0) >= 0.5


def _absent_by_mistake(before: Mapping[str, Evidence], labels: Tensor, num_classes: int) -> float:
    """Returns how many classes would seem absent from a target that looked like the source, and had them all.

    Validation images, drawn as often as the target has images, stand in for it. Of classes without any, as many would
    seem absent as of the others.
    """
    first = before["source-only"]
    rows = torch.randint(len(first.labels), (len(first.target),), generator=torch.Generator().manual_seed(0))
    drawn = {
        name: replace(each, target=each.validation[rows], target_features=None, target_groups=None)
        for name, each in before.items()
    }
    absent = ~ExpectedClasses.of(_estimated(drawn, labels, num_classes)).present
    there = torch.bincount(first.labels, minlength=num_classes) > 0
    return num_classes * float(absent[there].double().mean())


def fewest_images(num_classes: int) -> int:
    """Returns the target images of which :func:`target_kind` estimates what the target is.

    >>> fewest_images(3), fewest_images(31)
    (30, 93)
    """
    return max(MIN_IMAGES, FEWEST_OF_CLASS * num_classes)


def _estimated(before: Mapping[str, Evidence], labels: Tensor, num_classes: int) -> ShareEstimate:
    """Estimates the target's shares by the models that can: a model that is aligned to few classes cannot."""
    told = list(before.values())
    if "aligned" in before and few_classes(before["source-only"], before["aligned"], before["aligned"]) is not None:
        told = [before["source-only"]]
    of_training = torch.bincount(labels, minlength=num_classes).double()
    return estimate_shares(told, of_training / of_training.sum())


def resampled(source: LabelledImages, shares: Tensor, seed: int) -> LabelledImages:
    """Returns as many images of the source, in these class shares: some are repeated, some left out.

    Args:
        source: N images.
        shares: (C,) with sum 1; classes without an image have none afterwards.
        seed: seed of the choice of images.
    """
    chosen: list[Tensor] = []
    for number, share in enumerate(shares.tolist()):
        rows = (source.labels == number).nonzero().flatten()
        count = round(len(source.labels) * share)
        if not len(rows) or not count:
            continue
        order = drawn(len(rows), len(rows), derive_seed(seed, "fewer", number))
        chosen.append(rows[order][torch.arange(count) % len(rows)])
    rows = torch.cat(chosen).sort().values
    names = tuple(source.names[row] for row in rows.tolist())
    return replace(source, images=chosen_rows(source.images, rows), labels=source.labels[rows], names=names)
