"""The baseline: the same network, trained on the source alone. Adaptation has to beat it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.nn import functional as F

from dalib.adaptation.inputs import common_confidence
from dalib.adaptation.pseudo_labels import accuracy
from dalib.adaptation.student import StudentPass
from dalib.adaptation.teacher import load_state, state_of
from dalib.core.ranges import check_smoothing
from dalib.core.types import Batch, Losses

if TYPE_CHECKING:
    from torch import nn

    from dalib.adaptation.inputs import MethodInputs


class SourceOnly:
    """Cross-entropy on augmented source images, as a :class:`dalib.core.types.Method`; the predictor is the student.

    Args:
        student: images -> logits, alone or first in a tuple.
        label_smoothing: label smoothing of the cross-entropy, in [0, 1).
        compile_mode: mode of torch.compile for the forward pass; None does not compile.
    """

    target_views = 0
    class_prior = None
    joins_domains = False
    takes_hints = False
    rising: tuple[str, ...] = ()
    confidence = staticmethod(common_confidence)

    def __init__(self, student: nn.Module, *, label_smoothing: float = 0.0, compile_mode: str | None = None) -> None:
        self.student = student
        check_smoothing(label_smoothing)
        self.label_smoothing = label_smoothing
        self._logits = StudentPass(student, compile_mode)

    @classmethod
    def build(cls, settings: None, inputs: MethodInputs) -> SourceOnly:  # noqa: ARG003 - it has none
        """Returns the method, which has no settings of its own."""
        return cls(inputs.student, label_smoothing=inputs.label_smoothing, compile_mode=inputs.compile_mode)

    def loss(self, batch: Batch, step: int) -> Losses:
        (logits,) = self._logits(batch.source)
        supervised = F.cross_entropy(logits, batch.labels, label_smoothing=self.label_smoothing)
        return Losses(parts={"supervised": supervised}, metrics={"source_accuracy": accuracy(logits, batch.labels)})

    def after_step(self, step: int) -> None:
        pass

    def predictor(self) -> nn.Module:
        return self.student

    def state_dict(self) -> dict[str, Any]:
        return state_of(self.student)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        load_state(self.student, None, state)
