"""Names of several targets: each is a run of its own in a folder of that name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from dalib.core.errors import ABSENT, Call, Setting, UserError
from dalib.core.files import name_of_path, split_name
from dalib.core.places import same_place
from dalib.core.words import meant
from dalib.records.several import OWN_FILES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
LONGEST_NAME = 60

OF_ONE = {
    "target_labels": "they are labels of one target's images",
    "hints": "they are of one target's images",
    "time_limit": "how many steps fit depends on the target, and the targets would share no source-only model",
}
"""Settings that several targets do not take, and why."""


def named_targets(places: Sequence[str]) -> dict[str, str]:
    """Returns the targets by their names: those of NAME=PLACE, or else the last part of the place.

    Raises:
        UserError: two targets would have one name.

    >>> named_targets(["office31/webcam", "night=street/images"])
    {'webcam': 'office31/webcam', 'night': 'street/images'}
    """
    found: dict[str, str] = {}
    for text in places:
        given, place = split_name(text)
        name = _name_of(place) if given is None else given
        for before, other in found.items():
            if before.casefold() == name.casefold():
                _refuse_twice(other, place)
                raise UserError(
                    Setting("target", text),
                    f": {other} has the name {before}, too, and each target's run is a folder of its name; name them: ",
                    Setting("target", f"{name}-1={other}"),
                    " ",
                    Setting("target", f"{name}-2={place}"),
                )
        found[name] = place
    return found


def _name_of(place: str) -> str:
    """Returns the name of a target that has none: the last part of its place, of a list of images without its ending.

    >>> _name_of("office31/webcam"), _name_of("lists/night.csv"), _name_of("shards/night-{000..012}.tar")
    ('webcam', 'night', 'night-000-012')
    """
    last = name_of_path(place) if Path(place).is_dir() else re.split(r"[/\\]", place.rstrip("/\\"))[-1]
    stem = last if Path(place).is_dir() else Path(last).stem
    return re.sub(r"(?:[^\w-]|-)+", "-", stem).strip("-")[:LONGEST_NAME] or "target"


def _refuse_twice(first: str, second: str) -> None:
    if same_place(first, second):
        raise UserError(Setting("target", second), ": it is there twice; give each target once")


def named_evaluations(given: Sequence[str], targets: Mapping[str, str]) -> dict[str, str]:
    """Returns the labelled sets by the names of their targets: NAME=DATA, or one for each target in their order.

    Raises:
        UserError: a name that no target has, or sets that may be of any target.

    >>> named_evaluations(["w/", "d/"], {"webcam": "a", "dslr": "b"}), named_evaluations(["dslr=d/"], {"dslr": "b"})
    ({'webcam': 'w/', 'dslr': 'd/'}, {'dslr': 'd/'})
    """
    pairs = [split_name(each) for each in given]
    named = [(name, data) for name, data in pairs if name is not None]
    if not named:
        if len(given) == len(targets):
            return dict(zip(targets, given, strict=True))
        raise UserError(
            Setting("evaluate"),
            f": expected one labelled set for each of {len(targets)} targets in their order ({', '.join(targets)}), ",
            f"or {next(iter(targets))}=DATA for some of them; got {len(given)}",
        )
    if len(named) < len(pairs):
        raise UserError(Setting("evaluate"), ": expected either NAME=DATA each time, or never; got both")
    found: dict[str, str] = {}
    for name, data in named:
        if name in found:
            raise UserError(Setting("evaluate", f"{name}={data}"), f": {name} has a labelled set already; give one")
        found[name] = data
    _check_evaluated(found, targets)
    return found


def _check_evaluated(evaluate: Mapping[str, str], targets: Mapping[str, str]) -> None:
    for name in evaluate:
        if name not in targets:
            raise UserError(
                Setting("evaluate"),
                f": expected names of targets ({', '.join(targets)}), got {name!r}{meant(name, targets)}",
            )


def check_targets(targets: object, evaluate: object, others: Mapping[str, object]) -> dict[str, str]:
    """Returns several targets by their names.

    Args:
        targets: the setting of this name.
        evaluate: likewise.
        others: values of the settings in ``OF_ONE``.

    Raises:
        UserError: no target, names that are no folder's, or settings that are of one target alone.
    """
    if not isinstance(targets, dict) or not targets:
        raise UserError(Setting("target"), f": expected a dictionary of names and targets, got {targets!r}")
    folded: dict[str, str] = {}
    for name in targets:
        _check_name(name)
        if (other := folded.setdefault(name.casefold(), name)) != name:
            raise UserError(Setting("target"), f": {other!r} and {name!r} are one folder on some systems; rename one")
    if isinstance(evaluate, str):
        raise UserError(
            Setting("evaluate", evaluate),
            ": expected a labelled set for each target by its name, such as ",
            Setting("evaluate", f"{next(iter(targets))}={evaluate}"),
        )
    if isinstance(evaluate, dict):
        _check_evaluated(evaluate, targets)
    for setting, value in others.items():
        if value is not None:
            raise UserError(
                Setting(setting, value),
                f": {OF_ONE[setting]}; leave it out, or train a run for each target by itself: ",
                Call("dalib.adapt", Setting("target", next(iter(targets.values()))), Setting(setting, ABSENT)),
            )
    return targets


def _check_name(name: str) -> None:
    """Refuses a name that is not one of a folder, on any system, or that the files beside it have."""
    fit = re.fullmatch(r"[\w-][\w.-]*", name) and not name.endswith(".") and len(name) <= LONGEST_NAME
    if not fit or name in OWN_FILES:
        raise UserError(
            Setting("target"),
            f": expected names of letters, digits, - and _, of which each is a run's folder; got {name!r}",
        )
