"""The split of labelled images into two sides that keeps groups whole."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor


def split_by_groups(labels: Tensor, groups: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Splits labelled images so that no group is on both sides, with about the same share of each class.

    The split is made of parts by scikit-learn's ``StratifiedGroupKFold``. Groups that hold all images of a class stay
    on the first side, which would not learn the class otherwise.

    Args:
        labels: (N,) int64.
        groups: (N,) int64, equal for images of one group.
        share: of the second side, in (0, 1).
        seed: equal seeds give equal splits.

    Returns:
        The rows of both sides, ascending int64; either may be empty where there are few groups.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # takes a second to import

    count = len(torch.unique(groups))
    if count < 2:
        return torch.arange(len(labels)), torch.arange(0)
    parts, taken = _parts(share, count)
    splitter = StratifiedGroupKFold(parts, shuffle=True, random_state=seed % 2**32)
    kept = np.zeros(len(labels), dtype=bool)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # classes with fewer images than parts
        # without labels where no class has as many images as there are parts, which scikit-learn refuses
        classes = labels.numpy() if int(labels.bincount().max()) >= parts else np.zeros(len(labels), dtype=np.int64)
        for number, (_, rows) in enumerate(splitter.split(classes, classes, groups.numpy())):
            kept[rows] |= number < taken
    side = torch.from_numpy(kept)
    classes_of_all = torch.unique(labels)
    missing = classes_of_all[~torch.isin(classes_of_all, labels[~side])]
    side &= ~torch.isin(groups, groups[torch.isin(labels, missing)])
    return torch.nonzero(~side).flatten(), torch.nonzero(side).flatten()


def _parts(share: float, groups: int) -> tuple[int, int]:
    """Returns into how many parts groups are split, and how many of these make up the share, nearly.

    >>> _parts(0.1, 500), _parts(0.3, 500), _parts(0.1, 4)
    ((10, 1), (10, 3), (4, 1))
    """
    most = min(groups, 20)
    return min(
        ((parts, taken) for parts in range(2, most + 1) for taken in range(1, parts)),
        key=lambda each: (round(abs(each[1] / each[0] - share), 3), each[0]),
    )
