"""Self-training of a linear classifier in closed form, for tables of many columns, such as counts of words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import sparse

from dalib.models.linear import fit_soft

if TYPE_CHECKING:
    from torch import Tensor

POWER = 2.0
"""Exponent that sharpens the teacher's probabilities."""

BALANCING = 50
"""Turns of scaling classes and then rows; ten are enough for shares that are right to a thousandth."""


class SelfTraining:
    r"""Fits a linear classifier to the source's labels and to its own sharpened predictions for the target, in turn.

    .. math:: \min_{W, b} \frac{1}{1 + w} \Bigl(\frac1N \sum_i CE(f(x_i), y_i)
              + \frac wM \sum_j CE(f(x_j), q_j)\Bigr) + \frac{l_2}{2} \lVert W \rVert^2

    with the predictions q of the round before, sharpened and brought to the class shares of the prior
    (:func:`sharpened`). The model of a round is the teacher of the next.

    Args:
        source, target: (N, D) and (M, D): tensors, or matrices of scipy.sparse, which are not made dense.
        labels: (N,) int64.
        num_classes: C.
        l2: penalty of the weights, as in :func:`dalib.models.linear.fit_logistic`.
        weight: w, of the target beside the source.

    Misleads: where the target's class shares are far from the prior, the predictions are drawn to the prior.
    Source: the sharpening is that of DEC (Xie et al., ICML 2016), the balance Sinkhorn's scaling, as in SwAV (Caron et
    al., NeurIPS 2020). That each round is fitted to its optimum is our choice.

    >>> source, target = torch.tensor([[-1.0], [1.0]]), torch.tensor([[1.0], [1.2], [3.0], [3.2]])
    >>> model = torch.tensor([[-1.0], [1.0]]), torch.zeros(2)
    >>> training = SelfTraining(source, torch.tensor([0, 1]), target, 2, l2=0.01, weight=10.0)
    >>> for _ in range(5):
    ...     model = training.after(model)
    >>> probabilities_of(model, target).argmax(dim=1)
    tensor([0, 0, 1, 1])
    """

    def __init__(
        self,
        source: Tensor | Any,
        labels: Tensor,
        target: Tensor | Any,
        num_classes: int,
        *,
        l2: float,
        weight: float = 1.0,
    ) -> None:
        count, others = source.shape[0], target.shape[0]
        dense = isinstance(source, torch.Tensor)
        self.rows = torch.cat([source, target]) if dense else sparse.vstack([source, target]).tocsr()
        self.weights = torch.full((count + others,), 1 / count, dtype=torch.float64)
        self.weights[count:] = weight / others
        self.weights /= 1 + weight
        self.truth = torch.nn.functional.one_hot(labels, num_classes).double()
        self.target, self.l2, self.num_classes = target, l2, num_classes

    def after(self, model: tuple[Tensor, Tensor], prior: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Returns the weight (C, D) and bias (C,) of the round after a model's; a prior of None is uniform."""
        shares = torch.full((self.num_classes,), 1 / self.num_classes) if prior is None else prior
        wanted = sharpened(probabilities_of(model, self.target), shares)
        return fit_soft(self.rows, torch.cat([self.truth, wanted]), self.l2, weights=self.weights, start=model)


def sharpened(probabilities: Tensor, prior: Tensor) -> Tensor:
    r"""Returns q with :math:`q_{jc} \propto a_c \, p_{jc}^2`, where a makes the mean over j the prior.

    Args:
        probabilities: (M, C).
        prior: (C,) with sum 1; a class of share 0 stays without rows.

    Returns:
        (M, C) float64 probabilities.

    >>> sharpened(torch.tensor([[0.6, 0.4], [0.9, 0.1]]), torch.tensor([0.5, 0.5])).argmax(dim=1)
    tensor([1, 0])
    """
    logits = POWER * probabilities.double().clamp_min(1e-12).log()
    wanted = prior.double().clamp_min(1e-12).log()
    for _ in range(BALANCING):
        logits = logits.log_softmax(dim=1)
        logits = logits + wanted - (logits.logsumexp(dim=0) - np.log(len(logits)))
    return logits.softmax(dim=1)


def probabilities_of(model: tuple[Tensor, Tensor], rows: Tensor | Any) -> Tensor:
    """Computes the probabilities (N, C) of a linear classifier, weight and bias, for dense or sparse rows."""
    weight, bias = model
    if isinstance(rows, torch.Tensor):
        return (rows @ weight.T + bias).softmax(dim=1)
    return (torch.from_numpy(np.asarray(rows @ weight.numpy().T)) + bias).softmax(dim=1)
