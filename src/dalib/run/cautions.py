"""Cautions about a run's judgement, where it has fewer images or classes than it was tried on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dalib.core.errors import Setting
from dalib.judge.chance import FEWEST_LABELLED
from dalib.judge.comparison import FEWEST_ADAPTED, MIN_IMAGES

if TYPE_CHECKING:
    from dalib.judge.evidence import Evidence

FEWEST_OF_A_CLASS = 8
"""Target images for each class below which the estimated accuracies are too low (benchmarks/RESULTS.md)."""

FEWEST_TRIED = 100
"""Target images of the smallest target that the judgement was tried on (docs/judging.md)."""


@dataclass(frozen=True)
class CountedImages:
    """The images that the models are judged by, in numbers and in words.

    Attributes:
        target, validation: how many images of the target, and of the source's validation split.
        of_target, of_validation: their names.
        classes: how many the latter have.
        of_kit: whether a kit stands in for the source.
    """

    target: int
    validation: int
    of_target: str
    of_validation: str
    classes: int
    of_kit: bool

    @classmethod
    def of(cls, judged: Evidence, whole: Evidence, *, of_kit: bool) -> CountedImages:
        """Returns the counts of a model's evidence, which may be of some of the images of ``whole``."""
        target, validation = len(judged.target), len(judged.labels)
        return cls(
            target,
            validation,
            f"target images{'' if target == len(whole.target) else ' that seem to be of known classes'}",
            "validation images of the source"
            + ("" if validation == len(whole.labels) else " in the classes that the target seems to have"),
            len(judged.labels.bincount().nonzero()),
            of_kit,
        )


def cautions(images: CountedImages, *, baseline: str | None, undecided: str, spread: bool) -> tuple[str, ...]:
    """Returns cautions about a target of fewer images or classes than was tried, and about a small source.

    Args:
        images: that the models are judged by.
        baseline: name of the model that the adapted one was compared with; None where there was no comparison.
        undecided: name of the model that is selected where the comparison does not decide; empty where it does.
        spread: whether a model seems to spread the images of few classes over others.
    """
    few_classes = "Accuracies are not estimated: that was never tried on targets of few of the classes"
    return (
        *((few_classes,) if spread else ()),
        *(() if baseline is None else _of_comparison(images, baseline, undecided)),
        *_of_estimates(images, spread),
    )


def _of_comparison(images: CountedImages, baseline: str, undecided: str) -> tuple[str, ...]:
    count = images.target
    if count >= FEWEST_TRIED:
        return ()
    if count >= MIN_IMAGES:
        judged = f"There are {count} {images.of_target}, and the judgement was never tried on fewer than {FEWEST_TRIED}"
    else:
        judged = f"Comparing models takes {MIN_IMAGES} {images.of_target}"
        if undecided == ("adapted" if count >= FEWEST_ADAPTED else baseline):
            judged += (
                ". Of fewer the adapted model is selected, which was better in most trials, and of fewer than "
                f"{FEWEST_ADAPTED} the {baseline} one"
            )
        else:  # another reason selects: the number of images explains nothing
            judged += f", and {_there_are(count)}"
    return (f"{judged}. Label some of them, or look at the predictions of each model",)


def _of_estimates(images: CountedImages, spread: bool) -> tuple[str, ...]:
    count, validation = images.target, images.validation
    if count < MIN_IMAGES:
        return (f"Accuracies are not estimated: that takes {MIN_IMAGES} {images.of_target}, and {_there_are(count)}",)
    if validation < FEWEST_LABELLED and (validation or not images.of_kit):
        larger = f"a larger {Setting('data.validation_share')}"
        remedy = f"ask for a kit of a run with {larger}" if images.of_kit else f"give more source images, or {larger}"
        return (
            f"Accuracies are not estimated, and no model is tested against chance: that takes {FEWEST_LABELLED} "
            f"{images.of_validation}, and {_there_are(validation)}; {remedy}",
        )
    if not spread and count < (least := FEWEST_OF_A_CLASS * images.classes):
        return (
            f"Estimated accuracies are 10 points too low on average where there are fewer than {FEWEST_OF_A_CLASS} "
            f"{images.of_target} for each class ({least} for {images.classes} classes), and {_there_are(count)}",
        )
    return ()


def _there_are(count: int) -> str:
    return f"there {'is' if count == 1 else 'are'} {count}"
