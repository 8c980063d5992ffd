"""The classes' shares in the unlabelled target, estimated under label shift.

All assume that only the shares of the classes changed, and not what a class looks like: :math:`p_t(x \\mid y) =
p_s(x \\mid y)`. Between real domains that holds at best for a model whose adapted errors are alike in both, so take
each for an estimate, and one that a collapsed model drags along.

Arguments are the same everywhere: ``validation`` (N, C) probabilities of labelled source images that training has not
seen, their ``labels`` (N,) int64, and ``target`` (M, C) probabilities of target images by the same model. A class
without a validation image keeps about the share that the model gives it in the target: hardly anything can correct it.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize, nnls
from torch import Tensor

from dalib.judge.scores import SMALLEST, as_validation, as_validation_and_target

Array = NDArray[np.float64]

# Directions in which the confusion matrix is weaker than this share of its strongest are noise: not inverted.
WEAKEST_DIRECTION = 1e-2


def project_to_simplex(values: Tensor) -> Tensor:
    r"""The nearest distribution in Euclidean distance, :math:`\arg\min_{u \ge 0, \sum u = 1} \Vert u - v \Vert_2`.

    Args:
        values: (C,) finite numbers.

    Returns:
        (C,) float64, non-negative with sum 1; a distribution comes back as it is.

    Raises: ValueError for another shape, NaN or infinite entries.
    Source: Duchi et al., ICML 2008.

    >>> [round(share, 6) for share in project_to_simplex(torch.tensor([0.9, 0.5, -0.4])).tolist()]
    [0.7, 0.3, 0.0]
    """
    if values.ndim != 1 or len(values) < 1 or not bool(values.isfinite().all()):
        raise ValueError(f"values: expected finite numbers of shape (C >= 1,), got {values.tolist()}")
    values = values.detach().to("cpu", torch.float64)
    descending = values.sort(descending=True).values
    excess = (descending.cumsum(0) - 1) / torch.arange(1, len(values) + 1)
    kept = int((descending > excess).sum())
    projected = (values - excess[kept - 1]).clamp_min(0)
    return projected / projected.sum()


def confusion_condition(validation: Tensor, labels: Tensor) -> float:
    r"""How far :func:`bbse` magnifies noise: the condition number of :math:`P(\hat y \mid y)` on the validation images.

    Returns:
        At least 1; LOWER is better. Infinite where two classes cannot be told apart or a class is never predicted.
        Above about 10 prefer :func:`rlls`; a class balance that leans on the estimate is then a gamble.

    Misleads: it knows the source's confusion only.
    Raises: ValueError for what :func:`dalib.judge.scores.as_probabilities` and ``as_classes`` refuse.
    Source: Lipton et al., ICML 2018, theorem 3, whose error grows with the inverse of the smallest singular value.

    >>> confusion_condition(torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([0, 1]))
    1.0
    """
    validation, labels = as_validation(validation, labels)
    joint = _joint(validation, labels)
    strengths = np.linalg.svd(joint / joint.sum(axis=0), compute_uv=False)
    smallest = float(strengths[-1])
    return float(strengths[0]) / smallest if smallest > 1e-12 else math.inf


def bbse(validation: Tensor, labels: Tensor, target: Tensor) -> Tensor:
    r"""Black-box shift estimation: the shares that explain how often each class is predicted in the target.

    .. math:: K u = \mu, \quad K_{cd} = P_{validation}(\hat y = c \mid y = d), \quad
              \mu_c = P_{target}(\hat y = c)

    with predicted classes, not probabilities, so that calibration does not matter. Where K is singular or nearly so
    (singular values below 1% of the largest) the shares stay as they are in the validation set; the result is
    projected to the simplex.

    Returns:
        (C,) float64 shares, non-negative with sum 1.

    Misleads: as the module says. Noisy for many classes with few validation images each; where the target's errors
    differ from the source's it takes the difference for a shift of shares. See :func:`confusion_condition`.
    Raises: ValueError for what ``as_probabilities`` and ``as_classes`` refuse, or unequal numbers of classes.
    Source: Lipton et al., ICML 2018.

    >>> sure, unsure = [0.9, 0.1], [0.1, 0.9]
    >>> shares = bbse(torch.tensor([sure, unsure]), torch.tensor([0, 1]), torch.tensor([sure, sure, sure, unsure]))
    >>> [round(share, 6) for share in shares.tolist()]
    [0.75, 0.25]
    """
    validation, labels, target = as_validation_and_target(validation, labels, target)
    joint = _joint(validation, labels)
    known = joint.sum(axis=0)
    confusion = joint / known
    # solved for the change, so that what the confusion matrix cannot tell stays as in the validation set
    change = np.linalg.lstsq(confusion, _predicted_shares(target) - confusion @ known, rcond=WEAKEST_DIRECTION)[0]
    return project_to_simplex(torch.from_numpy(known + change))


def rlls(
    validation: Tensor,
    labels: Tensor,
    target: Tensor,
    *,
    regularisation: float | None = None,
    trust: float = 1.0,
) -> Tensor:
    r"""Regularised black-box shift estimation: :func:`bbse` that gives in to the noise and stays near the source.

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

    Misleads: as the module says; also it understates a large shift where validation images are few.
    Raises: ValueError as :func:`bbse`, or for a regularisation or trust outside their ranges.
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
    found = joint.sum(axis=0) * (1 + trust * (weights - 1))
    shares[seen] = rest * found / found.sum()
    return torch.from_numpy(shares)


