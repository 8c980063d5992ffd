"""Signs of how well a model's labelling of the target fits a representation that the model has not trained.

Each sign is a pure function of the predicted classes and a :class:`dalib.judge.structure.Structure`, and fails in its
own way. :mod:`dalib.judge.better` weighs them.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

if TYPE_CHECKING:
    from dalib.judge.structure import Structure

MAX_NAME_MARGIN = 0.3
"""The largest counted margin between a predicted class's own name and the next one, in standard deviations."""


def kappa(first: Tensor, second: Tensor, num_classes: int) -> float:
    r"""Computes Cohen's kappa of two labellings, their agreement beyond chance.

    .. math:: \frac{o - e}{1 - e}, \quad o = \frac1N \sum_i [a_i = b_i], \quad e = \sum_c u_c v_c

    with u and v the class shares of the two.

    Args:
        first, second: (N,) int64 in [0, C).

    Returns:
        In [-1, 1]: 1 for equal labellings, about 0 for unrelated ones, and 0 where both are of one and the same class.

    Source: Cohen, Educational and Psychological Measurement 1960; 0 for constant labellings is our choice, because a
    collapsed model should gain nothing by agreeing with itself.

    >>> kappa(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 1, 0]), 2)
    0.5
    """
    shares = [torch.bincount(each, minlength=num_classes).double() / len(each) for each in (first, second)]
    expected = float(shares[0] @ shares[1])
    if expected >= 1 - 1e-12:
        return 0.0
    return (float((first == second).double().mean()) - expected) / (1 - expected)


def neighbour_agreement(predicted: Tensor, structure: Structure) -> float:
    """Computes how well predicted classes follow the representation: kappa with the majority of nearest neighbours.

    Args:
        predicted: (M,) int64 in [0, C).

    Returns:
        In [-1, 1]; higher is better. 0 for a collapsed model.

    Misleads: clusters that got each other's names look as smooth as right ones, and so do two classes that lie
    together and are called one. Of two good models the smoother one need not be the better one.
    Source: ours; label smoothness over neighbours is an old idea of semi-supervised learning (Zhu et al., ICML 2003).
    """
    votes = torch.nn.functional.one_hot(predicted[structure.neighbours], structure.num_classes).sum(dim=1)
    return kappa(predicted, votes.argmax(dim=1), structure.num_classes)


def names_kept(predicted: Tensor, witness: Tensor) -> float:
    r"""Computes how clearly a witness recognises each predicted class under its name.

    The witness learnt from the source alone. It may be wrong on most images and biased to some classes, and still lean,
    on the mean over a group of images, to that group's class rather than to another one. With z the log-probabilities
    of the witness, standardised for each class over the images, and :math:`\bar z_c` their mean over the images that
    are predicted as c:

    .. math:: \sum_c u_c \, \mathrm{clip}_{-2}^{0.3}\bigl(\bar z_{cc} - \max_{k \ne c} \bar z_{ck}\bigr)

    over the classes that are predicted, with their shares u. Groups that got each other's names give negative numbers;
    a margin above MAX_NAME_MARGIN = 0.3 counts no more, so that the witness gains nothing by agreeing with itself.

    Args:
        predicted: (M,) int64 in [0, C).
        witness: (M, C) probabilities of the witness (:func:`dalib.judge.better.signs_of`).

    Returns:
        In [-2, MAX_NAME_MARGIN]; 0 for a model that predicts one class alone.

    Misleads: where the witness knows nothing, its leanings are noise.
    Source: ours, by the study of benchmarks/judging.
    """
    present = [each for each in range(witness.shape[1]) if bool((predicted == each).any())]
    if len(present) < 2:
        return 0.0
    log_p = witness.double().clamp_min(1e-4).log()
    scaled = (log_p - log_p.mean(dim=0)) / log_p.std(dim=0).clamp_min(1e-6)
    total = 0.0
    for place, each in enumerate(present):
        group = predicted == each
        leaning = scaled[group].mean(dim=0)[present]
        own = float(leaning[place])
        leaning[place] = -torch.inf
        total += float(group.double().mean()) * max(-2.0, min(MAX_NAME_MARGIN, own - float(leaning.max())))
    return total


def head_classes(structure: Structure, heads: int = 5, seed: int = 0) -> Tensor:
    """Returns the target's classes (heads, M) int64 by logistic regressions that learnt from resampled source images.

    Each learns from the principal components of the source, standardised by the source's statistics, and names the
    target's, standardised by the target's: a classifier that is adapted a little, and not by either model.

    Args:
        structure: with at least two source images of different classes; otherwise (0, M).
        heads: their number; each draws its own source images, with replacement.
        seed: seed of the draws; equal seeds give equal classes.
    """
    from sklearn.exceptions import ConvergenceWarning  # here, because it takes a second
    from sklearn.linear_model import LogisticRegression

    labels = structure.labels
    found = torch.zeros(0, len(structure.target), dtype=torch.int64)
    with warnings.catch_warnings(), threadpool_limits(1):  # one thread: sums in one order on every machine
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)  # of few images a class
        for number in range(heads):
            drawn = np.random.default_rng((seed, number)).integers(0, max(1, len(labels)), len(labels))
            chosen = labels.numpy()[drawn]
            if len(np.unique(chosen)) < 2:
                continue
            classifier = LogisticRegression(C=0.01, max_iter=150).fit(structure.source.numpy()[drawn], chosen)
            named = torch.from_numpy(classifier.predict(structure.target.numpy()))
            found = torch.cat([found, named[None]])
    return found


def head_agreement(predicted: Tensor, heads: Tensor) -> float:
    """Computes how often, on average, a model predicts the same class as heads that were trained separately.

    Args:
        predicted: (M,) int64.
        heads: (H, M) int64, :func:`head_classes`; H may be 0.

    Returns:
        In [0, 1]; NaN without heads.

    Misleads: heads of one representation err alike, and a model that is better than all of them agrees with them less
    often than it is right.
    Source: agreement of independently trained models (Jiang et al., ICLR 2022; Baek et al., NeurIPS 2022).

    >>> head_agreement(torch.tensor([0, 1]), torch.tensor([[0, 1], [0, 0]]))
    0.75
    """
    return float((heads == predicted).double().mean()) if len(heads) else math.nan
