"""Metrics as JSON Lines. Values stay on the device until means are taken, so that no step waits for them."""

from __future__ import annotations

import json
import math
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dalib.core.errors import Setting, TrainingDivergedError
from dalib.core.files import sync, write_text
from dalib.engine.distributed import mean_over_ranks
from dalib.records.metrics import line_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Means:
    """Means of recorded values.

    Attributes:
        step: the last one that they are of.
        values: by name, in the order of recording.
        images_per_second: of the steps that this process made, without what was done between the line before and the
            first of them.
    """

    step: int
    values: dict[str, float]
    images_per_second: float


class MetricsLog:
    """Collects scalars step by step, and writes their means as lines.

    Args:
        path: the JSON Lines file; made if it is not there. None writes nothing: of several processes, one does.
        after: lines of later steps are dropped: a run that resumes from this step will write them again.
        pending: result of :meth:`pending` at that step.
        on_line: called with each line's values, for a progress display.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        after: int = 0,
        pending: dict[str, Any] | None = None,
        on_line: Callable[[dict[str, float]], None] | None = None,
    ) -> None:
        self.path = path
        self.on_line = on_line
        self._steps: list[int] = []
        self._rows: list[Tensor] = []
        self._names: tuple[str, ...] = ()
        if pending:
            self._steps, self._rows = list(pending["steps"]), list(pending["rows"])
            self._names = tuple(pending["names"])
        self._untimed, self._since = len(self._steps), time.monotonic()  # what is pending took its time elsewhere
        if path is not None:
            _keep_lines_until(path, after)

    def record(self, step: int, values: dict[str, Tensor]) -> None:
        """Keeps this step's scalars, on their device. The names are the same in every step."""
        self._names = tuple(values)
        self._steps.append(step)
        self._rows.append(torch.stack([value.detach().float() for value in values.values()]))

    def take_means(self, images_per_step: int) -> Means:
        """Returns the means of what was recorded since the last line, with the speed. Waits for the device.

        Raises:
            TrainingDivergedError: a value that is not finite, named with the step at which it first came up.
        """
        device = self._rows[-1].device  # those of a checkpoint are on the host
        rows = mean_over_ranks(torch.stack([row.to(device) for row in self._rows])).tolist()
        seconds = time.monotonic() - self._since
        for step, row in zip(self._steps, rows, strict=True):
            for name, value in zip(self._names, row, strict=True):
                if not math.isfinite(value):
                    raise TrainingDivergedError(
                        f"{name} became {value} at step {step}. Lower the learning rate (",
                        Setting("optimizer.lr"),
                        "), or look for images without content",
                    )
        columns = zip(self._names, zip(*rows, strict=True), strict=True)
        means = {name: sum(column) / len(rows) for name, column in columns}
        images = images_per_step * (len(rows) - self._untimed)
        found = Means(self._steps[-1], means, images / max(seconds, 1e-9))
        self._untimed = 0
        self._steps.clear()
        self._rows.clear()
        return found

    def write(self, means: Means, more: Mapping[str, float]) -> None:
        """Writes a line of means with ``more`` values; the time since :meth:`take_means` counts in no speed."""
        line = {"step": means.step, **means.values, **more, "images_per_second": means.images_per_second}
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line_text(line) + "\n")
        self._since = time.monotonic()
        if self.on_line is not None:
            self.on_line(line)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Counts the time of the block in no speed."""
        since = time.monotonic()
        try:
            yield
        finally:
            self._since += time.monotonic() - since

    def pending(self) -> dict[str, Any]:
        """Returns the recorded values that are not yet written, for a checkpoint."""
        return {"steps": list(self._steps), "rows": list(self._rows), "names": list(self._names)}

    def sync(self) -> None:
        """Syncs the written lines to the disk, before a checkpoint that relies on them."""
        if self.path is not None:
            sync(self.path)


def last_step(path: Path) -> int:
    """Returns the step of the last whole line of a run's metrics; 0 if there is none."""
    return max((step for step, _ in _whole_lines(path)), default=0)


def _keep_lines_until(path: Path, step: int) -> None:
    write_text(path, "".join(line + "\n" for of, line in _whole_lines(path) if of <= step))


def _whole_lines(path: Path) -> list[tuple[int, str]]:
    """Returns the step and the text of each whole line."""
    found: list[tuple[int, str]] = []
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                found.append((int(json.loads(line)["step"]), line))
            except (
                ValueError,
                TypeError,
                KeyError,
                RecursionError,
            ):  # the line that was being written when the power went
                break
    return found
