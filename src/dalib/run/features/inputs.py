"""Inputs of a network: random views of rows for training, plain ones for predictions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor

from dalib.augment.stored import RandomStoredViews, Standardized, StoredView
from dalib.augment.views import View

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Generator

    from dalib.core.types import Augment
    from dalib.models.architecture import Architecture


@dataclass(frozen=True)
class Views:
    """The augmentations of one training; ``common`` is what student and teacher see alike."""

    source: Augment
    student: Augment
    teacher: Augment
    common: Callable[[Tensor, Generator], Tensor] | None = None

    def of_target(self, count: int) -> tuple[Augment, ...]:
        """Returns so many views of the target: the student's, then the teacher's, drawn anew for each further one."""
        return (self.student, *(self.teacher,) * (count - 1))[:count]


@dataclass(frozen=True)
class ViewsOfFeatures(Views):
    """Views that are stored: the student's is one of an image's, each of the teacher's another."""

    standardized: Standardized | None = None

    def of_target(self, count: int) -> tuple[Augment, ...]:
        return tuple(_stored(number, self.standardized) for number in range(count))


@dataclass(frozen=True)
class Inputs:
    """A network, by its architecture, and how rows reach it: augmented for training, plain for predictions."""

    architecture: Architecture
    views: Views
    plain: Callable[[Tensor], Tensor]
    """Preprocessing of the target without augmentation."""
    plain_source: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class StandardizedViews:
    """Standardisations of stored features, each by the statistics of what it is applied to.

    Attributes:
        source: of the source's features.
        target: of random views of the target, to train on.
        plain: of the target without augmentation, to predict. Colours and crops move the mean of the features, in some
            data by more than the domains lie apart, so that the statistics of augmented views do not fit plain ones.
    """

    source: Standardized
    target: Standardized
    plain: Standardized


def feature_inputs(
    architecture: Architecture,
    features_dim: int,
    standardized: StandardizedViews | None = None,
) -> Inputs:
    """Returns the inputs of a training of bottleneck and head on stored features (N, V, D), random ones of the V views.

    Plain is all of what is stored: rows to predict hold the views to average, and no random ones. With
    ``standardized`` features are standardised before the network, which then does not do it.
    """
    architecture = architecture.on_features(features_dim)
    if standardized is None:
        return Inputs(architecture, _views_of_features(None, None), Tensor.float, Tensor.float)
    return Inputs(
        replace(architecture, standardize=False),
        _views_of_features(standardized.source, standardized.target),
        plain=lambda rows: standardized.plain(rows.float()),
        plain_source=lambda rows: standardized.source(rows.float()),
    )


def _views_of_features(of_source: Standardized | None, of_target: Standardized | None) -> ViewsOfFeatures:
    drawn = (RandomStoredViews(1), StoredView(0), *(() if of_source is None else (of_source,)))
    first, second = (_stored(number, of_target) for number in range(2))
    return ViewsOfFeatures(View(Tensor.float, drawn), first, second, RandomStoredViews(), standardized=of_target)


def _stored(number: int, standardized: Standardized | None) -> Augment:
    view = StoredView(number)
    return view if standardized is None else lambda features, generator: standardized(view(features, generator))
