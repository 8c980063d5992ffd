"""Features of a frozen backbone in place of a run's images: random views to train on, plain ones to predict."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from dalib.core.console import CountedProgress
from dalib.core.places import in_short
from dalib.run.features.feature_space import standardization
from dalib.run.start.domains import join_labelled, taken

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from dalib.core.types import Augment
    from dalib.data.rows import Rows
    from dalib.run.features.feature_space import FeatureSpace
    from dalib.run.features.inputs import Inputs
    from dalib.run.start.domains import DataRequest, Domains, WholeSource


@dataclass(frozen=True)
class _Seen:
    """Images of one domain as the backbone sees them.

    Attributes:
        space: computes their features.
        name: of the domain.
        images: random views of these are trained on.
        view: draws them.
        predicted: images that are predicted.
        predicted_name: what they are.
        what: name of what the space computes.
    """

    space: FeatureSpace
    name: str
    images: Rows
    view: Augment
    predicted: Rows
    predicted_name: str
    what: str = "features"

    def random(self, count: int) -> Rows:
        """Returns the features of so many random views."""
        with CountedProgress(f"{self.what} of {in_short(self.name)}") as progress:
            return self.space.random(self.images, self.view, count, self.name, progress)

    def compute_one(self, number: int) -> None:
        """Computes the random view of a number, which :meth:`random_of_ones` then finds."""
        with CountedProgress(f"features of {in_short(self.name)}, view {number + 1}") as progress:
            self.space.random_one(self.images, self.view, number, self.name, progress)

    def random_of_ones(self, count: int) -> Rows:
        """Returns what :meth:`random` does, of views that were computed one by one."""
        return self.space.random_of_ones(self.images, self.view, count, self.name)

    def plain(self) -> Rows:
        """Returns the features of the plain views of what is predicted."""
        with CountedProgress(f"{self.what} of {in_short(self.predicted_name)}, plain") as progress:
            return self.space.plain(self.predicted, self.predicted_name, progress)


def _seen(
    space: FeatureSpace, domains: Domains, inputs: Inputs, request: DataRequest, what: str = "features"
) -> list[_Seen]:
    """Returns the images of the source, unless a kit stands in for them, and of the target."""
    images, name, found = domains.target.images, request.target, []
    if domains.whole is not None:
        source = request.source_name
        of_validation = domains.validation.images, f"{in_short(source)}, validation"
        found.append(_Seen(space.of_source, source, domains.whole.images, inputs.views.source, *of_validation, what))
    return [*found, _Seen(space, name, images, inputs.views.student, images, name, what)]


def features_of_source(space: FeatureSpace, whole: WholeSource, view: Augment, request: DataRequest) -> Rows:
    """Returns the features (N, V, D) of random views of the whole source, in which runs of other seeds find theirs."""
    with CountedProgress(f"features of {in_short(request.source_name)}") as progress:
        return space.of_source.random(whole.images, view, request.features, request.source_name, progress)


def extract_part(space: FeatureSpace, domains: Domains, inputs: Inputs, request: DataRequest) -> None:
    """Computes the part of one process of the features that :func:`to_features` then finds.

    Args:
        space: see :meth:`dalib.run.features.feature_space.FeatureSpace.for_process`.
        domains, inputs, request: as for :func:`to_features`.
    """
    seen = _seen(space, domains, inputs, request)
    for each in seen:
        each.random(request.features)
    _compute_plain(seen)


def to_features(
    space: FeatureSpace,
    domains: Domains,
    inputs: Inputs,
    request: DataRequest,
    enough: Callable[[int], bool] | None = None,
    what: str = "features",
) -> Domains:
    """Returns the same domains with features in place of images: random views to train on, plain ones to predict.

    The random views are of the whole source, however it is split, so that runs of other seeds find them.

    Args:
        enough: called before each view with the number of views that are there; True leaves the others out. Views are
            then computed one after the other, of both domains in turn.
        what: name of what the space computes, in the progress.
    """
    seen, count = _seen(space, domains, inputs, request, what), request.features
    if enough is not None:
        count = _views_in_turn(seen, count, enough)

    def random(of: _Seen) -> Rows:
        return of.random(count) if enough is None else of.random_of_ones(count)

    train, validation, target = domains.train, domains.validation, seen[-1]
    if domains.drawn is not None:
        train, validation = (
            replace(images, images=drawn.features)
            for images, drawn in zip((train, validation), domains.drawn, strict=True)
        )
    else:
        assert domains.whole is not None
        features = random(seen[0])
        if len(validation.labels):
            features = taken(features, domains.whole.training_rows)
            validation = replace(validation, images=seen[0].plain())
        train = replace(train, images=features)
    of_target = random(target)
    joined = None
    if (labels := domains.labels) is not None:
        labelled = of_target[labels.rows]
        if request.standardize:
            labelled = _as_if_of(train.images, labelled, of_target)
        joined = join_labelled(train, domains.target, labels, labelled, request.batch)
    return replace(
        domains,
        train=train,
        validation=validation,
        target=replace(domains.target, images=of_target),
        to_predict=target.plain(),
        whole=None,
        joined=joined,
    )


def _views_in_turn(seen: list[_Seen], most: int, enough: Callable[[int], bool]) -> int:
    """Computes random views one after the other until there are enough; returns how many there are.

    Plain views come first: no run does without them.
    """
    _compute_plain(seen)
    count = 0
    while not enough(count) and count < most:
        for each in seen:
            each.compute_one(count)
        count += 1
    return count


def _compute_plain(seen: list[_Seen]) -> None:
    for each in seen:
        if len(each.predicted):
            each.plain()


def _as_if_of(source: Rows, labelled: Tensor, target: Rows) -> Tensor:
    """Returns target features (n, V, D) changed so that the source's standardisation gives what the target's would."""
    of_source, of_target = (standardization(features, torch.device("cpu")) for features in (source, target))
    return (of_target(labelled.float()) * of_source.std + of_source.mean).to(labelled.dtype)
