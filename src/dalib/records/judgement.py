"""``judgement.json``: whether adaptation helped, by evidence that needs no target label."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from dalib.core.words import range_in_words, share_in_words
from dalib.records.content import ABSENT, Record
from dalib.records.estimate import Calibration, Estimate  # noqa: TC001 - the hints are read at run time
from dalib.records.selection import ModelName  # noqa: TC001

Outcome = Literal["helped", "unclear", "hurt", "collapsed", "alone"]


@dataclass(frozen=True)
class JudgedModel:
    """One model, judged without target labels.

    Attributes:
        scores: label-free scores by name.
        signs: of the comparison of both models, where there was one.
        estimate: of the accuracy on the target; None where the source has too few validation images, or the target
            too few images or few of the classes.
        classes: estimates of the recall of each class.
        calibration: on the source's validation images.
    """

    scores: dict[str, float] = field(default_factory=dict)
    signs: dict[str, Any] | None = field(default=None, metadata=ABSENT)
    estimate: Estimate | None = field(default=None, metadata=ABSENT)
    classes: tuple[Estimate, ...] | None = field(default=None, metadata=ABSENT)
    calibration: Calibration | None = field(default=None, metadata=ABSENT)

    @property
    def in_words(self) -> str:
        """The estimated accuracy, to stand behind the model's name."""
        estimate = self.estimate
        if estimate is None or estimate.value is None:
            return "accuracy on the target not estimated"
        within = ""
        if estimate.low is not None and estimate.high is not None:
            within = f" ({range_in_words(estimate.low, estimate.high, 0)})"
        return (
            f"accuracy on the target about {share_in_words(estimate.value, 0)}{within}, "
            f"estimated without its labels{'' if estimate.reliable else ', not reliable'}"
        )


@dataclass(frozen=True)
class KeptStep:
    """The checkpoint that became the adapted model.

    Attributes:
        step: of its weights; ``of`` is how many steps there were.
        score: the setting --select.
        reason: why this step.
    """

    step: int
    of: int | None = None
    score: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Prior:
    """Class shares of the target.

    Attributes:
        kind: the setting --prior; fewer where it was estimated for --classes fewer.
        shares: that training used, by class.
        estimate: from the predictions, by class.
    """

    kind: str = ""
    shares: tuple[float, ...] | None = None
    estimate: tuple[float, ...] | None = None


@dataclass(frozen=True)
class MaskThreshold:
    """Largest probability above which a target image counts into the mask rate, by the run's method.

    Attributes:
        value: in [0, 1].
        of_source: whether it is a share of the mean confidence on the source's validation images.
    """

    value: float
    of_source: bool = False

    @property
    def in_words(self) -> str:
        """The threshold, to stand behind "above".

        >>> MaskThreshold(0.96837722).in_words, MaskThreshold(0.9, of_source=True).in_words
        ('0.968', '0.9 times the mean confidence on the source')
        """
        return f"{self.value:.3g}{' times the mean confidence on the source' if self.of_source else ''}"


@dataclass(frozen=True)
class Judgement(Record):
    """The comparison of the models at the end of training; it never changes.

    Attributes:
        shipped: the model that was chosen then, without labels or by --keep adapted. Which one is selected now is in
            selection.json.
        outcome: of the adaptation; alone where there is only one model.
        headline: a sentence without its full stop; ``reasons`` are further ones.
        models: by name.
        probability: that the adapted model is better than ``baseline``, where it is known.
        at_chance: names of the models that are not better than chance on the source's validation images.
        distance: how well the domains can be separated in the shipped model's features, 0 to 2.
        votes: target images whose nearest neighbours support each model, by name; ``differ``, the images on which the
            two differ; ``count``, all images.
        baseline: model that the adapted one was compared with; older runs do not have it, theirs is source-only.
        selection: which checkpoint of the adaptation was kept.
        prior: class shares of the adaptation.
        target: what the target seems to be, one of ``reasons``, where classes seem to be missing or unknown ones there.
        few_classes: whether it seems to have few of the classes, over which the adapted model spreads its images.
        mask_threshold: that of the mask rates, which differs between methods; older runs do not have it.
    """

    shipped: ModelName
    outcome: Outcome
    headline: str = ""
    reasons: tuple[str, ...] = ()
    models: dict[str, JudgedModel] = field(default_factory=dict)
    probability: float | None = None
    at_chance: tuple[str, ...] = ()
    distance: float | None = None
    votes: dict[str, int] | None = field(default=None, metadata=ABSENT)
    baseline: ModelName | None = field(default=None, metadata=ABSENT)
    selection: KeptStep | None = field(default=None, metadata=ABSENT)
    prior: Prior | None = field(default=None, metadata=ABSENT)
    target: str | None = field(default=None, metadata=ABSENT)
    few_classes: bool | None = field(default=None, metadata=ABSENT)
    mask_threshold: MaskThreshold | None = field(default=None, metadata=ABSENT)
    version: int = Record.VERSION

    @property
    def nothing_learnt(self) -> bool:
        """Whether all models are at chance on the source's validation images, which is measured and no estimate."""
        return bool(self.models) and self.models.keys() <= {*self.at_chance}

    @property
    def same_predictions(self) -> bool:
        """Whether the adapted model and its baseline predict the same class for every target image."""
        return self.votes is not None and self.votes.get("differ", 1) == 0

    @property
    def probability_of_help(self) -> float | None:
        """The probability that adaptation helped, as judged without labels.

        None where the judgement has none, where both models predict the same, and where another sign decides: a
        collapse, or a model at chance on the source.
        """
        if self.at_chance or self.outcome not in ("helped", "unclear", "hurt") or self.same_predictions:
            return None
        value = self.probability
        return value if value is not None and 0 <= value <= 1 else None

    def __repr__(self) -> str:
        lines = [f"Judgement: {self.outcome}", f"  {self.headline}.", *(f"  {reason}" for reason in self.reasons)]
        return "\n".join([*lines, *(f"  {name:<12}{judged.in_words}" for name, judged in self.models.items())])
