"""Entropy minimisation (Grandvalet & Bengio, NeurIPS 2004): predictions for the target become certain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn import functional as F

from dalib.adaptation.pseudo_labels import accuracy
from dalib.adaptation.settings import settings
from dalib.adaptation.student import StudentPass
from dalib.core.ranges import check_at_least
from dalib.core.types import Batch, Losses
from dalib.judge.evidence import Confidence

if TYPE_CHECKING:
    from dalib.adaptation.inputs import MethodInputs


@settings
class EntropyConfig:
    """Settings of entropy, which minimises the entropy of the predictions for the target.

    Attributes:
        weight: weight of the mean entropy, at least 0.
    """

    weight: float = 0.1


def entropy(logits: Tensor) -> Tensor:
    """Computes the mean entropy of the predictions in nats; (N, C) -> scalar in [0, log C]."""
    log_p = logits.float().log_softmax(dim=1)
    return -(log_p.exp() * log_p).sum(dim=1).mean()


class EntropyMinimisation:
    """CE(f(x_s), y_s) + weight * mean entropy of f(x_t), as a dalib.core.types.Method; the predictor is the student.

    Args:
        student: images -> logits (N, C), alone or first in a tuple.
        weight: weight of the entropy, at least 0.
        label_smoothing: label smoothing of the cross-entropy, in [0, 1).
        compile_mode: mode of torch.compile for the forward pass; None does not compile.
    """

    target_views = 1  # of each target image, in a batch
    class_prior = None  # it expects no class shares of the target
    joins_domains = False  # source and target are batches of their own, each with its batch normalisation
    takes_hints = False  # it has no pseudo-labels or teacher that hints could refine
    rising: tuple[str, ...] = ()  # no setting says over how many steps a weight rises

    def __init__(
        self,
        student: nn.Module,
        *,
        weight: float = 0.1,
        label_smoothing: float = 0.0,
        compile_mode: str | None = None,
    ) -> None:
        check_at_least(0, weight=weight)
        self.student = student
        self.weight = weight
        self.label_smoothing = label_smoothing
        self._logits = StudentPass(student, compile_mode)  # averages the gradients of several processes

    @staticmethod
    def confidence(settings: EntropyConfig) -> Confidence:  # noqa: ARG004 - it has no mask
        """Returns when a target image counts as confident: it has no mask, and takes the common threshold."""
        return Confidence()

    @classmethod
    def build(cls, settings: EntropyConfig, inputs: MethodInputs) -> EntropyMinimisation:
        """Returns the method with these settings."""
        return cls(
            inputs.student,
            weight=settings.weight,
            label_smoothing=inputs.label_smoothing,
            compile_mode=inputs.compile_mode,
        )

    def loss(self, batch: Batch, step: int) -> Losses:
        source, target = self._logits(batch.source, *batch.target)
        return Losses(
            parts={
                "supervised": F.cross_entropy(source, batch.labels, label_smoothing=self.label_smoothing),
                "entropy": self.weight * entropy(target),
            },
            metrics={"source_accuracy": accuracy(source, batch.labels)},
        )

    def after_step(self, step: int) -> None:
        pass

    def predictor(self) -> nn.Module:
        return self.student

    def state_dict(self) -> dict[str, Any]:
        return {"student": self.student.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.student.load_state_dict(state["student"])


if __name__ == "__main__":  # a few steps of the loop, before the method is in the library
    import torch

    from dalib.augment.views import View, warp_operations
    from dalib.data.preprocessing import Preprocessing
    from dalib.data.stream import DomainViews, Sampling, TwoDomainStream
    from dalib.engine.fit import Training, fit
    from dalib.engine.runlog import MetricsLog
    from dalib.engine.schedule import cosine

    torch.manual_seed(0)
    view = View(Preprocessing(size=16, channels=1).normalize, warp_operations(16))
    method = EntropyMinimisation(nn.Sequential(nn.Flatten(), nn.Linear(256, 3)))
    optimizer = torch.optim.Adam([{"params": method.student.parameters(), "initial_lr": 1e-3}], lr=1e-3)
    stream = TwoDomainStream(
        source=torch.randint(256, (90, 1, 16, 16), dtype=torch.uint8),
        labels=torch.arange(90) % 3,
        target=torch.randint(256, (60, 1, 16, 16), dtype=torch.uint8),
        views=DomainViews(view, [view] * method.target_views),
        sampling=Sampling(batch=16, seed=0),
        device=torch.device("cpu"),
    )
    log = MetricsLog(None, on_line=print)
    fit(Training(method, optimizer, stream, lambda step: cosine(step, 20), steps=20), log)
