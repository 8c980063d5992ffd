"""Estimates of the accuracy on the target without a target label, and how far to trust them.

They are estimates: each assumes something about the shift that no unlabelled image can confirm. ``validation`` are
(N, C) probabilities of labelled source images that training has not seen, ``labels`` (N,) int64 their classes, and
``target`` (M, C) probabilities of target images by the same model.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from torch import Tensor

from dalib.judge.scores import (
    SMALLEST,
    agreement,
    as_features,
    as_probabilities,
    as_validation,
    as_validation_and_target,
)

Array = NDArray[np.float64]
Confidence = Literal["maximum", "negative-entropy"]
Method = Literal["atc", "doc"]


@dataclass(frozen=True)
class AccuracyEstimate:
    """An estimate of an accuracy, in words as in numbers: never a measurement."""

    value: float
    """The estimate, in [0, 1]; NaN where there is nothing to estimate from."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""
    method: str
    """How it was found."""
    reliable: bool
    """False says: don't trust this."""
    reason: str
    """Why it is not reliable; empty where it is."""

    def __str__(self) -> str:
        """
        >>> print(AccuracyEstimate(0.9, 0.85, 0.93, "atc", reliable=True, reason=""))
        estimated 90.0% (85.0% to 93.0%, atc, no target labels)
        """
        words = f"estimated {self.value:.1%} ({self.low:.1%} to {self.high:.1%}, {self.method}, no target labels)"
        return words if self.reliable else f"{words}; not reliable: {self.reason}"


def fit_temperature(validation: Tensor, labels: Tensor) -> float:
    r"""The temperature T that makes the source's probabilities honest, by likelihood.

    .. math:: \arg\min_T -\frac1N \sum_i \log softmax(\log p^i / T)_{y_i} + \frac{(1/T - 1)^2}{2N}

    The second term, the weight of one image, keeps T finite on images that are all right. From logits, pass their
    softmax: the result is the same.

    Returns:
        In [0.05, 20]; above 1 the model was overconfident. No better or worse.

    Misleads: it makes the source calibrated; a shift makes the target overconfident again.
    Raises: ValueError for what ``as_probabilities`` and ``as_classes`` of :mod:`dalib.judge.scores` refuse.
    Source: Guo et al., ICML 2017; the penalty is ours.

    >>> fit_temperature(torch.tensor([[0.99, 0.01]] * 4), torch.tensor([0, 0, 0, 1])) > 1
    True
    """
    validation, labels = as_validation(validation, labels)
    log_p = validation.clamp_min(SMALLEST).log()

    def objective(inverse: float) -> float:
        likelihood = (inverse * log_p).log_softmax(dim=1).gather(1, labels[:, None]).mean()
        return float(-likelihood) + (inverse - 1) ** 2 / (2 * len(labels))

    return 1 / float(minimize_scalar(objective, bounds=(0.05, 20.0), method="bounded", options={"xatol": 1e-6}).x)


def apply_temperature(p: Tensor, temperature: float) -> Tensor:
    r"""Probabilities at another temperature, :math:`softmax(\log p / T)`; (N, C) -> (N, C) float64.

    Above 1 flattens, below 1 sharpens; the predicted class stays. Misleads: as :func:`fit_temperature`.
    Raises: ValueError for a temperature not above 0 or what ``as_probabilities`` refuses.
    Source: Guo et al., ICML 2017.

    >>> [round(each, 3) for each in apply_temperature(torch.tensor([[0.9, 0.1]]), 2.0)[0].tolist()]
    [0.75, 0.25]
    """
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(f"temperature: expected a number above 0, got {temperature}")
    return (as_probabilities(p).clamp_min(SMALLEST).log() / temperature).softmax(dim=1)


