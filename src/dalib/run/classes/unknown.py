"""A target with images of none of the source's classes (``--classes other``): open-set adaptation.

Losses that ask for a class for every image pull unknown images to the known ones. So the images that seem unknown are
set apart before the adaptation: the method sees the others alone, and on those apart the student learns to be sure of
nothing (:class:`dalib.adaptation.outside.UnknownApart`). The confidence of the finished model then separates unknown
images, at a threshold set without labels (:func:`dalib.judge.unknown.rule_of`). Nothing of it depends on the method.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from dalib.adaptation.methods import adapts
from dalib.core.errors import Setting, UserError
from dalib.core.words import UNKNOWN, share_in_words
from dalib.data.rows import chosen_rows
from dalib.engine.evaluate import of_evaluated
from dalib.judge.unknown import FEWEST, TwoGroups, rule_of, scores_of_known
from dalib.models.saved import load_description, write_description
from dalib.records.folder import models_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dalib.data.domain_images import UnlabelledImages
    from dalib.judge.evidence import Evidence
    from dalib.judge.structure import Representation
    from dalib.models.known import KnownRule
    from dalib.records.folder import RunFolder

FEWEST_KNOWN = 2
"""Target images that an adaptation needs."""

MOST_APART = 1 / 3
"""Share of the target that is set apart at most, the most unknown ones. Where the domains are far apart,
hard images of known classes are in the lower of the two groups as well, and an adaptation without these learns little.
"""


@dataclass(frozen=True)
class ExpectedKnown:
    """The target images that seem to be of one of the classes.

    Attributes:
        known: (M,) bool, of all target images.
    """

    known: Tensor

    shares: ClassVar[None] = None
    """The class shares of known images are not estimated."""
    most_classes: ClassVar[float] = math.inf
    """All classes are expected."""

    @classmethod
    def of(cls, before: Mapping[str, Evidence], representation: Representation | None) -> ExpectedKnown:
        """Returns the images that seem known by the models that are there before the adaptation.

        Args:
            before: predictions of source-only and, where there is one, aligned for every target image.
            representation: features of every target image and of labelled source images, where there are some.

        Raises:
            UserError: too few target images to recognise unknown ones.
        """
        predictions = torch.stack([evidence.target.double() for evidence in before.values()]).mean(dim=0)
        require_enough_for_others(len(predictions))
        scores = scores_of_known(predictions, representation, predictions.shape[1])
        known = TwoGroups.of(scores).upper(scores) >= 0.5
        known |= scores >= scores.sort().values[int(MOST_APART * len(scores))]
        if int(known.sum()) < FEWEST_KNOWN:
            known = torch.ones_like(known)
        return cls(known)

    def among(self, evidence: Evidence) -> Evidence:
        """Returns the evidence with the target images that seem known alone, of all images or of those that judge."""
        rows = self._rows_of(len(evidence.target))
        return replace(
            evidence,
            target=evidence.target[rows],
            student=None if evidence.student is None else evidence.student[rows],
            target_features=None if evidence.target_features is None else evidence.target_features[rows],
            target_groups=None if evidence.target_groups is None else evidence.target_groups[rows],
        )

    def seen_in(self, representation: Representation) -> Representation:
        """Returns the representation with the target images that :meth:`among` leaves."""
        return replace(representation, target=representation.target[self._rows_of(len(representation.target))])

    def _rows_of(self, count: int) -> Tensor:
        rows = of_evaluated(self.known, count).nonzero().flatten()
        return rows if len(rows) >= FEWEST_KNOWN else torch.arange(count)

    def apart(self, target: UnlabelledImages) -> UnlabelledImages:
        """Returns the target with the images that seem unknown set apart."""
        known, unknown = (chosen.nonzero().flatten() for chosen in (self.known, ~self.known))
        images, names = target.images, tuple(target.names[row] for row in known.tolist())
        outside = chosen_rows(images, unknown) if len(unknown) else None
        return replace(target, images=chosen_rows(images, known), names=names, outside=outside)

    def in_words(self, classes: Sequence[str]) -> str:
        """Returns a sentence with the number of images that seem unknown."""
        unknown, count = int((~self.known).sum()), len(self.known)
        seem = "seems" if unknown == 1 else "seem"
        return (
            f"{unknown} of the target's {count} images ({share_in_words(unknown / count)}) {seem} to be of none of "
            f"the {len(classes)} classes; the adaptation pulls them towards no class"
        )


def require_enough_for_others(count: int) -> None:
    """Refuses ``classes`` other for so few target images that unknown ones cannot be recognised.

    Raises:
        UserError: fewer than 10.
    """
    if count < FEWEST:
        raise UserError(
            Setting("classes", "other"),
            f": expected at least {FEWEST} target images to tell unknown ones, got {count}; expected ",
            Setting("classes", "same"),
        )


def write_rules(run: RunFolder, said: Mapping[str, Evidence]) -> dict[str, KnownRule]:
    """Gives each saved model of a run its rule for unknown images, before one is selected; returns the rules by name.

    Args:
        run: whose models are saved.
        said: predictions of each model for every target image, which set the rule.
    """
    folders = models_of(run)
    if "adapted" in folders:  # training leaves it in model/, also where an earlier one has its folder aside already
        folders["adapted"] = run.model
    rules = {name: rule_of(said[name].target) for name in folders}
    for name, folder in folders.items():
        write_description(folder, replace(load_description(folder), known=rules[name]))
    return rules


def check_classes(classes: str, method: str, prior: str, *, baseline: bool) -> None:
    """Refuses settings that are incompatible with ``--classes fewer`` or ``other``, before data are read.

    Raises:
        UserError: the first of them.
    """
    if classes in ("same", "auto"):
        return
    setting = Setting("classes", classes)
    if not adapts(method):
        raise UserError(
            setting,
            ": it changes the adaptation, and a source-only model has none; leave it out, or leave out ",
            Setting("method", method),
        )
    if not baseline:
        shows = "which images are of other classes" if classes == "other" else "which classes the target has"
        raise UserError(setting, f": the source-only model shows {shows}; expected ", Setting("baseline", True))
    if classes == "fewer" and prior == "source":
        raise UserError(
            setting,
            ": it says that the target has other class shares than the source; leave out ",
            Setting("prior", prior),
            ", or give a file of classes and shares",
        )


def check_names(classes: str, names: Sequence[str]) -> None:
    """Refuses a class that has the name of all other images.

    Raises:
        UserError: ``--classes other``, and a class unknown in the source.
    """
    if classes == "other" and UNKNOWN in map(str.lower, names):
        raise UserError(
            Setting("classes", classes),
            f": the source has a class {UNKNOWN!r}, which is the name of images of none of its classes; rename it",
        )
