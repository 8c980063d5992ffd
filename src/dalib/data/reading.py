"""Options of reading images, which all of what opens them share, and what becomes of images that cannot be read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypedDict

from dalib.core.errors import Setting, UserError
from dalib.data.given import may_leave_its_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from dalib.core.files import Unreadable
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


def refuse_unreadable(unreadable: Sequence[Unreadable], argument: str, where: str, strict: bool) -> None:
    """Refuses images that cannot be read, where reading is ``strict``.

    Raises:
        UserError: that, with the first five of them.
    """
    if unreadable and strict:
        listed = "; ".join(f"{each.path}: {each.reason}" for each in unreadable[:5])
        more = f"; and {len(unreadable) - 5} more" if len(unreadable) > 5 else ""
        raise UserError(
            Setting(argument, where),
            f": {len(unreadable)} images cannot be read: {listed}{more}. Mend or remove them, or leave out ",
            Setting("strict"),
            " to skip them",
        )
