"""``images.json``, ``groups.json`` and ``left_out.json``: the names of a run's images, which of them belong together,
and the names of files beside them that are not used."""

from __future__ import annotations

from dataclasses import dataclass

from dalib.core.files import Unreadable  # noqa: TC001 - the hints are read at run time
from dalib.records.content import Record


@dataclass(frozen=True)
class ImageNames(Record):
    """The names of the images that predictions.safetensors has rows of, in the order of the rows.

    Attributes:
        target: of the target's images.
        validation: of the source's validation images.
    """

    target: tuple[str, ...]
    validation: tuple[str, ...] = ()
    version: int = Record.VERSION


@dataclass(frozen=True)
class ImageGroups(Record):
    """Images that belong together, in the order of images.json.

    Attributes:
        definition: what defines them: a column of a list, or a regular expression.
        how: the same in words; empty where it groups nothing in the target.
        source: number of groups of the whole source.
        target: a number for each target image, equal for images of one group.
        validation: likewise for the source's validation images.
    """

    definition: str
    how: str
    source: int
    target: tuple[int, ...]
    validation: tuple[int, ...] = ()
    version: int = Record.VERSION


@dataclass(frozen=True)
class LeftOut(Record):
    """Files and folders beside the images that are not used, by their names, with the reason of each."""

    source: tuple[Unreadable, ...] = ()
    target: tuple[Unreadable, ...] = ()
    version: int = Record.VERSION
