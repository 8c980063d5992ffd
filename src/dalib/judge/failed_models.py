"""Models that cannot be the best of several: they collapsed, or learnt nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dalib.core.words import share_in_words
from dalib.judge.chance import learnt_nothing
from dalib.judge.collapse import MIN_CLASSES_KEPT
from dalib.judge.comparison import MIN_IMAGES
from dalib.judge.evidence import effective_classes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dalib.judge.evidence import Evidence


@dataclass(frozen=True)
class Failure:
    """Why a model cannot be the best.

    Attributes:
        why: in words.
        at_chance: it is no better than chance on the source; otherwise it collapsed.
    """

    why: str
    at_chance: bool


def failures_of(
    models: Mapping[str, Evidence], reference: str | None, *, collapsed: bool = False
) -> dict[str, Failure | None]:
    """Returns for each model why it cannot be the best; None where it can.

    Args:
        models: their predictions, by name.
        reference: name of the model without adaptation, if there is one.
        collapsed: the reference predicts few classes. It is not accused of that, because the target may have few: the
            probabilities decide. The others are measured by the median in place of it.
    """
    in_use = {name: effective_classes(each.histogram) for name, each in models.items()}
    median = sorted(in_use.values())[len(in_use) // 2]
    expected = median if reference is None or collapsed else in_use[reference]
    return {
        name: _failure_of(each, in_use[name], in_use[name] if collapsed and name == reference else expected)
        for name, each in models.items()
    }


def _failure_of(evidence: Evidence, in_use: float, expected: float) -> Failure | None:
    """Returns why a model cannot be the best; None where it can.

    Args:
        evidence: its predictions.
        in_use: their number of classes in effect.
        expected: that of the reference, or the upper median of all models.
    """
    if len(evidence.target) >= MIN_IMAGES and in_use <= MIN_CLASSES_KEPT * expected:
        return Failure(f"collapsed, it predicts {in_use:.1f} classes in effect of {expected:.1f}", at_chance=False)
    if learnt_nothing(evidence):
        accuracy = share_in_words(evidence.validation_accuracy)
        why = f"not better than chance, {accuracy} right on the source's validation images"
        return Failure(why, at_chance=True)
    return None


def reference_collapsed(models: Mapping[str, Evidence], reference: str) -> bool:
    """Returns whether the reference predicts few classes beside the (upper) median of the other models."""
    in_use = {name: effective_classes(each.histogram) for name, each in models.items()}
    others = sorted(value for name, value in in_use.items() if name != reference)
    return in_use[reference] <= MIN_CLASSES_KEPT * others[len(others) // 2]
