"""The source-only model of another run on the same source, taken over bit for bit in place of a training.

A source-only training sees no target: its batches, views and weights follow from the source, the settings and the seed.
Another run's last checkpoint of it is therefore what this run's own training would end with, and is put in its place;
from there on the run goes as one whose source-only training is done.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from dalib.adaptation.methods import adapts
from dalib.core.errors import Setting
from dalib.core.files import write_text
from dalib.records.metrics import MetricsLine, read_metrics
from dalib.run.settings.older_files import as_written_today

if TYPE_CHECKING:
    from pathlib import Path

    from dalib.records.folder import TrainingFolder
    from dalib.records.summary import Summary

OF_TARGET = ("target", "evaluate", "steps", "epochs", "baseline_steps")
"""Settings that may differ: those of the target, and lengths, of which that of the source-only training is compared."""


def differences(before: Summary, now: Summary) -> list[str]:
    """Returns the differences between the source-only trainings of two runs, in words; empty if they are equal.

    >>> from dalib.records.summary import Summary
    >>> differences(Summary(settings={"seed": 0, "steps": 9}), Summary(settings={"seed": 1, "steps": 9}))
    ['seed was 0, is 1']
    """
    then = as_written_today(before.settings)
    names = [name for name in now.settings if name not in OF_TARGET]
    found = [
        f"{Setting(name)} was {then.get(name)}, is {now.settings[name]}"
        for name in names
        if then.get(name) != now.settings[name]
    ]
    lengths = [_length(each) for each in (before, now)]
    if lengths[0] != lengths[1]:
        found.append(f"it has {lengths[1]} steps and not {lengths[0]}")
    same = (
        ("the source's images", before.fingerprints.get("source"), now.fingerprints.get("source")),
        ("the range of the source's images", (before.ranges or {}).get("source"), (now.ranges or {}).get("source")),
        ("the files of weights", before.contents, now.contents),
        ("the weights of the hub", before.hub, now.hub),
        ("the version of dalib", before.dalib, now.dalib),
        ("the version of torch", before.torch, now.torch),
        ("the device", before.device, now.device),
    )
    return found + [f"{what} changed" for what, then, here in same if then != here]


def _length(summary: Summary) -> int | None:
    """Returns the number of steps of the source-only training."""
    settings = summary.settings
    steps = settings.get("steps")
    alone = not adapts(str(settings.get("method")))
    found: int | None = steps if alone else settings.get("baseline_steps") or steps
    return found


def take_over(before: Summary, theirs: TrainingFolder, own: TrainingFolder) -> bool:
    """Puts the last checkpoint of a source-only training in the place of one that has not begun, and its metrics.

    Args:
        before: summary of the run that has it.
        theirs: its training.
        own: the place.

    Returns:
        Whether it is there; False where that training has not ended, or this one has begun.
    """
    name = f"step-{_length(before) or 0:09d}.pt"
    if not (theirs.checkpoints / name).is_file() or any(own.checkpoints.glob("step-*.pt")):
        return False
    own.checkpoints.mkdir(parents=True, exist_ok=True)
    temporary = own.checkpoints / f"{name}.tmp"
    _link(theirs.checkpoints / name, temporary)
    # what it measured on the other run's target says nothing of this one's
    lines = [MetricsLine(each.step, _of_source(each.values)) for each in read_metrics(theirs.metrics)]
    write_text(own.metrics, "".join(f"{line.text}\n" for line in lines))
    temporary.replace(own.checkpoints / name)  # last, because it is what says that the training is there
    return True


def _of_source(values: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if not name.startswith("target_")}


def _link(file: Path, to: Path) -> None:
    """Makes a file of the same content, which takes no room where the file system has links."""
    to.unlink(missing_ok=True)
    try:
        os.link(file, to)  # checkpoints are never changed, only replaced
    except OSError:
        shutil.copyfile(file, to)
