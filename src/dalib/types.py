"""The few types that the rooms of the library share. Their shapes are the contract."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Generator, Tensor, nn

#: (N, C, H, W) uint8 images, a generator on their device -> (N, C, h, w) float32 views, each image drawn for itself.
Augment = Callable[[Tensor, Generator], Tensor]


@dataclass(frozen=True)
class Batch:
    """What one step sees. There is no field for target labels, so that none can reach training."""

    source: Tensor
    """(B, C, H, W) float32, augmented source images."""
    labels: Tensor
    """(B,) int64, the classes of the source images."""
    target: tuple[Tensor, ...]
    """Views of the same B target images, each (B, C, H, W) float32 and augmented independently."""


@dataclass(frozen=True)
class Losses:
    """What one step minimises. Everything is a scalar tensor that stays on the device until somebody reads it."""

    parts: dict[str, Tensor]
    """The weighted terms of the objective, each with gradient into the student."""
    metrics: dict[str, Tensor] = field(default_factory=dict)
    """What else is worth logging, detached: the mask rate, the accuracy on the source batch."""

    @property
    def total(self) -> Tensor:
        """The sum of the parts: what is differentiated."""
        total, *rest = self.parts.values()
        for part in rest:
            total = total + part
        return total


class Method(Protocol):
    """A way to train a student: the contract between :mod:`dalib.adaptation` and :mod:`dalib.engine`."""

    student: nn.Module
    """The network whose parameters the optimiser moves."""
    target_views: int
    """How many views of the target images :meth:`loss` wants in its batch."""

    def loss(self, batch: Batch, step: int) -> Losses:
        """The objective on this batch; ``step`` counts from 0."""
        ...

    def after_step(self, step: int) -> None:
        """What follows the optimiser's step, such as the teacher's update."""
        ...

    def predictor(self) -> nn.Module:
        """The network to evaluate and to ship."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs beside the optimiser's state and the step; loads with weights_only."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        ...
