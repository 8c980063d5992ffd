"""Settings of self-ensemble that used to set those of other methods too.

``self_ensemble.alpha``, ``alpha_warmup`` and ``teacher_dropout`` were the only settings of their kind, and the
relatives of self-ensemble took them. Now each method has its own. Where a command line or a file gives the old setting
and not the method's own, the method still takes the old one, so that old files and commands train what they trained.
This table is closed: a new method has settings of its own from the start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container

ONCE_SHARED = {
    "mean-teacher": ("mean_teacher", ("alpha", "alpha_warmup", "teacher_dropout")),
    "fixmatch": ("fixmatch", ("alpha", "alpha_warmup")),
    "adamatch": ("adamatch", ("alpha", "alpha_warmup")),
}
"""The group of each of these methods, and its settings that self-ensemble's used to set."""


def inherited(method: str, given: Container[str]) -> dict[str, str]:
    """Returns the settings of a method that take another setting's value, with the name of that other one.

    Args:
        method: name of the method that is trained.
        given: names of the settings that a command line or a file gives.

    >>> inherited("fixmatch", {"self_ensemble.alpha"})
    {'fixmatch.alpha': 'self_ensemble.alpha'}
    >>> inherited("fixmatch", {"self_ensemble.alpha", "fixmatch.alpha"})
    {}
    """
    group, names = ONCE_SHARED.get(method, ("", ()))
    pairs = {f"{group}.{name}": f"self_ensemble.{name}" for name in names}
    return {own: old for own, old in pairs.items() if old in given and own not in given}
