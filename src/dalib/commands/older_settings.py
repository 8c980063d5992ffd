"""Gives settings of older versions the meaning that they had.

Methods get those of their settings that used to be self-ensemble's (:mod:`dalib.run.settings.once_shared`); the
meaning of files of older versions is in :mod:`dalib.run.settings.older_files`.
"""

from __future__ import annotations

from dalib.commands.given_settings import values_by_place
from dalib.run.settings.older_files import changed_meanings
from dalib.run.settings.once_shared import inherited


def with_older_meanings(arguments: list[str]) -> tuple[list[str], dict[str, str]]:
    """Gives a method those of its settings that :mod:`dalib.run.settings.once_shared` takes from self-ensemble's.

    Returns:
        The arguments, each such setting after the argument or the file that it takes its value from; and the names of
        these settings, with that of the other one.

    >>> with_older_meanings(["train", "--method", "fixmatch", "--self_ensemble.alpha", "0.9", "--seed", "1"])[0]
    ['train', '--method', 'fixmatch', '--self_ensemble.alpha', '0.9', '--fixmatch.alpha=0.9', '--seed', '1']
    """
    if arguments[:1] not in (["train"], ["checks"]):
        return arguments, {}
    every = values_by_place(arguments)
    given = {name: value for values in every.values() for name, value in values.items()}
    taken = inherited(str(given.get("method")), given)
    found = []
    for place, argument in enumerate(arguments):
        found.append(argument)
        values = every.get(place, {})
        found += [f"--{own}={values[old]}" for own, old in taken.items() if old in values]
        found += [f"--{name}={value}" for name, value in changed_meanings(values).items()]
    return found, taken
