"""The line styles of the loss parts in the report's charts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dalib.core.parts import parts_that_add_up

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
"""The line style of a part in every report. Other parts take styles that these leave free."""


def loss_parts(lines: Sequence[MetricsLine]) -> dict[str, str]:
    """Returns the names of the loss parts in their order, with the style of each.

    Args:
        lines: lines of metrics; a line without ``loss`` shows known parts alone.

    >>> from dalib.records.metrics import MetricsLine
    >>> loss_parts([MetricsLine(25, {"supervised": 1.0, "entropy": 0.5, "mask_rate": 0.9, "loss": 1.5})])
    {'supervised': 'one', 'entropy': 'two'}
    """
    known = [name for name in LOOKS if any(name in line.values for line in lines)]
    others = [name for name in parts_that_add_up([line.values for line in lines]) if name not in LOOKS]
    free = [look for look in dict.fromkeys(LOOKS.values()) if look not in {LOOKS[name] for name in known}]
    looks = [*free, *dict.fromkeys(LOOKS.values())]
    found = {name: LOOKS[name] for name in known}
    return found | {name: looks[place % len(looks)] for place, name in enumerate(others)}
