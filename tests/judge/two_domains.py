"""Features of two domains with classes that can be told apart."""

import torch

from dalib.judge.structure import Representation


def two_domains(num_classes=4, per_class=30, width=12, shift=5.0, seed=0):
    """Features of classes far apart; the target's are moved away and stretched. The labels are in order."""
    generator = torch.Generator().manual_seed(seed)
    centres = 4 * torch.randn(num_classes, width, generator=generator)
    labels = torch.arange(num_classes).repeat_interleave(per_class)
    source, target = (centres[labels] + 0.5 * torch.randn(len(labels), width, generator=generator) for _ in range(2))
    return Representation(3 * target + shift, source, labels), labels


def sure(classes):
    """Returns probabilities (N, 4) that are sure of these classes."""
    return 0.9 * torch.eye(4)[classes] + 0.025


def noisy(labels, share, seed=0):
    """Returns labels of which this share is drawn anew."""
    generator = torch.Generator().manual_seed(seed)
    changed = torch.rand(len(labels), generator=generator) < share
    return torch.where(changed, torch.randint(0, 4, labels.shape, generator=generator), labels)
