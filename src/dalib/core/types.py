"""Types that the rooms of the library share. Their shapes are the contract."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Generator, Tensor, nn

#: (N, C, H, W) uint8 images, a generator on their device -> (N, C, h, w) float32 views, each image drawn for itself.
Augment = Callable[[Tensor, Generator], Tensor]


@dataclass(frozen=True)
class Batch:
    """The images of one step. There is no field for target labels, so that none can reach training."""

    source: Tensor
    """(B, C, H, W) float32, augmented source images."""
    labels: Tensor
    """(B,) int64, the classes of the source images."""
    target: tuple[Tensor, ...]
    """Views of the same B target images, each (B, C, H, W) float32 and augmented independently."""
    outside: Tensor | None = None
    """(A, C, H, W) float32, target images that seem to be of none of the classes, where any are set apart."""
    hints: Tensor | None = None
    """(B, K, L) float32, answers of annotators or other models on the target images, where there are hints: K tables of
    probabilities over L classes, of which the first is the hints' own."""

    def split(self, count: int) -> tuple[Batch, ...]:
        """Returns ``count`` consecutive batches, as equal as possible; each has at least one image of each kind.

        Raises:
            ValueError: fewer images, or fewer of those outside, than ``count``.
        """
        if count == 1:
            return (self,)
        if not 1 <= count <= len(self.labels):
            raise ValueError(f"count: expected 1 to {len(self.labels)}, the images of the batch, got {count}")
        if self.outside is not None and 0 < len(self.outside) < count:
            raise ValueError(
                f"count: expected 1 to {len(self.outside)}, the images of the batch outside of the classes, got {count}"
            )
        parts = [each.tensor_split(count) for each in (self.source, self.labels, *self.target)]
        outside = [None] * count if self.outside is None else self.outside.tensor_split(count)
        hints = [None] * count if self.hints is None else self.hints.tensor_split(count)
        return tuple(
            Batch(source, labels, tuple(views), apart, of_target)
            for apart, of_target, source, labels, *views in zip(outside, hints, *parts, strict=True)
        )


@dataclass(frozen=True)
class Losses:
    """The losses of one step. Everything is a scalar tensor that stays on the device until somebody reads it."""

    parts: dict[str, Tensor]
    """The weighted terms of the objective, each with gradient into the student."""
    metrics: dict[str, Tensor] = field(default_factory=dict)
    """Other values to log, detached: the mask rate, the accuracy on the source batch."""

    @property
    def total(self) -> Tensor:
        """Returns the sum of the parts, which is differentiated."""
        total, *rest = self.parts.values()
        for part in rest:
            total = total + part
        return total

    def detached(self) -> Losses:
        """Returns the same numbers without their graph, which frees its memory."""
        return Losses({name: part.detach() for name, part in self.parts.items()}, self.metrics)

    @staticmethod
    def mean(several: Sequence[Losses], images: Sequence[int]) -> Losses:
        """Returns the mean of each part and metric over all images; ``images`` is how many each is the mean over."""
        if len(several) == 1:
            return several[0]
        first, of_one = several[0], sum(images) / len(images)
        weights = [count / of_one for count in images]  # exactly 1 for as many images each

        def mean(values: Iterable[Tensor]) -> Tensor:
            return torch.stack([value * weight for value, weight in zip(values, weights, strict=True)]).mean()

        return Losses(
            {name: mean(each.parts[name] for each in several) for name in first.parts},
            {name: mean(each.metrics[name] for each in several) for name in first.metrics},
        )


class ClassPrior(Protocol):
    """The class shares of the target that a method draws its predictions to."""

    prior: Tensor
    """(C,) float32 shares with sum 1."""

    def set_prior(self, prior: Tensor) -> None:
        """Draws predictions to these shares (C,) from the next step on.

        Raises:
            ValueError: another shape, or not a distribution.
        """
        ...


class Method(Protocol):
    """A way to train a student: the contract between :mod:`dalib.adaptation` and :mod:`dalib.engine`."""

    student: nn.Module
    """The network whose parameters the optimiser moves."""
    target_views: int
    """Number of views of the target images that :meth:`loss` takes in its batch; 0 if it does not adapt."""

    @property
    def class_prior(self) -> ClassPrior | None:
        """The class shares that the method expects of the target; None if it expects none."""
        ...

    def loss(self, batch: Batch, step: int) -> Losses:
        """Computes the objective on this batch; ``step`` counts from 0."""
        ...

    def after_step(self, step: int) -> None:
        """Does what follows the optimiser's step, such as the teacher's update."""
        ...

    def predictor(self) -> nn.Module:
        """Returns the network to evaluate and to ship."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Returns all that a resumed run needs beside the optimiser's state and the step; loads with weights_only."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what :meth:`state_dict` returned."""
        ...
