"""A labelled sample of the target: how its images were chosen, and what follows for the models and the classes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from dalib.core.errors import Call, Setting, UserError
from dalib.judge.sampling import estimate_difference, estimate_mean
from dalib.judge.shares import shares_with_labels
from dalib.judge.unknown import open_set_accuracies
from dalib.records.estimate import Share
from dalib.run.finished.measure import open_set_of
from dalib.run.finished.target_predictions import where_models_differ

if TYPE_CHECKING:
    from torch import Tensor

    from dalib.data.labels import TargetLabels
    from dalib.judge.groups import Integers
    from dalib.judge.sampling import LabelledEstimate
    from dalib.records.estimate import OpenSet


@dataclass(eq=False)
class LabelledSample:
    """Labels of n of the target's N images, with how these were chosen and what the models predict.

    What follows from these is computed once; a sample with other predictions is another object.

    Attributes:
        given: the labels, with the columns of the list.
        predictions: name -> (N, C), the models that are compared first.
        file: the list, for errors.
        together: (N,) groups of images that belong together, if any do.
        num_classes: of the run; labels of this number are unknown.
    """

    given: TargetLabels
    predictions: dict[str, Tensor]
    file: str
    together: Integers | None
    num_classes: int

    def without_adapted(self) -> LabelledSample:
        """Returns the labels with the predictions of the models before the adaptation, if there are some."""
        before = {name: p for name, p in self.predictions.items() if name != "adapted"}
        return replace(self, predictions=before or self.predictions)

    def comparing(self, first: str, second: str) -> LabelledSample:
        """Returns the labels with these two models as those that are compared."""
        return replace(
            self, predictions={first: self.predictions[first], second: self.predictions[second], **self.predictions}
        )

    @cached_property
    def differ(self) -> Tensor:
        """(N,) bool: where the first two models name different classes."""
        return where_models_differ(self.predictions)

    @cached_property
    def design(self) -> tuple[Tensor, dict[int, int], list[str]]:
        """The stratum of each labelled image, the size of each stratum, and notes on them; see :func:`_design`."""
        return _design(self.given, len(self.differ), self.file, self.differ)

    @property
    def strata(self) -> Tensor:
        """(n,) the stratum of each labelled image."""
        return self.design[0]

    @property
    def population(self) -> dict[int, int]:
        """The number of target images in each stratum."""
        return self.design[1]

    @cached_property
    def groups(self) -> Integers | None:
        """(n,) groups of the labelled images."""
        return None if self.together is None else self.together[self.given.rows.numpy()]

    @cached_property
    def predicted(self) -> dict[str, Tensor]:
        """Name -> (n,) the classes that each model names of the labelled images."""
        return {name: p.argmax(dim=1)[self.given.rows] for name, p in self.predictions.items()}

    @cached_property
    def right(self) -> dict[str, Tensor]:
        """Name -> (n,) bool: where each model names the label."""
        return {name: classes == self.given.labels for name, classes in self.predicted.items()}

    def mean(self, outcomes: Tensor, among: Tensor | None = None) -> LabelledEstimate:
        """Estimates the mean of outcomes (n,) bool over the target, or over its images that are ``among`` (n,) bool.

        How many images of a stratum are among them is estimated by the labels too, which the interval leaves out.
        """
        chosen = torch.ones_like(outcomes) if among is None else among
        sizes = dict(self.population)
        if among is not None:
            for stratum, size in self.population.items():
                here = self.strata == stratum
                labelled, left = int(here.sum()), int((here & among).sum())
                sizes[stratum] = max(left, round(size * left / labelled)) if labelled else 0
        groups = None if self.groups is None else self.groups[chosen.numpy()]
        return estimate_mean(outcomes[chosen].long().numpy(), self.strata[chosen].numpy(), sizes, groups=groups)

    @property
    def weights(self) -> Tensor:
        """Number of images that each labelled one stands for, (n,)."""
        labelled = torch.bincount(self.strata)
        sizes = torch.tensor([self.population[number] for number in self.strata.tolist()])
        return sizes.double() / labelled[self.strata]


@dataclass(frozen=True)
class SampleEstimates:
    """Estimates by labels of each model, and of the difference of the first two.

    Attributes:
        models: accuracy of each model on the target.
        difference: of the first two; None for one model.
        differ: number of target images on which the first two name different classes.
        count: number of labels.
        notes: how the labels were chosen, as far as it matters for the numbers.
        groups: number of groups of the labelled images.
        unknown: share of the target's images that are of none of the classes.
        open_sets: measures of each model on known and unknown images.
    """

    models: dict[str, LabelledEstimate]
    difference: LabelledEstimate | None
    differ: int
    count: int
    notes: list[str]
    groups: int | None = None
    unknown: Share | None = None
    open_sets: dict[str, OpenSet] | None = None


def estimates_from(labels: LabelledSample) -> SampleEstimates:
    """Returns what labels show about the models; with unknown images, of these too."""
    models = {name: labels.mean(right) for name, right in labels.right.items()}
    difference = _difference(labels) if len(models) > 1 else None
    if difference is not None:
        models = _fitting(models, difference)
    counted = None if labels.groups is None else len(set(labels.groups.tolist()))
    differ, notes = int(labels.differ.sum()), labels.design[2]
    found = SampleEstimates(models, difference, differ, len(labels.given.rows), notes, counted)
    unknown = labels.given.labels == labels.num_classes
    expects_others = next(iter(labels.predictions.values())).shape[1] > labels.num_classes
    if not expects_others and not bool(unknown.any()):
        return found
    open_sets = {name: _open_set(predicted, labels) for name, predicted in labels.predicted.items()}
    return replace(found, unknown=_share(labels.mean(unknown)), open_sets=open_sets)


def _open_set(predicted: Tensor, labels: LabelledSample) -> OpenSet:
    """Returns the measures of one model on known and unknown images."""
    true, num_classes = labels.given.labels, labels.num_classes
    known = true < num_classes
    of_known = Share(None, None, None)
    if bool(known.any()):
        of_known = _share(labels.mean(predicted == true, among=known))
    return open_set_of(of_known, *open_set_accuracies(predicted, true, num_classes, labels.weights))


def class_shares(labels: LabelledSample) -> tuple[Share, ...] | None:
    """Returns the share of each class among the target's images of any of them; None where no label is of one.

    The predictions are those of the model that has most of the labelled images right; none may be trained on these.
    """
    given, num_classes = labels.given, labels.num_classes
    if not bool((given.labels < num_classes).any()):
        return None
    best = labels.predictions[max(labels.right, key=lambda name: int(labels.right[name].sum()))]
    if best.shape[1] == num_classes:
        best = torch.cat([best, torch.zeros_like(best[:, :1])], dim=1)  # the last class is unknown
    found = shares_with_labels(best, given.rows, given.labels, labels.strata, labels.population, labels.groups)
    ends = torch.stack([found.shares, found.low, found.high])[:, :num_classes]
    return tuple(Share(*each) for each in (ends / ends[0].sum()).clamp(max=1).T.tolist())


def _share(estimate: LabelledEstimate) -> Share:
    return Share(None if math.isnan(estimate.value) else estimate.value, estimate.low, estimate.high)


def _design(given: TargetLabels, total: int, file: str, differ: Tensor) -> tuple[Tensor, dict[int, int], list[str]]:
    """Returns the stratum of each labelled image, the size of each stratum, and notes on them.

    A random sample of all is also a random sample of the images on which the models differ, and one of the others. The
    numbers of both are known, so that they are strata where each has a label: the accuracies are more precise then, and
    the accuracies' difference is the estimate of the difference.
    """
    if given.strata is None or given.population is None:
        apart = differ[given.rows].long()
        both = 0 < int(apart.sum()) < len(apart)
        differing = int(differ.sum())
        return (
            apart if both else torch.zeros_like(apart),
            {0: total - differing, 1: differing} if both else {0: total},
            [
                f"the list has no columns of `{Call('dalib.run.finished.query.query')}`: it counts as a simple random "
                "sample of the target; if the images were chosen otherwise, hard ones first or class by class, the "
                "numbers do not hold for the target"
            ],
        )
    population = dict(given.population)
    listed = sum(population.values())
    labelled = torch.bincount(given.strata, minlength=1)
    crowded = [number for number, size in population.items() if number < len(labelled) and labelled[number] > size]
    if listed > total or crowded:
        raise UserError(
            Setting("labels", file),
            *(
                (f": its strata hold {listed} images and the target {total}; it is the list of another run",)
                if listed > total
                else (
                    f": more images are labelled in stratum {crowded[0]} than are in it; the columns of `",
                    Call("dalib.run.finished.query.query"),
                    "` were changed",
                )
            ),
        )
    if listed < total:  # rows were taken out, and with them what they stood for
        population[max(population) + 1] = total - listed
    notes = []
    if without := given.listed - len(given.rows):
        notes.append(
            f"{without} of {given.listed} images {'has' if without == 1 else 'have'} no label; those with one count as "
            "a random part of all, as when one stops early. If the hard ones were left out, the accuracies are too high"
        )
    return given.strata, population, notes


def _difference(labels: LabelledSample) -> LabelledEstimate:
    """Estimates the first model less the second, from the images on which they differ where strata keep these apart."""
    given, differ, strata, population = labels.given, labels.differ, labels.strata, labels.population
    here = differ[given.rows]
    differing = int(differ.sum())
    agreeing = len(differ) - differing
    if given.population is None:  # a random sample of all is one of those on which they differ
        sizes, strata = {0: differing} if differing else {}, torch.zeros_like(given.rows)
    else:
        apart = set(strata[here].tolist())
        sizes = {number: size for number, size in population.items() if number in apart}
        missing = differing - sum(sizes.values())
        if apart & set(strata[~here].tolist()) or missing < 0:  # the strata are those of other predictions
            here, sizes, agreeing = torch.ones_like(here), population, 0
        elif missing:
            sizes[max(population) + 1] = missing
    one, other = (each[here].tolist() for each in [*labels.right.values()][:2])
    own = None if labels.groups is None else labels.groups[here.numpy()]
    return estimate_difference(one, other, strata[here].numpy(), sizes, agreeing, own)


def _fitting(estimates: dict[str, LabelledEstimate], difference: LabelledEstimate) -> dict[str, LabelledEstimate]:
    """Returns the accuracies such that the first less the second is the difference.

    They are it where each stratum has a label. One without a label is left out of the accuracies, which makes each of
    them a share of the rest; the difference knows that there is none where the models agree. The mean of both
    accuracies stays.
    """
    if math.isnan(difference.value):  # no image on which they differ has a label, so that the accuracies are equal
        return estimates
    names = [*estimates][:2]
    half = difference.value / 2
    middle = min(max(sum(estimates[name].value for name in names) / 2, abs(half)), 1 - abs(half))
    fitting = {}
    for name, value in zip(names, (middle + half, middle - half), strict=True):
        each = estimates[name]
        fitting[name] = replace(each, value=value, low=min(each.low, value), high=max(each.high, value))
    return {**estimates, **fitting}
