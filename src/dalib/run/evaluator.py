"""The images that judge a training, and how its models see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch

from dalib.core.seeds import derive_seed
from dalib.data.rows import Selected
from dalib.data.stream import permuted
from dalib.engine.predict import predict_probabilities, predict_with_features
from dalib.judge.evidence import Evidence
from dalib.judge.structure import Representation
from dalib.run import recipe

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from dalib.data.rows import Rows
    from dalib.data.sources import LabelledImages
    from dalib.run.domains import Domains
    from dalib.run.recipe import Inputs

MOST_JUDGED = 2000
"""Target images that are looked at each time; a share of them is then known to a point."""


def judged_rows(count: int) -> Tensor:
    """(M,) int64, ascending: which of ``count`` target images are looked at."""
    drawn = permuted(torch.arange(min(count, MOST_JUDGED)).numpy(), count, derive_seed(0, "judged"))
    return torch.from_numpy(drawn).sort().values


def plain_representation(domains: Domains) -> Representation:
    """Returns the features of a frozen backbone, which no training of the run has changed, for the judgement.

    Args:
        domains: of features (N, V, D), :func:`dalib.run.domains.to_features`; the mean over the views is taken.
    """
    of_target, of_source = domains.to_predict, domains.train
    drawn = permuted(torch.arange(min(len(of_source.labels), MOST_JUDGED)).numpy(), len(of_source.labels), 0)
    rows = torch.from_numpy(drawn).sort().values
    return Representation(
        of_target[judged_rows(len(of_target))].float().mean(dim=1),
        of_source.images[rows].float().mean(dim=1),
        of_source.labels[rows],
    )


@dataclass(frozen=True)
class JudgedImages:
    """Source validation images and some target images, the same for every model of every run on this target.

    Attributes:
        target: at most 2000 of the target's rows.
        plain_source, plain: how rows of either reach a network, without augmentation.
        predictor: what predicts of a network.
    """

    validation: LabelledImages
    target: Rows
    plain_source: Callable[[Tensor], Tensor]
    plain: Callable[[Tensor], Tensor]
    device: torch.device
    predictor: Callable[[nn.Module], nn.Module]

    @classmethod
    def of(cls, domains: Domains, inputs: Inputs, device: torch.device) -> JudgedImages:
        rows = domains.to_predict
        if len(rows) > MOST_JUDGED:
            rows = Selected(rows, judged_rows(len(rows)))
        of_features = inputs.architecture["backbone"] == recipe.STORED_FEATURES

        def predictor(network: nn.Module) -> nn.Module:
            # images are seen once and not as the mean over views: this happens again and again
            return recipe.make_predictor(network, inputs.architecture) if of_features else network

        return cls(domains.validation, rows, inputs.plain_source, inputs.plain, device, predictor)

    def look(self, model: nn.Module, student: nn.Module | None = None) -> Evidence:
        """What the model says of them, a teacher or a student on its own; and what the teacher's student says."""
        whole, head = self.predictor(model), cast("nn.Module", model.head)
        target, target_features = predict_with_features(whole, head, self.target, self.plain, device=self.device)
        validation, validation_features = target[:0], target_features[:0]
        if len(self.validation.labels):
            validation, validation_features = predict_with_features(
                whole, head, self.validation.images, self.plain_source, device=self.device
            )
        by_student = None
        if student is not None and student is not model:
            by_student = predict_probabilities(self.predictor(student), self.target, self.plain, device=self.device)
        return Evidence(validation, self.validation.labels, target, by_student, validation_features, target_features)
