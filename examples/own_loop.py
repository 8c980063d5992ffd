"""The losses and the teacher in a training loop of your own, on random images: replace them by yours."""

import torch
from torch import nn
from torch.nn import functional as F

from dalib.adaptation.self_ensemble import ClassBalanceLoss, EmaTeacher, ImageClassifier, L2ConsistencyLoss


def views(images: torch.Tensor) -> torch.Tensor:
    """Stands for your random augmentation; each call draws anew."""
    return images + 0.1 * torch.randn_like(images)


torch.manual_seed(0)
backbone = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU())
backbone.out_features = 16
student = ImageClassifier(backbone, num_classes=31, bottleneck_dim=256)
teacher = EmaTeacher(student, alpha=0.99)
consistency, balance = L2ConsistencyLoss(), ClassBalanceLoss(num_classes=31)
optimizer = torch.optim.Adam(student.get_parameters(base_lr=1e-3))

for step in range(10):
    source, labels, target = torch.randn(8, 3, 32, 32), torch.randint(31, (8,)), torch.randn(8, 3, 32, 32)
    source_logits, _ = student(views(source))
    student_logits, _ = student(views(target))
    teacher_logits, _ = teacher(views(target))
    p, q = student_logits.softmax(dim=1), teacher_logits.softmax(dim=1)
    confident = q.amax(dim=1) > 0.8
    loss = F.cross_entropy(source_logits, labels) + 3 * consistency(p, q, confident)
    loss = loss + 0.01 * confident.float().mean() * balance(p)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    teacher.update()
    print(f"step {step}  loss {loss.item():.3f}")
