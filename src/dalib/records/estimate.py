"""Parts that several records share: estimates with their intervals, and bins of a reliability diagram."""

from __future__ import annotations

from dataclasses import dataclass

from dalib.core.words import share_in_words, share_within


@dataclass(frozen=True)
class Bin:
    """Images of similar confidence.

    Attributes:
        confidence, accuracy: means; None where the bin is empty.
        count: how many images.
    """

    confidence: float | None
    accuracy: float | None
    count: int


@dataclass(frozen=True)
class Calibration:
    """Holds how far confidence is from accuracy.

    Attributes:
        error: the expected calibration error, a share.
        bins: by confidence, the lowest first.
        temperature: that fits the logits to labels, where one was fitted.
    """

    error: float | None = None
    bins: tuple[Bin, ...] = ()
    temperature: float | None = None


@dataclass(frozen=True)
class Share:
    """A measured share with its 95% interval; None where nothing was measured."""

    value: float | None
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.value is None or self.low is None or self.high is None:
            return "unknown"
        return share_within(self.value, self.low, self.high)


@dataclass(frozen=True)
class OpenSet:
    """Measures of one model on a target with images of none of the classes.

    Attributes:
        of_known: accuracy on the images of known classes, unknown where none is labelled; a known image that is taken
            for unknown is wrong.
        known: mean accuracy over the known classes that have labelled images; None without any.
        unknown: share of the unknown images that are recognised; None without any.
        hos: 2ab / (a + b) of ``known`` and ``unknown``; None without both.
    """

    of_known: Share
    known: float | None
    unknown: float | None
    hos: float | None

    def in_words(self) -> str:
        """Returns the measures as part of a sentence."""
        parts = [] if self.of_known.value is None else [f"{self.of_known} of the known ones"]
        if self.unknown is not None:
            parts.append(f"{share_in_words(self.unknown)} of the unknown ones")
        if self.hos is not None:
            # the classes count alike in it, and the images in the accuracy
            mean = "" if self.known is None else share_in_words(self.known)
            apart = mean and mean != share_in_words(self.of_known.value or 0.0)
            parts.append(
                f"HOS {share_in_words(self.hos)}{f' (of {mean}, the mean over known classes)' if apart else ''}"
            )
        return ", ".join(parts)


@dataclass(frozen=True)
class Estimate:
    """An accuracy, or the recall of one class, that was estimated without target labels.

    Attributes:
        value: a share; None where nothing can be estimated.
        low, high: ends of its 90% interval.
        method: names of the signs that it was made of.
        reliable: whether it is to be trusted, as no estimate of today is; ``reason`` is why not.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    method: str = ""
    reliable: bool = True
    reason: str = ""
