"""Estimates from labels of a few target images: each model's accuracy, their difference, and class shares."""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch

from dalib.core.console import say, say_result
from dalib.core.errors import Call, Setting, UserError
from dalib.core.files import csv_text, required_path, write_text
from dalib.data.labels import hold_out, read_target_labels
from dalib.judge.sampling import estimate_difference, estimate_mean
from dalib.judge.shares import shares_with_labels
from dalib.judge.unknown import open_set_accuracies
from dalib.records.estimate import OpenSet, Share
from dalib.records.folder import RunFolder
from dalib.records.labelled import Labelled, LabelledValue
from dalib.records.selection import Measurement
from dalib.records.summary import Summary
from dalib.run.groups import groups_of_target
from dalib.run.measure import open_set_of, say_if_optimistic
from dalib.run.select import settle
from dalib.run.target_predictions import classes_of, configuration_of, target_predictions, where_models_differ

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from dalib.data.labels import TargetLabels
    from dalib.judge.groups import Integers
    from dalib.judge.sampling import LabelledEstimate
    from dalib.records.selection import ModelName

MOST_SHARES = 3
"""Class shares in a line, the largest."""

FEWEST_FAIR = 10
"""Labels that no model was trained on, to select a model by where the adapted one was trained on the others."""

_AS_A_LIST = "; give the name of a file with the columns path and label, as frame.to_csv(name, index=False) writes it"


def evaluate_labels(run: RunFolder | str | Path, file: str | Path, groups: str | None = None) -> Labelled:
    """Estimates each model's accuracy on the target, and their difference, from labels of a few of its images.

    Predictions are looked up in the run; no image is read. A list from :func:`dalib.run.query.query` is judged by how
    it was chosen, any other one as a simple random sample. Where the 95% interval of the difference leaves out 0, the
    better model becomes the selected one, unless the user has chosen (:func:`dalib.run.select.keep`). Labels that the
    adaptation was trained on (--target_labels) have no part in that.

    Args:
        file: the list.
        groups: images that belong together (:func:`dalib.data.groups.find_groups`); None takes those of the run.

    Returns:
        What is written to ``labelled.json``.

    Raises:
        UserError: a run without predictions, or a list that does not fit (``data.labels``).
    """
    run, file = RunFolder.of(run), required_path(file, "labels", instead=_AS_A_LIST)
    _require_list(run, file)
    names, predictions = target_predictions(run)
    classes = classes_of(run)
    given = read_target_labels(file, names, classes, Summary.read(run.summary).target, argument="labels")
    together = groups_of_target(run, names, groups)
    trained_on = _trained_on(run, names, classes)
    learnt = torch.isin(given.rows, given.rows if trained_on is None else trained_on)
    notes, known = [], 0 if trained_on is None else int(learnt.sum())
    if known:
        notes.append(
            f"adapted was trained on {known} of these labels ({Setting('target_labels')}), so it does better on these "
            f"images than on others like them; for a fair number label other images: "
            f"{Call('dalib.run.query.query')} with another {Setting('seed')}"
        )
    labels = _Labels(given, predictions, file, together, len(classes))
    found = _estimated(labels)
    result = _as_result(found, labels, notes)
    if known:
        result = replace(result, trained_on=known)
    result = replace(result, shares=_class_shares(labels.without_adapted() if learnt.any() else labels))
    _say(result, found)
    result.write(run.labelled)
    _write_shares(run, result, classes)
    if len(predictions) < 2:
        say_result(f"{run.selection().sentence}; it is the only one")
        return result
    fair = found
    if learnt.any():
        others = int((~learnt).sum())
        if others < FEWEST_FAIR:
            say_result(
                f"Labels that adapted was trained on, or may have been, select no model, and {others} others are too "
                f"few. {run.selection().sentence}"
            )
            return result
        say(f"the selection goes by the {others} labels that adapted was not trained on")
        fair = _estimated(replace(labels, given=given.taken(~learnt)))
    _decide(run, fair, file, held=False)
    return result


def _require_list(run: RunFolder, file: str) -> None:
    """Raises UserError: a folder, as of labelled images, in place of a list of labels."""
    if Path(file).is_dir():
        raise UserError(
            Setting("labels", file),
            ": expected a list of some of the target's images, got a folder; to measure on a folder with one folder "
            "of images for each class: ",
            Call("dalib.run.measure.evaluate", Setting("run", run.root), Setting("data", file)),
        )


