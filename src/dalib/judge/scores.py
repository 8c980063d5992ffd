"""Label-free scores of models, from predictions and features of unlabelled target images.

Each is a pure function, computed in float64 unless its docstring states otherwise, and each can be fooled: its
docstring describes how. None is an accuracy. Compare a score between models on the same images, never between data
sets.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dalib.judge.checked import as_classes, as_features, as_probabilities
from dalib.judge.groups import alike_effect, binomial_tail

if TYPE_CHECKING:
    from collections.abc import Sequence

# Entries of one block of similarities: 64 MB of float32.
BLOCK_ENTRIES = 16_000_000

# The logarithm of a probability of exactly 0 is that of the smallest float32.
SMALLEST = float(torch.finfo(torch.float32).tiny)


def mask_rate(p: Tensor, threshold: float) -> float:
    r"""Computes the share of images above the confidence threshold, :math:`\frac1N \sum_i [\max_c p^i_c > t]`.

    Args:
        p: (N, C) probabilities; the teacher's, for the share that self-ensembling learns from.
        threshold: t in [0, 1]. A maximum of exactly t is not above it.

    Returns:
        In [0, 1]; higher is better.

    Misleads: a collapsed model is confident everywhere, and so is one that overfits its source. Read it with
    :func:`class_vanishing` and :func:`agreement`.
    Raises: ValueError for a threshold outside [0, 1] or what :func:`~dalib.judge.checked.as_probabilities` refuses.
    Source: French et al., ICLR 2018, whose code picks an epoch by it.

    >>> mask_rate(torch.tensor([[0.9, 0.1], [0.6, 0.4]]), threshold=0.8)
    0.5
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold: expected a number in [0, 1], got {threshold}")
    # compared in the dtype that p came with, so that a float32 0.8 is not above the float64 0.8
    as_probabilities(p)
    return float((p.detach().amax(dim=1) > threshold).double().mean())


def mean_entropy(p: Tensor) -> float:
    r"""Computes the mean entropy of the predictions in nats, :math:`-\frac1N \sum_i \sum_c p^i_c \log p^i_c`.

    Args:
        p: (N, C) probabilities; exact 0 and 1 are fine.

    Returns:
        In [0, log C]; LOWER is better.

    Misleads: 0 for any model that is certain, right or wrong, collapsed or not. Methods that minimise entropy lower
    it by construction.
    Raises: ValueError for what :func:`~dalib.judge.checked.as_probabilities` refuses.
    Source: Morerio et al., ICLR 2018.

    >>> round(mean_entropy(torch.tensor([[0.5, 0.5], [1.0, 0.0]])), 4)
    0.3466
    """
    return max(0.0, float(_entropy(as_probabilities(p)).mean()))


def mutual_information(p: Tensor) -> float:
    r"""Computes :math:`H(\frac1N \sum_i p^i) - \frac1N \sum_i H(p^i)` in nats; high for certain and diverse
    predictions.

    Args:
        p: (N, C) probabilities.

    Returns:
        In [0, log C]; higher is better. 0 for one image, for a collapsed model and for one that knows nothing.

    Misleads: it rewards equal class counts, so a target with other shares punishes the model that sees them; certain
    wrong answers that are spread over the classes score as well as right ones.
    Raises: ValueError for what :func:`~dalib.judge.checked.as_probabilities` refuses.
    Source: Shi & Sha, ICML 2012; as a validator Musgrave et al. 2022 (Information Maximization).

    >>> round(mutual_information(torch.tensor([[1.0, 0.0], [0.0, 1.0]])), 4)
    0.6931
    """
    p = as_probabilities(p)
    return max(0.0, float(_entropy(p.mean(dim=0, keepdim=True)).mean() - _entropy(p).mean()))


def nuclear_norm(p: Tensor) -> float:
    r"""Computes the batch nuclear norm as a share of its maximum, :math:`\Vert P \Vert_* / \sqrt{N \min(N, C)}`.

    The nuclear norm is the sum of the singular values of the (N, C) predictions: large when they are certain and of
    many classes.

    Args:
        p: (N, C) probabilities.

    Returns:
        In (0, 1]; higher is better. 1 for certain predictions with equal counts; a model that collapsed to one class
        gets 1 / sqrt(min(N, C)).

    Misleads: as :func:`mutual_information`, it prefers equal class counts and cannot separate right from wrong. Between
    sets of images of different sizes it is not comparable.
    Raises: ValueError for what :func:`~dalib.judge.checked.as_probabilities` refuses.
    Source: Cui et al., CVPR 2020 (BNM); as a validator Musgrave et al. 2022. The scaling is ours.

    >>> round(nuclear_norm(torch.tensor([[1.0, 0.0], [0.0, 1.0]])), 4), round(nuclear_norm(torch.ones(9, 1).mul(
    ...     torch.tensor([[1.0, 0.0]]))), 4)
    (1.0, 0.7071)
    """
    p = as_probabilities(p)
    return min(1.0, float(torch.linalg.svdvals(p).sum()) / math.sqrt(len(p) * min(p.shape)))


