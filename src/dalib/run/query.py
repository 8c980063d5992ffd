"""A few target labels: which images to label, and the accuracies that follow from the labels."""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file

from dalib.core.console import CountedProgress, say, say_result
from dalib.core.errors import Call, Setting, UserError
from dalib.core.files import csv_text, expanded, write_text
from dalib.core.words import UNKNOWN, some_of
from dalib.data.folders import describe_unused
from dalib.data.labels import hold_out, read_target_labels
from dalib.data.sources import open_target
from dalib.judge.sampling import choose, estimate_difference, estimate_mean
from dalib.judge.shares import shares_with_labels
from dalib.judge.unknown import open_set_accuracies
from dalib.models.saved import load_description
from dalib.records.candidates import CANDIDATES
from dalib.records.estimate import OpenSet, Share
from dalib.records.folder import RunFolder, models_of
from dalib.records.images import ImageNames
from dalib.records.judgement import Judgement
from dalib.records.labelled import Labelled, LabelledValue
from dalib.records.selection import Measurement
from dalib.records.summary import Summary
from dalib.report.labels import picture_in, write_labelling_page
from dalib.report.sheets import as_image
from dalib.run.groups import groups_of_target
from dalib.run.measure import answers, open_set_of, say_if_optimistic
from dalib.run.select import settle

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from PIL import Image
    from torch import Tensor

    from dalib.data.depth import Range
    from dalib.data.labels import TargetLabels
    from dalib.judge.groups import Integers
    from dalib.judge.sampling import LabelledEstimate, Sample
    from dalib.models.known import KnownRule
    from dalib.records.selection import ModelName

COLUMNS = ("path", "label", "stratum", "population", "weight")

MOST_SHARES = 3
"""Class shares in a line, the largest."""

FEWEST_FAIR = 10
"""Labels that no model was trained on, to select a model by where the adapted one was trained on the others."""


def query(run: RunFolder | str | Path, count: int, out: str, *, seed: int = 0, groups: str | None = None) -> int:
    """Writes a CSV file of target images whose labels estimate accuracies well (:mod:`dalib.judge.sampling`).

    A page beside it, with the ending .html, shows the images and saves the list, where images can be shown.

    The list's columns are ``path``, ``label`` (empty, to be filled in), ``stratum`` and ``population``: where the image
    was chosen from and how many images are there, and ``weight``: how many images it stands for. Predictions are in
    neither: a person who sees them agrees too often.

    Args:
        count: how many images; all of them where the target has no more.
        out: the file; it must not be there, because somebody's labels might be in it.
        seed: equal seeds choose the same images.
        groups: images that belong together (:func:`dalib.data.groups.find_groups`), of which few of one group are
            chosen; None takes those of the run.

    Returns:
        How many images are in the file.

    Raises:
        UserError: a count below 1, a file that is there, or a run without predictions.
    """
    run, out = RunFolder.of(run), expanded(out)
    if count < 1:
        raise UserError(Setting("n", count), ": expected at least 1")
    page = _free_page(out)
    names, predictions = target_predictions(run)
    every = list(predictions.values())
    together = groups_of_target(run, names, groups)
    sample = choose(every[0], every[1] if len(every) > 1 else None, count, seed, together)
    chosen, listed = len(sample.rows), _listed(sample, names)
    write_text(Path(out), csv_text([COLUMNS, *listed]))
    picture_of = _pictures(run, names, sample.rows.tolist())
    with CountedProgress("pictures to label", brief=True) as progress:
        shown = write_labelling_page(
            page,
            columns=COLUMNS,
            rows=listed,
            classes=_classes(run),
            run=run.root,
            csv_file=Path(out),
            picture_of=lambda number: _counted(picture_of, number, chosen, progress),
        )
    for note in _left_out(run):
        say(note)
    if count > chosen:
        say(f"the target has {chosen} images: all of them are in the list")
    of = ""
    if len(every) > 1:
        differ = (every[0].argmax(dim=1) != every[1].argmax(dim=1))[torch.from_numpy(sample.rows)]
        of = f", {int(differ.sum())} of them where {' and '.join([*predictions][:2])} differ"
    if together is not None:
        of += f", of {len(set(together[sample.rows].tolist()))} of {len(set(together.tolist()))} groups"
    say_result(f"{chosen} of {len(names)} target images to label, in {out}{of}")
    given = {} if groups is None else {"groups": groups}
    say_result(_what_to_do(run, out, f"Open {page} in a browser and choose there, or look" if shown else "Look", given))
    return chosen


