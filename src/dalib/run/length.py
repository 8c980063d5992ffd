"""The line of a run's length: how long it takes, printed before its images are read, and which model is selected."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from dalib.core.console import say
from dalib.core.errors import Setting
from dalib.core.words import time_in_words
from dalib.data.decoding import decode
from dalib.data.sources import listing_of
from dalib.run.recipe import recipe
from dalib.run.start.domains import Listings
from dalib.run.timing.pace import Counts, measure_pace, say_parts, seconds_of_run
from dalib.run.timing.time_limit import Recipe, fitted_to_time, is_open, planned_seconds, time_limit_of

if TYPE_CHECKING:
    from dalib.run.setup import Setup
    from dalib.run.start.kit import Kit
    from dalib.run.timing.pace import Pace

SHORT = 30
"""Optimiser steps; a training of no more takes hardly longer than measuring how long it takes."""

_DECODED = 12
"""Files of a domain that are decoded to measure how long it takes."""


def say_length(setup: Setup, since: float) -> Pace | None:
    """Prints, before images are read, how long the whole run takes and which model is selected.

    Where source and target are no files, which are read in seconds, it prints only what is to be done; likewise with
    several processes, whose steps wait for each other and cannot be measured by one of them.

    Args:
        setup: of the run.
        since: when it began, by ``time.monotonic``.

    Returns:
        The pace that was measured; None where none was.

    Raises:
        TooShortError: a time limit in which not even the least fits.
    """
    config, alone = setup.config, setup.world.size == 1
    counts, reading = _counted(setup)
    steps = _steps_known(setup, counts)
    if config.time_limit is not None and steps is None:
        pace = None
        if counts is not None and alone:
            pace = measure_pace(config, setup.preprocessing, counts.classes, setup.device)
            left = planned_seconds(config) - (time.monotonic() - since) - reading
            fitted_to_time(config, counts, pace, left, usual=Recipe.of(config, counts))
        limit = Setting("time_limit", config.time_limit)
        say(f"{time_in_words(time_limit_of(config) or 0)} in all ({limit}): {_plan(setup)}")
        return pace
    if counts is None or steps is None or steps <= SHORT or not alone:
        say(f"{_plan(setup)[:1].upper()}{_plan(setup)[1:]}")
        return None
    config = replace(config, steps=steps, epochs=None)
    pace = measure_pace(config, setup.preprocessing, counts.classes, setup.device)
    parts = {"reading": reading, **seconds_of_run(config, counts, pace)}
    say(f"{time_in_words(sum(parts.values()))} in all, as measured on this machine: {_plan(setup)}")
    say_parts(parts)
    return pace


def _steps_known(setup: Setup, counts: Counts | None) -> int | None:
    config = setup.config
    if is_open(config) or (counts is None and config.steps is None and config.epochs is not None):
        return None
    source, target = (0, 0) if counts is None else (counts.training, counts.target)
    return recipe.steps_for(config, source, target)


def _plan(setup: Setup) -> str:
    """Returns the steps of a run, and how its model is selected, in words."""
    config = setup.config
    names = [name for name, _ in recipe.trainings(config)]
    training = " and then the ".join(f"{name} model" for name in names)
    features = "features of the images, then " if config.features else ""
    if config.keep == "adapted" or (len(names) == 1 and config.kit is None):
        return f"{features}training of the {training}, which becomes the selected model"
    by = "measured on labelled images" if config.evaluate is not None else "judged without target labels"
    return f"{features}training of the {training}; the better model, as {by}, becomes the selected model"


BUILT_IN = {("fonts", "digits"): Counts(12000, 1200, 1200, 10, 597)}
"""Numbers of images of what is made or bundled here."""


def counts_of_kit(kit: Kit, target: int) -> Counts:
    """Returns the numbers of images of a run from a kit, whose rows are drawn, and so many target images."""
    validation = len(kit.labels)
    return Counts(kit.rows(target) + validation, validation, target, len(kit.description.classes), drawn=True)


def _counted(setup: Setup) -> tuple[Counts | None, float]:
    """Returns the numbers of images and the seconds of reading them; None where they are not known before."""
    config, kit = setup.config, setup.request.kit
    if (counts := BUILT_IN.get((str(config.source), config.one_target))) is not None:
        return counts, 3.0
    listings = setup.listings or Listings((None,) * len(config.sources), None)
    sources = [
        files or listing_of(each, argument="source", labelled=True, root=config.root)
        for each, files in zip(config.sources, listings.sources, strict=True)
    ]
    target = listings.target or listing_of(config.one_target, argument="target", labelled=False, root=config.root)
    found = [each for each in sources if each is not None]
    if target is None or len(found) < len(sources):
        return None, 0.0
    source = sum(len(each.paths) for each in found)
    classes = len({name for each in found for name in each.classes or ()})
    seconds = 0.0
    for listing in (*found, target):
        some = listing.paths[:: max(1, len(listing.paths) // _DECODED)][:_DECODED]
        since = time.perf_counter()
        decode(some, setup.preprocessing)
        seconds += (time.perf_counter() - since) / max(1, len(some)) * len(listing.paths)
    if kit is not None:
        return counts_of_kit(kit, len(target.paths)), seconds
    validation = round(source * config.data.validation_share)
    return Counts(source, validation, len(target.paths), max(2, classes)), seconds
