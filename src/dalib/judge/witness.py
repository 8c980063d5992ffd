"""The witness of the classes' names, where models of any origin are judged."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

MIN_RENAMED = 0.2
"""Rise of the agreement of two models, by renaming the classes of one of them, from which the renaming is reported.

Of 198 pairs of a run's models on 66 tasks none has more than 0.09 (benchmarks/LOG.md); classes that were exchanged have
as much as they hold images."""

SMOOTHING = 0.02
"""Share of a head added to each class, so that no class is impossible."""


@dataclass(frozen=True)
class Witness:
    """A labelling of the target that shows whether groups of images have the names of their classes.

    Attributes:
        target: (M, C) probabilities.
        independent: none of the judged models is part of it, or the one that was named for it.
        why: in words, where it is not the reference that was named; otherwise empty.
    """

    target: Tensor
    independent: bool
    why: str = ""


def witness_of(
    targets: Mapping[str, Tensor], heads: Tensor | None, reference: str | None, *, reference_collapsed: bool = False
) -> Witness:
    """Chooses the witness of the classes' names for models of one target.

    Classifiers that learnt from labelled source images, in a representation that none of the models trained, are the
    best there is: on the 66 tasks of the study they find the better of two models as well as the aligned model does,
    the witness of a run, and better than source-only. Without them it is the reference, unless that collapsed: a model
    that predicts few of the classes knows few names. Then, and without a reference, it is the mean of all models.

    Args:
        targets: (M, C) probabilities of each model, by its name.
        heads: (H, M) int64 classes by such classifiers (:func:`dalib.judge.signs.head_classes`); H may be 0; or None.
        reference: name of the model without adaptation.
        reference_collapsed: that it predicts few classes beside the others.

    Misleads: the mean of two models that give each other's names to their groups knows no names.
    Source: ours, by the study of benchmarks/judging.
    """
    first = next(iter(targets.values()))
    if heads is not None and len(heads):
        votes = torch.nn.functional.one_hot(heads, first.shape[1]).double().mean(dim=0) + SMOOTHING
        return Witness(votes / votes.sum(dim=1, keepdim=True), independent=True)
    if reference is not None and not reference_collapsed:
        return Witness(targets[reference], independent=True)
    mean = torch.stack(list(targets.values())).mean(dim=0)
    if reference is None:
        why = (
            "No reference was named: the mean prediction of all models stands in for the model without adaptation, to "
            "tell whether groups of images are called by the right class."
        )
    else:
        why = (
            f"{reference} predicts so few of the classes that it can't tell whether groups of images are called by the "
            "right class; the mean prediction of all models does."
        )
    return Witness(mean, independent=False, why=why)


@dataclass(frozen=True)
class Renamed:
    """Two models that group the images alike and name the groups differently.

    Attributes:
        first, second: their names.
        agreement: share of the images for which they predict the same class.
        matched: that share after the best one-to-one renaming of the second's classes.
        names: C classes: the class of the first that each class of the second stands for.
    """

    first: str
    second: str
    agreement: float
    matched: float
    names: tuple[int, ...]


def renamed_pairs(targets: Mapping[str, Tensor]) -> list[Renamed]:
    """Finds models whose classes agree much better after a renaming, as where columns are in another order.

    Args:
        targets: (M, C) probabilities of each model, by its name.

    >>> p = torch.eye(3).repeat(4, 1)
    >>> [(each.matched, each.names) for each in renamed_pairs({"a": p, "b": p[:, [1, 0, 2]]})]
    [(1.0, (1, 0, 2))]
    """
    from scipy.optimize import linear_sum_assignment  # here, because it takes a second

    found = []
    for one, other in combinations(targets, 2):
        classes = targets[one].shape[1]
        places = targets[other].argmax(dim=1) * classes + targets[one].argmax(dim=1)
        shares = torch.bincount(places, minlength=classes**2).reshape(classes, classes).double() / len(places)
        rows, columns = linear_sum_assignment(shares.numpy(), maximize=True)
        agreement, matched = float(shares.trace()), float(shares[rows, columns].sum())
        if matched - agreement >= MIN_RENAMED:
            found.append(Renamed(one, other, agreement, matched, tuple(columns.tolist())))
    return found
