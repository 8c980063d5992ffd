"""Which weights of a training become its model: without a target label, by how many target images are confident."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from dalib.runfolder import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class MostConfident:
    """Keeps the weights of the evaluation up to which the largest share of target images was confident.

    The share is the mean mask rate over the steps since the evaluation before. It is read from the metrics on disk, so
    that a training that goes on decides as one that never stopped. Of equals the earlier is kept.

    Args:
        folder: holds ``model/`` and ``kept.json``, the step of these weights and its share.
        metrics: the training's metrics.jsonl.
        every: steps between evaluations.
        save: writes the present model into a folder, whole or not at all.

    Call it with the number of steps done, when the metrics up to there are written.

    Source: how the authors' code chooses the epoch.
    """

    def __init__(self, folder: Path, metrics: Path, every: int, save: Callable[[Path], None]) -> None:
        self.folder = folder
        self.model = folder / "model"
        self._metrics = metrics
        self._every = every
        self._save = save

    def __call__(self, step: int) -> None:
        share = mean_over_steps(self._metrics, "mask_rate", (step - 1) // self._every * self._every, step)
        note = self.folder / "kept.json"
        if not note.exists() or share > read_json(note)["mask_rate"]:
            self._save(self.model)
            write_json(note, {"step": step, "mask_rate": share})


def kept_step(folder: Path) -> int:
    """The step of the weights that :class:`MostConfident` kept in its folder."""
    return int(read_json(folder / "kept.json")["step"])


def mean_over_steps(metrics: Path, name: str, after: int, until: int) -> float:
    """The mean of a metric over steps ``after`` + 1 to ``until``, from the means of the lines that cover them."""
    total, steps, last = 0.0, 0, 0
    for text in metrics.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        if after < line["step"] <= until:
            covered = line["step"] - max(last, after)
            total += line[name] * covered
            steps += covered
        last = line["step"]
    return total / steps
