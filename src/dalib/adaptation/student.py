"""The student's forward pass of a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dalib.adaptation.losses import at_least_float32
from dalib.engine.distributed import parallel
from dalib.models.classifier import logits_of
from dalib.models.compiled import compiled, mark_step

if TYPE_CHECKING:
    from collections.abc import Callable


class EachDomain(nn.Module):
    """The student on each domain's batch in ONE forward call, each with BatchNorm statistics of its own.

    One module contains all passes, because two forward calls and one backward through BatchNorm raise under
    DistributedDataParallel on some versions of torch.
    """

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.student = student

    def forward(self, *domains: Tensor) -> tuple[Tensor, ...]:
        return tuple(logits_of(self.student, images) for images in domains)


class StudentPass:
    """Runs the student as the first forward pass of a step: averaged over processes, and compiled where asked for.

    Args:
        student: images -> logits (N, C), alone or first in a tuple.
        compile_mode: mode of torch.compile; None does not compile.
        passes: module that makes one call of several passes; by default :class:`EachDomain`.
    """

    def __init__(
        self,
        student: nn.Module,
        compile_mode: str | None,
        passes: Callable[[nn.Module], nn.Module] = EachDomain,
    ) -> None:
        self.compile_mode = compile_mode
        self._logits = compiled(parallel(passes(student)), compile_mode)

    def __call__(self, *batches: Tensor) -> tuple[Tensor, ...]:
        """Returns logits (N, C) of each batch, with batch-normalisation statistics of each batch by itself."""
        mark_step(self.compile_mode)
        return self._logits(*batches)  # type: ignore[no-any-return]

    def joint(self, *batches: Tensor) -> tuple[Tensor, ...]:
        """Returns float32 logits (N, C) of each batch; all are one batch with one batch normalisation."""
        (logits,) = self(torch.cat(batches))
        return at_least_float32(logits).split_with_sizes([len(batch) for batch in batches])
