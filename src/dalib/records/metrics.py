"""``metrics.jsonl``: a line each time a training logs, with its step and the means of numbers since the last line."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True)
class MetricsLine:
    """One line of metrics.

    Attributes:
        step: the last one that it is of.
        values: finite numbers by name: the loss parts, the method's metrics, the loss, then what an evaluation adds and
            the speed.
    """

    step: int
    values: dict[str, float] = field(default_factory=dict)

    @classmethod
    def from_json(cls, content: Any) -> MetricsLine | None:
        """Makes the record of a line's content; None where it has no step. What is no finite number is left out.

        >>> MetricsLine.from_json({"step": 25, "loss": 1.5, "note": "x"})
        MetricsLine(step=25, values={'loss': 1.5})
        """
        if not isinstance(content, dict) or not _is_number(content.get("step")):
            return None
        values = {name: value for name, value in content.items() if name != "step" and _is_number(value)}
        return cls(content["step"], values)

    @property
    def text(self) -> str:
        """The line as the file has it, without its end."""
        return json.dumps({"step": self.step, **self.values})


def read_metrics(path: Path) -> tuple[MetricsLine, ...]:
    """Reads the lines that can be read, none where there is no file; a line that is still being written is no JSON."""
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if (record := MetricsLine.from_json(content)) is not None:
            found.append(record)
    return tuple(found)


def curve(lines: tuple[MetricsLine, ...], name: str) -> list[tuple[float, float]]:
    """Returns the steps and values of one number, from the lines that have it."""
    return [(line.step, line.values[name]) for line in lines if name in line.values]


def line_text(values: Mapping[str, float]) -> str:
    """Returns a line of values that hold the step too, as a training has them."""
    return MetricsLine(int(values["step"]), {name: each for name, each in values.items() if name != "step"}).text


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
