"""Measures a run by labels of a few target images: writes and prints the estimates, and lets them select a model."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch

from dalib.core.console import say, say_result
from dalib.core.errors import Call, Setting, UserError
from dalib.core.files import csv_text, required_path, write_text
from dalib.core.places import behind
from dalib.core.refusals import require_writable
from dalib.core.words import counted, difference_in_words, points_in_words, range_in_words, share_in_words
from dalib.data.labels import hold_out, read_target_labels
from dalib.records.candidates import ADAPTED
from dalib.records.content import utc_now
from dalib.records.folder import RunFolder
from dalib.records.labelled import Labelled, LabelledValue
from dalib.records.selection import Measurement
from dalib.records.summary import Summary
from dalib.run.finished.groups import groups_of_target
from dalib.run.finished.labelled_sample import LabelledSample, SampleEstimates, class_shares, estimates_from
from dalib.run.finished.measure import say_if_optimistic
from dalib.run.finished.select import sentence_of_one, settle
from dalib.run.finished.target_predictions import classes_of, configuration_of, target_predictions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from dalib.data.labels import TargetLabels
    from dalib.judge.sampling import LabelledEstimate
    from dalib.records.selection import ModelName

MOST_SHARES = 3
"""Class shares in a line, the largest."""

FEWEST_FAIR = 10
"""Labels that no model was trained on, to select a model by where the adapted one was trained on the others."""

_AS_A_LIST = "; give the name of a file with the columns path and label, as frame.to_csv(name, index=False) writes it"


def evaluate_labels(run: RunFolder | str | Path, file: str | Path, groups: str | None = None) -> Labelled:
    """Estimates each model's accuracy on the target, and their difference, from labels of a few of its images.

    The adapted model is compared with the best of the others, as in :func:`dalib.run.finished.measure.evaluate`.
    Predictions are looked up in the run; no image is read. A list from :func:`dalib.run.finished.query.query` is judged
    by how it was chosen, any other one as a simple random sample. Where the 95% interval of the difference leaves out
    0, the better model becomes the selected one, unless the user has chosen (:func:`dalib.run.finished.select.keep`).
    Labels that the adaptation was trained on (--target_labels) have no part in that.

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
    require_writable(run.root, Setting("run", run.root))
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
            f"{Call('dalib.run.finished.query.query')} with another {Setting('seed')}"
        )
    labels = _beside_best(LabelledSample(given, predictions, file, together, len(classes)))
    found = estimates_from(labels)
    result = _as_result(found, labels, notes)
    if known:
        result = replace(result, trained_on=known)
    result = replace(result, shares=class_shares(labels.without_adapted() if learnt.any() else labels))
    _say(result, found)
    result.write(run.labelled)
    _write_shares(run, result, classes)
    if len(predictions) < 2:
        say_result(sentence_of_one(run))
        return result
    fair = labels
    if learnt.any():
        others = int((~learnt).sum())
        if others < FEWEST_FAIR:
            say_result(
                f"Labels that adapted was trained on, or may have been, select no model, and {others} others are too "
                f"few. {run.selection().sentence}"
            )
            return result
        say(f"the selection goes by the {others} labels that adapted was not trained on")
        fair = replace(labels, given=given.taken(~learnt))
    _decide(run, fair, held=False)
    return result


def _require_list(run: RunFolder, file: str) -> None:
    """Raises UserError: a folder, as of labelled images, in place of a list of labels."""
    if Path(file).is_dir():
        raise UserError(
            Setting("labels", file),
            ": expected a list of some of the target's images, got a folder; to measure on a folder with one folder "
            "of images for each class: ",
            Call("dalib.run.finished.measure.evaluate", Setting("run", run.root), Setting("data", file)),
        )


def judge_held_out(run: RunFolder, file: str, held_out: TargetLabels) -> Labelled:
    """Estimates both models' accuracy from those of --target_labels that no training saw, and let it decide.

    The process that trains calls it, which holds the run's lock, once the run's predictions are written.

    Returns:
        What :func:`evaluate_labels` returns. It is written where the run has no labels that a person gave later.
    """
    names, predictions = target_predictions(run)
    say(f"judging by {counted(len(held_out.rows), 'label')}{behind(' of ', file)}, held out from training")
    together = groups_of_target(run, names)
    labels = _beside_best(LabelledSample(held_out, predictions, file, together, len(classes_of(run))))
    found = estimates_from(labels)
    result = replace(_as_result(found, labels, []), held_out=True)
    _say(result, found)
    if not run.labelled.is_file() or Labelled.read(run.labelled).held_out:
        result.write(run.labelled)
    if len(predictions) > 1:
        _decide(run, labels, held=True)
    return result


