"""The test whether a model has learnt anything: its accuracy on labelled images against that of guessing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from dalib.core.errors import Message, Setting
from dalib.judge.groups import binomial_tail, design_effect
from dalib.judge.paired import paired_test

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from dalib.judge.comparison import Comparison
    from dalib.judge.evidence import Evidence

FEWEST_LABELLED = 20
"""Labelled images of the source by which a model is tested against chance and its accuracy on the target estimated; by
fewer, a model that has learnt something is too often taken for one that has not."""

CHANCE_LEVEL = 0.05
"""A model whose accuracy guessing reaches less often than this is better than chance; a loss that is no less likely
by accident is none."""

REMEDIES = Message(
    "Train longer (",
    Setting("steps"),
    "), with another learning rate (",
    Setting("optimizer.lr"),
    "), with more source images, or from a larger pretrained network (",
    Setting("backbone"),
    "); if that changes nothing, check the source's labels",
)


def chance_of(correct: int, count: int, rate: float) -> float:
    """Returns how likely guessing is to get at least so many right: the one-sided exact binomial test.

    Args:
        correct: images that the model gets right.
        count: all images.
        rate: probability that a guess is right, such as the share of the largest class.

    Raises:
        ValueError: no images, more correct ones than images, or a rate outside [0, 1].

    Misleads: it takes the rate for known; estimated from few images it is a little off.
    Source: the binomial test, Clopper & Pearson, Biometrika 1934.

    >>> round(chance_of(9, 10, 0.5), 4), chance_of(0, 10, 0.5)
    (0.0107, 1.0)
    """
    if count < 1 or not 0 <= correct <= count or not 0 <= rate <= 1:
        raise ValueError(
            "correct, count, rate: expected 0 <= correct <= count, count > 0 and rate in [0, 1], "
            f"got {correct}, {count} and {rate}"
        )
    from scipy.stats import binomtest  # here, because it takes a second

    return float(binomtest(correct, count, rate, alternative="greater").pvalue)


def guessing_rate(labels: Tensor, predicted: Tensor) -> float:
    """Returns how often a guess is right that predicts each class as often as the model does, without looking.

    It is the agreement by chance of Cohen's kappa. For a model that always predicts the largest class it is that
    class's share, which no other guess exceeds; where classes are equally frequent it is 1 / C for any model.

    Args:
        labels: (N,) int64, the true classes.
        predicted: (N,) int64.

    >>> guessing_rate(torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 0, 0]))
    0.75
    """
    if labels.shape != predicted.shape or labels.ndim != 1 or not len(labels):
        raise ValueError(
            f"labels, predicted: expected both (N,), N > 0; got {tuple(labels.shape)}, {tuple(predicted.shape)}"
        )
    classes = int(torch.maximum(labels.max(), predicted.max())) + 1
    counts = [torch.bincount(each, minlength=classes).double() for each in (labels, predicted)]
    return float((counts[0] * counts[1]).sum()) / len(labels) ** 2


def is_at_chance(labels: Tensor, predicted: Tensor, groups: Tensor | None = None) -> bool:
    """Returns whether a model's accuracy on these images is no better than chance; False for fewer than 20 images.

    Chance is :func:`guessing_rate`, with at most 5% of guesses as good (:func:`chance_of`).

    A model that is right less often than the largest class is frequent is not at chance if it finds rare classes
    better than a guess would: where 95% of a source are of one class, that is all that a useful model may reach.

    Args:
        labels: (N,) int64, the true classes of images that the training has not seen.
        predicted: (N,) int64.
        groups: (N,) int64, equal for images that belong together, which then count as as many as they are worth
            (:func:`dalib.judge.groups.design_effect`); None counts every image.

    Misleads: a model that has learnt a little is called at chance where images are few. Of 20 such models that have
    learnt nothing about one passes.
    Source: ours.

    >>> labels = torch.arange(7).repeat(4)
    >>> is_at_chance(labels, torch.full_like(labels, 3)), is_at_chance(labels, labels)
    (True, False)
    """
    count = len(labels)
    if count < FEWEST_LABELLED:
        return False
    correct = int((labels == predicted).sum())
    if groups is not None:
        effect = design_effect((labels == predicted).double().numpy() - correct / count, groups.numpy())
        tail = binomial_tail(correct / effect, count / effect, guessing_rate(labels, predicted))
        return count / effect >= FEWEST_LABELLED and tail > CHANCE_LEVEL
    return chance_of(correct, count, guessing_rate(labels, predicted)) > CHANCE_LEVEL


def learnt_nothing(evidence: Evidence) -> bool:
    """Returns whether a model is at chance (:func:`is_at_chance`) on the source's validation images."""
    return is_at_chance(evidence.labels, evidence.validation.argmax(dim=1), evidence.validation_groups)


