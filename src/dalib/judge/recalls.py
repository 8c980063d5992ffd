"""The recall of each class on the target without a target label, by signs whose errors were measured on other data.

A model's own confidence finds the classes in trouble, but not how much they are: on recorded tasks, the recalls that
adapted models expect are 22 points off on average, nearly always too high.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from dalib.judge.calibrated import estimate_of_logit, log_odds
from dalib.judge.checked import as_probabilities, as_validation_and_target
from dalib.judge.estimate import AccuracyEstimate, apply_temperature, fit_temperature
from dalib.judge.scores import SMALLEST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

METHOD = "accuracy, expected recall, heads"
"""Name of the method in records: the signs that it is made of."""

PRIOR_IMAGES = 3
"""Images by which the estimated accuracy of the model stands in where classifiers name a class rarely; our choice."""


def expected_recalls(target: Tensor) -> Tensor:
    r"""Computes the recall that a model's probabilities expect of each class.

    .. math:: \frac{\sum_i p^i_c [\hat y^i = c]}{\sum_i p^i_c}

    Args:
        target: (M, C) calibrated probabilities (:func:`dalib.judge.estimate.apply_temperature`).

    Returns:
        (C,) float64 in [0, 1]; NaN for a class of which no image is expected.

    Misleads: it believes the model; a class that the model never doubts looks perfect.
    Source: confidence-based performance estimation, as in NannyML; the recall by class is ours.

    >>> expected_recalls(torch.tensor([[0.75, 0.25], [0.25, 0.75]], dtype=torch.float64)).tolist()
    [0.75, 0.75]
    """
    p = as_probabilities(target, "target")
    mass = p.sum(dim=0)
    hits = (p * torch.nn.functional.one_hot(p.argmax(dim=1), p.shape[1])).sum(dim=0)
    return torch.where(mass < 1e-6, math.nan, hits / mass.clamp_min(SMALLEST))


@dataclass(frozen=True)
class ClassAgreement:
    """Holds what one model's predictions agree with on the images of one class.

    Attributes:
        expected: the recall that the model's probabilities expect (:func:`expected_recalls`); NaN where none is.
        named: images that a classifier names as this class, the mean over classifiers that were trained separately.
        agreed: of these, the ones that the model predicts as this class.
    """

    expected: float
    named: float
    agreed: float

    @property
    def seen(self) -> bool:
        """True where the model or a classifier names at least one image as this class."""
        return self.named > 0 or self.expected > 0


def class_agreements(validation: Tensor, labels: Tensor, target: Tensor, heads: Tensor) -> list[ClassAgreement]:
    """Computes what one model's predictions agree with, class by class; C of them.

    Args:
        validation: (N, C) probabilities of labelled source images that training has not seen.
        labels: (N,) int64, their classes.
        target: (M, C) probabilities of the target's images.
        heads: (H, M) int64, at least one, :func:`dalib.judge.signs.head_classes` of the same images.

    Raises:
        ValueError: what ``as_validation_and_target`` of :mod:`dalib.judge.checked` refuses.
    """
    validation, labels, target = as_validation_and_target(validation, labels, target)
    predicted, count = target.argmax(dim=1), target.shape[1]
    expected = expected_recalls(apply_temperature(target, fit_temperature(validation, labels)))
    named = torch.bincount(heads.flatten(), minlength=count).double() / len(heads)
    same = heads[heads == predicted]
    agreed = torch.bincount(same, minlength=count).double() / len(heads)
    return [ClassAgreement(*each) for each in zip(expected.tolist(), named.tolist(), agreed.tolist(), strict=True)]


@dataclass(frozen=True)
class RecallCalibration:
    """The fit that turns the signs of a class into its recall and an interval, for one kind of model.

    Attributes:
        kind: source-only, aligned or adapted.
        constant, accuracy, expected, heads: coefficients of the logit of the recall; the last three multiply the
            :func:`~dalib.judge.calibrated.log_odds` of the model's estimated accuracy, of the recall that it expects,
            and of the share of the classifiers' images on which it agrees.
        spread: half of the 90% interval, relative to the :func:`~dalib.judge.calibrated.headroom` of the estimate.
        usual_error: the mean absolute error on data that had no part in the fit.
    """

    kind: str
    constant: float
    accuracy: float
    expected: float
    heads: float
    spread: float
    usual_error: float = math.nan


RECALL_CALIBRATIONS: dict[str, RecallCalibration] = {
    each.kind: each
    for each in (
        RecallCalibration("source-only", -0.281, 0.013, 0.374, 0.731, spread=0.231, usual_error=0.08),
        RecallCalibration("aligned", -0.295, 0.022, 0.8, 0.357, spread=0.249, usual_error=0.1),
        RecallCalibration("adapted", -0.463, 0.193, 0.244, 0.675, spread=0.287, usual_error=0.11),
    )
}
"""By kind of model, fitted by ``benchmarks/judging tables`` on 81 tasks of 21 families (benchmarks/RESULTS.md)."""


def recall_signs(agreement: ClassAgreement, accuracy: float) -> tuple[float, float, float]:
    """Returns log odds of the accuracy, of the expected recall and of the agreement, as the fit takes them.

    Args:
        agreement: of the class.
        accuracy: estimated accuracy of the model, in [0, 1].
    """
    share = (agreement.agreed + PRIOR_IMAGES * accuracy) / (agreement.named + PRIOR_IMAGES)
    expected = 0.0 if math.isnan(agreement.expected) else agreement.expected
    return log_odds(accuracy), log_odds(expected), log_odds(share)


def recall_estimates(
    agreements: Sequence[ClassAgreement], accuracy: float, calibration: RecallCalibration
) -> list[AccuracyEstimate]:
    """Returns the estimated recall of each class with a 90% interval; never called reliable, as the accuracy is not.

    Args:
        agreements: of the C classes.
        accuracy: estimated accuracy of the model (:func:`dalib.judge.calibrated.calibrated_estimate`), in [0, 1].
        calibration: of its kind of model.

    Returns:
        C estimates; a value of NaN and the interval 0 to 1 for a class that is not
        :attr:`~ClassAgreement.seen` on the target.

    Misleads: a class that got another's name, if the classifiers gave it the same one.
    Source: the signs' sources; the form and the coefficients are ours, see docs/judging.md for how often the truth was
    inside on data that had no part in the fit.
    """
    estimates = []
    for each in agreements:
        if not each.seen:
            nothing = "neither the model nor a classifier names an image as it"
            estimates.append(AccuracyEstimate(math.nan, 0.0, 1.0, METHOD, reliable=False, reason=nothing))
            continue
        of_accuracy, of_expected, of_heads = recall_signs(each, accuracy)
        logit = (
            calibration.constant
            + calibration.accuracy * of_accuracy
            + calibration.expected * of_expected
            + calibration.heads * of_heads
        )
        estimates.append(estimate_of_logit(logit, calibration.spread, calibration.usual_error, METHOD))
    return estimates
