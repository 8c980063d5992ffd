"""The time limit of a run: what fits in it is planned before the features, and decided when their speed is known."""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dalib.core.console import say
from dalib.core.errors import Call, Setting, UserError
from dalib.core.words import time_in_words
from dalib.run.recipe import recipe
from dalib.run.settings.presets import PRESETS
from dalib.run.timing.pace import LEAST_STEPS, measure_pace, say_parts, seconds_of_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from dalib.data.preprocessing import Preprocessing
    from dalib.run.settings.config import TrainConfig
    from dalib.run.timing.pace import Counts, Pace

PLANNED_SHARE = 0.92
"""Share of a time limit that is planned for: what else the machine does varies by some percent."""

MOST_TIMES = 10
"""Times the recipe's steps; more are of no use."""

MOST_VIEWS = 32
"""Stored views of an image; more are of no use and take much of a disk."""

OF_THE_LENGTH = ("features", "steps", "self_ensemble.ramp_up_steps", "every.evaluate", "every.checkpoint")
"""Names of the settings that a time limit chooses (:func:`with_length`)."""

_UNITS = {"h": 3600.0, "m": 60.0, "min": 60.0, "s": 1.0}


def time_limit_of(config: TrainConfig) -> float | None:
    """Returns the time limit in seconds; None without one.

    Raises:
        UserError: no time.
    """
    limit = config.time_limit
    if limit is None:
        return None
    text = f"{limit}s" if isinstance(limit, int | float) else limit.replace(" ", "")
    text = f"{text}s" if re.fullmatch(r"[\d.]+", text) else text
    found = re.findall(r"(\d+(?:\.\d+)?)(h|min|m|s)", text)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in found)
    if "".join(number + unit for number, unit in found) != text or seconds <= 0:
        raise UserError(Setting("time_limit", limit), ": expected a time such as 10m, 90s or 1h30m")
    return seconds


def planned_seconds(config: TrainConfig) -> float:
    """Returns the seconds of a time limit that are planned for; 0 without one."""
    return PLANNED_SHARE * (time_limit_of(config) or 0)


@dataclass(frozen=True)
class Recipe:
    """Numbers that a configuration has where time does not matter.

    Attributes:
        steps: optimiser steps of the adaptation.
        views: stored views of an image; None where their number is not to be chosen.
    """

    steps: int
    views: int | None

    @classmethod
    def of(cls, config: TrainConfig, counts: Counts) -> Recipe:
        """Returns the recipe of a configuration; views are to be chosen where they are as many as the preset has."""
        preset = {} if config.preset is None else PRESETS[config.preset]
        views = preset.get("features") if config.features else None
        own = replace(config, steps=preset.get("steps"), epochs=preset.get("epochs"))
        steps = recipe.steps_for(own, counts.training, counts.target)
        return cls(steps, views if views == config.features else None)


def is_open(config: TrainConfig) -> bool:
    """Returns whether the time limit decides how long the trainings are: there is one, and no number of steps."""
    return config.time_limit is not None and config.steps is None and config.epochs is None


class TooShortError(UserError):
    """A time limit that not even the fewest views and steps fit in."""


def fitted_to_time(
    config: TrainConfig, counts: Counts, pace: Pace, left: float, *, usual: Recipe, extracted: bool = False
) -> TrainConfig:
    """Returns the configuration with as many views and steps as fit, in the proportion that the recipe has.

    Args:
        config: without a number of steps.
        left: seconds.
        usual: the views and steps of the recipe; the steps' schedule keeps its proportions.
        extracted: whether the features are there already, so that only steps are to be chosen.

    Raises:
        TooShortError: not even the least fits.
    """
    choices: Sequence[int] = [config.features]
    if usual.views is not None and not extracted:
        choices = range(MOST_VIEWS, 1, -1)
    for views in choices:
        steps = _steps_that_fit(replace(config, features=views), counts, pace, left, usual, extracted=extracted)
        least = usual.steps * views / usual.views if usual.views is not None and len(choices) > 1 else 0
        if steps >= max(LEAST_STEPS, least if views > 2 else 0):
            return with_length(config, views, min(steps, MOST_TIMES * usual.steps), usual)
    shortest = with_length(config, choices[-1], LEAST_STEPS, usual)
    needed = sum(seconds_of_run(shortest, counts, pace, extracted=extracted).values())
    limit = time_limit_of(config)
    assert limit is not None
    lacking = (needed - left) / PLANNED_SHARE
    takes = limit + lacking
    raise TooShortError(
        Setting("time_limit", config.time_limit),
        f": too short here; with {LEAST_STEPS} steps a training, and each image seen as seldom as can be, the run "
        f"takes {f'about {takes:.0f} seconds' if takes < 120 else time_in_words(takes)}; expected at least ",
        Setting("time_limit", _rounded_up(limit + 1.1 * lacking)),
        ", or fewer images",
    )


def _rounded_up(seconds: float) -> str:
    """Returns a time as it is typed: ten seconds by ten below two minutes, then whole minutes.

    >>> _rounded_up(31.5), _rounded_up(119), _rounded_up(130)
    ('40s', '120s', '3m')
    """
    return f"{10 * math.ceil(seconds / 10)}s" if seconds < 120 else f"{math.ceil(seconds / 60)}m"


def _steps_that_fit(
    config: TrainConfig, counts: Counts, pace: Pace, left: float, usual: Recipe, *, extracted: bool
) -> int:
    """Returns the largest number of steps that fits; 0 if none does."""
    low, high = 0, MOST_TIMES * usual.steps + 1
    while high - low > 1:
        middle = (low + high) // 2
        own = with_length(config, config.features, middle, usual)
        if sum(seconds_of_run(own, counts, pace, extracted=extracted).values()) <= left:
            low = middle
        else:
            high = middle
    return low


