r"""The choice of target images to label for unbiased accuracies from few labels, and the estimates from these labels.

The design is stratified: images on which two models agree, and those on which they differ, each cut into strata by
what the models expect of themselves; in each stratum a simple random sample. Where models agree they are right alike,
so the difference of their accuracies needs labels only where they differ. Confidence decides who is asked more often,
never what is right: a model that is confident and wrong costs precision, not truth.

``strata`` are (n,) int64 numbers, one for each labelled image, and ``population`` the size of each stratum by its
number: of the whole target, labelled or not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dalib.judge.checked import as_probabilities
from dalib.judge.groups import SIDE_OF_95, Integers, Numbers, design_effect, numbered

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

LABELS_PER_STRATUM = 8
"""The intended number: more strata follow the confidence closer, but each has fewer images to show its spread."""
MAX_STRATA = 6
"""More strata gain little."""
MIN_PER_STRATUM = 2
"""Labelled images of each stratum, as far as it has them."""
CONFIDENCE_SHRINKAGE = 0.2
"""Weight of 1/2 in the confidence that decides how many labels a stratum gets, so that confident ones get some too."""
MAX_RARE_COUNT = 3
"""Outcomes seen at most this often count as rare: the score interval alone ends too near to them."""
UNSEEN_COUNT = 1e-9
"""The count of an outcome that was not seen, so that its share can be above 0 in what the data do not rule out."""


@dataclass(frozen=True)
class Sample:
    """Images to label, in random order: if labelling stops early, the labelled part is random too."""

    rows: Integers
    """(n,) numbers of the images in the target."""
    strata: Integers
    """(n,) the stratum of each."""
    population: dict[int, int]
    """Number of target images in each stratum; together all of them."""

    @property
    def weights(self) -> Numbers:
        """The number (n,) of target images that each one stands for: 1 / its probability to be chosen."""
        drawn = {stratum: int((self.strata == stratum).sum()) for stratum in self.population}
        return np.array([self.population[each] / drawn[each] for each in self.strata.tolist()])


@dataclass(frozen=True)
class LabelledEstimate:
    """An accuracy, or a difference of two, measured on a sample: value with 95% interval."""

    value: float
    """NaN without a label."""
    low: float
    high: float
    count: int
    """Labelled images that it rests on."""
    unlabelled: float
    """The share of the target in strata without a label, for which the interval covers all that is possible."""


def choose(target: Tensor, other: Tensor | None, count: int, seed: int = 0, groups: Integers | None = None) -> Sample:
    r"""Draws the images to label: a stratified sample with more images where labels reduce more variance.

    Stratum h with weights :math:`s_i` of its images gets a share :math:`n_h \propto \sum_{i \in h} s_i` of the labels,
    at least two. Of one model, :math:`s_i^2 = c_i (1 - c_i)`; of two,

    .. math:: s_i^2 = a_i (1 - a_i) + b_i (1 - b_i) + a_i + b_i - (a_i - b_i)^2 \text{ where they differ, }
              2 c_i (1 - c_i) \text{ where they agree}

    which is the variance of being right, summed over what is asked: both accuracies and their difference. a, b and c
    are confidences, c of both models together, each pulled to 1/2 by a fifth. Strata are cut so that all get about as
    many labels.

    Args:
        target: (N, C) probabilities of the model.
        other: (N, C) of another one on the same images, or None.
        count: n, how many; all of them where there are no more.
        seed: equal seeds choose the same images.
        groups: (N,) equal for images that belong together. Each image of a stratum is as likely as before, but images
            of one group are only both chosen where the stratum has too few groups: every k-th image is, of an order
            in which groups stand together.

    Misleads: nobody; a model that knows nothing of its errors makes the choice no better than any random one.
    Raises: ValueError for a count below 1, unequal shapes, or what ``as_probabilities`` of
    :mod:`dalib.judge.checked` refuses.
    Source: Neyman, JRSS 1934, for the allocation; equal allocation to strata as Dalenius & Hodges, JASA 1959; the
    summed variances, the pull to 1/2 and the number of strata are ours.

    >>> import torch
    >>> sure, unsure = torch.tensor([[0.99, 0.01]]).repeat(900, 1), torch.tensor([[0.6, 0.4]]).repeat(100, 1)
    >>> sample = choose(torch.cat([sure, unsure]), None, 20)
    >>> len(set(sample.rows.tolist())), sum(sample.population.values()), round(float(sample.weights.sum()))
    (20, 1000, 1000)
    """
    if count < 1:
        raise ValueError(f"count: expected at least 1, got {count}")
    p = as_probabilities(target, "target").numpy()
    if other is None:
        confidence = _shrunk(p.max(axis=1))
        parts = [(np.arange(len(p)), confidence, np.sqrt(confidence * (1 - confidence)))]
    else:
        q = as_probabilities(other, "other").numpy()
        if q.shape != p.shape:
            raise ValueError(f"other: expected the shape of target, {p.shape}, got {q.shape}")
        parts = _agreeing_and_differing(p, q)
    if groups is not None:
        groups = numbered(groups, len(p))
        parts = [(rows, _of_groups(order, groups[rows]), spread) for rows, order, spread in parts]
    count = min(count, len(p))
    strata = _cut_into_strata(parts, count)
    sizes = _allocate(count, [len(rows) for rows, _ in strata], [share for _, share in strata])
    generator = np.random.default_rng(seed)
    drawn = [_drawn(rows, size, groups, generator) for (rows, _), size in zip(strata, sizes, strict=True)]
    numbers = np.repeat(np.arange(len(strata)), sizes)
    mixed = generator.permutation(len(numbers))
    return Sample(
        np.concatenate(drawn)[mixed],
        numbers[mixed],
        {number: len(rows) for number, (rows, _) in enumerate(strata)},
    )


def estimate_mean(
    outcomes: Sequence[int] | Integers,
    strata: Sequence[int] | Integers,
    population: Mapping[int, int],
    values: tuple[int, ...] = (0, 1),
    groups: Integers | None = None,
) -> LabelledEstimate:
    r"""Estimates the mean of an outcome over the target from labelled images of its strata, with its 95% interval.

    .. math:: \hat m = \sum_h \frac{N_h}{N} \bar x_h, \qquad
              \frac{(\hat m - m)^2}{\sum_h (N_h / N)^2 \operatorname{Var}_m(x_h) / n_h'} \le z^2

    The interval holds every mean m that the second does not rule out. Var is that of the likeliest outcome shares
    whose mean is m, so a stratum whose images are all right is not taken for certain;
    :math:`n_h' = n_h (N_h - 1) / (N_h - n_h)`, because images are not asked twice. For one large stratum it is
    Wilson's interval. Where all but one to three outcomes are at one end of the range, the interval is widened to
    there by what a Poisson count allows. Both ends are rounded outwards to means that N images can have.

    Args:
        outcomes: (n,) of ``values``: 1 right, 0 wrong; of a difference 1, 0, -1.
        strata: (n,) the stratum of each.
        population: the size of every stratum, also of those without a labelled image, which count from the smallest
            to the largest possible: value leaves them out, and is then no longer unbiased.
        values: possible outcomes, ascending.
        groups: (n,) equal for images that belong together: the labels then count as as many as they are worth
            (:func:`dalib.judge.groups.design_effect`). None counts every image.

    Returns:
        All in the range of ``values``.

    Misleads: labels of chosen images are no random sample. Where some were skipped, those left count as a random part
    of their stratum, which is wrong if the hard ones were skipped.
    Raises: ValueError for lengths that differ, an outcome that is none of the values, a stratum without a size, or with
    more images labelled than it has.
    Source: score interval of Wilson, JASA 1927, for strata by test inversion as of Miettinen & Nurminen 1985; of paired
    differences as Tango, Statistics in Medicine 1998. Rare outcomes: Brown, Cai & DasGupta, Statistical Science 2001.

    >>> estimate = estimate_mean([1] * 18 + [0] * 2, [0] * 20, {0: 10**9})
    >>> estimate.value, round(estimate.low, 3), round(estimate.high, 3)
    (0.9, 0.699, 0.982)
    >>> estimate = estimate_mean([1] * 10, [0] * 10, {0: 500, 1: 500})
    >>> estimate.value, round(estimate.low, 3), estimate.high, estimate.unlabelled
    (1.0, 0.363, 1.0, 0.5)
    """
    outcomes, strata = _checked_outcomes(outcomes, strata, population, values)
    total = sum(population.values())
    seen = [stratum for stratum in population if (strata == stratum).any()]
    counts = np.array([[int(((strata == s) & (outcomes == v)).sum()) for v in values] for s in seen], dtype=np.float64)
    sizes = np.array([population[stratum] for stratum in seen], dtype=np.float64)
    unlabelled = 1 - float(sizes.sum()) / total if total else 1.0
    least, most = float(values[0]), float(values[-1])
    if not seen:
        return LabelledEstimate(math.nan, least, most, 0, 1.0)
    effect = _effect(outcomes, strata, population, groups)
    ends = score_interval(counts / effect, sizes / effect, sizes / total, np.array(values, dtype=np.float64))
    value, low, high = map(float, ends)
    low, high = low + unlabelled * least, high + unlabelled * most
    value /= 1 - unlabelled
    low, high = math.floor(low * total + 1e-4) / total, math.ceil(high * total - 1e-4) / total
    return LabelledEstimate(value, max(least, min(low, value)), min(most, max(high, value)), len(outcomes), unlabelled)


def estimate_difference(
    first: Sequence[bool],
    second: Sequence[bool],
    strata: Sequence[int] | Integers,
    population: Mapping[int, int],
    agreeing: int = 0,
    groups: Integers | None = None,
) -> LabelledEstimate:
    """Estimates how much more accurate the first model is than the second, in [-1, 1].

    Args:
        first, second: (n,) which model is right, of images of the strata given.
        strata, population: as for :func:`estimate_mean`, of the images on which the two differ where these are known.
        agreeing: how many images more the target has, on which they agree: there is no difference there, and no label
            is needed.
        groups: as for :func:`estimate_mean`.

    Returns:
        ``count`` and ``unlabelled`` are of the images on which they differ.

    Misleads: it is of these images; another training with another seed differs by more.
    Raises: ValueError as :func:`estimate_mean`.
    Source: as :func:`estimate_mean`.

    >>> estimate = estimate_difference([True] * 9 + [False], [False] * 9 + [True], [0] * 10, {0: 200}, agreeing=800)
    >>> round(estimate.value, 3), round(estimate.low, 3), round(estimate.high, 3)
    (0.16, 0.041, 0.197)
    """
    total = sum(population.values()) + agreeing
    if total == agreeing:  # nowhere different
        return LabelledEstimate(0.0, 0.0, 0.0, 0, 0.0)
    outcomes = np.array(first, dtype=np.int64) - np.array(second, dtype=np.int64)
    of_differing = estimate_mean(outcomes, strata, population, (-1, 0, 1), groups)
    share = (total - agreeing) / total
    return LabelledEstimate(
        of_differing.value * share,
        of_differing.low * share,
        of_differing.high * share,
        of_differing.count,
        of_differing.unlabelled,
    )


def score_interval(
    counts: Numbers, sizes: Numbers, weights: Numbers, values: Numbers, z: float = SIDE_OF_95
) -> tuple[Numbers, Numbers, Numbers]:
    """Computes value and both ends of the interval of :func:`estimate_mean`, for any number of samples at once.

    Args:
        counts: (..., H, K) how often each value was seen in each stratum; each stratum at least once.
        sizes: (..., H) images of each stratum.
        weights: (..., H) their shares of the whole.
        values: (K,) ascending.

    Returns:
        Three of shape (...).
    """
    labelled = counts.sum(axis=-1)
    value = (weights * (counts @ values) / labelled).sum(axis=-1)
    # as many images as would tell as much if they could be asked twice
    scale = np.where(sizes > labelled, np.maximum(sizes - 1, 0) / np.maximum(sizes - labelled, 1e-9), 1e12)
    scale = np.maximum(scale, 1)  # less only where the images of a stratum are worth less than one
    # each stratum whose outcomes vary, but one, has a mean that was fitted to what is judged by it
    in_all, fitted = labelled.sum(axis=-1), ((counts > 0).sum(axis=-1) > 1).sum(axis=-1)
    spread = z * z * in_all / np.maximum(in_all - np.maximum(fitted - 1, 0), 1)
    scaled = (counts + UNSEEN_COUNT) * scale[..., None]
    pull = weights[..., None] * values
    shape = value.shape
    ends = []
    for sign in (1.0, -1.0):  # a positive multiplier pulls the mean down
        low, high = np.full(shape, math.log(1e-4)), np.full(shape, math.log(1e16))
        for _ in range(70):
            middle = (low + high) / 2
            mean, variance = _likeliest_mean(scaled, pull, sign * np.exp(middle))
            # <= : where nothing varies any more the mean is as far as it can be
            inside = (value - mean) ** 2 <= spread * variance
            low, high = np.where(inside, middle, low), np.where(inside, high, middle)
        mean, _ = _likeliest_mean(scaled, pull, sign * np.exp(low))
        ends.append(mean)
    above, below = in_all - counts[..., 0].sum(axis=-1), in_all - counts[..., -1].sum(axis=-1)
    bottom, top = values[0] * weights.sum(axis=-1), values[-1] * weights.sum(axis=-1)
    known = in_all / sizes.sum(axis=-1)
    ends[0] = np.minimum(ends[0], bottom + _certain_share_of_rare(above, known) * (value - bottom))
    ends[1] = np.maximum(ends[1], top - _certain_share_of_rare(below, known) * (top - value))
    return value, np.minimum(ends[0], value), np.maximum(ends[1], value)


def _checked_outcomes(
    outcomes: Sequence[int] | Integers,
    strata: Sequence[int] | Integers,
    population: Mapping[int, int],
    values: tuple[int, ...],
) -> tuple[Integers, Integers]:
    """Returns outcomes and strata as arrays, or raises the errors of :func:`estimate_mean` about them."""
    outcomes, strata = np.asarray(outcomes, dtype=np.int64), np.asarray(strata, dtype=np.int64)
    if outcomes.shape != strata.shape or outcomes.ndim != 1:
        raise ValueError(f"strata: expected one for each of {outcomes.shape} outcomes, got {strata.shape}")
    if not np.isin(outcomes, values).all() or not np.isin(strata, list(population)).all():
        raise ValueError(f"outcomes, strata: expected outcomes of {values} in strata of {sorted(population)}")
    if any(int((strata == stratum).sum()) > size for stratum, size in population.items()):
        raise ValueError("population: expected at least as many images in each stratum as are labelled in it")
    return outcomes, strata


def _of_groups(order: Numbers, groups: Integers) -> Numbers:
    """Returns one sorting key (n,) for all images of a group, that of their mean, so that few strata share a group."""
    sizes = np.maximum(np.bincount(groups), 1)
    means = np.bincount(groups, weights=order) / sizes
    return np.argsort(np.argsort(means, kind="stable"), kind="stable")[groups].astype(np.float64)


def _effect(outcomes: Integers, strata: Integers, population: Mapping[int, int], groups: Integers | None) -> float:
    """Returns the design effect of the estimate of :func:`estimate_mean`: what each label adds to its deviation."""
    if groups is None:
        return 1.0
    deviations = np.zeros(len(outcomes))
    for stratum, size in population.items():
        here = strata == stratum
        if here.any():
            deviations[here] = (outcomes[here] - outcomes[here].mean()) * size / here.sum()
    return design_effect(deviations, groups)


def _drawn(rows: Integers, size: int, groups: Integers | None, generator: np.random.Generator) -> Integers:
    """Draws ``size`` of the rows, each as likely as any other; of groups, as few of one as can be."""
    if groups is None or not size:
        return generator.permutation(rows)[:size]
    mixed = generator.permutation(rows)
    numbers = numbered(groups[mixed], len(mixed))
    place_of_group = generator.permutation(int(numbers.max()) + 1)
    mixed = mixed[np.argsort(place_of_group[numbers], kind="stable")]
    step = len(mixed) / size
    places = np.floor((np.arange(size) + generator.random()) * step).astype(np.int64).clip(max=len(mixed) - 1)
    chosen: Integers = mixed[places]
    return chosen


def _likeliest_mean(scaled: Numbers, pull: Numbers, multiplier: Numbers) -> tuple[Numbers, Numbers]:
    """Computes the mean and its variance under the likeliest shares that the multiplier gives; shapes (...).

    Shares are q_k = x_k / (l + m w v_k), the l of each stratum such that they sum to 1.
    """
    gap = multiplier[..., None, None] * pull
    gap = gap - gap.min(axis=-1, keepdims=True)
    # l less its least value lies between the count of the value at that end and all counts
    smallest = np.where(gap == 0, scaled, np.inf).min(axis=-1)
    low, high = np.log(smallest), np.log(scaled.sum(axis=-1))
    for _ in range(55):
        middle = (low + high) / 2
        above = (scaled / (np.exp(middle)[..., None] + gap)).sum(axis=-1) > 1
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    shares = scaled / (np.exp((low + high) / 2)[..., None] + gap)
    shares = shares / shares.sum(axis=-1, keepdims=True)
    mean = (shares * pull).sum(axis=-1)
    variance = ((shares * pull**2).sum(axis=-1) - mean**2) / scaled.sum(axis=-1)
    return mean.sum(axis=-1), np.maximum(variance, 0).sum(axis=-1)


def _certain_share_of_rare(seen: Numbers, known: Numbers) -> Numbers:
    """Returns the certain part of a rare outcome's estimated share, seen 1 to 3 times: the 5% quantile of a Poisson.

    ``known`` is the share of images that are labelled: of them nothing is in doubt.
    """
    from scipy.stats import chi2  # here, because it takes a second

    count = np.maximum(seen, 1)
    least: Numbers = known + (1 - known) * chi2.ppf(0.05, 2 * count) / 2 / count
    return np.where((seen > 0) & (seen <= MAX_RARE_COUNT), least, 1.0)


def _cut_into_strata(groups: Sequence[tuple[Integers, Numbers, Numbers]], count: int) -> list[tuple[Integers, float]]:
    """Cuts groups into strata that get about as many of ``count`` labels; returns rows and summed spread of each."""
    total = sum(float(spread.sum()) for _, _, spread in groups)
    wanted_in_all = min(count / LABELS_PER_STRATUM, MAX_STRATA)
    strata: list[tuple[Integers, float]] = []
    for rows, order, spread in groups:
        wanted = max(1, round(wanted_in_all * float(spread.sum()) / total))
        sorted_rows = np.argsort(order, kind="stable")
        ends = spread[sorted_rows].cumsum()
        # the middle of each image's share decides, so that no cut depends on rounding at an end
        part = np.floor((ends - spread[sorted_rows] / 2) / ends[-1] * wanted).astype(np.int64)
        for number in np.unique(part):
            chosen = sorted_rows[part == number]
            strata.append((rows[chosen], float(spread[chosen].sum())))
    return strata


def _agreeing_and_differing(p: Numbers, q: Numbers) -> list[tuple[Integers, Numbers, Numbers]]:
    """Returns rows, sorting key and spread of the images on which models agree and differ; no empty group."""
    same = p.argmax(axis=1) == q.argmax(axis=1)
    groups: list[tuple[Integers, Numbers, Numbers]] = []
    if same.any():
        confidence = _shrunk((p[same] + q[same]).max(axis=1) / 2)
        groups.append((np.flatnonzero(same), confidence, np.sqrt(2 * confidence * (1 - confidence))))
    if not same.all():
        first, second = _shrunk(p[~same].max(axis=1)), _shrunk(q[~same].max(axis=1))
        either = np.maximum(first + second, 1)  # not both are right
        first, second = first / either, second / either
        variance = first * (1 - first) + second * (1 - second) + first + second - (first - second) ** 2
        groups.append((np.flatnonzero(~same), first - second, np.sqrt(variance)))
    return groups


def _shrunk(confidence: Numbers) -> Numbers:
    shrunk: Numbers = (1 - CONFIDENCE_SHRINKAGE) * confidence + CONFIDENCE_SHRINKAGE / 2
    return shrunk


def _allocate(count: int, sizes: Sequence[int], shares: Sequence[float]) -> list[int]:
    """Distributes ``count`` in proportion: at least MIN_PER_STRATUM to each if it suffices, at most its size."""
    given = [0] * len(sizes)
    for turn in range(MIN_PER_STRATUM):
        for number in sorted(range(len(sizes)), key=lambda each: -shares[each]):
            if sum(given) < count and sizes[number] > turn:
                given[number] += 1
    while sum(given) < count:  # the next one to whom most is owed, as Sainte-Lague gives seats
        open_to = [number for number in range(len(sizes)) if given[number] < sizes[number]]
        given[max(open_to, key=lambda each: shares[each] / (2 * given[each] + 1))] += 1
    return given
