"""``hints.json``: how far a run trusted the hints for its target images."""

from __future__ import annotations

from dataclasses import dataclass, field

from dalib.core.words import share_in_words
from dalib.records.content import ABSENT, Record


@dataclass(frozen=True)
class HintedClass:
    """Hints that name one class.

    Attributes:
        name: the class.
        images: number of target images whose likeliest class by the hints it is.
        agreement: share of these on which the adapted model predicts the same; None without any.
        trust: how far these hints were trusted in the end, from 0 to 1.
        meaning: the class that these hints most probably stand for.
    """

    name: str
    images: int = 0
    agreement: float | None = None
    trust: float = 0.0
    meaning: str = ""


@dataclass(frozen=True)
class Hints(Record):
    """Holds how far hints were trusted.

    Attributes:
        images: number of target images.
        hinted: number of those that have a hint.
        held_back: number of hints that nothing learned from, so that they could judge.
        gain: nats by which hints are explained better than noise would be; 0 where they were not used.
        copied: by the names of the run's other models, the share of hints that seem to be copies of them.
        right: share of the hints that seem to be right, estimated without labels.
        better: probability that the adapted model is better than the hints, by the judgement without labels; None where
            not every image has a hint, or it is unknown.
        classes: in the order of the run's classes.
    """

    images: int
    hinted: int
    held_back: int = 0
    gain: float = 0.0
    copied: dict[str, float] = field(default_factory=dict)
    right: float | None = field(default=None, metadata=ABSENT)
    better: float | None = field(default=None, metadata=ABSENT)
    classes: tuple[HintedClass, ...] = ()
    version: int = Record.VERSION

    @property
    def sentence(self) -> str:
        """How far the hints were trusted, in a sentence.

        >>> Hints(images=100, hinted=80).sentence
        'Hints for 80 of 100 target images do not agree with the teacher beyond chance: they were not used.'
        """
        of = f"Hints for {self.hinted} of {self.images} target images"
        if not self.gain:
            return f"{of} do not agree with the teacher beyond chance: they were not used."
        copies = {name: share for name, share in self.copied.items() if share > 0.5}
        if copies:
            name = max(copies, key=lambda name: copies[name])
            return f"{of} mostly repeat the predictions of the {name} model: they add little."
        trusted = sum(each.trust * each.images for each in self.classes) / max(1, self.hinted)
        right = "" if self.right is None else f"; about {share_in_words(self.right, 0)} of them seem right"
        return f"{of} were trusted to {share_in_words(trusted, 0)}{right} (estimated without labels)."
