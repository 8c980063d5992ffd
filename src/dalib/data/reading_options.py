"""Options of reading images, which all of what opens them share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypedDict

from dalib.data.given import may_leave_its_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dalib.data.preprocessing import Preprocessing

CachePolicy = Literal["ram", "disk", "off"]
"""Storage of decoded image files: in memory, in a file that is mapped and kept for the next run, or nowhere, each being
decoded once to see that it can be, and again whenever it is needed. Images that are no files are in memory under any
policy."""


class ReadingOptions(TypedDict, total=False):
    """Options that the open functions share, each with the default of :class:`Reading`."""

    strict: bool
    root: str | Path | None
    download: bool
    cache: CachePolicy
    cache_folder: str | Path | None
    allow_outside: bool
    on_progress: Callable[[int, int], None] | None
    on_note: Callable[[str], None] | None
    threads: int | None


@dataclass(frozen=True)
class Reading:
    """Options of one call; :func:`dalib.data.sources.open_source` describes them.

    Attributes:
        argument: the argument that errors name.
    """

    preprocessing: Preprocessing
    argument: str
    strict: bool = False
    root: str | Path | None = None
    download: bool = False
    cache: CachePolicy = "ram"
    cache_folder: str | Path | None = None
    allow_outside: bool = False
    on_progress: Callable[[int, int], None] | None = None
    on_note: Callable[[str], None] | None = None
    threads: int | None = None

    def may_leave(self, where: str | Path) -> bool:
        """Returns whether the paths of a list may leave its folder."""
        return self.allow_outside or may_leave_its_folder(where)
