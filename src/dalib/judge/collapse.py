"""Signs that a training collapses, or that a model has: few predicted classes, and a loss of the source."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MIN_CLASSES_KEPT = 0.55
"""The smallest share of the classes before, counted by :func:`dalib.judge.evidence.effective_classes`."""

MIN_MASK_RATE_RISE, MIN_AGREEMENT_FALL = 0.1, 0.2
"""A rise of the mask rate with a fall of the agreement of student and teacher is a sign of collapse."""

MAX_FALL = 0.25
"""A larger loss of accuracy is no accident of few images."""

FEWEST_VALIDATED = 30
"""Images from which a fall of the accuracy on them counts; of 9 images it may be 3 that change their class."""


def collapse_sign(
    course: Sequence[Mapping[str, float]],
    classes_before: float | None = None,
    *,
    classes: int,
    validated: int = FEWEST_VALIDATED,
) -> str:
    """Returns why training should stop, as a sentence; empty where there is no sign of collapse.

    Each sign has to hold at two evaluations in a row, because one alone can be a bad moment:

    - few classes are predicted for the target, fewer than 55% of what the model from before predicts;
    - the accuracy on the source's validation images has fallen from its best nearly to that of guessing;
    - the teacher is sure of more and more images while the student agrees with it on fewer and fewer.

    Args:
        course: the scores of :func:`dalib.judge.evidence.quick_scores` at each evaluation so far.
        classes_before: ``target_classes`` of the model from before, source-only; without, the most that this training
            had.
        classes: how many there are.
        validated: number of the source's validation images; of fewer than 30 no fall of the accuracy counts.

    Misleads: a target that really has few of the classes looks collapsed where nothing was before. A training that
    spreads wrong answers over all classes shows none of the signs.
    Source: ours; an earlier study measured how often each is right (benchmarks/RESULTS.md).

    >>> collapse_sign([{"target_classes": 9.5}, {"target_classes": 2.0}, {"target_classes": 1.2}], classes=10)
    'the target is predicted as 1.2 classes in effect, of 9.5 before'
    """
    if len(course) < 2:
        return ""
    before, now = course[-2], course[-1]
    most = classes_before if classes_before is not None else max(each["target_classes"] for each in course)
    if all(each["target_classes"] <= MIN_CLASSES_KEPT * most for each in (before, now)):
        return f"the target is predicted as {now['target_classes']:.1f} classes in effect, of {most:.1f} before"
    name = "source_validation_accuracy"
    if name in now:
        best = max(each[name] for each in course)
        if all(fallen_to_chance(each[name], best, classes, validated) for each in (before, now)):
            return f"the accuracy on the source's validation images fell from {best:.0%} to {now[name]:.0%}"
    if len(course) > 2 and "target_agreement" in now:
        steps = list(zip(course[-3:-1], course[-2:], strict=True))
        rising = all(after["target_mask_rate"] > earlier["target_mask_rate"] for earlier, after in steps)
        falling = all(after["target_agreement"] < earlier["target_agreement"] for earlier, after in steps)
        risen = now["target_mask_rate"] - course[-3]["target_mask_rate"]
        fallen = course[-3]["target_agreement"] - now["target_agreement"]
        if rising and falling and risen > MIN_MASK_RATE_RISE and fallen > MIN_AGREEMENT_FALL:
            return (
                f"the teacher grew sure of {now['target_mask_rate']:.0%} of the target while the student's agreement "
                f"with it fell to {now['target_agreement']:.0%}"
            )
    return ""


def fallen_to_chance(accuracy: float, best: float, classes: int, validated: int = FEWEST_VALIDATED) -> bool:
    """Returns whether a network has lost 25 points, and nine tenths of what it knew beyond guessing, which is 1 / C.

    Args:
        accuracy: a share, on images of which there are about equally many of each class.
        best: the highest accuracy so far.
        classes: C, how many there are.
        validated: number of the images; of fewer than 30 no fall counts.

    Misleads: a model that adapts to a far target may forget much of its source and be all the better on the target.
    Source: our choice, for trainings that diverge without a NaN. Rules of 25 points alone, and of halfway to guessing,
    stopped only trainings that had gained (benchmarks/LOG.md). A smaller fall may be an accident of few images, or of a
    network that knew little.

    >>> fallen_to_chance(0.5, best=0.95, classes=10), fallen_to_chance(0.5, best=0.95, classes=2)
    (False, True)
    >>> fallen_to_chance(0.5, best=0.95, classes=2, validated=9)
    False
    """
    guessing = 1 / classes
    return (
        validated >= FEWEST_VALIDATED and best - accuracy > MAX_FALL and accuracy <= guessing + (best - guessing) / 10
    )