def expected_calibration_error(p: Tensor, labels: Tensor, bins: int = 15) -> float:
    r"""How far confidence is from accuracy, :math:`\sum_b \frac{n_b}{N} |acc_b - conf_b|` over bins of equal width.

    Returns:
        In [0, 1]; LOWER is better.

    Misleads: biased upwards for few images, and 0 for a model that answers the classes' shares everywhere.
    Raises: ValueError for fewer than 1 bin or what ``as_probabilities`` and ``as_classes`` refuse.
    Source: Naeini et al., AAAI 2015; Guo et al., ICML 2017. A confidence on an edge falls into the bin below it.

    >>> round(expected_calibration_error(torch.tensor([[0.8, 0.2], [0.8, 0.2]]), torch.tensor([0, 1])), 4)
    0.3
    """
    if bins < 1:
        raise ValueError(f"bins: expected at least 1, got {bins}")
    p, labels = as_validation(p, labels)
    confidence, predicted = p.max(dim=1)
    index = ((confidence * bins).ceil().long() - 1).clamp(0, bins - 1)
    excess = confidence - (predicted == labels).double()
    return float(torch.zeros(bins, dtype=torch.float64).index_add_(0, index, excess).abs().sum()) / len(labels)


def average_threshold_confidence(
    validation: Tensor, labels: Tensor, target: Tensor, confidence: Confidence = "maximum"
) -> float:
    r"""ATC: the share of target images that are more confident than a threshold t set on the source.

    .. math:: \frac1N \sum_{validation} [s(p) < t] = \text{error on validation}, \qquad
              \frac1M \sum_{target} [s(p) \ge t]

    Images tied at t, as certain ones are, count by the share that makes the first equation exact.

    Args:
        confidence: s, the largest probability or the negative entropy.

    Returns:
        The estimated accuracy, in [0, 1].

    Misleads: a model that grows certain while wrong, as self-training makes it, is estimated too high; a calibrated
    one whose confidence falls smoothly, too low (34% for 56% in our tests). All right on validation gives 1 unless
    the target falls below every validation image.
    Raises: ValueError for another confidence, unequal classes, or what ``as_probabilities`` and ``as_classes`` refuse.
    Source: Garg et al., ICLR 2022.

    >>> p = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    >>> average_threshold_confidence(p, torch.tensor([0, 0, 0, 1]), torch.tensor([[0.65, 0.35], [0.95, 0.05]]))
    0.5
    """
    validation, labels, target = as_validation_and_target(validation, labels, target)
    if confidence not in get_args(Confidence):
        raise ValueError(f"confidence: expected one of {get_args(Confidence)}, got {confidence!r}")
    right = (validation.argmax(dim=1) == labels).numpy()
    counts = np.ones((1, len(right)))
    return float(_atc(_confidence(validation, confidence), right, counts, _confidence(target, confidence))[0])


def difference_of_confidences(validation: Tensor, labels: Tensor, target: Tensor) -> float:
    r"""DoC: validation accuracy less the fall of the mean confidence, :math:`acc - (\bar c_{val} - \bar c_{target})`.

    Returns:
        The estimated accuracy, clipped to [0, 1].

    Misleads: as :func:`average_threshold_confidence`: confidence that does not fall with accuracy hides the loss.
    Raises: ValueError for unequal classes, or what ``as_probabilities`` and ``as_classes`` refuse.
    Source: Guillory et al., ICCV 2021.

    >>> p = torch.tensor([[0.9, 0.1], [0.9, 0.1]])
    >>> round(difference_of_confidences(p, torch.tensor([0, 0]), torch.tensor([[0.7, 0.3]])), 4)
    0.8
    """
    validation, labels, target = as_validation_and_target(validation, labels, target)
    accuracy = (validation.argmax(dim=1) == labels).double().mean()
    fall = validation.amax(dim=1).mean() - target.amax(dim=1).mean()
    return min(1.0, max(0.0, float(accuracy - fall)))


