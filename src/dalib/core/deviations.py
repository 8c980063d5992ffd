"""Standard deviations of features, as they are divided by."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

LEAST_SHARE = 0.1
"""Share of the median deviation below which a feature counts as nearly constant.

Chosen on 33 tasks of the study of benchmarks/judging and confirmed on the other 33 (benchmarks/LOG.md)."""

LEAST = 1e-5
"""The smallest deviation, where more than half of the features are constant."""


def to_divide_by(deviation: Tensor) -> Tensor:
    """Returns deviations (D,) that features can be divided by: at least a tenth of their median.

    A feature that hardly varies among the images at hand would be blown up by its own deviation: where another domain
    has it, one feature of a thousand would outweigh all others.

    >>> import torch
    >>> to_divide_by(torch.tensor([2.0, 1.0, 0.0]))
    tensor([2.0000, 1.0000, 0.1000])
    """
    floor = (LEAST_SHARE * deviation.median()).clamp_min(LEAST)
    return deviation.maximum(floor)
