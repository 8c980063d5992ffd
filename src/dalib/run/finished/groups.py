"""Groups of images that belong together, for what is done with a finished run: as it was trained with, or given now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dalib.core.console import say
from dalib.core.errors import UserError
from dalib.data.groups import Groups, ImagesToGroup, find_groups
from dalib.records.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dalib.data.domain_images import LabelledImages
    from dalib.records.folder import RunFolder


def groups_of_target(run: RunFolder, names: Sequence[str], definition: str | None = None) -> NDArray[np.int64] | None:
    """Returns a number (N,) for each target image, equal for those that belong together; None without groups.

    Args:
        names: N names of the target's images, as the run has them.
        definition: a column or an expression (:func:`dalib.data.groups.find_groups`); None takes the run's own.

    Raises:
        UserError: a definition that does not fit the target, or a damaged groups.json.
    """
    if definition is not None:
        target = Summary.read(run.summary).target
        (found,) = find_groups(definition, [ImagesToGroup(f"target {target}", (target,), names)])
        return _told(found, f"target {target}")
    recorded = run.read_groups()
    if recorded is None or not recorded.how:
        return None
    if len(recorded.target) != len(names):
        raise UserError(
            f"{run.groups}: expected groups of {len(names)} target images, got {len(recorded.target)}; the file is "
            "damaged. Restore it from a copy, or delete it, and each image counts for itself"
        )
    return np.array(recorded.target, dtype=np.int64)


def groups_of_labelled(
    run: RunFolder, data: str, labelled: LabelledImages, definition: str | None = None
) -> NDArray[np.int64] | None:
    """Returns a number (N,) for each image of a labelled set, as :func:`groups_of_target` does.

    Where the run's own definition groups nothing in this set, that is printed, and each image counts for itself.

    Raises:
        UserError: a definition was given that does not fit.
    """
    recorded = None if definition is not None else run.read_groups()
    if definition is None and recorded is None:
        return None
    images = ImagesToGroup(data, (data,), labelled.names, labelled.images)
    if definition is not None:
        return _told(find_groups(definition, [images])[0], data)
    assert recorded is not None
    try:
        (found,) = find_groups(recorded.definition, [images])
    except UserError:
        say(f"note: the run's groups ({recorded.definition}) are not in {data}: each image counts for itself")
        return None
    return _told(found, data)


def _told(found: Groups, what: str) -> NDArray[np.int64] | None:
    if not found.how:
        return None
    say(found.in_words(what))
    return found.numbers.numpy()