def _what_to_do(run: RunFolder, out: str, look: str, given: Mapping[str, str]) -> str:
    """Returns instructions for labelling the list; ``given`` are settings that the next command takes as well."""
    more = [Setting(name, value) for name, value in given.items()]
    measuring = Call("dalib.run.query.evaluate_labels", Setting("run", run.root), Setting("labels", out), *more)
    return (
        f"{look} at each image and write its class into the column label: {_some(_classes(run))}.\n"
        "The order is random: you may stop early and leave the rest empty. Don't leave out the hard ones; an image "
        f"of none of these classes is {UNKNOWN}.\n"
        f"Keep the other columns. Then: {measuring}\n"
        f"{run.selection().sentence}; labels can change that"
    )


def _listed(sample: Sample, names: Sequence[str]) -> list[list[str]]:
    """Returns the rows of the list, without its header."""
    chosen = zip(sample.rows.tolist(), sample.strata.tolist(), sample.weights.tolist(), strict=True)
    return [
        [names[row], "", str(stratum), str(sample.population[stratum]), f"{weight:.6g}"]
        for row, stratum, weight in chosen
    ]


def _counted(
    picture_of: Callable[[int], Image.Image | None], number: int, total: int, progress: CountedProgress
) -> Image.Image | None:
    """Returns a picture, and counts it in the progress."""
    picture = picture_of(number)
    progress(number + 1, total)
    return picture


def _free_page(out: str) -> Path:
    """Returns the place of the page beside the list.

    Raises:
        UserError: something is at one of the two places, or there is no folder for them.
    """
    page = Path(out).with_suffix(".html")
    for place in (Path(out), page):
        if place.exists():
            raise UserError(
                Setting("out", out), f": there is a file {place} already, perhaps with labels; give another name"
            )
    if not Path(out).absolute().parent.is_dir():
        raise UserError(Setting("out", out), ": its folder does not exist; make it first")
    return page


def _left_out(run: RunFolder) -> list[str]:
    """Returns the note on files beside the target's images, which no model has predicted."""
    line = describe_unused(Summary.read(run.summary).target, run.read_left_out().target)
    return [line] if line else []


def _range_of(run: RunFolder) -> Range | None:
    """The range that the run's models read images of more than 8 bits with; None where it has no model any more."""
    try:
        return load_description(next(iter(models_of(run).values()))).preprocessing.range
    except UserError:
        return None


def _pictures(run: RunFolder, names: Sequence[str], chosen: Sequence[int]) -> Callable[[int], Image.Image | None]:
    """Returns how the chosen rows look: from their files, or decoded anew where the target is none of files."""
    target = Summary.read(run.summary).target
    if Path(target).exists():
        black_white = _range_of(run)
        return lambda number: picture_in(Path(names[chosen[number]]), black_white)
    config = _configuration(run)
    try:
        description = load_description(next(iter(models_of(run).values())))
        found = open_target(target, description.preprocessing, root=config.get("root"), partner=config.get("source"))
    except UserError:
        return lambda number: None
    if list(found.names) != list(names):
        return lambda number: None
    return lambda number: as_image(found.images[torch.tensor([chosen[number]])][0])


def evaluate_labels(run: RunFolder | str | Path, file: str, groups: str | None = None) -> Labelled:
    """Estimates each model's accuracy on the target, and their difference, from labels of a few of its images.

    Predictions are looked up in the run; no image is read. A list from :func:`query` is judged by how it was chosen,
    any other one as a simple random sample. Where the 95% interval of the difference leaves out 0, the better model
    becomes the selected one, unless the user has chosen (:func:`dalib.run.select.keep`). Labels that the adaptation
    was trained on (--target_labels) have no part in that.

    Args:
        file: the list.
        groups: images that belong together (:func:`dalib.data.groups.find_groups`); None takes those of the run.

    Returns:
        What is written to ``labelled.json``.

    Raises:
        UserError: a run without predictions, or a list that does not fit (``data.labels``).
    """
    run, file = RunFolder.of(run), expanded(file)
    names, predictions = target_predictions(run)
    classes = _classes(run)
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
    found = _estimated(given, predictions, file, together, len(classes))
    result = _as_result(found, file, given, len(names), notes)
    if known:
        result = replace(result, trained_on=known)
    fitted = predictions if not learnt.any() else {n: p for n, p in predictions.items() if n != "adapted"}
    result = replace(result, shares=_class_shares(given, fitted or predictions, file, together, len(classes)))
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
        fair = _estimated(given.taken(~learnt), predictions, file, together, len(classes))
    _decide(run, fair, file, held=False)
    return result


