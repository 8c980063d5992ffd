"""Other packages that own the import name ``dalib``; an old library of that name is on PyPI."""

from __future__ import annotations

import importlib.metadata
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def import_conflicts(distributions: Iterable[str] | None = None, path: Sequence[str] | None = None) -> list[str]:
    """Returns a sentence for each other owner of the import name ``dalib``.

    Args:
        distributions: those that claim the import name; by default the installed ones.
        path: where Python looks for modules; by default ``sys.path``.
    """
    if distributions is None:
        distributions = _installed_owners()
    others = sorted(set(distributions) - {"dalib"})
    sentences = [
        f"the installed distribution {name} also owns the import name dalib; pip uninstall {name}" for name in others
    ]
    ours = Path(__file__).resolve().parents[1]
    for entry in sys.path if path is None else path:
        other = Path(entry or ".").resolve() / "dalib"
        if (other / "__init__.py").is_file() and other != ours:
            sentences.append(
                f"{other} is another package of the name dalib; remove it, or Python may import it instead"
            )
    return sentences


@cache
def _installed_owners() -> tuple[str, ...]:
    """Returns the installed distributions that own the import name; all that is installed is read, once."""
    return tuple(importlib.metadata.packages_distributions().get("dalib", []))
