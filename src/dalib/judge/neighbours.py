"""Votes of similar images for one of two models, without a label."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from dalib.judge.groups import design_effect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


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
    those on which they agree, at the k nearest of the one class and the k nearest of the other, and speaks for the
    model whose class is closer:

    .. math:: \sum_{j \in N_k(i, a_i)} \cos(f_i, f_j) \;\gtrless\; \sum_{j \in N_k(i, b_i)} \cos(f_i, f_j),
        \qquad N_k(i, c) \subseteq \{j : a_j = b_j = c\}

    With features of several networks the sums are over all of them. An image speaks for neither where the sums are
    equal, or where one of the classes is agreed on for fewer than k images: a class that one model has given up.

    Args:
        features: one or more of (N, D) floating point, of the same images by one network each; D may differ. Features
            lean to the model that they were trained with: take those of both models, or those of a network that
            neither has trained.
        first, second: (N,) int64, the classes a and b that the models name.
        neighbours: k >= 1 of each class.
        groups: (N,) int64, equal for images that belong together: none is a neighbour of another, and their votes count
            as as many as they are worth (:func:`dalib.judge.groups.design_effect`).

    Raises:
        ValueError: no features, shapes that do not fit, or no neighbours asked for.

    Misleads: where both models are mostly wrong where they agree. It gives no evidence where both are wrong alike.
    Memory: some numbers for each pair of an image that they differ and one that they agree on.
    Source: ours, by an earlier study (benchmarks/RESULTS.md).

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
    for each in features:
        unit = torch.nn.functional.normalize(each.float(), dim=1)
        closeness = unit[~same] @ unit[same].T
        if groups is not None:
            closeness -= 3 * (groups[~same][:, None] == groups[same])  # after all others
        to_first += _to_class(closeness, first[same], first[~same], neighbours)
        to_second += _to_class(closeness, first[same], second[~same], neighbours)
    speaks = to_first.isfinite() & to_second.isfinite()
    votes = (to_first > to_second).double() - (to_second > to_first).double()
    effect = 1.0 if groups is None else _effect(votes * speaks, groups[~same])
    return Votes(int((speaks & (votes > 0)).sum()), int((speaks & (votes < 0)).sum()), differ, len(first), effect)


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


def _to_class(closeness: Tensor, agreed: Tensor, asked: Tensor, neighbours: int) -> Tensor:
    """Computes how close each row of ``closeness`` is to the nearest columns of the class that it asks for.

    Args:
        closeness: (differ, agree).
        agreed: (agree,) classes of the columns.
        asked: (differ,) a class for each row.

    Returns:
        (differ,), the mean over ``neighbours`` columns; minus infinity where the class has fewer.
    """
    of_class = closeness.masked_fill(agreed != asked[:, None], float("-inf"))
    return of_class.topk(neighbours, dim=1).values.mean(dim=1)
