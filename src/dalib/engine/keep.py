"""Which weights of a training become its model: those of the best evaluation, by a score of the metrics so far."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from dalib.core.files import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

Line = dict[str, Any]
"""The values of one line of the metrics."""


class KeepBest:
    """Keeps the weights of the evaluation with the highest score; of equals the earlier.

    The score is of the metrics on disk, so that a training that goes on decides as one that never stopped.

    Args:
        folder: holds ``model/`` and ``kept.json``, the step of these weights and their score.
        metrics: the training's metrics.jsonl.
        score: the lines so far, the last one of an evaluation, -> how good these weights are. Not a finite number:
            never better than another.
        save: writes the present model into a folder, whole or not at all.

    Call it with the number of steps done, when the metrics up to there are written.
    """

    def __init__(
        self,
        folder: Path,
        metrics: Path,
        score: Callable[[Sequence[Line]], float],
        save: Callable[[Path], None],
    ) -> None:
        self.folder = folder
        self.model = folder / "model"
        self._metrics = metrics
        self._score = score
        self._save = save

    def __call__(self, step: int) -> None:
        score = self._score(lines_until(self._metrics, step))
        note = self.folder / "kept.json"
        if not note.exists() or score > read_json(note)["score"]:
            self._save(self.model)
            write_json(note, {"step": step, "score": score})


def kept_step(folder: Path) -> int:
    """The step of the weights that :class:`KeepBest` kept in its folder."""
    return int(read_json(folder / "kept.json")["step"])


def lines_until(metrics: Path, step: int) -> list[Line]:
    """The lines of the metrics up to a step."""
    lines = map(json.loads, metrics.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line["step"] <= step]


def most_confident(lines: Sequence[Line], every: int) -> float:
    """The mean mask rate over the steps since the evaluation before; evaluations are every so many steps.

    Of methods that have no mask, the share of the target that this evaluation found confident.
    Source: how the authors' code chooses the epoch.
    """
    if "mask_rate" not in lines[-1]:
        return float(lines[-1]["target_mask_rate"])
    step = lines[-1]["step"]
    return mean_over_steps(lines, "mask_rate", (step - 1) // every * every, step)


def mean_over_steps(lines: Sequence[Line], name: str, after: int, until: int) -> float:
    """The mean of a metric over steps ``after`` + 1 to ``until``, from the means of the lines that cover them."""
    total, steps, last = 0.0, 0, 0
    for line in lines:
        if after < line["step"] <= until:
            covered = line["step"] - max(last, after)
            total += line[name] * covered
            steps += covered
        last = line["step"]
    return total / steps
