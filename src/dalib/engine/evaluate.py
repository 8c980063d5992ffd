"""Evaluates the models of a training on fixed images, without a target label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch

from dalib.core.seeds import derive_seed
from dalib.data.rows import Selected
from dalib.data.stream import drawn
from dalib.engine.predict import predict_probabilities, predict_with_features
from dalib.judge.evidence import Evidence
from dalib.judge.structure import Representation

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from dalib.data.domain_images import LabelledImages
    from dalib.data.rows import Rows

MOST_EVALUATED = 2000
"""Images of each domain that an evaluation reads; a share of them is then known to about a point."""


def evaluated_rows(count: int) -> Tensor:
    """Returns (M,) int64, ascending: which of ``count`` images of a target, or to validate, are evaluated."""
    return _drawn(count, MOST_EVALUATED, derive_seed(0, "judged"))


def of_evaluated(values: Tensor, count: int) -> Tensor:
    """Returns those of the values (N, ...) that belong to ``count`` predictions: all, or of the evaluated images."""
    return values if len(values) == count else values[evaluated_rows(len(values))]


def representing_rows(count: int, most: int = MOST_EVALUATED) -> Tensor:
    """Returns (N,) int64, ascending: which of ``count`` source images represent the source in the judgement."""
    return _drawn(count, most, 0)


def _drawn(count: int, most: int, seed: int) -> Tensor:
    """Draws ``most`` of ``count`` numbers without repetition, all if there are no more; int64, ascending."""
    return drawn(min(count, most), count, seed).sort().values


def plain_representation(source: LabelledImages, target: Rows, rows: Tensor | None = None) -> Representation:
    """Returns the features of a frozen backbone, which no training of the run has changed, each the mean over views.

    Args:
        source: features (N, V, D) of the training images, with their labels.
        target: features (M, V, D) of plain images.
        rows: which of the target's; None is those that are evaluated.
    """
    rows, of_source = evaluated_rows(len(target)) if rows is None else rows, representing_rows(len(source.labels))
    return Representation(
        torch.cat(
            [_mean_over_views(target[part]) for part in torch.split(rows, 4096)]
        ),  # mapped files are read in parts
        _mean_over_views(source.images[of_source]),
        source.labels[of_source],
    )


def _mean_over_views(features: Tensor) -> Tensor:
    """Computes (N, V, D) -> (N, D) float32."""
    return features.float().mean(dim=1)


@dataclass(frozen=True)
class Evaluator:
    """Evaluates checkpoints on a fixed subset of images: the same for every model of every run on this target.

    Attributes:
        validation: source images kept from training, of which at most 2000 are read; may be none.
        target: rows of the target, of which at most 2000 are read.
        plain_source, plain: rows of either domain -> input of a network, without augmentation.
        device: where networks compute.
        predictor: network -> the module that predicts with it, such as its mean over stored views.
        batch: rows that are predicted at once.
    """

    validation: LabelledImages
    target: Rows
    plain_source: Callable[[Tensor], Tensor]
    plain: Callable[[Tensor], Tensor]
    device: torch.device
    predictor: Callable[[nn.Module], nn.Module] = lambda network: network
    batch: int = 256

    def evidence(self, model: nn.Module, student: nn.Module | None = None) -> Evidence:
        """Returns the predictions and features of a model, and the predictions of the student that it is teacher of."""
        rows, of_source, labels = _evaluated(self.target), self.validation.images, self.validation.labels
        if len(labels) > MOST_EVALUATED:
            of_source, labels = _evaluated(of_source), labels[evaluated_rows(len(labels))]
        whole, head = self.predictor(model), cast("nn.Module", model.head)
        target, target_features = predict_with_features(
            whole, head, rows, self.plain, device=self.device, batch=self.batch
        )
        validation, validation_features = target[:0], target_features[:0]
        if len(labels):
            validation, validation_features = predict_with_features(
                whole, head, of_source, self.plain_source, device=self.device, batch=self.batch
            )
        by_student = None
        if student is not None and student is not model:
            by_student = predict_probabilities(
                self.predictor(student), rows, self.plain, device=self.device, batch=self.batch
            )
        return Evidence(validation, labels, target, by_student, validation_features, target_features)

    def all_predictions(
        self, evidence: Evidence, model: nn.Module, on_progress: Callable[[int, int], None] | None = None
    ) -> Evidence:
        """Returns the predictions for every validation and target image, without features.

        Args:
            evidence: what :meth:`evidence` returned for the finished model.
            model: the module that predicts, such as the mean over warps, on the device of this evaluator.
            on_progress: called with (done, total), for the target and then for the validation images.

        Without validation images in this evaluator, their predictions are those in ``evidence``.
        """
        target = predict_probabilities(
            model, self.target, self.plain, device=self.device, batch=self.batch, on_progress=on_progress
        )
        validation, labels = evidence.validation, evidence.labels
        if len(self.validation.labels):
            labels = self.validation.labels
            validation = predict_probabilities(
                model,
                self.validation.images,
                self.plain_source,
                device=self.device,
                batch=self.batch,
                on_progress=on_progress,
            )
        return Evidence(validation, labels, target)


def _evaluated(rows: Rows) -> Rows:
    return Selected(rows, evaluated_rows(len(rows))) if len(rows) > MOST_EVALUATED else rows
