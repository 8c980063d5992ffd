"""Settings that older versions wrote into files of their own, and that mean something else today.

Until November 2026 ``views.flip`` was a truth value, false unless somebody changed it, which photo views did not read:
they always mirrored. What such a version wrote therefore has a false that nobody chose.

Before there was ``feature_precision`` all features were in float32, in which such a run resumes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_WHOLE = {"method", "out", "seed", "source", "steps", "target"}
"""Settings that a file of a whole configuration has, and that a person hardly writes down together."""

_FLIP, _PRECISION = "views.flip", "feature_precision"


def as_written_today(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings of a run's record, or of a kit, as this version would have written them.

    >>> as_written_today({"views.flip": False, "seed": 0}), as_written_today({"views.flip": "never"})
    ({'views.flip': 'auto', 'seed': 0}, {'views.flip': 'never'})
    """
    today = {False: "auto", True: "always"}
    return {
        name: today[value] if name == _FLIP and isinstance(value, bool) else value for name, value in settings.items()
    }


def changed_meanings(given: Mapping[str, Any]) -> dict[str, str]:
    """Returns the settings of a configuration file that have to be read otherwise, with the value that they mean.

    A whole configuration with a truth value is one of before, because this version writes a word.

    Args:
        given: settings of a file by their dotted names, with values as they are or as they would be typed.

    >>> whole = dict.fromkeys(["method", "out", "seed", "source", "steps", "target"])
    >>> changed_meanings({**whole, "views.flip": False})
    {'views.flip': 'auto', 'feature_precision': 'float32'}
    >>> changed_meanings({**whole, "views.flip": "never", "feature_precision": "auto"}), changed_meanings({"steps": 9})
    ({}, {})
    """
    if not given.keys() >= _WHOLE:
        return {}
    flip = {_FLIP: "auto"} if given.get(_FLIP) in (False, "false") else {}
    return flip if _PRECISION in given else {**flip, _PRECISION: "float32"}
