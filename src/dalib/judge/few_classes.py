"""A target that seems to have few of the source's classes, over which an adaptation spreads the images.

Losses that ask for every class, and statistics of the target, divide images of one class among all. Their predictions
are then smooth, and look right to the other signs of the judgement, which were tried on targets with the source's
classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dalib.judge.comparison import MIN_IMAGES
from dalib.judge.evidence import effective_classes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dalib.judge.comparison import Comparison
    from dalib.judge.evidence import Evidence

MAX_NAMED_RATIO = 0.5
"""Largest ratio of the number of classes that source-only names to the number that the adapted model names."""

MAX_CONFIDENCE_RATIO = 0.85
"""Largest ratio of the aligned model's mean confidence on the target to source-only's: statistics of few classes take
away what separates these from others."""

MAX_PRODUCT = 1 / 3
"""Largest product of both ratios. On 66 natural tasks with the source's classes it is 0.40 or more where the second
ratio is as above; which targets of few classes are found is in benchmarks/LOG.md."""

MIN_MAIN_SHARE = 0.1
"""Share of the target's images from which a class is one of the few."""

MAX_LISTED_CLASSES = 3
"""Class names in a sentence."""


@dataclass(frozen=True)
class FewClasses:
    """What shows that a target has few of the classes.

    Attributes:
        named, after: effective numbers of classes that source-only and the adapted model name.
        sure, aligned_to: mean confidence on the target of source-only and of the aligned model.
        main: the classes that source-only names often, most often first.
    """

    named: float
    after: float
    sure: float
    aligned_to: float
    main: tuple[int, ...]

    def in_words(self, classes: Sequence[str]) -> str:
        """Returns a sentence about the target."""
        few = " and ".join(classes[each] for each in self.main[:MAX_LISTED_CLASSES])
        return (
            "The target seems to have few of the source's classes, or images of none: source-only names "
            f"{self.named:.1f} classes in effect, mostly {few}, and the adapted model {self.after:.1f}; aligned to "
            f"this target, source-only is {self.aligned_to:.0%} confident on average, and {self.sure:.0%} without. "
            "Look at some of the images"
        )


def few_classes(before: Evidence, aligned: Evidence, adapted: Evidence) -> FewClasses | None:
    """Compares the classes that models name, and how sure they are.

    Returns None where they do not show a target of few classes.

    Args:
        before, aligned, adapted: predictions of these models for the same target images, of which there are at least
            30; before is source-only. Where nothing is adapted yet, aligned stands in the place of adapted too.

    A source-only model that names few classes because the domains are far apart is surer when it is aligned.

    Misleads: images of none of the classes look alike.
    Source: ours; what it was tried on is in benchmarks/LOG.md.

    >>> import torch
    >>> from dalib.judge.evidence import Evidence
    >>> mugs, unsure, all_classes = (
    ...     Evidence(torch.zeros(0, 4), torch.zeros(0), target)
    ...     for target in (torch.eye(4)[[0] * 40], torch.full((40, 4), 0.25), torch.eye(4).repeat(10, 1))
    ... )
    >>> few_classes(mugs, unsure, all_classes).main
    (0,)
    >>> few_classes(mugs, all_classes, all_classes) is None
    True
    """
    if len(before.target) < MIN_IMAGES:
        return None
    named, after = effective_classes(before.histogram), effective_classes(adapted.histogram)
    sure, aligned_to = (each.target.amax(dim=1).mean().item() for each in (before, aligned))
    of_names, of_confidence = named / after, aligned_to / sure
    if of_names > MAX_NAMED_RATIO or of_confidence > MAX_CONFIDENCE_RATIO or of_names * of_confidence > MAX_PRODUCT:
        return None
    order = before.histogram.argsort(descending=True, stable=True).tolist()
    main = tuple(each for each in order if before.histogram[each] >= MIN_MAIN_SHARE)
    return FewClasses(named, after, sure, aligned_to, main)


def with_few_classes(comparison: Comparison, found: FewClasses | None, classes: Sequence[str]) -> Comparison:
    """Selects source-only where the adapted model spreads a target of few classes over all.

    The probability that the adapted model is better is not known then: the signs that it is made of were never tried on
    such targets.
    """
    if found is None or comparison.outcome == "collapsed":
        return comparison
    return replace(
        comparison,
        better="source-only",
        outcome="hurt",
        headline="Adaptation seems to have hurt: it spreads images over classes that the target does not seem to have",
        reasons=(found.in_words(classes),),
        probability=None,
    )
