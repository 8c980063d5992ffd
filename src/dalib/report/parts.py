"""The loss parts in the lines of a training's metrics, whatever its method calls them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dalib.records.metrics import MetricsLine

LOOKS = {
    "supervised": "one",
    "consistency": "two",
    "class_balance": "three",
    "class_confusion": "three",  # of a method that has no class balance
    "information": "four",
    "masked": "five",
}
"""The look of a part in every report. Other parts take looks that these leave free."""


def loss_parts(lines: Sequence[MetricsLine]) -> dict[str, str]:
    """Returns the names of the loss parts in their order, with the look of each.

    A line holds the parts first, then the method's metrics. The parts are weighted, so they are told from the metrics
    by their sum, which is the loss.

    Args:
        lines: lines of metrics; a line without ``loss`` shows known parts alone.

    >>> from dalib.records.metrics import MetricsLine
    >>> loss_parts([MetricsLine(25, {"supervised": 1.0, "entropy": 0.5, "mask_rate": 0.9, "loss": 1.5})])
    {'supervised': 'one', 'entropy': 'two'}
    """
    known = [name for name in LOOKS if any(name in line.values for line in lines)]
    others = [name for name in _that_add_up(lines) if name not in LOOKS]
    free = [look for look in dict.fromkeys(LOOKS.values()) if look not in {LOOKS[name] for name in known}]
    looks = [*free, *dict.fromkeys(LOOKS.values())]
    found = {name: LOOKS[name] for name in known}
    return found | {name: looks[place % len(looks)] for place, name in enumerate(others)}


def _that_add_up(lines: Sequence[MetricsLine]) -> list[str]:
    """Returns the longest row of names at the head of all lines whose values add up to the loss in each."""
    whole = [line for line in lines if "loss" in line.values]
    if not whole:
        return []
    names = [name for name in whole[0].values if name != "loss"]
    for count in range(len(names), 0, -1):
        row = names[:count]
        if all(_adds_up(line, row) for line in whole):
            return row
    return []


def _adds_up(line: MetricsLine, names: Sequence[str]) -> bool:
    values = [line.values[name] for name in names if name in line.values]
    # values are means of float32 numbers
    return len(values) == len(names) and math.isclose(
        math.fsum(values), line.values["loss"], rel_tol=1e-4, abs_tol=1e-5
    )
