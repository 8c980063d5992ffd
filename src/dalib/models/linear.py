"""Logistic regression with an L2 penalty, for features that fit into memory: dense, or sparse as scipy has them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.special import log_softmax
from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

ITERATIONS = 200
"""The most steps of L-BFGS; with a penalty that helps, it needs 20 to 100."""

PENALTIES = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6)
"""Candidates of :func:`cross_validate`, in units of the rows' mean squared length, so that no scaling is favoured."""


def fit_logistic(features: Tensor | Any, labels: Tensor, classes: int, l2: float) -> tuple[Tensor, Tensor]:
    r"""Fits softmax regression: the least mean cross-entropy plus a penalty of the weights, not of the bias.

    .. math:: \min_{W, b} \frac1N \sum_i CE(W x_i + b, y_i) + \frac{l_2}{2} \lVert W \rVert^2

    Args:
        features: (N > 0, D) finite: a tensor, or a matrix of scipy.sparse, which is not made dense.
        labels: (N,) int64 in [0, classes).
        classes: C; those without a label get a bias that leaves them improbable.
        l2: above 0.

    Returns:
        Weight (C, D) and bias (C,), float32: those of a ``torch.nn.Linear``. Fitted on one thread, so that they are the
        same on a machine of more cores.

    Raises:
        ValueError: shapes, labels or a penalty other than these.

    With three classes or more this is scikit-learn's ``LogisticRegression(C=1 / (l2 * N))``; with two, C is twice that,
    because scikit-learn has one vector of weights there and softmax has two.

    >>> weight, bias = fit_logistic(torch.tensor([[-1.0], [1.0]]), torch.tensor([0, 1]), 2, l2=0.1)
    >>> (torch.tensor([[-3.0], [2.0]]) @ weight.T + bias).argmax(dim=1)
    tensor([0, 1])
    """
    return fit_soft(features, _one_hot(features, labels, classes), l2)


def _one_hot(features: Tensor | Any, labels: Tensor, classes: int) -> Tensor:
    """Returns the labels as probabilities (N, C) float64.

    Raises:
        ValueError: another number of labels than of features, or a label outside [0, classes).
    """
    count, named = features.shape[0], labels.numpy()
    if named.shape != (count,) or not count or named.min() < 0 or named.max() >= classes:
        raise ValueError(
            f"features, labels: expected (N > 0, D) and (N,) in [0, {classes}), got {tuple(features.shape)} and "
            f"{named.shape}"
        )
    return torch.nn.functional.one_hot(labels, classes).double()


