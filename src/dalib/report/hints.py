"""The report's part about a run's trust in its hints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dalib.core.words import likelihood

if TYPE_CHECKING:
    from dalib.records.hints import HintedClass, Hints

MOST_CLASSES = 40


@dataclass(frozen=True)
class HintsTable:
    """Sentences and the rows of a table, the classes that hints name most often first."""

    sentences: tuple[str, ...]
    rows: tuple[HintedClass, ...]
    left_out: int


def hints_table(hints: Hints | None) -> HintsTable | None:
    """Returns the report's part about hints; None without any."""
    if hints is None:
        return None
    rows = sorted(hints.classes, key=lambda each: -each.images)
    sentences = [hints.sentence]
    if hints.better is not None:
        sentences.append(
            f"The adapted model is better than the hints with a probability of {likelihood(hints.better)}, judged "
            "without labels. Hints are no model: they predict no other image."
        )
    return HintsTable(tuple(sentences), tuple(rows[:MOST_CLASSES]), max(0, len(rows) - MOST_CLASSES))
