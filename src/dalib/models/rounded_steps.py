"""What bfloat16 gains in the steps of a training on a CPU, where weights, losses and optimiser stay in float32."""

from __future__ import annotations

import copy
import time
from typing import TYPE_CHECKING

import torch

from dalib.models.classifier import logits_of
from dalib.models.inference import WORTH_BFLOAT16, has_bfloat16

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

_ROUNDS = 3


def gain_of_bfloat16_steps(network: nn.Module, example_shape: Sequence[int]) -> float:
    """Measures how many times as fast a forward and backward pass is under autocast to bfloat16.

    Args:
        network: images -> logits (N, C), alone or first in a tuple. It is copied, and not changed.
        example_shape: (N, C, H, W) of the batches to come.

    Returns:
        1 where bfloat16 is not worth its rounding: on a CPU without instructions for it, or if it gains less than a
        fifth.

    The loss, the teacher's forward pass and the optimiser are left out: what they take is small or proportional to the
    student's passes. Source: our choice, measured in benchmarks/digits.py.
    """
    if not has_bfloat16():
        return 1.0
    student = copy.deepcopy(network).cpu().train().to(memory_format=torch.channels_last)
    images = torch.randn(tuple(example_shape), generator=torch.Generator().manual_seed(0))
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.random.fork_rng(devices=[]):  # dropout draws
        for bfloat16 in (False, True):  # the first calls prepare kernels
            _seconds(student, images, bfloat16=bfloat16)
        # in turn, and the fastest of each: machines change pace
        exact, rounded = zip(
            *(
                (_seconds(student, images, bfloat16=False), _seconds(student, images, bfloat16=True))
                for _ in range(_ROUNDS)
            ),
            strict=True,
        )
    gain = min(exact) / min(rounded)
    return gain if gain >= WORTH_BFLOAT16 else 1.0


def _seconds(student: nn.Module, images: Tensor, *, bfloat16: bool) -> float:
    """Measures one forward and backward pass."""
    student.zero_grad(set_to_none=True)
    start = time.perf_counter()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
        logits = logits_of(student, images)
    torch.autograd.backward(logits.float().square().mean())
    return time.perf_counter() - start