def agreement_accuracy(target: Tensor, other_target: Tensor, *, excess: float = 0.0) -> float:
    r"""GDE: two independent trainings agree about as often as either is right, :math:`agreement - excess`.

    Args:
        other_target: (M, C) of the same images by another training.
        excess: agreement less accuracy on the source's validation images; 0 is the paper's estimate.

    Returns:
        The estimated accuracy, clipped to [0, 1].

    Misleads: a teacher and its student are not independent and agree far more often than they are right.
    Raises: ValueError for what :func:`dalib.judge.scores.agreement` refuses.
    Source: Jiang et al., ICLR 2022. The excess is ours.

    >>> agreement_accuracy(torch.tensor([[0.9, 0.1], [0.4, 0.6]]), torch.tensor([[0.6, 0.4], [0.7, 0.3]]))
    0.5
    """
    return min(1.0, max(0.0, agreement(target, other_target) - excess))


def expected_confusion(target: Tensor) -> Tensor:
    r"""What a calibrated model says of its own confusion, :math:`E_{dc} = \frac1M \sum_i p^i_d [\hat y^i = c]`.

    Args:
        target: (M, C) calibrated probabilities: :func:`apply_temperature` first.

    Returns:
        (C, C) float64 with sum 1, a row for each true class, a column for each predicted one. The diagonal divided by
        the row sums estimates recall, by the column sums precision.

    Misleads: it believes the model; a class that the model never doubts looks perfect.
    Raises: ValueError for what ``as_probabilities`` refuses.
    Source: confidence-based performance estimation, as in NannyML.

    >>> [round(each, 2) for each in expected_confusion(torch.tensor([[0.9, 0.1], [0.2, 0.8]])).flatten().tolist()]
    [0.45, 0.1, 0.05, 0.4]
    """
    target = as_probabilities(target, "target")
    chosen = torch.nn.functional.one_hot(target.argmax(dim=1), target.shape[1]).double()
    return target.T @ chosen / len(target)


