"""The line that a run prints at once: what it trains on, before torch is imported and anything is read or measured.

Knows no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dalib.core.console import prints_for_all, say
from dalib.core.places import in_short
from dalib.core.words import as_one

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def say_opening(
    source: str | Sequence[str], target: str | Mapping[str, str], *, kit: str | None = None, resume: str | Path | None
) -> None:
    """Prints what a run is about to train on; how long it takes is only known some seconds later.

    Args:
        source: place of the labelled images, or several.
        target: place of the target, or those of several by their names.
        kit: what stands in for the source.
        resume: folder of the run that resumes.
    """
    if not prints_for_all():
        return
    if resume is not None:
        say(f"resuming {resume}")
        return
    targets = target if isinstance(target, str) else as_one(list(target.values()))
    origin = f"source {in_short(as_one(source))}" if kit is None else f"kit {kit}"
    say(f"{origin}, target {in_short(targets)}: preparing the run")