def judge_held_out(run: RunFolder, file: str, held_out: TargetLabels) -> Labelled:
    """Estimates both models' accuracy from those of --target_labels that no training saw, and let it decide.

    The process that trains calls it, which holds the run's lock, once the run's predictions are written.

    Returns:
        What :func:`evaluate_labels` returns. It is written where the run has no labels that a person gave later.
    """
    names, predictions = target_predictions(run)
    say(f"judging by {len(held_out.rows)} labels of {file} that were held out from training")
    labels = _Labels(held_out, predictions, file, groups_of_target(run, names), len(classes_of(run)))
    found = _estimated(labels)
    result = replace(_as_result(found, labels, []), held_out=True)
    _say(result, found)
    if not run.labelled.is_file() or Labelled.read(run.labelled).held_out:
        result.write(run.labelled)
    if len(predictions) > 1:
        _decide(run, found, file, held=True)
    return result


@dataclass(frozen=True)
class _Labels:
    """Labels of n of the target's N images, with how these were chosen and what the models predict.

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

    def without_adapted(self) -> _Labels:
        """Returns the labels with the predictions of the models before the adaptation, if there are some."""
        before = {name: p for name, p in self.predictions.items() if name != "adapted"}
        return replace(self, predictions=before or self.predictions)

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
class _Estimated:
    """Holds the estimates by labels of each model, and of the difference of the first two.

    ``differ`` is on how many images these name different classes.
    """

    models: dict[str, LabelledEstimate]
    difference: LabelledEstimate | None
    differ: int
    count: int
    notes: list[str]
    groups: int | None = None
    unknown: Share | None = None
    open_sets: dict[str, OpenSet] | None = None


def _estimated(labels: _Labels) -> _Estimated:
    """Returns what labels tell of the models; with unknown images, of these too."""
    models = {name: labels.mean(right) for name, right in labels.right.items()}
    difference = _difference(labels) if len(models) > 1 else None
    if difference is not None:
        models = _fitting(models, difference)
    counted = None if labels.groups is None else len(set(labels.groups.tolist()))
    differ, notes = int(labels.differ.sum()), labels.design[2]
    found = _Estimated(models, difference, differ, len(labels.given.rows), notes, counted)
    unknown = labels.given.labels == labels.num_classes
    expects_others = next(iter(labels.predictions.values())).shape[1] > labels.num_classes
    if not expects_others and not bool(unknown.any()):
        return found
    open_sets = {name: _open_set(predicted, labels) for name, predicted in labels.predicted.items()}
    return replace(found, unknown=_share(labels.mean(unknown)), open_sets=open_sets)


def _open_set(predicted: Tensor, labels: _Labels) -> OpenSet:
    """Returns the measures of one model on known and unknown images."""
    true, num_classes = labels.given.labels, labels.num_classes
    known = true < num_classes
    of_known = Share(None, None, None)
    if bool(known.any()):
        of_known = _share(labels.mean(predicted == true, among=known))
    return open_set_of(of_known, *open_set_accuracies(predicted, true, num_classes, labels.weights))


def _class_shares(labels: _Labels) -> tuple[Share, ...] | None:
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


def _write_shares(run: RunFolder, result: Labelled, classes: Sequence[str]) -> None:
    """Writes the class shares as --prior takes them, and prints where."""
    if result.shares is None:
        return
    rows = [
        [name, *(f"{number:.6g}" for number in (each.value or 0.0, each.low or 0.0, each.high or 0.0))]
        for name, each in zip(classes, result.shares, strict=True)
    ]
    write_text(run.shares, csv_text([("class", "share", "low", "high"), *rows]))
    most = sorted(zip(classes, result.shares, strict=True), key=lambda each: -(each[1].value or 0.0))
    shown = [f"{name} {share}" for name, share in most[:MOST_SHARES]]
    more = f", and {len(classes) - MOST_SHARES} more" if len(classes) > MOST_SHARES else ""
    say_result(f"class shares {', '.join(shown)}{more}: {run.shares}, which {Setting('prior', run.root)} takes")


def _share(estimate: LabelledEstimate) -> Share:
    return Share(None if math.isnan(estimate.value) else estimate.value, estimate.low, estimate.high)


def _as_result(found: _Estimated, labels: _Labels, notes: list[str]) -> Labelled:
    """Returns what labelled.json holds; ``notes`` come after those on how the labels were chosen."""
    notes = [*found.notes, *notes]
    unlabelled = next(iter(found.models.values())).unlabelled
    if unlabelled > 0:
        notes.append(
            f"{unlabelled:.1%} of the target is in strata without a label: the intervals count it from all wrong "
            "to all right"
        )
    return Labelled(
        labels=labels.file,
        count=found.count,
        models={name: _recorded(each) for name, each in found.models.items()},
        target=len(labels.differ),
        design="simple random" if labels.given.population is None else "stratified",
        notes=tuple(notes),
        when=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        difference=None if found.difference is None else _recorded(found.difference),
        baseline=None if found.difference is None else [*found.models][1],
        groups=found.groups,
        unknown=found.unknown,
        open_sets=found.open_sets,
    )


def _say(result: Labelled, found: _Estimated) -> None:
    for name, each in found.models.items():
        say_result(f"{name:12} {each.value:.1%} right on the target ({each.low:.1%} to {each.high:.1%})")
        if found.open_sets is not None:
            say_result(f"{'':12} {found.open_sets[name].in_words()}")
    if found.unknown is not None:
        say_result(f"{'unknown':12} {found.unknown} of the target's images are of none of the classes")
    if found.difference is not None:
        on = f"; they differ on {found.differ} of {result.target} images" if found.differ else ""
        say_result(f"{'difference':12} {_in_words(found.difference)}{on}")
    counted = "" if result.groups is None else f" in {result.groups} groups, which the intervals count"
    say_result(f"from {result.count} labels of {result.target} target images{counted}, 95% intervals")
    for note in result.notes:
        say(f"note: {note}")


def _decide(run: RunFolder, found: _Estimated, file: str, *, held: bool) -> None:
    """Lets the difference decide the run's selection, and prints what came of it."""
    difference = found.difference
    names = [*found.models][:2]
    accuracies = [found.models[name].value for name in names]
    if difference is None or math.isnan(difference.value + sum(accuracies)):
        say_result(run.selection().sentence)
        return
    first, second = (cast("ModelName", name) for name in names)
    measured = Measurement(
        file,
        "labelled",
        found.count,
        first,
        second,
        (accuracies[0], accuracies[1]),
        difference.value,
        difference.low,
        difference.high,
        found.groups,
    )
    say_result(settle(run, measured, held=held))
    say_if_optimistic(run, "labelled", file)


