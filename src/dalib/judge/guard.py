"""Signs that a training collapses, seen while it runs and without a target label."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dalib.judge.neighbours import Votes, neighbour_votes
from dalib.judge.scores import class_vanishing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dalib.judge.evidence import Evidence, Scored

Outcome = Literal["helped", "unclear", "hurt", "collapsed", "alone"]

LEAST_GAIN = 0.02
"""Of the target's mutual information, as a share of log C; less, up or down, says nothing."""

LARGEST_DISORDER = 0.01
"""Of the agreement of predicted classes and clusters, below source-only's; less is noise of the clustering."""

CHANCE = 0.05
"""At most so likely is a split of the images' votes that is taken for more than chance."""

MOST_NAMES = 5
"""Of classes in a sentence."""

FEWEST_IMAGES = 30
"""Of the target, or of the source's validation images; fewer are too few to accuse a model."""

FEWEST_CLASSES = 0.55
"""Share of the classes that were predicted before, as :func:`dalib.judge.evidence.effective_classes` counts them."""

DEEPEST_FALL = 0.25
"""Of the accuracy on the source's validation images, below its best."""

RISE, FALL = 0.1, 0.2
"""Of the mask rate, while the agreement of student and teacher falls."""


def collapse_sign(course: Sequence[Mapping[str, float]], reference: float | None = None) -> str:
    """Why training should stop, in words; empty where there is no sign.

    Each sign has to hold at two evaluations in a row, because one alone can be a bad moment:

    - few classes are predicted for the target, fewer than 55% of what the model from before predicts;
    - the accuracy on the source's validation images has fallen by more than 25 points;
    - the teacher is sure of more and more images while the student agrees with it on fewer and fewer.

    Args:
        course: the scores of :func:`dalib.judge.evidence.quick_scores` at each evaluation so far.
        reference: ``target_classes`` of the model from before, source-only; without, the most that this training had.

    Misleads: a target that really has few of the classes looks collapsed where there is no reference. A training that
    spreads wrong answers over all classes shows none of the signs.
    Source: ours; benchmarks/judging.py says how often each is right.

    >>> collapse_sign([{"target_classes": 9.5}, {"target_classes": 2.0}, {"target_classes": 1.2}])
    'the target is predicted as 1.2 classes in effect, of 9.5 before'
    """
    if len(course) < 2:
        return ""
    before, now = course[-2], course[-1]
    most = reference if reference is not None else max(each["target_classes"] for each in course)
    if all(each["target_classes"] <= FEWEST_CLASSES * most for each in (before, now)):
        return f"the target is predicted as {now['target_classes']:.1f} classes in effect, of {most:.1f} before"
    name = "source_validation_accuracy"
    if name in now:
        best = max(each[name] for each in course)
        if all(each[name] < best - DEEPEST_FALL for each in (before, now)):
            return f"the accuracy on the source's validation images fell from {best:.0%} to {now[name]:.0%}"
    if len(course) > 2 and "target_agreement" in now:
        steps = list(zip(course[-3:-1], course[-2:], strict=True))
        rising = all(after["target_mask_rate"] > earlier["target_mask_rate"] for earlier, after in steps)
        falling = all(after["target_agreement"] < earlier["target_agreement"] for earlier, after in steps)
        risen = now["target_mask_rate"] - course[-3]["target_mask_rate"]
        fallen = course[-3]["target_agreement"] - now["target_agreement"]
        if rising and falling and risen > RISE and fallen > FALL:
            return (
                f"the teacher grew sure of {now['target_mask_rate']:.0%} of the target while the student's agreement "
                f"with it fell to {now['target_agreement']:.0%}"
            )
    return ""


@dataclass(frozen=True)
class Comparison:
    """Source-only and adapted, without a target label.

    Attributes:
        better: adapted or source-only, what should predict.
        outcome: helped, unclear, hurt, collapsed, or alone where there is nothing to compare.
        headline: the outcome in a sentence, worded as what it is: no measurement.
        reasons: what speaks for it, a sentence each.
        votes: of the target images for adapted, the first, and source-only; None without features, or where no two
            models were compared.
    """

    better: str
    outcome: Outcome
    headline: str
    reasons: tuple[str, ...]
    votes: Votes | None = None


