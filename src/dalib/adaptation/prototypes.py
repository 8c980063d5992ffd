"""Class prototypes of the unlabelled target: the place of each class among its features."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from dalib.adaptation.losses import at_least_float32
from dalib.engine.distributed import mean_over_ranks

if TYPE_CHECKING:
    from torch import Tensor

MOMENTUM = 0.95  # some twenty batches, in which the teacher that makes the features hardly moves


class ClassPrototypes:
    r"""A moving prototype for each class, which refines the teacher's predictions.

    .. math::
        s_c \leftarrow \mu \, s_c + (1 - \mu) \frac1N \sum_i q_{ic} \hat f_i, \quad
        z_{ic} = \frac{e^{\cos(f_i, s_c) / T}}{\sum_{c'} e^{\cos(f_i, s_{c'}) / T}}, \quad
        q'_i = (1 - \lambda) \, q_i + \lambda \, z_i

    with the teacher's features f, :math:`\hat f` of length 1, its probabilities q, and :math:`\mu` = 0.95. Images that
    lie together pull each other's target to one class, so that a target which falls into clusters is labelled by
    clusters, where the classifier, made on the source, cuts through one.

    Args:
        num_classes: C.
        share: lambda in [0, 1], the share of the target that the prototypes make.
        temperature: T, above 0; a small one makes hard assignments.

    Raises:
        ValueError: one of these out of range.

    Source: centroids weighted by predictions and compared by the cosine are SHOT's (Liang et al., ICML 2020, section
    3.3); that they move from batch to batch and soften pseudo-labels is ProDA's idea (Zhang et al., CVPR 2021). The
    mixture and the temperature are our choice, by signs that need no labels.

    >>> prototypes = ClassPrototypes(2, share=1.0)
    >>> features, logits = torch.eye(2), torch.tensor([[9.0, 0.0], [0.0, 9.0]])
    >>> prototypes.refined(logits, features).exp().round(decimals=3)
    tensor([[1., 0.],
            [0., 1.]])
    >>> prototypes.refined(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])).exp().round(decimals=3)
    tensor([[1., 0.]])
    """

    def __init__(self, num_classes: int, *, share: float = 0.5, temperature: float = 0.1) -> None:
        if not (0 <= share <= 1 and temperature > 0):  # NaN fails this too
            raise ValueError(
                f"share, temperature: expected a share in [0, 1] and a number above 0, got {share} and {temperature}"
            )
        self.num_classes = num_classes
        self.share = share
        self.temperature = temperature
        #: (C, D) float32, s; None before the first batch.
        self.sums: Tensor | None = None

    @torch.no_grad()
    def refined(self, logits: Tensor, features: Tensor) -> Tensor:
        """Moves the prototypes by this batch, and returns log q', which is used like the teacher's logits.

        Args:
            logits: (N, C) of the teacher.
            features: (N, D) that the logits were computed from.

        Returns:
            (N, C) float32, without gradient.
        """
        with torch.autocast(features.device.type, enabled=False):  # half precision has no room for 5% of a change
            probabilities = at_least_float32(logits).softmax(dim=1)
            directions = F.normalize(at_least_float32(features), dim=1)
            new = mean_over_ranks(probabilities.T @ directions / len(directions))
            self.sums = new if self.sums is None else self.sums.to(new).lerp(new, 1 - MOMENTUM)
            cosines = directions @ F.normalize(self.sums, dim=1).T
            of_prototypes = (cosines / self.temperature).softmax(dim=1)
            return probabilities.lerp(of_prototypes, self.share).clamp_min(torch.finfo(probabilities.dtype).tiny).log()
