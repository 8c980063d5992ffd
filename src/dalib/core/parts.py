"""The loss parts in lines of a training's metrics, under any names."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def parts_that_add_up(lines: Sequence[Mapping[str, float]]) -> list[str]:
    """Returns the longest row of names at the head of all lines whose values add up to the loss in each.

    A line holds the parts first, then the method's metrics and the loss. The parts are weighted, so their sum
    distinguishes them from the metrics. Lines without ``loss`` do not count.

    >>> parts_that_add_up([{"supervised": 1.0, "entropy": 0.5, "mask_rate": 0.9, "loss": 1.5}])
    ['supervised', 'entropy']
    """
    whole = [line for line in lines if "loss" in line]
    if not whole:
        return []
    names = [name for name in whole[0] if name not in ("step", "loss")]
    for count in range(len(names), 0, -1):
        row = names[:count]
        if all(_adds_up(line, row) for line in whole):
            return row
    return []


def _adds_up(line: Mapping[str, float], names: Sequence[str]) -> bool:
    values = [line[name] for name in names if name in line]
    # values are means of float32 numbers
    return len(values) == len(names) and math.isclose(math.fsum(values), line["loss"], rel_tol=1e-4, abs_tol=1e-5)