class _LeastSquares:
    r"""The least of :math:`\Vert J w - \mu \Vert^2 + s^2 \Vert w - 1 \Vert^2`, w >= 0, for one pull s after another.

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
        rows = np.vstack([self.joint, pull * np.eye(len(self.ones))])
        found: np.ndarray = nnls(rows, np.concatenate([self.wanted, pull * self.ones]))[0]
        return found


def em(validation: Tensor, labels: Tensor, target: Tensor, *, calibrate: bool = True) -> Tensor:
    r"""Expectation maximisation: the shares under which the target's probabilities are likeliest.

    .. math:: u_c \leftarrow \frac1M \sum_i
              \frac{(u_c / v_c) \, p^i_c}{\sum_d (u_d / v_d) \, p^i_d}, \qquad v = \frac1N \sum_{validation} p

    from u = v until it stops moving. v is what the model itself believes of the validation images, so that the same
    images as validation and target give v back; calibrated, v is their labels' shares.

    Args:
        calibrate: first fit :func:`bias_corrected_temperature` to the validation images and apply it to both. The
            estimate is only as good as the calibration, and networks are overconfident.

    Returns:
        (C,) float64 shares, non-negative with sum 1.

    Misleads: as the module says. Sharper than the confusion matrix when calibration holds in the target, worse when
    the shift makes the model overconfident there; certain predictions are counted, not corrected.
    Raises: ValueError as :func:`bbse`.
    Source: Saerens et al. 2002; Alexandari et al., ICML 2020 for calibration and for v.

    >>> probabilities = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
    >>> shares = em(probabilities, torch.tensor([0, 1]), probabilities[[0, 0, 0, 1]], calibrate=False)
    >>> [round(share, 4) for share in shares.tolist()]
    [0.8125, 0.1875]
    """
    validation, labels, target = as_validation_and_target(validation, labels, target)
    if calibrate:
        inverse, bias = _fit_calibration(validation, labels)
        validation, target = (_calibrated(each, inverse, bias) for each in (validation, target))
    seen = torch.bincount(labels, minlength=validation.shape[1]) > 0
    result = target.mean(dim=0)
    believed = validation[:, seen].mean(dim=0).clamp_min(SMALLEST)
    believed = believed / believed.sum()
    # each image counts by what the model leaves to the classes that can be corrected
    weight = target[:, seen].sum(dim=1, keepdim=True)
    shares = believed
    for _ in range(2000):
        posterior = target[:, seen] * (shares / believed)
        before, posterior = shares, weight * posterior / posterior.sum(dim=1, keepdim=True).clamp_min(SMALLEST)
        shares = posterior.sum(dim=0) / posterior.sum().clamp_min(SMALLEST)
        if float((shares - before).abs().sum()) < 1e-9:
            break
    result[seen] = shares * result[seen].sum()
    return result / result.sum()


def cautious_shares(validation: Tensor, labels: Tensor, target: Tensor, *, least: float = 0.2) -> Tensor:
    r"""The estimate that a training may lean on: :func:`rlls`, with no class below a share of what uniform gives it.

    .. math:: (1 - \lambda) u + \lambda / C

    with the least :math:`\lambda` in [0, 1] that brings every class to at least ``least`` / C.

    Args:
        least: in [0, 1]; 1 is uniform.

    Returns:
        (C,) float64 shares with sum 1.

    Misleads: as the module says. A class that the model lost is kept alive, and a class that the target does not have
    is kept too.
    Raises: ValueError as :func:`bbse`, or for a least outside [0, 1].
    Source: ours, because a training that is told that a class is absent makes it so.

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


