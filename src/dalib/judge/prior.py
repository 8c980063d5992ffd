"""The class prior of the unlabelled target, estimated under label shift.

All estimates assume that only the shares of the classes changed, and not what a class looks like:
:math:`p_t(x \\mid y) = p_s(x \\mid y)`. Between real domains that holds at best for an adapted model whose errors are
alike in both, and a collapsed model drags every estimate along.

``validation`` are (N, C) probabilities of labelled source images that training has not seen, ``labels`` (N,) int64
their classes, and ``target`` (M, C) probabilities of target images by the same model. By :func:`rlls`, a class without
a validation image keeps about the share that the model gives it in the target: hardly anything can correct it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dalib.judge.checked import as_probabilities, as_validation_and_target
from dalib.judge.estimate import apply_temperature, fit_temperature
from dalib.judge.groups import resampled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dalib.judge.evidence import Evidence

Array = NDArray[np.float64]


def rlls(
    validation: Tensor,
    labels: Tensor,
    target: Tensor,
    *,
    regularisation: float | None = None,
    trust: float = 1.0,
) -> Tensor:
    r"""Estimates shares by regularised black-box shift estimation, which gives in to noise and stays near the source.

    .. math:: \theta = \arg\min_{\theta \ge -1} \Vert J \theta - (\mu - J 1) \Vert_2 + \rho \Vert \theta \Vert_2,
              \quad u_d \propto P_{validation}(y = d) \, (1 + \lambda \theta_d)

    with :math:`J_{cd} = P_{validation}(\hat y = c, y = d)` and :math:`\mu` the shares predicted in the target. Neither
    norm is squared, so a shift that the sample cannot show gives no change at all.

    Args:
        regularisation: :math:`\rho \ge 0`. None is the authors' choice, 0.01 times the bound
            :math:`3 (\frac{2 \log(2C / 0.05)}{3N} + \sqrt{2 \log(2C / 0.05) / N})`.
        trust: :math:`\lambda` in [0, 1]; below 1 for few target images, 0 gives the validation's shares.

    Returns:
        (C,) float64 shares, non-negative with sum 1.

    Misleads: as in the module's text; also it understates a large shift where validation images are few.
    Raises: ValueError for what ``as_probabilities`` and ``as_classes`` refuse, unequal numbers of classes, or a
    regularisation or trust outside their ranges.
    Source: Azizzadenesheli et al., ICLR 2019, algorithm 1, and the authors' code for the factor 0.01.

    >>> sure, unsure = [0.9, 0.1], [0.1, 0.9]
    >>> shares = rlls(torch.tensor([sure, unsure]), torch.tensor([0, 1]), torch.tensor([sure, sure, sure, unsure]))
    >>> [round(share, 2) for share in shares.tolist()]
    [0.75, 0.25]
    """
    validation, labels, target = as_validation_and_target(validation, labels, target)
    if not 0 <= trust <= 1:
        raise ValueError(f"trust: expected a number in [0, 1], got {trust}")
    count, num_classes = validation.shape
    if regularisation is None:
        bound = 2 * math.log(2 * num_classes / 0.05) / count
        regularisation = 0.01 * 3 * (bound / 3 + math.sqrt(bound))
    if not (regularisation >= 0 and math.isfinite(regularisation)):
        raise ValueError(f"regularisation: expected a number of at least 0, got {regularisation}")
    seen = (torch.bincount(labels, minlength=num_classes) > 0).numpy()
    shares = _predicted_shares(target)
    rest = float(shares[seen].sum())
    if rest == 0:
        return torch.from_numpy(shares)
    joint, wanted = _joint(validation, labels)[np.ix_(seen, seen)], shares[seen] / rest
    if joint.sum() == 0:  # every validation image is taken for a class that none of them has
        return torch.from_numpy(shares)
    joint /= joint.sum()
    weights = _regularised_weights(joint, wanted, regularisation)
    found = joint.sum(axis=0) * (1 + trust * (weights - 1))
    shares[seen] = rest * found / found.sum()
    return torch.from_numpy(shares)


def _regularised_weights(joint: Array, wanted: Array, regularisation: float) -> Array:
    """Minimises the objective of :func:`rlls`; returns 1 + theta."""
    ones, solved = np.ones(len(wanted)), _LeastSquares(joint, wanted)
    weights = ones
    # each norm is the least of (its square / s + s) / 2 over s > 0: alternate between the scales s and least squares
    for _ in range(1000):
        misfit = max(float(np.linalg.norm(joint @ weights - wanted)), 1e-10)
        change = max(float(np.linalg.norm(weights - 1)), 1e-10) if weights is not ones else 1.0
        pull = math.sqrt(regularisation * misfit / change)
        before = weights
        weights = solved(pull)
        if float(np.abs(weights - before).max()) < 1e-7:
            break
    return weights


class _LeastSquares:
    r"""The minimum of :math:`\Vert J w - \mu \Vert^2 + s^2 \Vert w - 1 \Vert^2`, w >= 0, for one pull s after another.

    One decomposition serves them all where no weight would be negative; else each is solved with an active set.
    """

    def __init__(self, joint: np.ndarray, wanted: np.ndarray) -> None:
        self.joint, self.wanted, self.ones = joint, wanted, np.ones(len(wanted))
        left, self.scale, self.right = np.linalg.svd(joint)
        self.of_wanted, self.of_ones = self.scale * (left.T @ wanted), self.right @ self.ones

    def __call__(self, pull: float) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):  # without a pull a class may be undetermined
            parts = (self.of_wanted + pull**2 * self.of_ones) / (self.scale**2 + pull**2)
            free: np.ndarray = self.right.T @ parts
        if bool((free >= 0).all() and np.isfinite(free).all()):
            return free
        from scipy.optimize import nnls  # here, because it takes half a second, and most priors need none

        rows = np.vstack([self.joint, pull * np.eye(len(self.ones))])
        found: np.ndarray = nnls(rows, np.concatenate([self.wanted, pull * self.ones]))[0]
        return found


def cautious_shares(validation: Tensor, labels: Tensor, target: Tensor, *, least: float = 0.2) -> Tensor:
    r"""Estimates the class prior for a training: :func:`rlls`, with at least a part of its uniform share for each
    class.

    .. math:: (1 - \lambda) u + \lambda / C

    with the least :math:`\lambda` in [0, 1] that brings every class to at least ``least`` / C.

    Args:
        least: a number in [0, 1]; 1 is uniform.

    Returns:
        (C,) float64 shares with sum 1.

    Misleads: as in the module's text. A class that the model lost is kept alive, and a class that the target does not
    have is kept too.
    Raises: ValueError as :func:`rlls`, or for a least outside [0, 1].
    Source: ours, because a training with a prior of 0 for a class loses the class.

    >>> sure, unsure = [0.9, 0.1], [0.1, 0.9]
    >>> shares = cautious_shares(torch.tensor([sure, unsure]), torch.tensor([0, 1]), torch.tensor([sure, sure, sure]))
    >>> [round(share, 2) for share in shares.tolist()]
    [0.9, 0.1]
    """
    if not 0 <= least <= 1:
        raise ValueError(f"least: expected a number in [0, 1], got {least}")
    shares = rlls(validation, labels, target)
    uniform = 1 / len(shares)
    lowest = float(shares.min())
    if lowest >= least * uniform:
        return shares
    mixed = (least * uniform - lowest) / (uniform - lowest)
    return (1 - mixed) * shares + mixed * uniform


def expectation_maximization(
    target: Tensor, of_training: Tensor, *, first: Tensor | None = None, rounds: int = 200
) -> Tensor:
    r"""Estimates shares by the EM algorithm: the most likely shares, given a calibrated model's predictions.

    .. math:: q_{ic} \propto p_{ic} \frac{u_c}{v_c}, \qquad u_c \leftarrow \frac1M \sum_i q_{ic}

    Unlike methods that invert a confusion matrix it needs no validation images, and it empties classes to which many
    images lean a little and none leans clearly, such as classes that the target lacks.

    Args:
        target: (M, C) probabilities, best calibrated ones (:func:`dalib.judge.estimate.apply_temperature`).
        of_training: (C,) the shares v of the classes among the images that the model was trained on.
        first: (C,) shares to start from, all above 0; None is ``of_training``.
        rounds: number of rounds.

    Returns:
        (C,) float64 shares, non-negative with sum 1.

    Misleads: as in the module's text; an overconfident model that errs to few classes makes them larger in every round.
    Raises: ValueError for another shape, or no round.
    Source: Saerens, Latinne & Decaestecker, Neural Computation 2002; with calibration Alexandari et al., ICML 2020.

    >>> leaning = torch.tensor([[0.6, 0.1, 0.3], [0.1, 0.6, 0.3]])
    >>> [round(share, 2) for share in expectation_maximization(leaning, torch.ones(3) / 3).tolist()]
    [0.5, 0.5, 0.0]
    """
    p = as_probabilities(target, "target")
    if of_training.shape != (p.shape[1],) or rounds < 1:
        raise ValueError(
            f"of_training, rounds: expected shape ({p.shape[1]},) and at least 1, "
            f"got {tuple(of_training.shape)} and {rounds}"
        )
    before = of_training.double().clamp_min(1e-9)
    before = before / before.sum()
    shares = before if first is None else first.double()
    for _ in range(rounds):
        posterior = p * (shares / before)
        posterior = posterior / posterior.sum(dim=1, keepdim=True).clamp_min(1e-300)
        shares = posterior.mean(dim=0).clamp_min(1e-9)  # a class at 0 could never come back
        shares = shares / shares.sum()
    return shares


@dataclass(frozen=True)
class ShareEstimate:
    """Estimated class shares of the target with their intervals.

    Attributes:
        shares: (C,) float64 with sum 1.
        low, high: (C,) float64 ends of the intervals, of 90% by :func:`estimate_shares`, and of 95% where labels of
            some images are known (:func:`dalib.judge.shares.shares_with_labels`).
    """

    shares: Tensor
    low: Tensor
    high: Tensor


DRAWS, ROUNDS_OF_DRAW = 20, 30
"""Bootstrap draws for each model, and rounds of EM from the estimate of all images, which is near."""


def estimate_shares(models: Sequence[Evidence], of_training: Tensor, *, seed: int = 0) -> ShareEstimate:
    """Estimates shares by :func:`expectation_maximization` of several models whose predictions are calibrated.

    The 90% intervals are those of bootstrap draws of target images, or of groups of them where some belong together,
    over all models together, so that models that disagree widen them.

    Args:
        models: predictions of at least one model; where it has validation images, they calibrate it.
        of_training: (C,) the class shares of the training images.
        seed: seed of the draws.

    Misleads: as :func:`expectation_maximization`. The intervals do not cover errors that all models share.
    Source: ours; the mean over source-only and aligned, because either errs more in some directions.
    """
    found, draws = [], []
    for number, model in enumerate(models):
        temperature = fit_temperature(model.validation, model.labels) if len(model.labels) else 1.0
        calm = apply_temperature(model.target, temperature)
        found.append(expectation_maximization(calm, of_training))
        for draw in range(DRAWS):
            generator = np.random.default_rng((seed, number, draw))
            if model.target_groups is None:
                rows = generator.integers(0, len(calm), len(calm))
            else:
                rows = resampled(generator, model.target_groups.numpy())
            start = (found[-1] + 1 / len(of_training)) / 2
            draws.append(expectation_maximization(calm[rows], of_training, first=start, rounds=ROUNDS_OF_DRAW))
    low, high = torch.stack(draws).quantile(torch.tensor([0.05, 0.95], dtype=torch.float64), dim=0)
    shares = torch.stack(found).mean(dim=0)
    return ShareEstimate(shares, torch.minimum(low, shares), torch.maximum(high, shares))


def _joint(validation: Tensor, labels: Tensor) -> Array:
    """Computes P(predicted c, true d) at [c, d], with one made-up correct image for each class without a label."""
    num_classes = validation.shape[1]
    pairs = validation.argmax(dim=1) * num_classes + labels
    counts = torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes).double()
    counts += torch.diag((counts.sum(dim=0) == 0).double())
    return np.asarray((counts / counts.sum()).numpy(), dtype=np.float64)


def _predicted_shares(target: Tensor) -> Array:
    counts = torch.bincount(target.argmax(dim=1), minlength=target.shape[1]).double()
    return np.asarray((counts / len(target)).numpy(), dtype=np.float64)
