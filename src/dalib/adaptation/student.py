"""The student's forward pass of a step."""

from __future__ import annotations

from torch import Tensor, nn

from dalib.models.classifier import logits_of


class EachDomain(nn.Module):
    """The student on each domain's batch in ONE forward call, each with BatchNorm statistics of its own.

    One module around all passes, because two forward calls and one backward through BatchNorm raise under
    DistributedDataParallel on some versions of torch.
    """

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.student = student

    def forward(self, *domains: Tensor) -> tuple[Tensor, ...]:
        return tuple(logits_of(self.student, images) for images in domains)
