"""Chooses target images to label: a list of them, and a page to label them in."""

from __future__ import annotations

from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from dalib.core.console import CountedProgress, say, say_result, some_classes
from dalib.core.errors import Call, Setting, UserError
from dalib.core.files import csv_text, make_parent, required_path, write_text
from dalib.core.places import behind, in_short
from dalib.core.refusals import require_writable
from dalib.core.words import UNKNOWN, with_unknown
from dalib.data.folders import describe_unused
from dalib.data.labels import read_target_labels
from dalib.data.sources import open_target
from dalib.judge.sampling import choose
from dalib.models.saved import load_description
from dalib.records.folder import RunFolder, models_of
from dalib.records.summary import Summary
from dalib.report.labels import picture_in, write_labelling_page
from dalib.report.sheets import as_image
from dalib.run.finished.groups import groups_of_target
from dalib.run.finished.target_predictions import classes_of, configuration_of, target_predictions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from PIL import Image

    from dalib.data.depth import Range
    from dalib.judge.sampling import Sample

COLUMNS = ("path", "label", "stratum", "population", "weight")

MOST_NAMED = 20
"""Classes that are named on the command line."""


def query(run: RunFolder | str | Path, count: int, out: str | Path, *, seed: int = 0, groups: str | None = None) -> int:
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
        UserError: a count below 1, a negative seed, a file that is there, or a run without predictions.
    """
    run, out = RunFolder.of(run), required_path(out, "out")
    if not isinstance(count, Integral) or count < 1:
        raise UserError(Setting("count", count), ": expected at least 1, a whole number")
    if not isinstance(seed, Integral) or seed < 0:
        raise UserError(Setting("seed", seed), ": expected a whole number of at least 0")
    page = _free_page(out)
    require_writable(page.absolute().parent, Setting("out", out))
    names, predictions = target_predictions(run)
    every = list(predictions.values())
    together = groups_of_target(run, names, groups)
    sample = choose(every[0], every[1] if len(every) > 1 else None, count, seed, together)
    chosen, listed = len(sample.rows), _listed(sample, names)
    notes = [*_left_out(run), *_labelled_before(run, names, sample.rows.tolist())]
    shown = _write(run, Path(out), page, sample.rows.tolist(), names, listed, groups)
    for note in notes + ([] if shown else _not_found(listed[0][0])):
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


def _write(
    run: RunFolder,
    out: Path,
    page: Path,
    rows: Sequence[int],
    names: Sequence[str],
    listed: list[list[str]],
    groups: str | None,
) -> int:
    """Writes the list and the page beside it, or neither; returns how many images the page shows."""
    write_text(out, csv_text([COLUMNS, *listed]))
    picture_of = _pictures(run, names, rows)
    try:
        with CountedProgress("pictures to label", brief=True) as progress:
            return write_labelling_page(
                page,
                columns=COLUMNS,
                rows=listed,
                classes=classes_of(run),
                run=run.root,
                csv_file=out,
                picture_of=lambda number: _counted(picture_of, number, len(rows), progress),
                groups=groups,
            )
    except BaseException:  # also after Ctrl-C among the pictures
        out.unlink(missing_ok=True)  # else the next try refuses to replace the list
        raise


def _not_found(name: str) -> list[str]:
    """Returns the note on an image that no page shows because it is not where its path leads from this folder."""
    path = Path(name)
    if len(path.parts) < 2 or not path.suffix or path.exists() or path.parent.is_file():  # in a shard
        return []
    if path.is_absolute():
        where = "is not there any more; bring the images back and ask for another list"
    else:
        where = (
            f"is not found from {Path.cwd()}: the run has paths from the folder that it was trained in; give the "
            "command there, where the images still are"
        )
    return [f"no page shows the images, because {in_short(name)} {where}, or look at them where they are now"]


def _what_to_do(run: RunFolder, out: str, look: str, given: Mapping[str, str]) -> str:
    """Returns instructions for labelling the list; ``given`` are settings that the next command takes as well."""
    more, selection = [Setting(name, value) for name, value in given.items()], run.selection()
    measuring = Call(
        "dalib.run.finished.label_estimates.evaluate_labels", Setting("run", run.root), Setting("labels", out), *more
    )
    every = classes_of(run)
    of_none = f"an image of none of these classes is {UNKNOWN}" if len(with_unknown(every)) > len(every) else ""
    return (
        f"{look} at each image and write its class into the column label: {some_classes(every, MOST_NAMED)}.\n"
        "The order is random: you may stop early and leave the rest empty. Don't leave out the hard ones"
        f"{f'; {of_none}' if of_none else ''}.\n"
        f"Keep the other columns. Then: {measuring}\n"
        f"{selection.sentence}; labels {'do not' if selection.by == 'user' else 'can'} change that"
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
        UserError: something is at one of the two places, or no folder can be made for them.
    """
    if Path(out).is_dir():  # "." has no name whose ending could be another one
        raise UserError(Setting("out", out), f": there is a folder {Path(out)} already; give another name")
    page = Path(out).with_suffix(".html")
    if Path(out).suffix.lower() == ".html":
        raise UserError(
            Setting("out", out),
            f": expected the name of the list, such as {Path(out).with_suffix('.csv')}; the page to label it on is "
            "written beside it",
        )
    for place in (Path(out), page):
        if place.exists():
            what = "a folder" if place.is_dir() else "a file"
            perhaps = "" if place.is_dir() else ", perhaps with labels"
            raise UserError(Setting("out", out), f": there is {what} {place} already{perhaps}; give another name")
    make_parent(Path(out))
    return page


def _left_out(run: RunFolder) -> list[str]:
    """Returns the note on files beside the target's images, which no model has predicted."""
    line = describe_unused(Summary.read(run.summary).target, run.read_left_out().target)
    return [line] if line else []


def _labelled_before(run: RunFolder, names: Sequence[str], chosen: Sequence[int]) -> list[str]:
    """Returns notes on chosen images that have a label already: in the list before, or in that of a training."""
    few = run.read_labelled()
    trained = configuration_of(run).get("target_labels") if run.config.is_file() else None
    notes = []
    if few is not None and not few.held_out and (count := _labels_of(run, few.labels, names, chosen)):
        notes.append(f"{_have_labels(count)} already{behind(', in ', few.labels)}: copy what is right in the new list")
    if trained is not None and (count := _labels_of(run, trained, names, chosen)):
        notes.append(
            f"{_have_labels(count)} among those that were given to the training{behind(', ', trained)}: a model that "
            "was trained on them does better on these images than on others like them"
        )
    return notes


def _have_labels(count: int) -> str:
    return f"{count} of these images {'has a label' if count == 1 else 'have labels'}"


def _labels_of(run: RunFolder, file: str, names: Sequence[str], chosen: Sequence[int]) -> int:
    """Returns how many of the chosen images have a label in a file; 0 where it cannot be read any more."""
    target = Summary.read(run.summary).target
    try:
        given = read_target_labels(file, names, classes_of(run), target, argument="labels")
    except UserError:
        return 0
    return len({*given.rows.tolist()} & {*chosen})


def _range_of(run: RunFolder) -> Range | None:
    """Returns the range that the run's models read deep images with; None where it has no model any more."""
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
    config = configuration_of(run)
    try:
        description = load_description(next(iter(models_of(run).values())))
        found = open_target(target, description.preprocessing, root=config.get("root"), partner=config.get("source"))
    except UserError:
        return lambda number: None
    if list(found.names) != list(names):
        return lambda number: None
    return lambda number: as_image(found.images[torch.tensor([chosen[number]])][0])