def _write_shares(run: RunFolder, result: Labelled, classes: Sequence[str]) -> None:
    """Writes the class shares as --prior takes them, and prints where; none where no label is of a class."""
    if result.shares is None:
        run.shares.unlink(missing_ok=True)  # those of earlier labels
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


def _as_result(found: SampleEstimates, labels: LabelledSample, notes: list[str]) -> Labelled:
    """Returns the content of labelled.json; ``notes`` come after those on how the labels were chosen."""
    notes = [*found.notes, *notes]
    unlabelled = next(iter(found.models.values())).unlabelled
    if unlabelled > 0:
        notes.append(
            f"{share_in_words(unlabelled)} of the target is in strata without a label: the intervals count it from "
            "all wrong to all right"
        )
    return Labelled(
        labels=labels.file,
        count=found.count,
        models={name: _recorded(each) for name, each in found.models.items()},
        target=len(labels.differ),
        design="simple random" if labels.given.population is None else "stratified",
        notes=tuple(notes),
        when=utc_now(),
        difference=None if found.difference is None else _recorded(found.difference),
        baseline=None if found.difference is None else [*found.models][1],
        groups=found.groups,
        unknown=found.unknown,
        open_sets=found.open_sets,
    )


def _say(result: Labelled, found: SampleEstimates) -> None:
    for name, each in found.models.items():
        say_result(
            f"{name:12} {share_in_words(each.value)} right on the target ({range_in_words(each.low, each.high)})"
        )
        if found.open_sets is not None:
            say_result(f"{'':12} {found.open_sets[name].in_words()}")
    if found.unknown is not None:
        say_result(f"{'unknown':12} {found.unknown} of the target's images are of none of the classes")
    if found.difference is not None:
        on = f"; they differ on {found.differ} of {result.target} images" if found.differ else ""
        say_result(f"{'difference':12} {_in_words(found.difference, agree=not found.differ)}{on}")
    grouped = "" if result.groups is None else f" in {counted(result.groups, 'group')}, which the intervals count"
    say_result(f"from {counted(result.count, 'label')} of {result.target} target images{grouped}, 95% intervals")
    for note in result.notes:
        say(f"note: {note}")


def _beside_best(labels: LabelledSample) -> LabelledSample:
    """Returns the labels with the adapted model compared with the best of the others by them, as an evaluation is.

    Of equally good ones it is that of the judgement, which the images were chosen by.
    """
    others = [name for name in labels.predictions if name != ADAPTED]
    if len(others) < 2 or ADAPTED not in labels.predictions:
        return labels
    return labels.comparing(ADAPTED, _best(labels, others))


def _best(labels: LabelledSample, names: Sequence[str]) -> str:
    """Returns the first of the models that labels find the most accurate."""
    values = {name: labels.mean(labels.right[name]).value for name in names}
    return max(names, key=lambda name: -1.0 if math.isnan(values[name]) else values[name])


def _decide(run: RunFolder, labels: LabelledSample, *, held: bool) -> None:
    """Lets labels decide the run's selection, between the selected model and the best of the others, and prints it."""
    selected, file = run.selection().model, labels.file
    names = [*labels.predictions][:2]
    if selected in labels.predictions:
        names = [selected, _best(labels, [name for name in labels.predictions if name != selected])]
    found = estimates_from(labels.comparing(*names))
    difference = found.difference
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


def _in_words(difference: LabelledEstimate, *, agree: bool) -> str:
    points = f"({points_in_words((difference.low, difference.high))})"
    if difference.low == difference.high == 0:
        return f"none: the models {'agree on every target image' if agree else 'are right on equally many images'}"
    if math.isnan(difference.value):
        return f"unknown {points}: no image is labelled on which the models differ"
    verdict = "not clear whether adaptation helped; more labels would tell"
    if difference.low > 0:
        verdict = "adaptation helped"
    elif difference.high < 0:
        verdict = "adaptation hurt"
    return f"{difference_in_words(difference.value)} percentage points {points}: {verdict}"


def _recorded(estimate: LabelledEstimate) -> LabelledValue:
    value = None if math.isnan(estimate.value) else estimate.value
    return LabelledValue(value, estimate.low, estimate.high, estimate.count)
