r"""What a target seems to be, without its labels: of the source's classes, of fewer, or of others as well.

Both signs come from the models that are there before the adaptation. Classes whose share has an upper bound near 0
speak for fewer. Predictions that are far less certain for some target images than for most, more than they are on
held-out source images, speak for images of other classes; hard images look alike, so that this sign is weak.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dalib.judge.unknown import FEWEST
from dalib.models.known import certainty
from dalib.records.summary import RecordedKind

if TYPE_CHECKING:
    from torch import Tensor

    from dalib.judge.evidence import Evidence

Kind = Literal["same", "fewer", "other"]

CERTAIN, CERTAIN_OTHER = 0.9, 0.98
"""Probabilities from which ``fewer``, and ``other``, is believed: where the classes are the same, a mistake costs. Hard
images look unknown: of drawn edges of the source's classes, ``other`` had 0.93 (benchmarks/LOG.md)."""

TOLD = 0.1
"""Probability of ``fewer`` from which it is worth a sentence."""

FEWEST_VALIDATION = 20
"""Held-out source images that show how certain predictions are of classes that are there."""

FEWEST_CLASSES = 5
"""Classes; with fewer, certainty hardly depends on whether an image is of one of them."""

_NOTHING_TELLS = (
    f"nothing to tell other images by (that takes {FEWEST_VALIDATION} validation images of the source and "
    f"{FEWEST_CLASSES} classes)"
)

ABSENT_SHARE, ABSENT_LEAST, ABSENT_SLOPE = 0.1, 1.5, 2.0
"""Absent classes at which fewer is as probable as not, as a part of all and at least; and how fast that rises."""

TAIL_OFFSET, TAIL_SLOPE = -3.1, -3.2
"""Coefficients of a logistic regression on the tails of certainty, over simulated targets (benchmarks/LOG.md)."""


@dataclass(frozen=True)
class TargetKind:
    """Probabilities of what the target is, with sum 1.

    Attributes:
        same: it has the source's classes.
        fewer: it has some of them.
        other: it has images of none of them; 0 where there is no evidence of such.
    """

    same: float
    fewer: float
    other: float

    @property
    def believed(self) -> Kind:
        """The kind to adapt to: ``same`` unless ``fewer`` is at least 90% probable, or ``other`` 98%.

        >>> TargetKind(0.2, 0.8, 0.0).believed, TargetKind(0.04, 0.95, 0.01).believed, TargetKind(0.1, 0, 0.9).believed
        ('same', 'fewer', 'same')
        """
        if self.fewer >= CERTAIN:
            return "fewer"
        return "other" if self.other >= CERTAIN_OTHER else "same"

    @property
    def doubtful(self) -> bool:
        """Whether the kind is worth a sentence: another one is believed, or ``fewer`` is not out of the question."""
        return self.believed != "same" or self.fewer >= TOLD

    def in_words(self) -> str:
        """Returns a sentence with the probability of each kind, and the one that is believed.

        Without a probability of other images, there was no evidence of them, and the sentence states this.
        """
        return self.recorded.in_words(_NOTHING_TELLS)

    @property
    def recorded(self) -> RecordedKind:
        """The record of it in a run's summary."""
        return RecordedKind(self.believed, self.same, self.fewer, self.other)


def tail(probabilities: Tensor) -> float:
    """Computes the logarithm of the ratio of the 10% quantile of :func:`certainty` to its 75% quantile; at most 0."""
    low, high = certainty(probabilities.double()).quantile(probabilities.new_tensor([0.1, 0.75]).double()).tolist()
    return math.log(max(low, 1e-3) / max(high, 1e-3))


def kind_of_target(absent: float, num_classes: int, model: Evidence | None) -> TargetKind:
    r"""Estimates what the target is.

    .. math:: o_f = \exp\bigl(2 (a - \max(1.5, C / 10))\bigr), \qquad o_o = \exp(-3.1 - 3.2 (t_T - t_V))

    are the odds of fewer and of other to same; a is the number of absent classes, t the :func:`tail` of the
    predictions for the target and for the validation images.

    Args:
        absent: number of classes whose share has an upper bound near 0, less those that seem so by mistake.
        num_classes: C.
        model: predictions of a model from before the adaptation, best the aligned one. Other images need 20
            validation images, 10 target images and 5 classes; without them their probability is 0.

    Misleads: a target whose classes are very unequal looks as if it had fewer; hard images look unknown.
    Source: ours; what the numbers were chosen on is in benchmarks/LOG.md.

    >>> [round(kind_of_target(absent, 31, None).fewer, 2) for absent in (0, 1, 5, 12)]
    [0.0, 0.01, 0.98, 1.0]
    """
    of_fewer = math.exp(min(ABSENT_SLOPE * (absent - max(ABSENT_LEAST, ABSENT_SHARE * num_classes)), 20.0))
    of_other = 0.0
    if model is not None and _tells(model, num_classes):
        longer = tail(model.target) - tail(model.validation)
        of_other = math.exp(min(TAIL_OFFSET + TAIL_SLOPE * longer, 20.0))
    total = 1 + of_fewer + of_other
    return TargetKind(1 / total, of_fewer / total, of_other / total)


def _tells(model: Evidence, num_classes: int) -> bool:
    """Returns whether there are enough images and classes to recognise other images by their certainty."""
    enough = len(model.labels) >= FEWEST_VALIDATION and len(model.target) >= FEWEST
    return enough and num_classes >= FEWEST_CLASSES