def corr_c(p: Tensor, prior: Tensor | None = None) -> float:
    r"""Computes the class correlation: the cosine between :math:`K = P^\top P / N` and the matrix of a perfect model.

    .. math:: \frac{\sum_c u_c K_{cc}}{\Vert u \Vert_2 \, \Vert K \Vert_F}

    Certain predictions whose counts are u give a diagonal K with u on it. With equal shares u that is the identity but
    for a factor.

    Args:
        p: (N, C) probabilities.
        prior: (C,) the classes' shares u in the target; None is uniform.

    Returns:
        In [0, 1]; higher is better. 1 for certain predictions with counts as u has them. With equal shares it is
        1 / sqrt(C) both for a collapsed model and for one that answers the same distribution everywhere.

    Misleads: it prefers counts as the prior has them, right or wrong.
    Raises: ValueError for what :func:`~dalib.judge.checked.as_probabilities` refuses, or a prior that is
    not a distribution of C classes.
    Source: Tu et al. 2023, "Assessing Model Out-of-distribution Generalization with Softmax Prediction Probability
    Baselines and A Correlation Method" (SoftmaxCorr); Hu et al., NeurIPS 2024, call it Corr-C. The prior is ours.

    >>> round(corr_c(torch.tensor([[1.0, 0.0], [0.0, 1.0]])), 4), round(corr_c(torch.full((5, 4), 0.25)), 4)
    (1.0, 0.5)
    """
    p = as_probabilities(p)
    shares = torch.full((p.shape[1],), 1 / p.shape[1]) if prior is None else prior.detach().cpu()
    if shares.shape != p.shape[1:] or not (bool((shares >= 0).all()) and abs(float(shares.sum()) - 1) < 1e-4):
        raise ValueError(f"prior: expected {p.shape[1]} shares of at least 0 with sum 1, got {shares.tolist()}")
    correlation, shares = p.T @ p / len(p), shares.to(p)
    return min(1.0, float((shares * correlation.diagonal()).sum() / (shares.norm() * correlation.norm())))


