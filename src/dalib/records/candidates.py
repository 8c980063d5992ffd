"""The models that a run may have, in the order in which everything shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

T = TypeVar("T")


@dataclass(frozen=True)
class Candidate:
    """A model of a run that may become the selected one.

    Attributes:
        name: as files, commands and sentences have it.
        title: the name at the head of a column or of a figure.
    """

    name: str
    title: str


CANDIDATES = (Candidate("source-only", "Source-only"), Candidate("aligned", "Aligned"), Candidate("adapted", "Adapted"))
"""The models of a run, from the baseline to the adapted one."""

BASELINE, ADAPTED = CANDIDATES[0].name, CANDIDATES[-1].name
"""Names of the first and the last one: before and after the adaptation."""


def ordered(names: Iterable[str]) -> list[Candidate]:
    """Returns the candidates of these names in their order; other names are left out.

    >>> [each.title for each in ordered({"adapted", "source-only", "other"})]
    ['Source-only', 'Adapted']
    """
    known = {*names}
    return [each for each in CANDIDATES if each.name in known]


def in_order(by_name: Mapping[str, T]) -> dict[str, T]:
    """Returns what there is of each candidate by its name, in their order; other names are left out.

    >>> in_order({"adapted": 2, "other": 3, "source-only": 1})
    {'source-only': 1, 'adapted': 2}
    """
    return {each.name: by_name[each.name] for each in ordered(by_name)}
