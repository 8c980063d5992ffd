"""What an adaptation and its judgement ask of a target that is not simply of the source's classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from dalib.judge.evidence import Evidence
    from dalib.judge.structure import Representation


class ExpectedTarget(Protocol):
    """The classes that a target seems to have, or its images that seem to be of one of them.

    ``ExpectedClasses`` of ``fewer`` and ``ExpectedKnown`` of ``unknown`` implement it.
    """

    @property
    def shares(self) -> Tensor | None:
        """The (C,) float64 class shares that the adaptation expects, with sum 1; None if they are not estimated."""

    @property
    def most_classes(self) -> float:
        """The effective number of the classes that are expected, more of which no model need predict."""

    def among(self, evidence: Evidence) -> Evidence:
        """Returns the evidence of the images that are expected."""

    def seen_in(self, representation: Representation) -> Representation:
        """Returns the representation of the target images that :meth:`among` leaves."""

    def in_words(self, classes: Sequence[str]) -> str:
        """Returns a sentence on what is expected; ``classes`` are the source's."""
