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