def has_lost(before: Evidence, after: Evidence) -> bool:
    """Returns whether a model is right on significantly fewer of the source's validation images than another one.

    By the paired test of :func:`dalib.judge.paired.paired_test` at 5%: of few images, a model may be at chance without
    being worse than one that is not.

    Args:
        before, after: evidence of the same validation images; ``after`` is the model that may have lost.
    """
    labels = before.labels.numpy()
    right = [each.validation.argmax(dim=1).numpy() == labels for each in (before, after)]
    groups = before.validation_groups
    found = paired_test(right[0], right[1], None if groups is None else groups.numpy())
    return bool(right[0].sum() > right[1].sum()) and found.p <= CHANCE_LEVEL


def without_chance(
    comparison: Comparison, at_chance: Sequence[str], accuracies: Mapping[str, float], *, lost: bool = True
) -> Comparison:
    """Returns the comparison with no model at chance as the better one, as long as there is another.

    Args:
        comparison: comparison of the models without this test.
        at_chance: names of the models that are at chance (:func:`is_at_chance`).
        accuracies: accuracy of each model on the source's validation images.
        lost: whether the adapted model is right on significantly fewer of these than the other one (:func:`has_lost`).
            An adapted model at chance that is not has not been shown to have hurt.

    Where all models are at chance, the headline states that nothing was learnt, and a reason gives the remedy.

    >>> from dalib.judge.comparison import Comparison
    >>> found = without_chance(Comparison("adapted", "helped", "It helped", ()), ["adapted"],
    ...     {"adapted": 0.14, "source-only": 0.9})
    >>> found.better, found.outcome
    ('source-only', 'hurt')
    """
    if not at_chance:
        return comparison
    told = tuple(
        f"The {name} model is right on {accuracies[name]:.1%} of the source's validation images, which is not better "
        "than chance"
        for name in at_chance
    )
    others = [name for name in accuracies if name not in at_chance]
    if not others:
        outcome = comparison.outcome if comparison.outcome in ("alone", "collapsed") else "unclear"
        who = "the model is not" if len(accuracies) == 1 else "no model is"
        headline = f"Nothing was learnt: {who} better than chance on the source's own validation images"
        return replace(comparison, outcome=outcome, headline=headline, reasons=(*told, str(REMEDIES)))
    if "adapted" in at_chance:
        if comparison.outcome == "collapsed":
            return replace(comparison, better=others[0], reasons=(*comparison.reasons, *told))
        # what spoke for the adapted model speaks no more
        reasons = (*told, *(comparison.reasons if comparison.outcome == "hurt" else ()))
        found = replace(comparison, better=others[0], reasons=reasons)
        if lost:
            headline = f"Adaptation seems to have hurt, it lost what {others[0]} had learnt"
            return replace(found, outcome="hurt", headline=headline)
        if comparison.outcome == "hurt":
            return found
        few = f"The adapted model is not clearly worse than {others[0]} on these images, which are few"
        headline = "Can't tell whether adaptation helped: the source has too few validation images"
        return replace(found, outcome="unclear", headline=headline, reasons=(*told, few))
    headline = f"The {at_chance[0]} model learnt nothing, so that there is nothing to compare the adapted one with"
    return replace(comparison, better=others[0], outcome="unclear", headline=headline, reasons=told)
