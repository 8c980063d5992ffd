"""Probabilities, features and labels that scores, estimates and judgements are given: checked, and in float64."""

from __future__ import annotations

import torch
from torch import Tensor

SUM_TOLERANCE = 1e-2
"""Rows of half-precision probabilities miss a sum of 1 by about this much."""


def as_probabilities(p: Tensor, name: str = "p") -> Tensor:
    """Returns probabilities (N, C) as float64 on the CPU, without gradient; raises a ValueError for bad ones.

    Args:
        p: (N, C) of any floating-point dtype, N >= 1 and C >= 2, rows in [0, 1] with sum 1 (within 0.01, which half
            precision needs). Logits are refused by their sum.
        name: their name in the message.

    Raises:
        ValueError: another shape, not floating point, NaN or infinite, outside [0, 1], or rows that do not sum to 1.

    >>> as_probabilities(torch.tensor([[0.25, 0.75]])).dtype
    torch.float64
    """
    if p.ndim != 2 or p.shape[0] < 1 or p.shape[1] < 2:
        raise ValueError(f"{name}: expected probabilities (N >= 1, C >= 2), got shape {tuple(p.shape)}")
    p = _as_finite(p, name, "probabilities")
    if bool((p < -SUM_TOLERANCE).any()) or bool(((p.sum(dim=1) - 1).abs() > SUM_TOLERANCE).any()):
        raise ValueError(f"{name}: expected rows in [0, 1] that sum to 1; apply softmax to logits first")
    return p


def as_features(features: Tensor, name: str = "features") -> Tensor:
    """Returns features (N, D) as float64 on the CPU, without gradient; raises a ValueError for bad ones.

    Raises:
        ValueError: not (N >= 1, D >= 1), not floating point, or NaN or infinite entries.

    >>> as_features(torch.zeros(3, 2)).dtype
    torch.float64
    """
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(f"{name}: expected features (N >= 1, D >= 1), got shape {tuple(features.shape)}")
    return _as_finite(features, name, "features")


def _as_finite(rows: Tensor, name: str, what: str) -> Tensor:
    """Returns rows (N, D) as float64 on the CPU, without gradient; raises a ValueError for other types and for NaN."""
    if not rows.is_floating_point():
        raise ValueError(f"{name}: expected floating-point {what}, got {rows.dtype}")
    rows = rows.detach().to("cpu", torch.float64)
    if not bool((finite := rows.isfinite()).all()):
        wrong = int((~finite).any(dim=1).sum())
        raise ValueError(f"{name}: {wrong} of {len(rows)} rows have NaN or infinite entries")
    return rows


def as_classes(classes: Tensor, count: int | None, num_classes: int, name: str = "labels") -> Tensor:
    """Returns class numbers (N,) as int64 on the CPU; raises a ValueError for bad ones.

    Args:
        count: the N to insist on; None takes any of at least 1.
        num_classes: C; each entry must lie in [0, C).

    Raises:
        ValueError: another shape or count, not integers, or out of range.

    >>> as_classes(torch.tensor([2, 0]), 2, num_classes=3).tolist()
    [2, 0]
    """
    if classes.ndim != 1 or len(classes) < 1 or (count is not None and len(classes) != count):
        wanted = "N >= 1" if count is None else f"{count}"
        raise ValueError(f"{name}: expected shape ({wanted},), got {tuple(classes.shape)}")
    if classes.is_floating_point() or classes.is_complex() or classes.dtype == torch.bool:
        raise ValueError(f"{name}: expected integers, got {classes.dtype}")
    classes = classes.detach().to("cpu", torch.int64)
    if int(classes.min()) < 0 or int(classes.max()) >= num_classes:
        raise ValueError(
            f"{name}: expected classes in [0, {num_classes}), got {int(classes.min())} to {int(classes.max())}"
        )
    return classes


def as_validation(validation: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Returns probabilities (N, C) of labelled source images and their (N,) classes, checked.

    Raises:
        ValueError: anything else.
    """
    validation = as_probabilities(validation, "validation")
    return validation, as_classes(labels, len(validation), validation.shape[1])


def as_validation_and_target(validation: Tensor, labels: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns :func:`as_validation`, and probabilities (M, C) of target images with as many classes.

    Raises:
        ValueError: anything else.
    """
    validation, labels = as_validation(validation, labels)
    target = as_probabilities(target, "target")
    if target.shape[1] != validation.shape[1]:
        raise ValueError(f"target: expected {validation.shape[1]} classes, as in validation, got {target.shape[1]}")
    return validation, labels, target
