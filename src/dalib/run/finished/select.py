"""Selects a model of a run: at the end of training, and again after measurements or by the user.

The record is ``selection.json`` (:class:`dalib.records.selection.Selection`), and writing this one file is the switch:
a process that dies before it leaves the old selection, one that dies after it the new one. No model is moved or
deleted, so that a reader that has found its model's folder reads on undisturbed. ``model/`` is brought in step
afterwards, a file at a time; nothing of dalib's reads it where the models have folders of their own.
"""

from __future__ import annotations

import filecmp
import os
import shutil
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

from dalib.core.console import say
from dalib.core.errors import Call, Setting, UserError
from dalib.core.files import locked, put_in_place
from dalib.records.content import utc_now
from dalib.records.folder import RunFolder
from dalib.records.selection import ModelName, Selection

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dalib.records.selection import Measurement, SelectedBy

_FILES = ("model.safetensors", "config.json")
"""Files of a model's folder; config.json comes last, because a folder with it counts as a model."""


def sentence_of_one(run: RunFolder) -> str:
    """Returns the sentence on the selected model of a run where there is nothing to choose among."""
    selection = run.selection()
    if selection.model in run.models():
        return f"{selection.sentence}; it is the only one"
    return f"Training has not finished: there is no {selection.model} model, and no model is selected"


def keep(run: RunFolder | str | Path, model: str) -> Selection:
    """Selects a model of the run by hand; no measurement changes this choice any more.

    Args:
        run: a run or its folder.
        model: adapted, aligned or source-only.

    Returns:
        What is selected from now on.

    Raises:
        UserError: the run has no such model, or another process trains in its folder.
    """
    run = RunFolder.of(run)
    found = run.model_folders()
    name = next((name for name in get_args(ModelName) if name == model), None)
    if name is None or name not in found:
        has = ", ".join(found) if found else "no model; training has not finished"
        raise UserError(f"model {model!r}: expected a model of this run; ", Setting("run", run.root), f" has {has}")
    with changing(run) as held:
        if not held:
            raise UserError(
                Setting("run", run.root),
                ": another process trains in this folder or changes its selection; wait until it ends",
            )
        selection = Selection(name, "user", when=utc_now())
        select(run, selection)
    return selection


def conclude(run: RunFolder, model: ModelName, by: SelectedBy) -> Selection:
    """Selects at the end of a training that left the adapted model in ``model/``; its process holds the run's lock.

    A choice that was made by hand before, as when a finished run is trained on, stays; so does a measurement of models
    that have not changed since.
    """
    selection = Selection(model, by, when=utc_now())
    before = _before(run)
    if before is not None and before.model in run.model_folders() and by != "user":
        same = _same_file(run.model / "model.safetensors", run.adapted.model / "model.safetensors")
        if before.by == "user" or (before.by == "measurement" and same):
            selection = before
    selection.write(run.selected)
    if _has_both(run):
        _copy(run.model, run.adapted.model)
    _follow(run, selection)
    return selection


def select(run: RunFolder, selection: Selection) -> None:
    """Makes this the run's selection; the caller holds the run's lock (:func:`changing`)."""
    if _has_both(run) and not (run.adapted.model / "config.json").is_file():
        # a run of an older version, whose adapted model is in model/ alone: without a record, a folder adapted/model
        # would mean that source-only is selected
        if not run.selected.is_file():
            run.selection().write(run.selected)
        _copy(run.model, run.adapted.model)
    selection.write(run.selected)
    _follow(run, selection)


def decided(selection: Selection, measured: Measurement, run: str) -> tuple[Selection, str]:
    """Returns the selection after a measurement of both models, and its sentence.

    The better model is selected where the 95% interval of the difference leaves out 0, unless the user has chosen.

    Args:
        selection: the one from before.
        measured: both models on the same labels, none of which has trained one of them.
        run: the run's folder, for the commands in the sentence.
    """
    better, words = measured.better, measured.in_words()
    if better is None:
        return selection, (
            f"The measurement does not tell the models apart: {words}. The {selection.model} model stays selected"
        )
    if selection.by == "user":
        if better == selection.model:
            return selection, f"The measurement agrees with the choice of {better}. Measured: {words}"
        change = Call("dalib.run.finished.select.keep", Setting("run", run), Setting("model", better))
        return selection, (
            f"The measurement disagrees with the choice of {selection.model}, which stays: the {better} model is "
            f"better. Measured: {words}. To change it: {change}"
        )
    found = replace(selection, model=better, by="measurement", measured=measured, when=utc_now())
    said = "is now" if better != selection.model else "stays"
    return found, f"The {better} model {said} the selected model of this run. Measured: {words}"


@contextmanager
def changing(run: RunFolder) -> Iterator[bool]:
    """Yields whether this process alone may change the run until the block ends: nobody trains in it or selects."""
    with locked(run.lock, wait=False) as state:
        yield state != "busy"


def settle(run: RunFolder, measured: Measurement, *, held: bool = False) -> str:
    """Lets a measurement decide the run's selection; returns the sentence about the outcome.

    Args:
        held: whether the caller holds the run's lock, as a training does.
    """
    if held:
        before = run.selection()
        selection, sentence = decided(before, measured, str(run.root))
        if selection == before:
            return sentence
        if selection.model not in run.model_folders():
            gone = f"The {selection.model} model is better, but it is not in {run.root} any more"
            return f"{gone}. Measured: {measured.in_words()}"
        select(run, selection)
        return sentence
    with changing(run) as free:
        if free:
            return settle(run, measured, held=True)
    return f"RUN {run.root}: another process trains in this folder, so that the selection stays as it is"


def _before(run: RunFolder) -> Selection | None:
    """Returns the selection on record; None without one, or where it cannot be read."""
    try:
        return run.selection() if run.selected.is_file() else None
    except UserError:
        return None


def _has_both(run: RunFolder) -> bool:
    return len(run.model_folders()) > 1


def _follow(run: RunFolder, selection: Selection) -> None:
    """Brings ``model/`` in step with the selection."""
    folder = run.model_folders().get(selection.model)
    if folder is None or folder == run.model:
        return
    try:
        _copy(folder, run.model)
    except OSError as error:  # a full disk, or a file that is open on Windows
        say(f"note: {run.model} is not the selected model ({error}); dalib goes by {run.selected.name}, others may not")


def _copy(folder: Path, to: Path) -> None:
    """Copies a model file by file, each whole or not at all; by hard links, which take no room, where possible."""
    to.mkdir(parents=True, exist_ok=True)
    for name in _FILES:
        if _same_file(folder / name, to / name):
            continue
        temporary = to / f"{name}.tmp"
        temporary.unlink(missing_ok=True)
        try:
            os.link(folder / name, temporary)
        except OSError:  # a file system without hard links
            shutil.copyfile(folder / name, temporary)
        put_in_place(temporary, to / name)


def _same_file(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and (one.samefile(other) or filecmp.cmp(one, other, shallow=False))
