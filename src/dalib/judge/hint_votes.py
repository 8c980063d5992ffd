"""Votes of hints that no training has seen for one of two models: weak labels, counted as far as they are trusted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dalib.judge.groups import design_effect

if TYPE_CHECKING:
    from torch import Tensor

    from dalib.judge.annotator import Annotator

MOST_LOG_ODDS = math.log(9)
"""Log odds that hints add at most, a probability of 90%, as :data:`dalib.judge.comparison.MIN_CERTAINTY`: hints of one
hand may all be wrong in one way, which the adapted model has learned from the others. Labels need no such bound."""


@dataclass(frozen=True)
class HintVotes:
    """Hints that name the class of exactly one of two models that differ.

    Attributes:
        first, second: number of hints that speak for each model.
        weights: sums over them of the trust in a hint, in [0, 1].
        count: all hints that no training has seen.
        effect: how many votes count as one, where images that belong together vote.
    """

    first: int
    second: int
    weights: tuple[float, float]
    count: int
    effect: float = 1.0

    @property
    def log_odds(self) -> float:
        r"""Log odds that the first model is better, by these votes alone, at most MOST_LOG_ODDS on either side.

        .. math:: \log \frac{P(p > 1/2)}{P(p < 1/2)}, \quad p \sim \mathrm{Beta}(1 + v, 1 + w)

        with v and w the weights of either model's votes: where equally good hints name the classes of two models
        equally often, they are equally good.

        >>> round(HintVotes(9, 5, (9.0, 5.0), count=30).log_odds, 1)
        1.7
        >>> HintVotes(9, 3, (0.0, 0.0), count=30).log_odds
        0.0
        """
        from scipy.special import betainc  # here, because it takes a while

        first, second = (1 + each / self.effect for each in self.weights)
        for_first, for_second = float(betainc(second, first, 0.5)), float(betainc(first, second, 0.5))
        tiny = 1e-12
        found = math.log(max(tiny, for_first)) - math.log(max(tiny, for_second))
        return max(-MOST_LOG_ODDS, min(MOST_LOG_ODDS, found))

    def in_words(self, second: str) -> str:
        """Returns a sentence that counts the votes for the adapted model and for another one.

        >>> HintVotes(9, 3, (4.5, 1.5), count=30).in_words("aligned").split("; ")[1]
        'they count as 4.5 and 1.5 labels'
        """
        counted = "{:.1f} and {:.1f} labels".format(*(each / self.effect for each in self.weights))
        return (
            f"Of {self.count} hints that were held back from training, {self.first} name the class of the adapted "
            f"model alone, {self.second} that of the {second} one; they count as {counted}"
        )


def hint_votes(
    first: Tensor,
    second: Tensor,
    hints: Tensor,
    originals: Tensor,
    annotator: Annotator,
    groups: Tensor | None = None,
) -> HintVotes:
    """Counts the hints for either of two models, on the images that the two classify differently.

    A vote weighs as much as hints of its class are worth (:attr:`dalib.judge.annotator.Annotator.worth`), times the
    probability that it is the hint's own and no copy of an original. A copy of one of the two models agrees with it
    whoever is right. The share of copies counts twice, since it is hardly known: hints that agree with a good model
    look like copies of it.

    Args:
        first, second: (N, C) probabilities of the models.
        hints: (N, C) hints that neither model has learned from; rows of zeros are images without one.
        originals: (N, R, C) probabilities of the models that hints may be copies of.
        annotator: what hints are worth.
        groups: (N,) int64, equal for images that belong together; None counts each image.

    Misleads: hints that err where the first model errs, because they were made in the same way, speak for it. Only
    copies of the originals are recognised.
    Source: ours; the sign test of two classifiers, with labels that are right more often than wrong.
    """
    given = hints.sum(dim=1) > 0
    named, one, other = (each.argmax(dim=1) for each in (hints, first, second))
    sides = [given & (one != other) & (named == each) for each in (one, other)]
    own = annotator.own_share(hints, originals, [one, other])
    weight = own * annotator.worth[named]
    effect = 1.0
    if groups is not None and bool((votes := sides[0] | sides[1]).any()):
        signed = (sides[0].double() - sides[1].double())[votes]
        effect = design_effect((signed - signed.mean()).numpy(), groups[votes].numpy())
    return HintVotes(
        int(sides[0].sum()),
        int(sides[1].sum()),
        (float(weight[sides[0]].sum()), float(weight[sides[1]].sum())),
        int(given.sum()),
        effect,
    )
