"""A method of your own: entropy minimisation on the target, and a few steps of the loop with it."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dalib.adaptation.pseudo_labels import accuracy
from dalib.adaptation.student import EachDomain
from dalib.augment.views import View, warp_operations
from dalib.core.types import Batch, Losses
from dalib.data.preprocessing import Preprocessing
from dalib.data.stream import DomainViews, Sampling, TwoDomainStream
from dalib.engine.distributed import parallel
from dalib.engine.fit import Training, fit
from dalib.engine.runlog import MetricsLog
from dalib.engine.schedule import cosine


def entropy(logits: Tensor) -> Tensor:
    """Mean entropy of the predictions in nats; (N, C) -> scalar in [0, log C]."""
    log_p = logits.float().log_softmax(dim=1)
    return -(log_p.exp() * log_p).sum(dim=1).mean()


class EntropyMinimisation:
    """CE(f(x_s), y_s) + weight * mean entropy of f(x_t), as a dalib.core.types.Method; the predictor is the student."""

    target_views = 1

    def __init__(self, student: nn.Module, *, weight: float = 0.1) -> None:
        if not weight >= 0:  # NaN fails this too
            raise ValueError(f"weight: expected at least 0, got {weight}")
        self.student = student
        self.weight = weight
        self._logits = parallel(EachDomain(student))  # of several processes the gradients are averaged

    def loss(self, batch: Batch, step: int) -> Losses:
        (view,) = batch.target
        source, target = self._logits(batch.source, view)
        return Losses(
            parts={
                "supervised": F.cross_entropy(source, batch.labels),
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


torch.manual_seed(0)
preprocessing = Preprocessing(size=16, channels=1)
view = View(preprocessing.normalize, warp_operations(16))
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
