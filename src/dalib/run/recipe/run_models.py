"""The finished models of a run, and what each of them predicts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dalib.adaptation.hints import TrustedHints
    from dalib.engine.train import Trained
    from dalib.judge.evidence import Evidence
    from dalib.judge.kinds import TargetKind
    from dalib.run.classes.expected_target import ExpectedTarget


@dataclass(frozen=True)
class FinishedModel:
    """A model of a run, and what it predicts.

    Attributes:
        trained: the model, with its predictions for the evaluated images.
        everything: its predictions for all images; None in other processes than the first.
    """

    trained: Trained
    everything: Evidence | None

    @property
    def evaluated(self) -> Evidence:
        """Its predictions for the evaluated images, by which checkpoints are chosen and models are judged."""
        return self.trained.evidence


@dataclass(frozen=True)
class RunModels:
    """The finished models of a run.

    Attributes:
        models: by the names source-only, aligned and adapted, in this order; some of them may be missing.
        expected: of the target, where it seems to lack classes of the source or to have images of others.
        hints: those that the adapted model learned from, if any.
        kind: what the target seems to be, where that decided how it was adapted to.
    """

    models: Mapping[str, FinishedModel] = field(default_factory=dict)
    expected: ExpectedTarget | None = None
    hints: TrustedHints | None = None
    kind: TargetKind | None = None

    def with_model(self, name: str, model: FinishedModel) -> RunModels:
        """Returns the models with one more, or with another one of its name."""
        return replace(self, models={**self.models, name: model})

    @property
    def source_only(self) -> FinishedModel | None:
        """The source-only model, if there is one."""
        return self.models.get("source-only")

    @property
    def trained(self) -> dict[str, Trained]:
        """The models by name, each with its predictions for the evaluated images."""
        return {name: each.trained for name, each in self.models.items()}

    @property
    def everything(self) -> dict[str, Evidence]:
        """Predictions of the models for all images; none in other processes than the first."""
        return {name: each.everything for name, each in self.models.items() if each.everything is not None}

    def of_classes(self, asked: str) -> str:
        """Returns which classes the target was taken to have: same, fewer or other; ``asked`` may be auto."""
        if self.kind is not None:
            return self.kind.believed
        return "same" if asked == "auto" else asked  # auto that nothing could tell by
