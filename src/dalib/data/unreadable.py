"""Images that cannot be read, which strict reading refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dalib.core.errors import Setting, UserError
from dalib.core.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dalib.core.files import Unreadable


def refuse_unreadable(unreadable: Sequence[Unreadable], argument: str, where: str, strict: bool) -> None:
    """Refuses images that cannot be read, where reading is ``strict``.

    Raises:
        UserError: that, with the first five of them.
    """
    if unreadable and strict:
        listed = "; ".join(f"{each.path}: {each.reason}" for each in unreadable[:5])
        them = "it" if len(unreadable) == 1 else "them"
        more = f"; and {len(unreadable) - 5} more" if len(unreadable) > 5 else ""
        raise UserError(
            Setting(argument, where),
            f": {counted(len(unreadable), 'image')} cannot be read: {listed}{more}. Mend or remove {them}, or leave ",
            "out ",
            Setting("strict"),
            f" to skip {them}",
        )