def bias_corrected_temperature(validation: Tensor, labels: Tensor) -> tuple[float, Tensor]:
    r"""Calibration by a temperature T and a bias per class: :math:`softmax(\log p / T + b)`, fitted by likelihood.

    A penalty of half of :math:`(1/T - 1)^2 + \Vert b \Vert^2`, the weight of one image, keeps the fit finite on
    images that are all right. Classes without a label keep a bias of 0.

    Returns:
        T in [0.05, 20] and b (C,) float64. Above 1 the model was overconfident.

    Misleads: it makes the source calibrated, not the target.
    Raises: ValueError as :func:`confusion_condition`.
    Source: Alexandari et al., ICML 2020 (BCTS); the penalty is ours.

    >>> p = torch.tensor([[0.99, 0.01], [0.99, 0.01], [0.99, 0.01], [0.01, 0.99]])
    >>> temperature, bias = bias_corrected_temperature(p.repeat(100, 1), torch.tensor([0, 0, 1, 1]).repeat(100))
    >>> temperature > 1, bool(bias[1] > bias[0])
    (True, True)
    """
    inverse, bias = _fit_calibration(*as_validation(validation, labels))
    return 1 / inverse, torch.from_numpy(bias)


def _fit_calibration(p: Tensor, labels: Tensor) -> tuple[float, Array]:
    """1 / T and the biases."""
    log_p, truth = p.clamp_min(SMALLEST).log().numpy(), labels.numpy()
    count, num_classes = log_p.shape
    seen = np.bincount(truth, minlength=num_classes) > 0
    rows = np.arange(count)

    def objective(parameters: Array) -> tuple[float, Array]:
        inverse, bias = parameters[0], parameters[1:] * seen
        scores = inverse * log_p + bias
        scores -= scores.max(axis=1, keepdims=True)
        posterior = np.exp(scores)
        partition = posterior.sum(axis=1, keepdims=True)
        loss = float((np.log(partition[:, 0]) - scores[rows, truth]).mean())
        residual = posterior / partition
        residual[rows, truth] -= 1
        gradient = np.concatenate([[(residual * log_p).sum() / count], residual.mean(axis=0) * seen])
        gradient += (parameters - start) / count
        return loss + float(((parameters - start) ** 2).sum()) / (2 * count), gradient

    start = np.concatenate([[1.0], np.zeros(num_classes)])
    bounds = [(0.05, 20.0), *[(-20.0, 20.0)] * num_classes]
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500}).x
    return float(found[0]), np.asarray(found[1:] * seen, dtype=np.float64)


def _calibrated(p: Tensor, inverse: float, bias: Array) -> Tensor:
    return (p.clamp_min(SMALLEST).log() * inverse + torch.from_numpy(bias)).softmax(dim=1)


def _joint(validation: Tensor, labels: Tensor) -> Array:
    """P(predicted c, true d) at [c, d]; one made-up image, recognised, for each class that the labels lack."""
    num_classes = validation.shape[1]
    pairs = validation.argmax(dim=1) * num_classes + labels
    counts = torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes).double()
    counts += torch.diag((counts.sum(dim=0) == 0).double())
    return np.asarray((counts / counts.sum()).numpy(), dtype=np.float64)


def _predicted_shares(target: Tensor) -> Array:
    counts = torch.bincount(target.argmax(dim=1), minlength=target.shape[1]).double()
    return np.asarray((counts / len(target)).numpy(), dtype=np.float64)
