"""Results of a training: kept in a folder, or in memory alone."""

from __future__ import annotations

import copy
import json
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch

from dalib.core.console import say_warning
from dalib.core.files import read_json, write_json
from dalib.engine.checkpoint import CheckpointFolder
from dalib.models.saved import load_tensors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor, nn

    from dalib.engine.checkpoint import Checkpoint
    from dalib.records.folder import TrainingFolder

Line = dict[str, Any]
"""The values of one line of the metrics."""


@dataclass(frozen=True)
class Kept:
    """The evaluation whose weights are kept.

    Attributes:
        step: number of steps done.
        score: how good the weights are; not finite where the score was not defined.
    """

    step: int
    score: float


class Results(Protocol):
    """Takes what a training produces."""

    @property
    def metrics(self) -> Path | None:
        """The file of the metrics; None for those that stay in memory."""
        ...

    @property
    def checkpoints(self) -> CheckpointFolder | None:
        """The folder of the checkpoints; None saves none."""
        ...

    def newest(self) -> Checkpoint | None:
        """Returns the newest readable checkpoint, on the host; None where there is none."""
        ...

    def add(self, line: Line) -> None:
        """Takes a line of the metrics, which :attr:`metrics` has already if it is a file."""
        ...

    def lines_until(self, step: int) -> Sequence[Line]:
        """Returns the lines of the metrics up to a step."""
        ...

    def kept(self) -> Kept | None:
        """Returns the evaluation whose weights are kept; None before the first."""
        ...

    def keep(self, kept: Kept, model: nn.Module) -> None:
        """Keeps the weights of a model in place of those that were kept."""
        ...

    def kept_weights(self) -> Mapping[str, Tensor]:
        """Returns the weights that are kept."""
        ...

    def save(self, model: nn.Module) -> None:
        """Takes the finished model."""
        ...


@dataclass(frozen=True)
class InFolder:
    """Results in a run's folder, whole at any time, so that the training can be resumed.

    Attributes:
        folder: the training's part of the run.
        write_model: writes a model into a folder, whole or not at all.
    """

    folder: TrainingFolder
    write_model: Callable[[Path, nn.Module], None]

    @property
    def metrics(self) -> Path | None:
        return self.folder.metrics

    @property
    def checkpoints(self) -> CheckpointFolder | None:
        return CheckpointFolder(self.folder.checkpoints)

    def newest(self) -> Checkpoint | None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            # on the host, wherever it was: other processes, on other devices, are sent it
            found = CheckpointFolder(self.folder.checkpoints).newest(torch.device("cpu"))
        for each in caught:
            say_warning(str(each.message))
        return found

    def add(self, line: Line) -> None:
        pass

    def lines_until(self, step: int) -> Sequence[Line]:
        # read from the disk, so that a resumed training decides as one that never stopped
        lines = map(json.loads, self.folder.metrics.read_text(encoding="utf-8").splitlines())
        return [line for line in lines if line["step"] <= step]

    def kept(self) -> Kept | None:
        note = self.folder.kept / "kept.json"
        return Kept(**read_json(note)) if note.exists() else None

    def keep(self, kept: Kept, model: nn.Module) -> None:
        self.write_model(self.folder.kept / "model", model)
        write_json(self.folder.kept / "kept.json", {"step": kept.step, "score": kept.score})

    def kept_weights(self) -> Mapping[str, Tensor]:
        return load_tensors(self.folder.kept / "model")

    def save(self, model: nn.Module) -> None:
        self.write_model(self.folder.model, model)


@dataclass
class InMemory:
    """Results in memory, without checkpoints.

    Attributes:
        lines: the metrics so far.
    """

    lines: list[Line] = field(default_factory=list)
    _kept: Kept | None = None
    _weights: dict[str, Tensor] = field(default_factory=dict)

    @property
    def metrics(self) -> Path | None:
        return None

    @property
    def checkpoints(self) -> CheckpointFolder | None:
        return None

    def newest(self) -> Checkpoint | None:
        return None

    def add(self, line: Line) -> None:
        self.lines.append(line)

    def lines_until(self, step: int) -> Sequence[Line]:
        return [line for line in self.lines if line["step"] <= step]

    def kept(self) -> Kept | None:
        return self._kept

    def keep(self, kept: Kept, model: nn.Module) -> None:
        self._kept, self._weights = kept, copy.deepcopy(model.state_dict())

    def kept_weights(self) -> Mapping[str, Tensor]:
        return self._weights

    def save(self, model: nn.Module) -> None:
        pass