def soft_neighbourhood_density(p: Tensor, temperature: float = 0.05) -> float:
    r"""Computes the density of predictions: the mean entropy of each image's similarities to the others.

    .. math:: s_{ij} = \frac{p^i \cdot p^j}{\Vert p^i \Vert \Vert p^j \Vert}, \quad
              w_{ij} = \frac{e^{s_{ij} / T}}{\sum_{k \ne i} e^{s_{ik} / T}}, \quad
              -\frac1N \sum_i \sum_{j \ne i} w_{ij} \log w_{ij}

    Computed in float32 for float32 probabilities, a block of rows at a time: about 200 MB whatever N, and time that
    grows with N squared.

    Args:
        p: (N, C) probabilities with N >= 2.
        temperature: T > 0; 0.05 is the paper's.

    Returns:
        In [0, log(N - 1)]; higher is better. It grows with N: compare on the same images.

    Misleads: a model that collapsed to one class has the densest neighbourhoods of all, the maximum log(N - 1). Never
    use it without a guard against collapse.
    Raises: ValueError for fewer than 2 images, a temperature not above 0, or what
    :func:`~dalib.judge.checked.as_probabilities` refuses.
    Source: Saito et al., ICCV 2021, equations 1 to 3.

    >>> round(soft_neighbourhood_density(torch.tensor([[1.0, 0.0]] * 3 + [[0.0, 1.0]] * 3)), 4), round(math.log(2), 4)
    (0.6931, 0.6931)
    """
    checked = as_probabilities(p)
    if len(checked) < 2:
        raise ValueError("p: expected at least 2 images, because an image is not its own neighbour; got 1")
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(f"temperature: expected a number above 0, got {temperature}")
    unit = torch.nn.functional.normalize(checked, dim=1)
    if p.dtype != torch.float64:
        unit = unit.float()
    total = 0.0
    block = max(1, BLOCK_ENTRIES // len(unit))
    for start in range(0, len(unit), block):
        similarity = (unit[start : start + block] @ unit.T).div_(temperature)
        itself = similarity.diagonal(start)
        itself.fill_(-torch.inf)
        # H = log Z - sum_j w_j s_j, the row's maximum taken out of both: one exponential, no logarithm of N entries
        similarity -= similarity.amax(dim=1, keepdim=True)
        weight = similarity.exp()
        partition = weight.sum(dim=1, dtype=torch.float64)
        itself.fill_(0)
        expected = weight.mul_(similarity).sum(dim=1, dtype=torch.float64) / partition
        total += float((partition.log() - expected).sum())
    return min(max(0.0, total / len(unit)), math.log(len(unit) - 1))


def class_ami(features: Tensor, predictions: Tensor, num_classes: int, *, seed: int = 0, restarts: int = 3) -> float:
    r"""Computes the adjusted mutual information of predicted classes and clusters of the features.

    .. math:: \frac{MI(k, \hat y) - E[MI]}{\frac12 (H(k) + H(\hat y)) - E[MI]}

    with k the cluster of each image by k-means with C clusters, and the expectation over random labels.

    Args:
        features: (N, D) of the target images. Unit length (``torch.nn.functional.normalize``) often helps.
        predictions: (N,) int64 in [0, C), the predicted classes.
        num_classes: C, at least 2; the number of clusters, or N where that is fewer.
        seed: seed of the k-means; equal seeds give equal scores.
        restarts: k-means runs of which the tightest counts; the time is proportional to it.

    Returns:
        At most 1, about 0 for predictions that have nothing to do with the clusters, and slightly below by chance;
        higher is better. 0 for a collapsed model.

    Misleads: it asks whether head and features agree with each other, which both can do while wrong: features that
    the training clustered by its own pseudo-labels always agree. Noisy where clusters are of unequal size.
    Raises: ValueError for shapes or entries other than these, fewer than 2 images or classes, or restarts below 1.
    Source: Musgrave et al. 2022 (ClassAMI); Vinh et al., JMLR 2010 for the adjustment (scikit-learn's).

    >>> features = torch.tensor([[0.0], [0.1], [5.0], [5.1]])
    >>> round(class_ami(features, torch.tensor([1, 1, 0, 0]), num_classes=2), 4)
    1.0
    """
    features = as_features(features)
    if num_classes < 2 or restarts < 1 or len(features) < 2:
        raise ValueError(
            "features, num_classes, restarts: expected at least 2 images, 2 classes and 1 restart, "
            f"got {len(features)}, {num_classes} and {restarts}"
        )
    predictions = as_classes(predictions, len(features), num_classes, "predictions")
    from sklearn.cluster import KMeans  # here, because it takes a second
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import adjusted_mutual_info_score

    clusters = KMeans(min(num_classes, len(features)), n_init=restarts, random_state=seed)
    with warnings.catch_warnings():
        # fewer distinct features than clusters, as a collapsed network gives, is an answer and not a mistake
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = clusters.fit_predict(features.float().numpy())
    if len(np.unique(found)) == 1 or bool((predictions == predictions[0]).all()):
        return 0.0  # scikit-learn calls two constant labelings a perfect match
    return float(adjusted_mutual_info_score(predictions.numpy(), found))


def density_ratio(train_features: Tensor, target_features: Tensor, at: Tensor) -> Tensor:
    r"""Estimates how much likelier features are in the target than in the source, with a domain classifier.

    .. math:: w(x) = \frac{N_s}{N_t} \cdot \frac{P(target \mid x)}{P(source \mid x)}

    with P by logistic regression on standardised features, L2 penalty 1.

    Args:
        train_features: (N_s, D) of source images; not those of ``at``, or the weights overfit.
        target_features: (N_t, D) of target images.
        at: (N, D) where to evaluate; the source's validation images for :func:`dev_risk`.

    Returns:
        (N,) float64, each above 0, with mean near 1 where the classifier is right. Finite: the logit stops at 50.

    Misleads: where the domains are separable a handful of images carries all of the weight.
    Raises: ValueError for what :func:`~dalib.judge.checked.as_features` refuses or unequal D.
    Source: You et al., ICML 2019, section 3.2; Bickel et al., ICML 2007.

    >>> same = torch.tensor([[0.0], [1.0], [2.0]])
    >>> [round(weight, 3) for weight in density_ratio(same, same, same).tolist()]
    [1.0, 1.0, 1.0]
    """
    source, target, at = (
        as_features(train_features, "train_features"),
        as_features(target_features, "target_features"),
        as_features(at, "at"),
    )
    if not source.shape[1] == target.shape[1] == at.shape[1]:
        raise ValueError(
            "train_features, target_features, at: expected one number of features, "
            f"got {source.shape[1]}, {target.shape[1]} and {at.shape[1]}"
        )
    both = torch.cat([source, target])
    # a feature that never varies is left at 0 instead of divided by 0
    mean, deviation = both.mean(dim=0), both.std(dim=0, correction=0)
    scale = torch.where(deviation > 0, deviation, 1.0)
    domain = np.repeat([0, 1], [len(source), len(target)])
    from sklearn.exceptions import ConvergenceWarning  # here, because it takes a second
    from sklearn.linear_model import LogisticRegression

    classifier = LogisticRegression(max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(((both - mean) / scale).numpy(), domain)
    logit: Tensor = torch.from_numpy(classifier.decision_function(((at - mean) / scale).numpy())).double()
    return logit.clamp(-50, 50).exp() * (len(source) / len(target))


def dev_risk(losses: Tensor, weights: Tensor) -> float:
    r"""Computes DEV: the target's risk from weighted source validation images, with a control variate.

    .. math:: L_i = w_i \ell_i, \quad \eta = -\frac{\operatorname{Cov}(L, W)}{\operatorname{Var}(W)}, \quad
              \bar L + \eta \bar W - \eta

    The control variate uses that the true weights have mean 1. With weights that do not vary it is the plain mean.

    Args:
        losses: (N,) a loss of each labelled source validation image: 0 or 1 for the error, or cross-entropy.
        weights: (N,) their :func:`density_ratio`, in the features of the model under test.

    Returns:
        A risk in the unit of the losses; LOWER is better. It can be negative: the control variate does not know the
        range.

    Misleads: it trusts that features of the two domains overlap and that equal features mean equal classes. Features
    that adaptation aligned wrongly break the second without a sign. Few images carry the weight where domains differ.
    Raises: ValueError for unequal or empty shapes, NaN or infinite entries, or negative or only zero weights.
    Source: You et al., ICML 2019, algorithm 1.

    >>> dev_risk(torch.tensor([0.0, 1.0, 1.0, 0.0]), torch.ones(4))
    0.5
    """
    weights = _weights(weights)
    if losses.shape != weights.shape:
        raise ValueError(f"losses: expected shape {tuple(weights.shape)}, as weights, got {tuple(losses.shape)}")
    losses = losses.detach().to("cpu", torch.float64)
    if not bool(losses.isfinite().all()):
        raise ValueError(f"losses: {int((~losses.isfinite()).sum())} of {len(losses)} are NaN or infinite")
    weighted = weights * losses
    spread = weights - weights.mean()
    variance = spread.square().mean()
    eta = -(spread * (weighted - weighted.mean())).mean() / variance if float(variance) > 1e-12 else torch.zeros(())
    return float(weighted.mean() + eta * (weights.mean() - 1))


def agreement(p: Tensor, q: Tensor) -> float:
    r"""Computes the share of images to which two models, or two views, give the same class.

    .. math:: \frac1N \sum_i [\arg\max_c p^i_c = \arg\max_c q^i_c]

    Args:
        p: (N, C) probabilities, such as the student's.
        q: (N, C) probabilities of the same images in the same order; the teacher's.

    Returns:
        In [0, 1]; higher is better. The same for (p, q) and (q, p). Of tied classes the first counts.

    Misleads: two models that collapsed to the same class agree everywhere, and a teacher agrees with the student that
    it averages. A fall while :func:`mask_rate` rises is the sign of trouble.
    Raises: ValueError for unequal shapes or what :func:`~dalib.judge.checked.as_probabilities` refuses.
    Source: Jiang et al., ICLR 2022, for two independent trainings.

    >>> agreement(torch.tensor([[0.9, 0.1], [0.4, 0.6]]), torch.tensor([[0.6, 0.4], [0.7, 0.3]]))
    0.5
    """
    first, second = as_probabilities(p), as_probabilities(q, "q")
    if first.shape != second.shape:
        raise ValueError(f"p, q: expected one shape, got {tuple(first.shape)} and {tuple(second.shape)}")
    return float((first.argmax(dim=1) == second.argmax(dim=1)).double().mean())


def ensemble_agreement(runs: Sequence[Tensor]) -> Tensor:
    r"""Computes EnsV: how often each run agrees with the mean of all runs, which stands in for the labels.

    .. math:: \frac1N \sum_i [\arg\max_c p^{r,i}_c = \arg\max_c \frac1R \sum_s p^{s,i}_c]

    Args:
        runs: R >= 2 tensors (N, C), the runs' probabilities of the same images in the same order.

    Returns:
        (R,) float64 in [0, 1]; higher is better. The best run is ``argmax``.

    Misleads: if most of the runs fail in the same way, that way wins, and several checkpoints of one run count as
    several votes. Of two runs the more certain one wins. Overconfident runs weigh more.
    Raises: ValueError for fewer than 2 runs, unequal shapes, or what
    :func:`~dalib.judge.checked.as_probabilities` refuses.
    Source: Hu et al., NeurIPS 2024 (EnsV; arXiv 2023).

    >>> good, also_good, collapsed = [[0.9, 0.1], [0.2, 0.8]], [[0.8, 0.2], [0.1, 0.9]], [[0.9, 0.1], [0.9, 0.1]]
    >>> ensemble_agreement([torch.tensor(run) for run in (good, also_good, collapsed)]).tolist()
    [1.0, 1.0, 0.5]
    """
    checked = [as_probabilities(run, f"runs[{index}]") for index, run in enumerate(runs)]
    if len(checked) < 2 or len({run.shape for run in checked}) != 1:
        shapes = [tuple(run.shape) for run in checked]
        raise ValueError(f"runs: expected at least 2 of one shape (N, C), got {len(checked)}: {shapes}")
    total = torch.zeros_like(checked[0])
    for run in checked:
        total += run
    consensus = total.argmax(dim=1)
    return torch.stack([(run.argmax(dim=1) == consensus).double().mean() for run in checked])


def class_vanishing(
    predictions: Tensor,
    num_classes: int,
    prior: Tensor | None = None,
    *,
    floor: float = 0.1,
    significance: float = 0.01,
    groups: Tensor | None = None,
) -> list[int]:
    r"""Finds the classes that are never or almost never predicted, as after a collapse.

    A class is named if its count is below ``floor`` times the expected :math:`N u_c`, and if so few would come by
    chance with probability below ``significance / C``: small sets of images accuse no class.

    Args:
        predictions: (N,) int64 in [0, C), the predicted classes.
        num_classes: C, at least 2.
        prior: (C,) the shares u to expect, summing to 1; None is uniform. See :mod:`dalib.judge.prior`.
        floor: share of the expected count, in (0, 1].
        significance: chance of naming any class of a model that predicts with the prior, in (0, 1).
        groups: (N,) int64, equal for images that belong together, which then count as if they were all alike; None
            counts every image.

    Returns:
        The classes in ascending order; fewer is better, an empty list is no sign of collapse.

    Misleads: with the uniform prior a class that is truly rare in the target is named. With a prior estimated from
    the same collapsed model none is: take the prior from before.
    Raises: ValueError for shapes, ranges or a prior other than these.
    Source: ours; an exact binomial test with Bonferroni's correction.

    >>> class_vanishing(torch.tensor([0, 1] * 50), num_classes=3)
    [2]
    """
    if num_classes < 2:
        raise ValueError(f"num_classes: expected at least 2, got {num_classes}")
    if not (0 < floor <= 1 and 0 < significance < 1):
        raise ValueError(f"floor, significance: expected (0, 1] and (0, 1), got {floor} and {significance}")
    predictions = as_classes(predictions, None, num_classes, "predictions")
    if prior is None:
        prior = torch.full((num_classes,), 1 / num_classes)
    elif prior.shape != (num_classes,):
        raise ValueError(f"prior: expected shape ({num_classes},), got {tuple(prior.shape)}")
    shares = as_probabilities(prior[None], "prior")[0].clamp(0, 1).numpy()
    counts = torch.bincount(predictions, minlength=num_classes).numpy()
    rare = counts < floor * len(predictions) * shares
    if groups is None:
        from scipy.stats import binom  # here, because it takes a second

        tail = binom.cdf(counts, len(predictions), shares)
    else:
        effect = alike_effect(groups.numpy())
        few, count = (counts / effect).tolist(), len(predictions) / effect
        tail = np.array([1 - binomial_tail(one + 1, count, u) for one, u in zip(few, shares.tolist(), strict=True)])
    unlikely = tail < significance / num_classes
    return [int(index) for index in np.flatnonzero(rare & unlikely)]


def _entropy(p: Tensor) -> Tensor:
    """Computes the entropy of each row in nats; 0 log 0 is 0."""
    each: Tensor = torch.special.entr(p.clamp_min(0))
    return each.sum(dim=1)


def _weights(weights: Tensor) -> Tensor:
    """Returns weights (N,) as float64 on the CPU; raises a ValueError for bad ones."""
    if weights.ndim != 1 or len(weights) < 1:
        raise ValueError(f"weights: expected shape (N >= 1,), got {tuple(weights.shape)}")
    weights = weights.detach().to("cpu", torch.float64)
    if not bool(weights.isfinite().all()) or bool((weights < 0).any()) or not bool((weights > 0).any()):
        raise ValueError("weights: expected finite, non-negative numbers, not all 0")
    return weights
