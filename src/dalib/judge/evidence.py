"""Predictions and features of one model on the images that it is judged by, and the label-free scores of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dalib.judge import scores


@dataclass(frozen=True)
class Evidence:
    """Predictions of one model on source validation images and on target images. It holds no target labels.

    Attributes:
        validation: (N, C) probabilities of labelled source images that training has not seen; N may be 0.
        labels: (N,) int64, their classes.
        target: (M, C) probabilities of target images, M >= 1.
        student: (M, C) the student's, where ``target`` is the teacher's.
        validation_features, target_features: (N, D) and (M, D), what the model's head sees; where they were asked for.
        validation_groups, target_groups: (N,) and (M,) int64, equal for images that belong together; None where each
            image counts for itself.
    """

    validation: Tensor
    labels: Tensor
    target: Tensor
    student: Tensor | None = None
    validation_features: Tensor | None = field(default=None, repr=False)
    target_features: Tensor | None = field(default=None, repr=False)
    validation_groups: Tensor | None = field(default=None, repr=False)
    target_groups: Tensor | None = field(default=None, repr=False)

    @property
    def validation_accuracy(self) -> float:
        """The accuracy on the source's validation images; NaN without any."""
        return (self.validation.argmax(dim=1) == self.labels).double().mean().item()

    @property
    def histogram(self) -> Tensor:
        """The shares (C,) float64 of the classes that are predicted for the target."""
        counts = torch.bincount(self.target.argmax(dim=1), minlength=self.target.shape[1])
        return counts.double() / len(self.target)


@dataclass(frozen=True)
class Confidence:
    """When a target image counts as confident: its largest probability is above a threshold.

    Attributes:
        threshold: in [0, 1]; 0.9 is that of methods without a confidence mask of their own.
        of_source: whether the threshold is a share of the mean confidence on the source.
    """

    threshold: float = 0.9
    of_source: bool = False

    def threshold_for(self, evidence: Evidence) -> float:
        """Returns the threshold for a model's predictions, in [0, 1].

        The mean confidence on the source is that on its validation images; without any it counts as 1, which no model
        exceeds.

        >>> sure = Evidence(torch.tensor([[0.9, 0.1], [0.3, 0.7]]), torch.tensor([0, 1]), torch.tensor([[0.6, 0.4]]))
        >>> round(Confidence(0.5).threshold_for(sure), 3), round(Confidence(0.5, of_source=True).threshold_for(sure), 3)
        (0.5, 0.4)
        """
        if not self.of_source or not len(evidence.validation):
            return self.threshold
        return self.threshold * evidence.validation.double().amax(dim=1).mean().item()


def quick_scores(evidence: Evidence, threshold: float, prior: Tensor | None = None) -> dict[str, float]:
    """Computes the scores that cost nothing beside the predictions, by the names under which they are logged.

    Args:
        threshold: of the mask rate; the training's own, so that it is what the training sees, without augmentation.
        prior: (C,) the shares of the target's classes, where they are known or assumed; None is uniform.

    Returns:
        ``source_validation_accuracy`` where there are validation images, and of the target ``target_mask_rate``,
        ``target_mean_entropy``, ``target_mutual_information``, ``target_nuclear_norm``, ``target_corr_c``,
        ``target_classes`` (:func:`effective_classes`), and ``target_agreement`` of student and teacher. What each
        means is in :mod:`dalib.judge.scores`.

    >>> no_images, no_labels = torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64)
    >>> evidence = Evidence(no_images, no_labels, torch.tensor([[0.9, 0.1], [0.2, 0.8]]))
    >>> quick_scores(evidence, threshold=0.85)["target_mask_rate"]
    0.5
    """
    target = evidence.target
    found = {"source_validation_accuracy": evidence.validation_accuracy} if len(evidence.labels) else {}
    found |= {
        "target_mask_rate": scores.mask_rate(target, threshold),
        "target_mean_entropy": scores.mean_entropy(target),
        "target_mutual_information": scores.mutual_information(target),
        "target_nuclear_norm": scores.nuclear_norm(target),
        "target_corr_c": scores.corr_c(target, prior),
        "target_classes": effective_classes(evidence.histogram),
    }
    if evidence.student is not None:
        found["target_agreement"] = scores.agreement(target, evidence.student)
    return found


def slow_scores(evidence: Evidence, seed: int = 0) -> dict[str, float]:
    """Computes the scores that take seconds, for a finished model.

    Returns:
        ``target_density`` (soft neighbourhood density), and where there are features ``target_class_ami`` and, with
        validation images, ``target_dev_risk``.
    """
    found = {"target_density": scores.soft_neighbourhood_density(evidence.target)} if len(evidence.target) > 1 else {}
    features = evidence.target_features
    if features is None:
        return found
    classes = evidence.target.shape[1]
    if len(features) > 1:
        unit = torch.nn.functional.normalize(features.float(), dim=1)
        found["target_class_ami"] = scores.class_ami(unit, evidence.target.argmax(dim=1), classes, seed=seed)
    if evidence.validation_features is not None and len(evidence.labels) >= 2:
        found["target_dev_risk"] = _crossed_risk(evidence, evidence.validation_features, features)
    return found


@dataclass(frozen=True)
class Scored:
    """The evidence of a finished model, and all of its scores."""

    evidence: Evidence
    scores: dict[str, float]

    @classmethod
    def of(cls, evidence: Evidence, threshold: float, seed: int = 0, prior: Tensor | None = None) -> Scored:
        """Computes :func:`quick_scores` and :func:`slow_scores` of the evidence."""
        return cls(evidence, quick_scores(evidence, threshold, prior) | slow_scores(evidence, seed))


def effective_classes(shares: Tensor) -> float:
    r"""Computes how many equally frequent classes are as diverse as these, :math:`\exp(-\sum_c u_c \log u_c)`.

    Args:
        shares: (C,) non-negative with sum 1.

    Returns:
        In [1, C]: C where all are equally frequent, 1 where there is one alone.

    Source: the exponential of Shannon's entropy (Hill number of order 1).

    >>> round(effective_classes(torch.tensor([0.5, 0.5, 0.0])), 6)
    2.0
    """
    return math.exp(max(0.0, float(torch.special.entr(shares.double().clamp_min(0)).sum())))


def _crossed_risk(evidence: Evidence, validation: Tensor, target: Tensor) -> float:
    """Computes DEV with the model's error; each half is weighted by a domain classifier that learnt from the other."""
    wrong = (evidence.validation.argmax(dim=1) != evidence.labels).double()
    half = torch.arange(len(wrong)) % 2 == 0
    weights = torch.empty(len(wrong), dtype=torch.float64)
    for part in (half, ~half):
        weights[part] = scores.density_ratio(validation[~part], target, validation[part])
    return scores.dev_risk(wrong, weights)