def fit_soft(
    features: Tensor | Any,
    targets: Tensor,
    l2: float,
    *,
    weights: Tensor | None = None,
    start: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Fits :func:`fit_logistic`'s model to probabilities in place of labels.

    Args:
        features, l2: see :func:`fit_logistic`.
        targets: (N, C) probabilities.
        weights: (N,) of the rows, with sum 1; None weighs them equally.
        start: weight and bias to start from, such as those of another penalty.
    """
    with threadpool_limits(1):
        return _fitted(_rows_of(features), targets, l2, weights, start)


def _fitted(
    rows: Any, targets: Tensor, l2: float, weights: Tensor | None, start: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor]:
    """Returns weight and bias of :func:`fit_soft`, on as many threads as the caller allows."""
    from scipy.optimize import minimize  # here, because it takes half a second

    count, width = rows.shape
    classes = targets.shape[1]
    if targets.ndim != 2 or len(targets) != count or (weights is not None and weights.shape != (count,)):
        raise ValueError(
            f"targets, weights: expected ({count}, C) and ({count},), got {tuple(targets.shape)} and "
            f"{None if weights is None else tuple(weights.shape)}"
        )
    if not l2 > 0:
        raise ValueError(f"l2: expected a number above 0, got {l2}")
    rows, middle = _centred(rows)
    unit = math.sqrt(_mean_squared_length(rows))  # the solver takes it for 1, so that no scale is hard for it
    truth = targets.double().numpy()
    of_row = np.full((count, 1), 1 / count) if weights is None else weights.double().numpy()[:, None]
    shares = (truth * of_row).sum(axis=0)
    first = np.zeros((classes, width + 1))
    # half an image for each class: without, the bias of a class that has no label goes on falling
    first[:, width] = np.log((shares * count + 0.5) / (count + 0.5 * classes))
    if start is not None:
        first[:, :width], first[:, width] = start[0].numpy() * unit, start[1].numpy() + start[0].numpy() @ middle

    def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        both = flat.reshape(classes, width + 1)
        weight, bias = both[:, :width] / unit, both[:, width]
        log_p = log_softmax(rows @ weight.T.astype(np.float32) + bias, axis=1)
        excess = (np.exp(log_p) - truth) * of_row
        gradient = np.empty_like(both)
        gradient[:, :width] = ((rows.T @ excess.astype(np.float32)).T + l2 * weight) / unit
        gradient[:, width] = np.where(shares > 0, excess.sum(axis=0), 0.0)
        value = -float((log_p * truth * of_row).sum()) + l2 / 2 * float(np.square(weight).sum())
        return value, gradient.ravel()

    found = minimize(objective, first.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS})
    both = found.x.reshape(classes, width + 1)
    weight, bias = both[:, :width] / unit, both[:, width]
    return torch.from_numpy(weight).float(), torch.from_numpy(bias - weight @ middle).float()


@dataclass(frozen=True)
class Validated:
    """A penalty of :func:`fit_logistic` with its cross-validated loss.

    Attributes:
        l2: the penalty.
        loss: mean cross-entropy of rows that were left out.
        accuracy: share of these that was named rightly.
    """

    l2: float
    loss: float
    accuracy: float


def cross_validate(
    features: Tensor | Any,
    labels: Tensor,
    classes: int,
    *,
    penalties: Sequence[float] = PENALTIES,
    folds: int = 3,
    seed: int = 0,
) -> list[Validated]:
    """Cross-validates penalties of :func:`fit_logistic`, and returns them from the largest to the least.

    Args:
        features, labels, classes: see :func:`fit_logistic`.
        penalties: candidates, in units of the mean squared length of the rows.
        folds: parts that are left out in turn; at most N.
        seed: of the folds, in each of which the classes are about as frequent as in all.
    """
    rows = _rows_of(features)
    scale = _mean_squared_length(_centred(rows)[0])
    parts = _folds(labels.numpy(), folds, seed)
    order = sorted(penalties, reverse=True)  # from the simplest model to the next
    targets = _one_hot(rows, labels, classes)
    losses, hits = np.zeros(len(order)), np.zeros(len(order))
    with threadpool_limits(1):  # once for all of them: it looks through every library of the process
        for number in range(folds):
            out = parts == number
            if not out.any() or out.all():
                continue
            inside, named = torch.from_numpy(~out), labels.numpy()[out]
            start: tuple[Tensor, Tensor] | None = None
            for place, penalty in enumerate(order):
                start = _fitted(rows[~out], targets[inside], penalty * scale, None, start)
                logits = rows[out] @ start[0].numpy().T + start[1].numpy()
                losses[place] -= log_softmax(logits, axis=1)[np.arange(len(named)), named].sum()
                hits[place] += (logits.argmax(axis=1) == named).sum()
    return [
        Validated(penalty * scale, float(loss) / len(labels), float(hit) / len(labels))
        for penalty, loss, hit in zip(order, losses, hits, strict=True)
    ]


def least_loss(found: Sequence[Validated]) -> Validated:
    """Returns the penalty with the least log loss; of equal ones the first.

    Accuracy on some hundred rows hardly separates one penalty from the next.
    """
    return min(found, key=lambda each: each.loss)


def simplest(found: Sequence[Validated], count: int) -> Validated:
    """Returns the largest penalty whose accuracy is within one standard error of the best, of ``count`` rows.

    A model that learns from its own predictions needs one that cannot take them as they are: with little penalty,
    which is best where a line parts the source's classes, it confirms itself.

    Source: the rule of one standard error (Breiman et al., Classification and Regression Trees, 1984).

    >>> simplest([Validated(1.0, 0.6, 0.7), Validated(0.1, 0.5, 0.89), Validated(0.01, 0.4, 0.9)], 100).l2
    0.1
    """
    best = max(each.accuracy for each in found)
    error = math.sqrt(best * (1 - best) / count)
    return next(each for each in sorted(found, key=lambda each: -each.l2) if each.accuracy >= best - error)


def _rows_of(features: Tensor | Any) -> Any:
    """Returns a float32 array, or a sparse matrix by rows."""
    if isinstance(features, torch.Tensor):
        return features.detach().cpu().float().numpy()
    if isinstance(features, np.ndarray):
        return features.astype(np.float32, copy=False)
    return features.tocsr().astype(np.float32, copy=False)


def _centred(rows: Any) -> tuple[Any, NDArray[np.float64]]:
    """Returns the rows less their mean, and the mean, which the bias takes up; sparse rows as they are, and zeros.

    The solver hardly moves, and squares leave nothing but their rounding, where columns are far from 0.
    """
    if not isinstance(rows, np.ndarray):
        return rows, np.zeros(rows.shape[1])
    middle = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    return rows - middle, middle.astype(np.float64)


def _mean_squared_length(rows: Any) -> float:
    """Computes the mean squared length of rows less their mean, as the bias takes that up; 1 if all are alike."""
    squares = rows.multiply(rows) if hasattr(rows, "multiply") else np.square(rows)
    mean = np.asarray(rows.mean(axis=0), dtype=np.float64)
    scale = float(squares.sum(dtype=np.float64)) / rows.shape[0] - float(np.square(mean).sum())
    return scale if scale > 1e-12 else 1.0


def _folds(labels: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """Returns the fold (N,) of each row; the rows of each class are dealt out in turn."""
    random, found, dealt = np.random.default_rng(seed), np.empty(len(labels), dtype=np.int64), 0
    for label in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == label))
        found[rows] = (np.arange(len(rows)) + dealt) % folds
        dealt += len(rows)
    return found