def judge_held_out(run: RunFolder, file: str, held_out: TargetLabels) -> Labelled:
    """Estimates both models' accuracy from those of --target_labels that no training saw, and let it decide.

    The process that trains calls it, which holds the run's lock, once the run's predictions are written.

    Returns:
        What :func:`evaluate_labels` returns. It is written where the run has no labels that a person gave later.
    """
    names, predictions = target_predictions(run)
    say(f"judging by {len(held_out.rows)} labels of {file} that were held out from training")
    found = _estimated(held_out, predictions, file, groups_of_target(run, names), len(_classes(run)))
    result = replace(_as_result(found, file, held_out, len(names), []), held_out=True)
    _say(result, found)
    if not run.labelled.is_file() or Labelled.read(run.labelled).held_out:
        result.write(run.labelled)
    if len(predictions) > 1:
        _decide(run, found, file, held=True)
    return result


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


def _estimated(
    given: TargetLabels, predictions: dict[str, Tensor], file: str, together: Integers | None, num_classes: int
) -> _Estimated:
    expects_others = next(iter(predictions.values())).shape[1] > num_classes
    differ = _differ(predictions)
    strata, population, notes = _design(given, len(differ), file, differ)
    right = {name: p.argmax(dim=1)[given.rows] == given.labels for name, p in predictions.items()}
    groups = None if together is None else together[given.rows.numpy()]
    models = {
        name: estimate_mean(each.long().numpy(), strata.numpy(), population, groups=groups)
        for name, each in right.items()
    }
    difference = _difference(given, differ, right, strata, population, groups) if len(right) > 1 else None
    if difference is not None:
        models = _fitting(models, difference)
    counted = None if groups is None else len(set(groups.tolist()))
    found = _Estimated(models, difference, int(differ.sum()), len(given.rows), notes, counted)
    if not expects_others and not bool((given.labels == num_classes).any()):
        return found
    sample = _Labels(given.labels, strata, population, groups)
    return replace(
        found,
        unknown=_share(sample.mean(given.labels == num_classes)),
        open_sets={
            name: _open_set(p.argmax(dim=1)[given.rows], sample, num_classes) for name, p in predictions.items()
        },
    )


@dataclass(frozen=True)
class _Labels:
    """Labels (n,) with their strata (n,), the sizes of these, and groups (n,) of images that belong together."""

    labels: Tensor
    strata: Tensor
    population: Mapping[int, int]
    groups: Integers | None

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
        """How many images each labelled one stands for, (n,)."""
        labelled = torch.bincount(self.strata)
        sizes = torch.tensor([self.population[number] for number in self.strata.tolist()])
        return sizes.double() / labelled[self.strata]


def _open_set(predicted: Tensor, sample: _Labels, num_classes: int) -> OpenSet:
    """Returns the measures of one model on known and unknown images."""
    known = sample.labels < num_classes
    of_known = Share(None, None, None)
    if bool(known.any()):
        of_known = _share(sample.mean(predicted == sample.labels, among=known))
    return open_set_of(of_known, *open_set_accuracies(predicted, sample.labels, num_classes, sample.weights))


def _class_shares(
    given: TargetLabels, predictions: dict[str, Tensor], file: str, together: Integers | None, num_classes: int
) -> tuple[Share, ...] | None:
    """Returns the share of each class among the target's images of any of them; None where no label is of one.

    The predictions are those of the model that has most of the labelled images right; none may be trained on these.
    """
    strata, population, _ = _design(given, len(next(iter(predictions.values()))), file, _differ(predictions))
    if not bool((given.labels < num_classes).any()):
        return None
    best = max(predictions.values(), key=lambda p: int((p.argmax(dim=1)[given.rows] == given.labels).sum()))
    if best.shape[1] == num_classes:
        best = torch.cat([best, torch.zeros_like(best[:, :1])], dim=1)  # the last class is unknown
    groups = None if together is None else together[given.rows.numpy()]
    found = shares_with_labels(best, given.rows, given.labels, strata, population, groups)
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


