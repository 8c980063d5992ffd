"""The baseline: the same network, trained on the source alone. What adaptation has to beat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.nn import functional as F

from dalib.adaptation.pseudo_labels import accuracy
from dalib.adaptation.student import EachDomain
from dalib.core.types import Batch, Losses
from dalib.engine.distributed import parallel
from dalib.models.compiled import compiled, mark_step

if TYPE_CHECKING:
    from torch import nn


class SourceOnly:
    """Cross-entropy on augmented source images, as a :class:`dalib.core.types.Method`; the predictor is the student.

    Args:
        student: images -> logits, alone or first in a tuple.
        label_smoothing: of the cross-entropy, in [0, 1).
        compile_mode: of torch.compile around the forward pass; None does not compile.
    """

    target_views = 0

    def __init__(self, student: nn.Module, *, label_smoothing: float = 0.0, compile_mode: str | None = None) -> None:
        self.student = student
        self.label_smoothing = label_smoothing
        self.compile_mode = compile_mode
        self._student_logits = compiled(parallel(EachDomain(student)), compile_mode)

    def loss(self, batch: Batch, step: int) -> Losses:
        mark_step(self.compile_mode)
        (logits,) = self._student_logits(batch.source)
        supervised = F.cross_entropy(logits, batch.labels, label_smoothing=self.label_smoothing)
        return Losses(parts={"supervised": supervised}, metrics={"source_accuracy": accuracy(logits, batch.labels)})

    def after_step(self, step: int) -> None:
        pass

    def predictor(self) -> nn.Module:
        return self.student

    def state_dict(self) -> dict[str, Any]:
        return {"student": self.student.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.student.load_state_dict(state["student"])
