"""The time limit of a run: what fits in it is planned before the features, and decided when their speed is known."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dalib.core.errors import UserError
from dalib.run.pace import (
    LEAST_STEPS,
    SHARE,
    Recipe,
    fitted_to_time,
    measure_pace,
    say_choice,
    seconds_of_run,
    time_limit_of,
    with_length,
)

if TYPE_CHECKING:
    import torch

    from dalib.data.preprocessing import Preprocessing
    from dalib.run.config import TrainConfig
    from dalib.run.pace import Counts, Pace


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
        cls, config: TrainConfig, preprocessing: Preprocessing, counts: Counts, device: torch.device, since: float
    ) -> TimeLimit:
        """Measures the machine's pace."""
        pace = measure_pace(config, preprocessing, counts.classes, device)
        return cls(config, preprocessing, counts, device, since, Recipe.of(config, counts), pace)

    def left(self) -> float:
        """Returns the seconds of the limit that are planned for and not over."""
        return SHARE * (time_limit_of(self.asked) or 0) - (time.monotonic() - self.since)

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