def _as_result(found: _Estimated, file: str, given: TargetLabels, target: int, notes: list[str]) -> Labelled:
    """Returns what labelled.json holds; ``notes`` come after those on how the labels were chosen."""
    notes = [*found.notes, *notes]
    unlabelled = next(iter(found.models.values())).unlabelled
    if unlabelled > 0:
        notes.append(
            f"{unlabelled:.1%} of the target is in strata without a label: the intervals count it from all wrong "
            "to all right"
        )
    return Labelled(
        labels=file,
        count=found.count,
        models={name: _recorded(each) for name, each in found.models.items()},
        target=target,
        design="simple random" if given.population is None else "stratified",
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
        on = f"they differ on {found.differ} of {result.target} images"
        say_result(f"{'difference':12} {_in_words(found.difference)}; {on}")
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


def target_predictions(run: RunFolder) -> tuple[list[str], dict[str, Tensor]]:
    """Returns the names of the target's images and each model's probabilities (N, C).

    Of a run that expects images of none of its classes they are (N, C + 1), with unknown as the last class.

    The first two models are those that labels have to tell apart: the adapted one, and the baseline that is selected
    or, where adapted is, that it was judged beside.

    Raises:
        UserError: not in the run's folder, or damaged.
    """
    missing = [path.name for path in (run.predictions, run.images) if not path.is_file()]
    if missing:
        raise UserError(
            Setting("run", run.root),
            f": {' and '.join(missing)} missing; training has not finished (",
            Call("dalib.run.train.train", Setting("out", run.root), Setting("resume", True)),
            "), or the run was made by an older version (again: ",
            Call("dalib.run.train.train", Setting("config", run.config), Setting("out", "NEW")),
            ")",
        )
    names = list(ImageNames.read(run.images).target)
    try:
        tensors = load_file(run.predictions)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{run.predictions}: cannot be read ({error}); the file is damaged") from None
    found = {name: tensors[f"target/{name}"] for name in _compared_first(run) if f"target/{name}" in tensors}
    shapes = {tuple(p.shape) for p in found.values()}
    if not found or shapes != {(len(names), len(_classes(run)))}:
        raise UserError(
            f"{run.predictions}: expected predictions of {len(names)} target images, as in {run.images.name}, and "
            f"{len(_classes(run))} classes; the file is damaged"
        )
    rules = _rules(run)
    return names, {name: answers(p, rules.get(name)) for name, p in found.items()}


def _rules(run: RunFolder) -> dict[str, KnownRule | None]:
    """Returns each model's rule for unknown images; empty where the run has no model any more."""
    try:
        return {name: load_description(folder).known for name, folder in models_of(run).items()}
    except UserError:
        return {}


def _compared_first(run: RunFolder) -> list[str]:
    """Returns the names that models may have, those that are compared first."""
    selected = run.selection().model
    baseline: str | None = selected if selected != "adapted" else None
    if baseline is None and run.judgement.is_file():
        baseline = Judgement.read(run.judgement).baseline
    first = ["adapted", baseline or "source-only"]
    return [*first, *(each.name for each in CANDIDATES if each.name not in first)]


def _differ(predictions: dict[str, Tensor]) -> Tensor:
    """(N,) bool, on which target images the first two models name different classes; nowhere where there is one."""
    classes = [p.argmax(dim=1) for p in predictions.values()][:2]
    return classes[0] != classes[-1]


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
    config, summary = _configuration(run), Summary.read(run.summary)
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


def _difference(
    given: TargetLabels,
    differ: Tensor,
    right: dict[str, Tensor],
    strata: Tensor,
    population: dict[int, int],
    groups: Integers | None,
) -> LabelledEstimate:
    """The first model less the second, from the images on which they differ where the strata keep these apart."""
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
    one, other = (each[here].tolist() for each in [*right.values()][:2])
    own = None if groups is None else groups[here.numpy()]
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


def _configuration(run: RunFolder) -> dict[str, Any]:
    try:
        content = yaml.safe_load(run.config.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{run.config}: no such file; is the run complete?") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{run.config}: expected YAML ({' '.join(str(error).split())}); the file is damaged") from None
    if not isinstance(content, dict):
        raise UserError(f"{run.config}: expected settings; the file is damaged")
    return content


def _classes(run: RunFolder) -> list[str]:
    return list(Summary.read(run.summary).classes)


def _some(classes: list[str], most: int = 20) -> str:
    return some_of(classes, most)
