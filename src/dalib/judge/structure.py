"""Structure of the target in a representation, before any model predicts its classes: neighbours and components."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dalib.core.deviations import to_divide_by

NEIGHBOURS = 10
"""Nearest neighbours of each target image, if there are enough of its class (:func:`neighbours_among`)."""

COMPONENTS = 64
"""Principal components that classifiers see; further ones are mostly noise at a few hundred images."""


@dataclass(frozen=True)
class Representation:
    """Features of both domains by a network that favours none of the judged models.

    Attributes:
        target: (M, D) floating point, of the target images that the models are judged by, in the order of the models'
            predictions.
        source: (N, D) of labelled source images; N may be 0.
        labels: (N,) int64, their classes.
    """

    target: Tensor
    source: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        fits = self.target.ndim == self.source.ndim == 2 and self.source.shape[1:] == self.target.shape[1:]
        if not fits or self.labels.shape != self.source.shape[:1]:
            raise ValueError(
                "target, source, labels: expected (M, D), (N, D) and (N,), "
                f"got {tuple(self.target.shape)}, {tuple(self.source.shape)} and {tuple(self.labels.shape)}"
            )


@dataclass(frozen=True)
class Structure:
    """Neighbours and components in a :class:`Representation`; computed once for any number of models.

    Attributes:
        num_classes: C.
        neighbours: (M, k) int64, the nearest target images of each target image, itself left out.
        target: (M, Q) float32 principal components of the standardised features.
        source: (N, Q) float32, likewise, standardised by the source's own statistics.
        labels: (N,) int64.
        groups: (M,) int64, equal for target images that belong together; None where each counts for itself.
    """

    num_classes: int
    neighbours: Tensor
    target: Tensor
    source: Tensor
    labels: Tensor
    groups: Tensor | None = None


def structure_of(representation: Representation, num_classes: int, groups: Tensor | None = None) -> Structure:
    """Computes neighbours and components of a representation.

    Features are standardised over the images of their own domain, which takes away what all of a domain's images share
    (AdaBN does the same inside a network); principal components are those of both domains together.

    Args:
        representation: M >= 2 target images.
        num_classes: C >= 2.
        groups: (M,) int64, equal for target images that belong together, which are then no neighbours of each other as
            long as there are others; None where each counts for itself.

    Memory: M^2 numbers; a run gives at most 2000 images.
    """
    if len(representation.target) < 2 or num_classes < 2:
        raise ValueError(
            f"representation, num_classes: expected at least 2 target images and 2 classes, "
            f"got {len(representation.target)} and {num_classes}"
        )
    target, source = standardized(representation.target), standardized(representation.source)
    unit = torch.nn.functional.normalize(target, dim=1)
    similarity = (unit @ unit.T).fill_diagonal_(-torch.inf)
    if groups is not None:
        similarity = similarity - 3 * (groups[:, None] == groups)  # of cosines from -1 to 1
    neighbours = similarity.topk(min(neighbours_among(len(target), num_classes), len(target) - 1), dim=1).indices
    both = components(torch.cat([target, source]))
    return Structure(num_classes, neighbours, target @ both, source @ both, representation.labels, groups)


def neighbours_among(count: int, num_classes: int) -> int:
    """Returns how many neighbours each of ``count`` images has: at most half of the mean number of images of a class.

    Of more, images of other classes would be the majority however good the features are.

    >>> [neighbours_among(count, 16) for count in (60, 160, 500)]
    [1, 5, 10]
    """
    return max(1, min(NEIGHBOURS, count // (2 * num_classes)))


def standardized(features: Tensor) -> Tensor:
    """Returns features (N, D) as float32 with mean 0 and standard deviation 1; a constant feature becomes 0."""
    values = features.float()
    if len(values) < 2:
        return values
    centred: Tensor = values - values.mean(dim=0)
    return centred / to_divide_by(values.std(dim=0))


def components(features: Tensor) -> Tensor:
    """Returns the first 64 principal directions (D, Q) of centred features (N, D).

    From the (D, D) or the (N, N) products, whichever are fewer.
    """
    count, width = features.shape
    kept = min(COMPONENTS, count, width)
    values = features.double()
    if width <= count:
        return _last_eigenvectors(values.T @ values, kept).float()
    vectors = _last_eigenvectors(values @ values.T, kept)
    return torch.nn.functional.normalize(values.T @ vectors, dim=0).float()


def _last_eigenvectors(products: Tensor, count: int) -> Tensor:
    """Returns the eigenvectors (N, count) of the largest eigenvalues of products (N, N), which it overwrites.

    SciPy computes no others; torch computes all, in twice the time.
    """
    from scipy.linalg import eigh  # here, because most starts need none

    last = len(products) - 1
    found = eigh(products.cpu().numpy(), subset_by_index=[last + 1 - count, last], overwrite_a=True)
    return torch.from_numpy(found[1]).flip(1).to(products.device)
