"""``summary.json``: what a run was, and what it came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from dalib.core.words import counted, likelihood
from dalib.records.content import ABSENT, Record, decoded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dalib.records.selection import ModelName


@dataclass(frozen=True)
class SummarizedModel:
    """One model on all target images, and on the source's validation images.

    Attributes:
        target_histogram: predicted images by class; those that are predicted as unknown are of none.
        target_confidence: mean of the largest probability.
        source_validation_accuracy: a share; None where no image was kept from training.
        target_unknown: images that are predicted as unknown; None of a run that expects no such images.
    """

    target_histogram: tuple[int, ...] = ()
    target_confidence: float | None = None
    source_validation_accuracy: float | None = field(default=None, metadata=ABSENT)
    target_unknown: int | None = field(default=None, metadata=ABSENT)


@dataclass(frozen=True)
class Stopped:
    """A training that ended early: its last step, and why."""

    step: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class HubRecord:
    """Pretrained weights that were fetched from the hub: repository, commit, file, and the digest of its content."""

    repository: str = ""
    revision: str = ""
    file: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class RecordedKind:
    """The kind of target that classes auto believed in, and the probability of each kind."""

    OPENING: ClassVar[str] = "What the target seems to be"

    believed: str = "same"
    same: float = 1.0
    fewer: float = 0.0
    other: float = 0.0

    @property
    def expectation(self) -> str:
        """What an adaptation to a target of the believed kind expects, in words."""
        return {"same": "the same classes", "fewer": "fewer classes", "other": "other images, too"}[self.believed]

    @property
    def estimated(self) -> bool:
        """Whether the probabilities were estimated, which leaves some to fewer classes; too few images have none."""
        return self.fewer > 0

    def in_words(self, nothing_tells: str = "nothing to tell other images by") -> str:
        """Returns a sentence with the probability of each kind, and the one that is believed.

        Args:
            nothing_tells: stands in place of the probability of other images, where there is none.
        """
        doubtful = ", as long as others are not nearly certain" if self.believed == "same" and self.same < 0.5 else ""
        others = (
            f"other images too {likelihood(self.other)}, which hard images can cause as well"
            if self.other
            else nothing_tells
        )
        return (
            f"{self.OPENING}, before adaptation: the source's classes {likelihood(self.same)}, fewer of them "
            f"{likelihood(self.fewer)}, {others}; the adaptation expects {self.expectation}{doubtful}"
        )


@dataclass(frozen=True)
class RunSettings:
    """The settings of a run that its report and the readers of its folder use; older runs lack some of them.

    Attributes:
        backbones: names, nearly always one.
        sources: as they were given, nearly always one.
        target: as it was given.
        kit: what stood in for the source, if anything did.
        classes: same, fewer, other or auto.
        keep: better or adapted.
        evaluate: the labelled images that the user asked to measure on, if any.
        seed, steps: None where they are not known.
        trained_stages: number of the backbone's last stages that were trained.
        feature_precision: number type of stored features.
    """

    backbones: tuple[str, ...] = field(default=(), metadata={"key": "backbone"})
    sources: tuple[str, ...] = field(default=(), metadata={"key": "source"})
    target: str = ""
    kit: str | None = None
    classes: str = "same"
    keep: str = "better"
    evaluate: str | None = None
    seed: int | None = None
    steps: int | None = None
    trained_stages: int = field(default=0, metadata={"key": "model.trained_stages"})
    feature_precision: str = "float32"

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> RunSettings:
        """Returns the typed values of settings under their names on the command line.

        Raises:
            UnexpectedError: a value of another kind.

        >>> RunSettings.of({"backbone": "small", "every.log": 25}).backbones
        ('small',)
        """
        alone = {name: [settings[name]] for name in ("backbone", "source") if isinstance(settings.get(name), str)}
        found: RunSettings = decoded(cls, {**settings, **alone}, "settings")
        return found


@dataclass(frozen=True)
class Summary(Record):
    """Describes a run: settings, data, progress and results.

    Attributes:
        status: running, done, diverged or collapsed.
        method: as --method names it.
        source, target: as they were given.
        classes: names.
        settings: the settings that decide the result, by their names on the command line; resuming compares them, and
            :attr:`run_settings` has some of them by type.
        fingerprints: of the source's, the target's and the labelled images; resuming compares them.
        contents: digests of the files that the settings weights, init and prior name; resuming compares them.
        hub: of weights from the hub, which state of which repository; resuming compares it.
        counts: images: source, source_validation, target and unreadable; with --target_labels also target_labelled,
            those that the adaptation learns from, and target_held_out, those that are held out to judge.
        seconds: by part of the run: data, features, source-only, adapted, judgement.
        models: by name, those that are trained so far.
        dalib, torch, python, device: what it was trained with.
        started: ISO time.
        ranges: of the source's and the target's images of whole numbers beyond 8 bits, low and high.
        shipped: as the judgement has it.
        kept_step: of the adapted model's weights, without --select last.
        stopped: of a training that collapsed.
        target_kind: with classes auto, what the target seemed to be.
        changed: share of the target images on which the adapted model and its baseline differ.
    """

    REMEDY: ClassVar[str] = "Restore it from a copy, or train the run again from its config.yaml."

    status: str = "running"
    method: str = ""
    source: str = ""
    target: str = ""
    classes: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)
    contents: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    models: dict[str, SummarizedModel] = field(default_factory=dict)
    dalib: str = ""
    torch: str = ""
    python: str = ""
    device: str = ""
    started: str = ""
    ranges: dict[str, tuple[float, float] | None] | None = field(default=None, metadata=ABSENT)
    shipped: str | None = field(default=None, metadata=ABSENT)
    kept_step: int | None = field(default=None, metadata=ABSENT)
    stopped: Stopped | None = field(default=None, metadata=ABSENT)
    changed: float | None = field(default=None, metadata=ABSENT)
    hub: HubRecord | None = field(default=None, metadata=ABSENT)
    target_kind: RecordedKind | None = field(default=None, metadata=ABSENT)
    version: int = Record.VERSION

    def __post_init__(self) -> None:
        RunSettings.of(self.settings)  # a value of another kind is refused when the file is read

    @property
    def run_settings(self) -> RunSettings:
        """The settings that readers of a run's folder use."""
        return RunSettings.of(self.settings)

    @property
    def own(self) -> ModelName:
        """The model that the run's method makes."""
        return "source-only" if self.method == "source-only" else "adapted"

    @property
    def expects_unknown(self) -> bool:
        """Whether the adaptation expects images of none of the classes: it was asked to, or found such by itself."""
        classes, kind = self.run_settings.classes, self.target_kind
        return classes == "other" or (classes == "auto" and kind is not None and kind.believed == "other")

    @property
    def unknown(self) -> dict[str, int]:
        """Target images that each model predicts as unknown, by its name; empty where no such images are expected."""
        return {name: each.target_unknown for name, each in self.models.items() if each.target_unknown is not None}

    def unknown_in_words(self, model: str) -> str:
        """Returns how many target images a model, and the others, predict as unknown; empty if none are expected.

        >>> models = {name: SummarizedModel(target_unknown=count) for name, count in (("adapted", 81), ("aligned", 70))}
        >>> Summary(models=models, counts={"target": 400}).unknown_in_words("adapted")
        'The adapted model predicts 81 of 400 target images as unknown (aligned 70)'
        """
        found = self.unknown
        if model not in found or "target" not in self.counts:
            return ""
        others = ", ".join(f"{name} {found[name]:,}" for name in found if name != model)
        images = counted(self.counts["target"], "target image")
        return f"The {model} model predicts {found[model]:,} of {images} as unknown{others and f' ({others})'}"

    def __repr__(self) -> str:
        counts = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in self.counts.items())
        seconds = ", ".join(f"{name} {spent:.0f} s" for name, spent in self.seconds.items())
        lines = [
            f"Summary: {self.source} -> {self.target} ({self.method}, {len(self.classes)} classes), {self.status}",
            f"  images: {counts}" if counts else "",
            f"  time: {seconds}" if seconds else "",
            f"  on {self.device}, dalib {self.dalib}, torch {self.torch}, begun {self.started}" if self.device else "",
        ]
        return "\n".join(filter(None, lines))
