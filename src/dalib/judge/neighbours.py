"""Votes of similar images for one of two models, without a label."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from dalib.judge.groups import design_effect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


MIN_COMMON = 0.25
"""The least share of a class's images that two models have to agree on. Our choice, because below it they mean
different things by the name: 9 of 858 classes, in 99 pairs of models of 33 recorded tasks (benchmarks/LOG.md)."""


@dataclass(frozen=True)
class Votes:
    """Numbers of target images that vote for each of two models.

    Attributes:
        first, second: the images that speak for each.
        differ: the images on which the two name different classes; the rest of them speaks for neither.
        count: all images.
        effect: how many votes count as one, where images that belong together vote.
    """

    first: int
    second: int
    differ: int
    count: int
    effect: float = field(default=1.0, repr=False)


def neighbour_votes(
    features: Sequence[Tensor], first: Tensor, second: Tensor, neighbours: int = 5, groups: Tensor | None = None
) -> Votes:
    r"""Counts the votes of nearest neighbours for either model on the images that the two classify differently.

    Where both models name the same class, they are most often right. So each image on which they differ looks, among
    those on which they agree, at the nearest of the one class and the nearest of the other, and speaks for the model
    whose class is closer:

    .. math:: \frac1{k_{a_i}} \sum_{j \in N(i, a_i)} \cos(f_i, f_j) \;\gtrless\;
        \frac1{k_{b_i}} \sum_{j \in N(i, b_i)} \cos(f_i, f_j),
        \qquad N(i, c) \subseteq \{j : a_j = b_j = c\}, \quad |N(i, c)| = k_c = k \sqrt{n_c / \min(n_{a_i}, n_{b_i})}

    with n_c the images that are agreed on as c. With k of each class one that is agreed on for many images wins for
    being frequent, since some of many are always near; with equal shares of both, rare classes win on a target that
    has few of the classes. The square root stands between. With features of several networks the sums are over all of
    them. An image speaks for neither where the means are equal, or where one of its classes has no common core
    (:func:`has_common_core`): a class that one model has given up, or that both give to different images.

    Args:
        features: one or more of (N, D) floating point, of the same images by one network each; D may differ. Features
            lean to the model that they were trained with: take those of both models, or those of a network that
            neither has trained.
        first, second: (N,) int64, the classes a and b that the models name.
        neighbours: k >= 1 of the rarer class.
        groups: (N,) int64, equal for images that belong together: none is a neighbour of another, and their votes count
            as as many as they are worth (:func:`dalib.judge.groups.design_effect`).

    Raises:
        ValueError: no features, shapes that do not fit, or no neighbours asked for.

    Misleads: where both models are mostly wrong where they agree. It gives no evidence where both are wrong alike.
    Memory: some numbers for each pair of an image that they differ and one that they agree on.
    Source: ours (benchmarks/LOG.md).

    >>> features = torch.tensor([[0.0, 1.0], [0.1, 1.0], [1.0, 0.0], [1.0, 0.1], [0.9, 0.2]])
    >>> neighbour_votes([features], torch.tensor([0, 0, 1, 1, 1]), torch.tensor([0, 0, 1, 1, 0]), neighbours=2)
    Votes(first=1, second=0, differ=1, count=5)
    """
    _check(features, first, second, neighbours)
    same = first == second
    differ = int((~same).sum())
    if int(same.sum()) < neighbours:
        return Votes(0, 0, differ, len(first))
    to_first, to_second = torch.zeros(2, differ)
    apart = None if groups is None else groups[~same][:, None] != groups[same]
    of_first, of_second = (_candidates(first[same], named[~same], apart) for named in (first, second))
    counts = [each.sum(dim=1).double() for each in (of_first, of_second)]
    rarer = torch.minimum(*counts)
    core = has_common_core(first, second)
    speaks = (rarer >= neighbours) & core[first[~same]] & core[second[~same]]
    for each in features:
        unit = torch.nn.functional.normalize(each.float(), dim=1)
        closeness = unit[~same] @ unit[same].T
        to_first += _nearest(closeness, of_first, neighbours * (counts[0] / rarer.clamp_min(1)).sqrt())
        to_second += _nearest(closeness, of_second, neighbours * (counts[1] / rarer.clamp_min(1)).sqrt())
    votes = (to_first > to_second).double() - (to_second > to_first).double()
    effect = 1.0 if groups is None else _effect(votes * speaks, groups[~same])
    return Votes(int((speaks & (votes > 0)).sum()), int((speaks & (votes < 0)).sum()), differ, len(first), effect)


def has_common_core(first: Tensor, second: Tensor) -> Tensor:
    """Returns for each class whether two models agree on enough of its images for these to be of the class.

    That is at least a quarter, MIN_COMMON, of the images of the model that predicts the class less often. Below it, the
    two mean different things by the name, and the images on which they meet are chance.

    Args:
        first, second: (N,) int64, the classes that the models name.

    Returns:
        (C,) bool, with C one more than the largest class.

    >>> has_common_core(torch.tensor([0, 0, 0, 1]), torch.tensor([0, 1, 1, 1])).tolist()
    [True, True]
    >>> has_common_core(torch.tensor([0] * 6 + [1] * 6), torch.tensor([0] + [1] * 6 + [0] * 5)).tolist()
    [False, False]
    """
    classes = 1 + int(torch.cat([first, second]).max())
    in_first, in_second, agreed = (
        torch.bincount(each, minlength=classes) for each in (first, second, first[first == second])
    )
    return agreed >= MIN_COMMON * torch.minimum(in_first, in_second).clamp_min(1)


def _check(features: Sequence[Tensor], first: Tensor, second: Tensor, neighbours: int) -> None:
    """Raises the errors of :func:`neighbour_votes`."""
    if neighbours < 1:
        raise ValueError(f"neighbours: expected at least 1, got {neighbours}")
    if not features:
        raise ValueError("features: expected those of one network or more, got none")
    for each in features:
        if each.ndim != 2 or not len(each) == len(first) == len(second):
            raise ValueError(
                "features, first, second: expected each of (N, D), (N,) and (N,), "
                f"got {', '.join(str(tuple(tensor.shape)) for tensor in (each, first, second))}"
            )


def _effect(votes: Tensor, groups: Tensor) -> float:
    """Returns how many votes (differ,) count as one; those that are 0 do not count."""
    given = votes != 0
    return design_effect(votes[given].numpy(), groups[given].numpy()) if bool(given.any()) else 1.0


def _candidates(agreed: Tensor, asked: Tensor, apart: Tensor | None) -> Tensor:
    """Returns (differ, agree) bool: the images of the class that each image asks for, outside of its group.

    Args:
        agreed: (agree,) classes.
        asked: (differ,) a class for each image.
        apart: (differ, agree) bool, whether two images belong to different groups; None without groups.
    """
    of_class = asked[:, None] == agreed
    return of_class if apart is None else of_class & apart


def _nearest(closeness: Tensor, candidates: Tensor, counts: Tensor) -> Tensor:
    """Computes how close each row is to its nearest candidates.

    Args:
        closeness: (differ, agree).
        candidates: (differ, agree) bool.
        counts: (differ,) how many of the candidates, rounded to at least 1.

    Returns:
        (differ,), the mean over these; of any value where there are fewer.
    """
    chosen = counts.round().long().clamp(1, closeness.shape[1])
    nearest = closeness.masked_fill(~candidates, -1.0).sort(dim=1, descending=True).values
    sums = nearest.double().cumsum(dim=1).gather(1, chosen[:, None] - 1)[:, 0]
    return (sums / chosen).float()
