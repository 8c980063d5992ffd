"""The curves that TensorBoard was given, beside those of metrics.jsonl."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

if TYPE_CHECKING:
    from pathlib import Path


def metrics_of(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """By name, what metrics.jsonl holds: (step, value)."""
    found: dict[str, list[tuple[int, float]]] = {}
    for line in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()):
        for name, value in line.items():
            if name != "step":
                found.setdefault(name, []).append((line["step"], value))
    return found


def events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder)).Reload()


def scalars_of(folder: Path) -> dict[str, list[tuple[int, float]]]:
    read = events(folder)
    return {name: [(each.step, each.value) for each in read.Scalars(name)] for name in read.Tags()["scalars"]}


def assert_the_same_curves(folder: Path, board: Path) -> None:
    expected, found = metrics_of(folder), scalars_of(board)
    assert {"loss", "rate", "images_per_second"} <= expected.keys()
    assert found.keys() == expected.keys()
    for name, curve in expected.items():
        assert [step for step, _ in found[name]] == [step for step, _ in curve]
        np.testing.assert_allclose([value for _, value in found[name]], [value for _, value in curve], rtol=1e-6)