def estimate_accuracy(
    validation: Tensor,
    labels: Tensor,
    target: Tensor,
    *,
    method: Method = "atc",
    distance: float | None = None,
    distance_limit: float = 1.8,
    allowance: float = 0.03,
    resamples: int = 400,
    seed: int = 0,
) -> AccuracyEstimate:
    r"""The estimated accuracy on the target with an interval, after temperature scaling on the source.

    The interval is the 95% percentile bootstrap over validation and target images, widened at both ends by
    ``allowance`` + half of :math:`|value - acc_{val}|` + half of \|ATC - DoC\|, and by ``allowance`` once more at the
    lower end, because adapted models are surer than they are right. The widening is our judgement of how such estimates
    fail under shift, not theory; how often the truth is inside is measured in benchmarks/RESULTS.md.

    Args:
        method: ``"atc"`` or ``"doc"``.
        distance: :func:`proxy_a_distance` of the features; None skips that check.
        distance_limit: above it the estimate is flagged.
        allowance: at least 0, in shares of 1.

    Returns:
        Not reliable with fewer than 100 validation or 50 target images, a distance above the limit, ATC and DoC more
        than 0.1 apart, a target that seems easier than the source by more than 0.05, or one predicted as one class
        alone. Equal seeds give equal estimates.

    Misleads: as its method; a confident wrong model passes every check but the distance.
    Raises: ValueError for another method, settings out of range, or what the methods refuse.
    Source: Garg et al. 2022, Guillory et al. 2021; widening and flag are ours.

    >>> p = torch.tensor([[0.9, 0.1], [0.2, 0.8]]).repeat(100, 1)
    >>> estimate = estimate_accuracy(p, torch.tensor([0, 1]).repeat(100), p)
    >>> estimate.value, estimate.reliable
    (1.0, True)
    """
    if method not in get_args(Method) or allowance < 0 or resamples < 2:
        raise ValueError(
            f"method, allowance, resamples: expected one of {get_args(Method)}, at least 0 and at least 2, "
            f"got {method!r}, {allowance} and {resamples}"
        )
    validation, labels, target = as_validation_and_target(validation, labels, target)
    temperature = fit_temperature(validation, labels)
    right = (validation.argmax(dim=1) == labels).numpy()
    one_class = bool((target.argmax(dim=1) == target[0].argmax()).all())
    source = _confidence(apply_temperature(validation, temperature), "maximum")
    shifted = _confidence(apply_temperature(target, temperature), "maximum")
    once = np.ones((1, len(right)))
    atc = float(_atc(source, right, once, shifted)[0])
    doc = float(np.clip(right.mean() - source.mean() + shifted.mean(), 0, 1))
    value = atc if method == "atc" else doc

    generator = np.random.default_rng(seed)
    drawn = []
    block = max(1, 2_000_000 // max(len(source), len(shifted)))
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        counts = _bootstrap_counts(generator, size, len(right))
        if method == "atc":
            share = _atc(source, right, counts, shifted)
            # given the threshold, how many of the resampled target images pass it is binomial
            drawn.append(generator.binomial(len(shifted), np.clip(share, 0, 1)) / len(shifted))
        else:
            fall = counts @ (source - right) / len(right)
            again = _bootstrap_counts(generator, size, len(shifted)) @ shifted / len(shifted)
            drawn.append(again - fall)
    low, high = np.quantile(np.concatenate(drawn), [0.025, 0.975])
    widening = allowance + abs(value - float(right.mean())) / 2 + abs(atc - doc) / 2

    reasons = []
    if len(right) < 100 or len(shifted) < 50:
        reasons.append(f"only {len(right)} validation and {len(shifted)} target images")
    if distance is not None and not distance <= distance_limit:
        reasons.append(f"the domains are {distance:.2f} apart in feature space, above {distance_limit:.2f}")
    if abs(atc - doc) > 0.1:
        reasons.append(f"two methods disagree: {atc:.0%} and {doc:.0%}")
    if value > right.mean() + 0.05:
        reasons.append(f"the target seems easier than the source, {value:.0%} after {right.mean():.0%}")
    if one_class and len(shifted) > 1:
        reasons.append("every target image is predicted as one class")
    return AccuracyEstimate(
        value,
        max(0.0, min(value, float(low)) - widening - allowance),
        min(1.0, max(value, float(high)) + widening),
        method,
        reliable=not reasons,
        reason="; ".join(reasons),
    )


def estimate_class_accuracy(
    validation: Tensor, labels: Tensor, target: Tensor, *, allowance: float = 0.05, resamples: int = 400, seed: int = 0
) -> list[AccuracyEstimate]:
    """The estimated recall of each class on the target, from :func:`expected_confusion` after temperature scaling.

    The interval is a bootstrap over the target's images, widened by ``allowance`` at both ends.

    Returns:
        C estimates. Not reliable where fewer than 20 target images or 20 validation images are expected of the class;
        a class of which nothing is expected has a value of NaN and the interval 0 to 1.

    Misleads: it believes the model more than :func:`estimate_accuracy` does; use it to find classes in trouble.
    Raises: ValueError for a negative allowance, fewer than 2 resamples, or what the other estimates refuse.
    Source: ours, on confidence-based performance estimation.

    >>> p = torch.tensor([[0.9, 0.1], [0.2, 0.8]]).repeat(100, 1)
    >>> [each.reliable for each in estimate_class_accuracy(p, torch.tensor([0, 1]).repeat(100), p)]
    [True, True]
    """
    if allowance < 0 or resamples < 2:
        raise ValueError(f"allowance, resamples: expected at least 0 and 2, got {allowance} and {resamples}")
    validation, labels, target = as_validation_and_target(validation, labels, target)
    p = apply_temperature(target, fit_temperature(validation, labels))
    mass = p.numpy()
    hits = mass * (np.arange(mass.shape[1]) == mass.argmax(axis=1)[:, None])
    generator = np.random.default_rng(seed)
    shares = []
    block = max(1, 2_000_000 // len(mass))
    for start in range(0, resamples, block):
        counts = _bootstrap_counts(generator, min(block, resamples - start), len(mass))
        shares.append((counts @ hits) / np.maximum(counts @ mass, SMALLEST))
    lows, highs = np.quantile(np.concatenate(shares), [0.025, 0.975], axis=0)
    seen = torch.bincount(labels, minlength=mass.shape[1]).tolist()
    estimates = []
    for index, (hit, expected) in enumerate(zip(hits.sum(axis=0), mass.sum(axis=0), strict=True)):
        few = expected < 20 or seen[index] < 20
        reason = f"about {expected:.0f} target and {seen[index]} validation images" if few else ""
        if expected < 1e-6:
            estimates.append(AccuracyEstimate(math.nan, 0.0, 1.0, "expected confusion", reliable=False, reason=reason))
            continue
        value = float(hit / expected)
        low = max(0.0, min(value, float(lows[index])) - allowance)
        high = min(1.0, max(value, float(highs[index])) + allowance)
        estimates.append(AccuracyEstimate(value, low, high, "expected confusion", reliable=not few, reason=reason))
    return estimates


def proxy_a_distance(
    source_features: Tensor, target_features: Tensor, *, folds: int = 5, most: int = 2000, seed: int = 0
) -> float:
    r"""How well a linear classifier tells the domains apart, :math:`2 (1 - 2 \epsilon)` with cross-validated error.

    Logistic regression on standardised features, as many images of each domain, at most ``most``, drawn by the seed.

    Returns:
        In [0, 2]; LOWER is better. 0: it cannot tell them apart; 2: always.

    Misleads: 0 after a collapse, where all features are one point; high in many dimensions even for harmless shifts.
    Raises: ValueError for fewer images than folds, fewer than 2 folds, unequal D, or what ``as_features`` refuses.
    Source: Ben-David et al., NeurIPS 2007.

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


def _atc(source: Array, right: NDArray[np.bool_], counts: Array, target: Array) -> Array:
    """The estimate for each row of (B, N) counts of the validation images; N at target's own counts."""
    order = np.argsort(source, kind="stable")
    ordered = source[order]
    cumulative = np.cumsum(counts[:, order], axis=1)
    wrong = counts @ (~right).astype(np.float64)
    # the first image with more than `wrong` images up to it lies at the threshold; all wrong: above every image
    first = (cumulative <= wrong[:, None] + 1e-9).sum(axis=1)
    threshold = np.append(ordered, np.inf)[first]
    below, upto = np.searchsorted(ordered, threshold, "left"), np.searchsorted(ordered, threshold, "right")
    padded = np.concatenate([np.zeros((len(counts), 1)), cumulative], axis=1)
    rows = np.arange(len(counts))
    tied = padded[rows, upto] - padded[rows, below]
    passing = np.where(tied > 0, (padded[rows, upto] - wrong) / np.maximum(tied, 1), 0.0)
    shifted = np.sort(target)
    above = len(shifted) - np.searchsorted(shifted, threshold, "right")
    equal = len(shifted) - above - np.searchsorted(shifted, threshold, "left")
    return np.asarray((above + passing * equal) / len(shifted), dtype=np.float64)


def _bootstrap_counts(generator: np.random.Generator, size: int, count: int) -> Array:
    """(size, count): how often each image is drawn in each resample."""
    drawn = generator.integers(0, count, (size, count)) + np.arange(size)[:, None] * count
    return np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count).astype(np.float64)


def _confidence(p: Tensor, kind: Confidence) -> Array:
    if kind == "maximum":
        values = p.amax(dim=1)
    else:
        entropy: Tensor = torch.special.entr(p.clamp_min(0))
        values = -entropy.sum(dim=1)
    return np.asarray(values.numpy(), dtype=np.float64)