def with_length(config: TrainConfig, views: int, steps: int, usual: Recipe) -> TrainConfig:
    """Returns the configuration with so many views and steps, and all that happens by the step in proportion."""
    ensemble = config.self_ensemble
    ramp_up = round(ensemble.ramp_up_steps * steps / usual.steps)
    often = max(1, min(config.every.evaluate, steps // 4))
    every = replace(config.every, evaluate=often, checkpoint=min(config.every.checkpoint, often))
    return replace(
        config, features=views, steps=steps, self_ensemble=replace(ensemble, ramp_up_steps=ramp_up), every=every
    )


def check_time_limit(config: TrainConfig, processes: int) -> None:
    """Refuses a time limit that decides the steps of several processes, whose pace one of them cannot measure.

    Raises:
        UserError: that.
    """
    if processes > 1 and is_open(config):
        raise UserError(
            Setting("time_limit", config.time_limit),
            f": the pace is measured by one process, these are {processes}; give ",
            Setting("steps"),
            " instead, which `",
            Call("dalib.run.checks.checks"),
            "` estimates the time of",
        )


def say_choice(config: TrainConfig, parts: Mapping[str, float]) -> None:
    """Prints what was chosen for the time limit, and what the parts of the run take.

    Args:
        config: with the chosen views and steps.
        parts: seconds by name, as :func:`seconds_of_run` returns them.
    """
    views = f"{config.features} views of each image and " if config.features else ""
    limit, seconds = Setting("time_limit", config.time_limit), sum(parts.values())
    say(f"{views}{config.steps} steps a training fit in {limit}: {time_in_words(seconds)} from here, as measured")
    say_parts(parts)


@dataclass
class TimeLimit:
    """Decides how many views and steps fit in the time limit of one run, and watches how fast the machine is.

    Other programs may slow a machine down while a run lasts. So views are counted off one by one while they are
    computed, and the number of steps follows from what the features have left, by a measurement at that moment.

    Attributes:
        asked: the configuration before anything was chosen.
        preprocessing: how rows become the input of a network.
        counts: numbers of images.
        device: where networks compute.
        since: when the run began, by ``time.monotonic``.
        usual: views and steps of the recipe, whose proportion is kept.
        pace: of this machine, as last measured.
        views: views of each image that are there.
    """

    asked: TrainConfig
    preprocessing: Preprocessing
    counts: Counts
    device: torch.device
    since: float
    usual: Recipe
    pace: Pace
    views: int = 0
    _round_began: float | None = field(default=None, init=False)

    @classmethod
    def of(
        cls,
        config: TrainConfig,
        preprocessing: Preprocessing,
        counts: Counts,
        device: torch.device,
        since: float,
        pace: Pace | None = None,
    ) -> TimeLimit:
        """Measures the machine's pace, unless it is known already."""
        pace = pace or measure_pace(config, preprocessing, counts.classes, device)
        return cls(config, preprocessing, counts, device, since, Recipe.of(config, counts), pace)

    def left(self) -> float:
        """Returns the seconds of the limit that are planned for and not over."""
        return planned_seconds(self.asked) - (time.monotonic() - self.since)

    def planned(self) -> TrainConfig:
        """Returns the configuration with the views and steps that seem to fit, and prints them.

        Raises:
            TooShortError: not even the fewest fit.
        """
        config = fitted_to_time(self.asked, self.counts, self.pace, self.left(), usual=self.usual)
        self._say(config, extracted=False)
        return config

    def enough(self, views: int) -> bool:
        """Returns whether no further view should be computed; called before each one, with the number that is there.

        There are at least two. A further one is computed where the time that is left does for it, for the steps that
        the recipe takes with so many views, and for the judgement, all at the speed of the last view.
        """
        now, before = time.monotonic(), self._round_began
        self.views, self._round_began = views, now
        if self.usual.views is None or views < 2 or before is None:
            return False
        expected = max(1e-9, self.pace.view * self.counts.seen)
        slower = max(1.0, (now - before) / expected)
        steps = max(LEAST_STEPS, math.ceil(self.usual.steps * (views + 1) / self.usual.views)) if views > 2 else 0
        config = with_length(self.asked, views + 1, max(LEAST_STEPS, steps), self.usual)
        rest = sum(seconds_of_run(config, self.counts, self.pace, extracted=True).values())
        return slower * (expected + rest) > self.left()

    def fitted(self, config: TrainConfig) -> TrainConfig:
        """Returns the configuration with the number of steps that fit now, by what steps take at this moment.

        Args:
            config: with the planned views and steps.
        """
        views = self.views or config.features
        asked = replace(self.asked, features=views, feature_precision=config.feature_precision)
        now = measure_pace(asked, self.preprocessing, self.counts.classes, self.device, known=self.pace)
        slower = max(1.0, sum(now.steps.values()) / max(1e-9, sum(self.pace.steps.values())))
        self.pace = replace(now, mapped=slower * now.mapped, view=slower * now.view)
        try:
            chosen = fitted_to_time(asked, self.counts, self.pace, self.left(), usual=self.usual, extracted=True)
        except UserError:  # the features took longer than measured, and are kept: the least is better than nothing
            chosen = with_length(asked, views, LEAST_STEPS, self.usual)
        self._say(chosen, extracted=True)
        return chosen

    def _say(self, config: TrainConfig, *, extracted: bool) -> None:
        say_choice(config, seconds_of_run(config, self.counts, self.pace, extracted=extracted))