def _design(given: TargetLabels, total: int, file: str, differ: Tensor) -> tuple[Tensor, dict[int, int], list[str]]:
    """Returns the stratum of each labelled image, the size of each stratum, and notes on them.

    A random sample of all is one of the images on which the models differ, and one of the others. How many there are of
    each is known, so that they are taken for strata where each has a label: the accuracies are more precise then, and
    their difference is the difference.
    """
    if given.strata is None or given.population is None:
        apart = differ[given.rows].long()
        both = 0 < int(apart.sum()) < len(apart)
        differing = int(differ.sum())
        return (
            apart if both else torch.zeros_like(apart),
            {0: total - differing, 1: differing} if both else {0: total},
            [
                f"the list has no columns of `{Call('dalib.run.query.query')}`: it counts as a simple random "
                "sample of the target; if the images were chosen otherwise, hard ones first or class by class, these "
                "are not the target's numbers"
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
                    Call("dalib.run.query.query"),
                    "` were changed",
                )
            ),
        )
    if listed < total:  # rows were taken out, and with them what they stood for
        population[max(population) + 1] = total - listed
    notes = []
    if len(given.rows) < given.listed:
        notes.append(
            f"{given.listed - len(given.rows)} of {given.listed} images have no label; those with one count as a "
            "random part of all, as when one stops early. If the hard ones were left out, the accuracies are too high"
        )
    return given.strata, population, notes


def _trained_on(run: RunFolder, names: list[str], classes: list[str]) -> Tensor | None:
    """Returns the rows (n,) whose labels the adaptation saw; None where their list is not there any more."""
    config, summary = configuration_of(run), Summary.read(run.summary)
    file = config.get("target_labels")
    if file is None:
        return torch.zeros(0, dtype=torch.int64)
    try:
        given = read_target_labels(file, names, classes, summary.target, argument="target_labels")
    except UserError as error:
        say(f"note: which labels the run was trained on is not known: {error}")
        return None
    # runs of older versions held out none
    if "target_held_out" not in summary.counts:
        return given.rows
    recorded = run.read_groups()
    groups = None if recorded is None else torch.tensor(recorded.target)
    learnt = hold_out(given, config.get("seed", 0), groups)[0]
    return learnt.rows[learnt.labels < len(classes)]  # unknown images teach no class


def _difference(labels: _Labels) -> LabelledEstimate:
    """The first model less the second, from the images on which they differ where the strata keep these apart."""
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
    """The accuracies such that the first less the second is the difference.

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


def _in_words(difference: LabelledEstimate) -> str:
    points = f"({100 * difference.low:+.1f} to {100 * difference.high:+.1f})"
    if difference.low == difference.high == 0:
        return "none: the models agree on every target image"
    if math.isnan(difference.value):
        return f"unknown {points}: no image is labelled on which the models differ"
    verdict = "not clear whether adaptation helped; more labels would tell"
    if difference.low > 0:
        verdict = "adaptation helped"
    elif difference.high < 0:
        verdict = "adaptation hurt"
    return f"{100 * difference.value:+.1f} percentage points {points}: {verdict}"


def _recorded(estimate: LabelledEstimate) -> LabelledValue:
    value = None if math.isnan(estimate.value) else estimate.value
    return LabelledValue(value, estimate.low, estimate.high, estimate.count)
