"""A distance of your own between student and teacher: total variation."""

import torch
from torch import Tensor

from dalib.adaptation.self_ensemble import ConsistencyLoss, SelfEnsemble


def total_variation(y: Tensor, y_teacher: Tensor) -> Tensor:
    """Half the sum of the absolute differences; (N, C), (N, C) -> (N,), each in [0, 1]."""
    return (y - y_teacher).abs().sum(dim=1) / 2


# in a training loop of yours
consistency = ConsistencyLoss(total_variation)
student = torch.tensor([[1.0, 0.0], [0.5, 0.5]], requires_grad=True)
teacher = torch.tensor([[0.0, 1.0], [0.5, 0.5]])
loss = consistency(student, teacher, mask=torch.tensor([True, True]))
loss.backward()
print("loss", loss.item())  # 0.5: the mean of 1 and 0

# in the whole method
network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))
method = SelfEnsemble(network, num_classes=2, distance=total_variation, consistency_weight=1.0)
print(method.consistency_loss)
