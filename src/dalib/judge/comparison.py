"""The verdict without target labels: which of two finished models to select, and why."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import torch

from dalib.core.words import cannot_tell, likelihood, share_in_words, undecided
from dalib.judge.better import (
    PRIOR_LOG_ODDS,
    Signs,
    pairwise,
    prior_of_adapted,
    probability_better,
    signs_of,
    votes_of,
)
from dalib.judge.collapse import MAX_FALL, MIN_CLASSES_KEPT
from dalib.judge.scores import class_vanishing
from dalib.judge.signs import MAX_NAME_MARGIN
from dalib.judge.structure import Representation, standardized

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from dalib.judge.evidence import Evidence, Scored
    from dalib.judge.hint_votes import HintVotes
    from dalib.judge.neighbours import Votes
    from dalib.judge.structure import Structure
    from dalib.records.judgement import Outcome

COLLAPSED = "Adaptation collapsed"
"""The headline of that outcome."""

MIN_CERTAINTY = 0.9
"""The smallest probability at which the verdict is that adaptation helped, or hurt."""

MIN_NAMES_KEPT = 0.0
"""Lower bound of :func:`dalib.judge.signs.names_kept`; below it, groups of images fit other classes better."""

MAX_LISTED_CLASSES = 5
"""Class names in a sentence."""

MIN_IMAGES = 30
"""Target images, or source validation images, that are needed to accuse a model."""

FEWEST_ADAPTED = 10
"""Target images, too few to judge by, from which the adapted model is selected: it was better in 11 of 12 trainings on
10 and 25 images, by 10 points on average, and in 3 of 6 on 3 images (benchmarks/LOG.md)."""

ONE_CLASS = 1.1
"""Effective number of predicted classes up to which a target is predicted as one class: 98% of its images, or more."""


@dataclass(frozen=True)
class Comparison:
    """The comparison of the adapted model and a baseline without a target label.

    Attributes:
        better: the name of the model to select.
        outcome: helped, unclear, hurt, collapsed, or alone where there is nothing to compare.
        headline: the outcome in a sentence, worded as what it is: no measurement.
        reasons: reasons for it, a sentence each.
        probability: probability that the adapted model is the better one; None if there is only one.
        votes: votes of target images for adapted, the first, and the baseline; None without features, or where no two
            models were compared.
        signs: signs of each model by its name, if there are features.
    """

    better: str
    outcome: Outcome
    headline: str
    reasons: tuple[str, ...]
    probability: float | None = None
    votes: Votes | None = None
    signs: Mapping[str, Signs] = field(default_factory=dict)


@dataclass(frozen=True)
class Baseline:
    """The model that an adapted one is compared with: the best of those that learnt from the source alone.

    Attributes:
        name: source-only or aligned.
        scored: its predictions and scores.
        witness: (M, C) probabilities of the witness of the classes' names (:func:`dalib.judge.better.signs_of`).
        others: probability that it is better than each other baseline, by name.
        source_only: (M, C) probabilities of source-only, where another one is the baseline.
    """

    name: str
    scored: Scored
    witness: Tensor
    others: Mapping[str, float] = field(default_factory=dict)
    source_only: Tensor | None = None

    @classmethod
    def best_of(cls, candidates: Mapping[str, Scored], structure: Structure | None) -> Baseline:
        """Chooses one of the baselines without a target label.

        Before any image is seen, the aligned model is expected to be the better one
        (:data:`dalib.judge.better.PRIOR_LOG_ODDS`).

        Args:
            candidates: by name, at least one; the first is source-only, and taken where the images are too few.
            structure: of the target; None compares nothing.
        """
        names = list(candidates)
        targets = [candidates[name].evidence.target for name in names]
        witness = targets[names.index("aligned") if "aligned" in names else 0]
        if structure is None or len(targets[0]) < MIN_IMAGES:
            return cls(names[0], candidates[names[0]], witness)
        chances = pairwise(targets, witness, structure, [PRIOR_LOG_ODDS.get(name, 0.0) for name in names])
        best = int(chances.sum(dim=1).argmax())  # of equal ones the first
        others = {name: float(chances[best, place]) for place, name in enumerate(names) if place != best}
        return cls(names[best], candidates[names[best]], witness, others, targets[0] if best else None)


def compare(
    baseline: Baseline | None,
    adapted: Scored,
    *,
    classes: Sequence[str],
    name: str = "adapted",
    stopped: str = "",
    structure: Structure | None = None,
    most_classes: float = math.inf,
    hints: HintVotes | None = None,
) -> Comparison:
    """Decides which of two models of the same images should be selected, and why.

    Args:
        baseline: the model without adaptation; None without one.
        adapted: predictions and scores of the adapted, or the only, model.
        classes: C names.
        name: name of the only model.
        stopped: the sign for which training was stopped, if it was.
        structure: what features show of the target, of a network that neither model has trained, such as a frozen
            backbone, or of both models together (:func:`shared_representation`); None leaves the models without a
            comparison.
        most_classes: number of classes that the target seems to have. A baseline that predicts more spreads some images
            over classes that are not there, and an adapted model without them has not collapsed.
        hints: votes for the adapted model, the first, and the baseline, of hints that neither has learned from.

    A training that was stopped, or after which the target is predicted as few classes, collapsed. Otherwise the model
    with the larger :func:`dalib.judge.better.probability_better` is selected, with hints in its prior, and the
    verdict is helped or hurt from MIN_CERTAINTY on. Fewer than 30 images accuse no model, and have no probability:
    of fewer than FEWEST_ADAPTED the baseline is selected.

    Misleads: as its signs. A class that the target does not have looks lost if the baseline predicted it.
    Source: ours, by the study of benchmarks/judging.

    >>> import torch
    >>> from dalib.judge.evidence import Evidence, Scored
    >>> nothing = torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64)
    >>> same = Scored.of(Evidence(*nothing, torch.eye(2).repeat(30, 1)), threshold=0.9)
    >>> compare(Baseline("source-only", same, same.evidence.target), same, classes=("cat", "dog")).outcome
    'unclear'
    """
    if baseline is None:
        return Comparison(name, "alone", f"No other model was trained that the {name} one could be compared with", ())
    before, now, other = baseline.scored.scores, adapted.scores, baseline.name
    if (count := len(adapted.evidence.target)) < MIN_IMAGES:
        return _of_few_images(count, baseline, stopped)
    expected = prior_of_adapted(baseline.name, baseline.others) + (0.0 if hints is None else hints.log_odds)
    probability, signs, votes = 1 / (1 + math.exp(-expected)), {}, None
    if structure is not None:
        said = {"adapted": adapted.evidence.target, other: baseline.scored.evidence.target}
        signs = {model: signs_of(target, baseline.witness, structure) for model, target in said.items()}
        votes = votes_of(said["adapted"], said[other], structure)
        probability = probability_better(signs["adapted"], signs[other], votes, prior=expected)
    found = partial(Comparison, probability=probability, votes=votes, signs=signs)
    in_use = min(before["target_classes"], most_classes)
    if stopped or now["target_classes"] <= MIN_CLASSES_KEPT * in_use:
        few = f"the target is predicted as {now['target_classes']:.1f} classes in effect, of {in_use:.1f} before"
        return found(other, "collapsed", COLLAPSED, (_sentence(stopped or few), *_about(baseline)))
    reasons = _reasons(baseline, adapted, classes, signs, votes, hints)
    return found(*_verdict(probability, baseline, adapted, structure, votes), reasons)


def _of_few_images(count: int, baseline: Baseline, stopped: str) -> Comparison:
    """Returns the comparison of models on images that are too few to judge by."""
    if stopped:
        return Comparison(baseline.name, "collapsed", COLLAPSED, (_sentence(stopped), *_about(baseline)))
    headline = f"Can't tell which model is better: {count} target image{'s are' if count > 1 else ' is'} too few"
    return Comparison("adapted" if count >= FEWEST_ADAPTED else baseline.name, "unclear", headline, ())


def _over_source_only(baseline: Baseline, adapted: Scored, structure: Structure | None) -> float:
    """Returns the probability that adapted is better than source-only, where that is not the baseline; else 0.

    It may be beyond doubt where the gain over the aligned model is not.
    """
    if structure is None or baseline.source_only is None:
        return 0.0
    chances = pairwise([adapted.evidence.target, baseline.source_only], baseline.witness, structure)
    return chances[0, 1].item()


def _verdict(
    probability: float, baseline: Baseline, adapted: Scored, structure: Structure | None, votes: Votes | None
) -> tuple[str, Outcome, str]:
    """Returns the better model, the outcome and the headline, from the probability that the adapted model is better."""
    if probability <= 1 - MIN_CERTAINTY:
        return (
            baseline.name,
            "hurt",
            f"Adaptation seems to have hurt, with a probability of {likelihood(1 - probability)}",
        )
    better = "adapted" if probability >= 0.5 else baseline.name
    certain = probability >= MIN_CERTAINTY
    told = likelihood(probability) if certain else undecided(probability, MIN_CERTAINTY)
    if certain:
        return (
            better,
            "helped",
            f"Adaptation seems to have helped: the adapted model is better with a probability of {told}",
        )
    if votes is not None and not votes.differ:
        headline = (
            f"Can't tell the models apart: adapted and {baseline.name} predict the same class for every target image"
        )
    elif better == "adapted" and (over := _over_source_only(baseline, adapted, structure)) >= MIN_CERTAINTY:
        headline = (
            f"The adapted model is better than source-only with a probability of {likelihood(over)}; "
            f"can't tell whether it is also better than {baseline.name} ({told})"
        )
    else:
        chance = undecided(max(probability, 1 - probability), MIN_CERTAINTY)
        headline = cannot_tell(better, baseline.name if better == "adapted" else "adapted", chance)
    return better, "unclear", headline


def shared_representation(models: Sequence[Evidence]) -> Representation | None:
    """Returns the features of several models side by side, each standardised; None if one of them has none.

    Features lean to the model that they were trained with; side by side they lean to none more than to another.
    """
    targets = [each.target_features for each in models if each.target_features is not None]
    validations = [each.validation_features for each in models if each.validation_features is not None]
    if not models or len(targets) < len(models):
        return None
    target = _side_by_side(targets)
    if len(validations) < len(models):
        return Representation(target, target[:0], models[0].labels[:0])
    return Representation(target, _side_by_side(validations), models[0].labels)


def _side_by_side(features: Sequence[Tensor]) -> Tensor:
    """Concatenates features (N, D) of several networks, weighted equally whatever their width."""
    return torch.cat([standardized(each) / math.sqrt(each.shape[1]) for each in features], dim=1)


def _about(baseline: Baseline) -> tuple[str, ...]:
    """Returns the sentence that names the model that adapted is compared with, where there are several baselines."""
    if not baseline.others:
        return ()
    than = " and ".join(f"{name} with a probability of {likelihood(value)}" for name, value in baseline.others.items())
    what = " (source-only with the target's normalisation statistics)" if baseline.name == "aligned" else ""
    return (f"The baseline is the {baseline.name} model{what}; it is better than {than}",)


def _reasons(
    baseline: Baseline,
    after: Scored,
    classes: Sequence[str],
    signs: Mapping[str, Signs],
    votes: Votes | None,
    hints: HintVotes | None,
) -> tuple[str, ...]:
    """Returns the reasons for the selection, a sentence each."""
    found, before = [*_of_one_class(after, classes), *_about(baseline)], baseline.scored
    if signs:
        one, other = signs["adapted"], signs[baseline.name]
        found.append(
            "Images that look alike should get the same class: agreement with the nearest neighbours beyond chance is "
            f"{one.neighbours:.2f} adapted, {other.neighbours:.2f} {baseline.name} (1 is best)"
        )
        if one.names < MIN_NAMES_KEPT:
            found.append(
                "Some groups of images may have got each other's names: without adaptation, others fit them better "
                f"(margin {one.names:.2f}, where {MAX_NAME_MARGIN} is clear)"
            )
    if votes is not None:
        found.append(_votes_sentence(votes, baseline.name))
    if hints is not None and hints.first + hints.second:
        found.append(hints.in_words(baseline.name))
    lost = lost_classes(before.evidence, after.evidence)
    if lost:
        listed = first_of([classes[each] for each in lost])
        number, them = (f"{len(lost)} classes are", "them") if len(lost) > 1 else ("One class is", "it")
        found.append(f"{number} hardly predicted any more by the adapted model: {listed}; look at {them}")
    accuracies = before.evidence.validation_accuracy, after.evidence.validation_accuracy
    if len(after.evidence.labels) >= MIN_IMAGES and accuracies[0] - accuracies[1] > MAX_FALL:
        found.append(
            f"The accuracy on the source's validation images fell from {share_in_words(accuracies[0])} to "
            f"{share_in_words(accuracies[1])}"
        )
    return tuple(found)


def _of_one_class(scored: Scored, classes: Sequence[str]) -> tuple[str, ...]:
    """Returns a sentence where a model predicts one of several classes for nearly every target image."""
    if len(classes) < 2 or scored.scores["target_classes"] > ONE_CLASS:
        return ()
    name = classes[int(scored.evidence.histogram.argmax())]
    return (
        f"Nearly every target image is predicted as {name}. Unless the target has no other class, nothing was learnt",
    )


def _votes_sentence(votes: Votes, baseline: str) -> str:
    if not votes.differ:
        return f"The adapted model and {baseline} predict the same class for each of {votes.count} target images"
    return (
        f"Adapted and {baseline} differ on {votes.differ} of {votes.count} target images. The nearest "
        f"neighbours support the adapted model on {votes.first} of them, {baseline} on {votes.second}"
    )


def first_of(names: Sequence[str]) -> str:
    """Returns the first MAX_LISTED_CLASSES of the names of some classes, for a sentence.

    >>> first_of(["ant", "bee"]), first_of(list("abcdef"))
    ('ant, bee', 'a, b, c, d, e and more')
    """
    return ", ".join(names[:MAX_LISTED_CLASSES]) + (" and more" if len(names) > MAX_LISTED_CLASSES else "")


def lost_classes(before: Evidence, after: Evidence) -> list[int]:
    """Returns the classes that an earlier model predicts for the target and this one does not, or hardly.

    By :func:`dalib.judge.scores.class_vanishing`, with the shares that the model from before predicts, plus half an
    image for each class.
    """
    expected = before.histogram * len(before.target) + 0.5
    predicted = after.target.argmax(dim=1)
    return class_vanishing(predicted, len(expected), expected / expected.sum(), groups=after.target_groups)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
