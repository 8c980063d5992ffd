"""An estimate of an accuracy, and two measures of the shift: the temperature of the source and the domains' distance.

The estimates themselves are in :mod:`dalib.judge.calibrated` and :mod:`dalib.judge.recalls`: each assumes something
about the shift that no unlabelled image can confirm. ``validation`` are (N, C) probabilities of labelled source images
that training has not seen, and ``labels`` (N,) int64 their classes.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dalib.core.words import range_in_words, share_in_words
from dalib.judge.checked import as_features, as_probabilities, as_validation
from dalib.judge.scores import SMALLEST

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class AccuracyEstimate:
    """An estimate of an accuracy, with its interval and a flag; never a measurement."""

    value: float
    """The estimate, in [0, 1]; NaN where there is nothing to estimate from."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""
    method: str
    """Name of the method."""
    reliable: bool
    """False for an estimate that is not to be trusted."""
    reason: str
    """Reason why it is not reliable; empty if it is."""

    def __str__(self) -> str:
        """Formats the estimate for people, with the reason if it is not reliable.

        >>> print(AccuracyEstimate(0.9, 0.85, 0.93, "calibrated", reliable=True, reason=""))
        estimated 90.0% (85.0% to 93.0%, calibrated, no target labels)
        """
        within = range_in_words(self.low, self.high)
        words = f"estimated {share_in_words(self.value)} ({within}, {self.method}, no target labels)"
        return words if self.reliable else f"{words}; not reliable: {self.reason}"


def fit_temperature(validation: Tensor, labels: Tensor) -> float:
    r"""Fits the temperature T that calibrates the probabilities of the source, by likelihood.

    .. math:: \arg\min_T -\frac1N \sum_i \log softmax(\log p^i / T)_{y_i} + \frac{(1/T - 1)^2}{2N}

    The second term, the weight of one image, keeps T finite on images that are all right. From logits, pass their
    softmax: the result is the same.

    Returns:
        In [0.05, 20]; above 1 the model was overconfident. No better or worse.

    Misleads: it makes the source calibrated; a shift makes the target overconfident again.
    Raises: ValueError for what ``as_probabilities`` and ``as_classes`` of :mod:`dalib.judge.checked` refuse.
    Source: Guo et al., ICML 2017; the penalty is ours.

    >>> import torch
    >>> fit_temperature(torch.tensor([[0.99, 0.01]] * 4), torch.tensor([0, 0, 0, 1])) > 1
    True
    """
    from scipy.optimize import minimize_scalar  # here, because it takes half a second

    validation, labels = as_validation(validation, labels)
    log_p = validation.clamp_min(SMALLEST).log()

    def objective(inverse: float) -> float:
        likelihood = (inverse * log_p).log_softmax(dim=1).gather(1, labels[:, None]).mean()
        return float(-likelihood) + (inverse - 1) ** 2 / (2 * len(labels))

    return 1 / float(minimize_scalar(objective, bounds=(0.05, 20.0), method="bounded", options={"xatol": 1e-6}).x)


def apply_temperature(p: Tensor, temperature: float) -> Tensor:
    r"""Computes probabilities at another temperature, :math:`softmax(\log p / T)`; (N, C) -> (N, C) float64.

    Above 1 flattens, below 1 sharpens; the predicted class stays. Misleads: as :func:`fit_temperature`.
    Raises: ValueError for a temperature not above 0 or what ``as_probabilities`` refuses.
    Source: Guo et al., ICML 2017.

    >>> import torch
    >>> [round(each, 3) for each in apply_temperature(torch.tensor([[0.9, 0.1]]), 2.0)[0].tolist()]
    [0.75, 0.25]
    """
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(f"temperature: expected a number above 0, got {temperature}")
    return (as_probabilities(p).clamp_min(SMALLEST).log() / temperature).softmax(dim=1)


def proxy_a_distance(
    source_features: Tensor, target_features: Tensor, *, folds: int = 5, most: int = 2000, seed: int = 0
) -> float:
    r"""Computes how well a linear classifier separates the domains, :math:`2 (1 - 2 \epsilon)` with cross-validated
    error.

    Logistic regression on standardised features, as many images of each domain, at most ``most``, drawn by the seed.

    Returns:
        In [0, 2]; LOWER is better. 0: it cannot separate them; 2: always.

    Misleads: 0 after a collapse, where all features are one point; high in many dimensions even for harmless shifts.
    Raises: ValueError for fewer images than folds, fewer than 2 folds, unequal D, or what ``as_features`` refuses.
    Source: Ben-David et al., NeurIPS 2007.

    >>> import torch
    >>> near = torch.arange(20.0)[:, None]
    >>> proxy_a_distance(near, near + 100)
    2.0
    """
    source, target = as_features(source_features, "source_features"), as_features(target_features, "target_features")
    count = min(len(source), len(target), most)
    if folds < 2 or count < folds or source.shape[1] != target.shape[1]:
        raise ValueError(
            "source_features, target_features: expected one number of features and at least as many images as folds, "
            f"which are at least 2; got {tuple(source.shape)}, {tuple(target.shape)} and {folds} folds"
        )
    from sklearn.exceptions import ConvergenceWarning  # here, because it takes a second
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    generator = np.random.default_rng(seed)
    chosen = [each.numpy()[generator.permutation(len(each))[:count]] for each in (source, target)]
    both, domain = np.concatenate(chosen), np.repeat([0, 1], count)
    deviation = both.std(axis=0)
    both = (both - both.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    wrong = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for train, held in StratifiedKFold(folds, shuffle=True, random_state=seed).split(both, domain):
            fitted = LogisticRegression(max_iter=200).fit(both[train], domain[train])
            wrong += int((fitted.predict(both[held]) != domain[held]).sum())
    return min(2.0, max(0.0, 2 * (1 - 2 * wrong / len(both))))