def compare(
    source_only: Scored | None,
    adapted: Scored,
    *,
    classes: Sequence[str],
    name: str = "adapted",
    stopped: str = "",
    frozen: bool = False,
) -> Comparison:
    """Which of two models of the same images should predict, and why.

    Args:
        source_only: what the model without adaptation says, and its scores; None where there is none.
        adapted: what the adapted model says, or the only one there is.
        classes: C names.
        name: of the only one.
        stopped: the sign for which training was stopped, if it was.
        frozen: whether both stand on one backbone that neither has trained.

    The source-only model is the better one where training collapsed (it was stopped, or the target is predicted as few
    classes); where several classes are hardly predicted any more; where the target's mutual information fell; where its
    predicted classes follow the clusters of its features less than before; or where more than 25 points of the source's
    accuracy were lost. Fewer than 30 images accuse no model.

    Where none of this is so, the images on which the two differ decide by the images that look alike
    (:func:`dalib.judge.neighbours.neighbour_votes`): adaptation helped or hurt where their majority is hardly chance,
    and is unclear otherwise; the majority's model is the better one, or adapted where there is none. Features are those
    of both models, which lean to one each; on a frozen backbone those of the source-only model alone, which are nearly
    the backbone's own, while adaptation draws its own to clusters. Without features adaptation helped where mutual
    information rose.

    Misleads: each sign can err. An adaptation that mixes up classes without losing one, and clusters its features
    accordingly, shows none. A class that the target does not have looks lost if the source-only model predicted it.
    Source: ours, by the study of benchmarks/judging.py.

    >>> import torch
    >>> from dalib.judge.evidence import Evidence, Scored
    >>> nothing = torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64)
    >>> sure, unsure = torch.eye(2).repeat(30, 1), torch.tensor([[0.6, 0.4], [0.4, 0.6]]).repeat(30, 1)
    >>> before, after = (Scored.of(Evidence(*nothing, target), threshold=0.9) for target in (unsure, sure))
    >>> compare(before, after, classes=("cat", "dog")).outcome
    'helped'
    """
    if source_only is None:
        return Comparison(name, "alone", f"No other model was trained that the {name} one could be compared with", ())
    before, now = source_only.scores, adapted.scores
    votes = _votes(source_only.evidence, adapted.evidence, frozen)
    enough = len(adapted.evidence.target) >= FEWEST_IMAGES
    few = now["target_classes"] <= FEWEST_CLASSES * before["target_classes"]
    if stopped or (enough and few):
        why = stopped or (
            f"the target is predicted as {now['target_classes']:.1f} classes in effect, "
            f"of {before['target_classes']:.1f} before"
        )
        return Comparison("source-only", "collapsed", "Adaptation collapsed", (_sentence(why),), votes)
    lost = lost_classes(source_only.evidence, adapted.evidence)
    names = f"{', '.join(classes[each] for each in lost[:MOST_NAMES])}{' and more' if len(lost) > MOST_NAMES else ''}"
    gained = (now["target_mutual_information"] - before["target_mutual_information"]) / math.log(len(classes))
    against = _against(source_only, adapted, gained) if enough else []
    told = f"{f'{len(lost)} classes are' if len(lost) > 1 else 'One class is'} hardly predicted any more: {names}"
    if enough and len(lost) >= min(2, len(classes) - 1):
        against.insert(0, told)
    if votes is not None and enough and votes.first < votes.second and votes.chance <= CHANCE:
        against.append(_told(votes))
    if against:
        return Comparison("source-only", "hurt", "Adaptation seems to have hurt", tuple(against), votes)
    reasons = [f"{told}; look at {'it' if len(lost) == 1 else 'them'}"] if lost else []
    better, helped, reason = _without_signs(votes, 0 if lost else gained) if enough else ("adapted", False, "")
    reasons += [reason] if reason else []
    if helped and not lost:
        headline = "Adaptation seems to have helped, as far as can be seen without labels"
        return Comparison(better, "helped", headline, tuple(reasons), votes)
    headline = "Without labels no clear change for the better can be seen"
    return Comparison(better, "unclear", headline, tuple(reasons), votes)


def _without_signs(votes: Votes | None, gained: float) -> tuple[str, bool, str]:
    """The better model where nothing accuses adaptation, whether it clearly helped, and why."""
    if votes is not None:
        better = "adapted" if votes.first >= votes.second else "source-only"
        return better, votes.first > votes.second and votes.chance <= CHANCE, _told(votes)
    if gained <= LEAST_GAIN:
        return "adapted", False, ""
    return (
        "adapted",
        True,
        "Predictions for the target are surer and as various as without adaptation "
        f"({gained:.0%} of the greatest mutual information more), and no sign of harm was found",
    )


def _votes(before: Evidence, after: Evidence, frozen: bool) -> Votes | None:
    """Of the target's images for the model from after, the first, and that from before."""
    features = [each.target_features for each in ((before,) if frozen else (before, after))]
    known = [each for each in features if each is not None]
    if len(known) < len(features):
        return None
    return neighbour_votes(known, after.target.argmax(dim=1), before.target.argmax(dim=1))


def _told(votes: Votes) -> str:
    if not votes.differ:
        return f"The two models name the same class on each of {votes.count} target examples"
    return (
        f"The two models differ on {votes.differ} of {votes.count} target examples; of those on which they agree, the "
        f"nearest are of the adapted model's class {votes.first} times, of the source-only model's {votes.second} times"
    )


def lost_classes(before: Evidence, after: Evidence) -> list[int]:
    """The classes that a model from before predicts for the target and this one does not, or hardly.

    By :func:`dalib.judge.scores.class_vanishing`, with the shares that the model from before predicts, plus half an
    image for each class.
    """
    expected = before.histogram * len(before.target) + 0.5
    return class_vanishing(after.target.argmax(dim=1), len(expected), expected / expected.sum())


def _against(before: Scored, after: Scored, gained: float) -> list[str]:
    """Signs of harm beside lost classes, a sentence each."""
    found = []
    if gained < -LEAST_GAIN:
        found.append(
            "Predictions for the target are less sure, or of fewer classes, than without adaptation "
            f"({-gained:.0%} of the greatest mutual information less)"
        )
    name = "target_class_ami"
    if name in after.scores and name in before.scores and after.scores[name] < before.scores[name] - LARGEST_DISORDER:
        found.append(
            "Predicted classes follow the clusters of the features less than without adaptation "
            f"({after.scores[name]:.2f} against {before.scores[name]:.2f})"
        )
    accuracies = before.evidence.validation_accuracy, after.evidence.validation_accuracy
    if len(after.evidence.labels) >= FEWEST_IMAGES and accuracies[0] - accuracies[1] > DEEPEST_FALL:
        found.append(
            f"The accuracy on the source's validation images fell from {accuracies[0]:.1%} to {accuracies[1]:.1%}"
        )
    return found


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
