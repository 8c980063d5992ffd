"""Random seeds that derive from their use: the seed, the step, the rank and a purpose. There is no state to save."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Generator


def derive_seed(*parts: int | str) -> int:
    """Returns a seed in [0, 2^63) that depends on every part; the same in every process and on every machine.

    >>> derive_seed(0, "dropout", 17) == derive_seed(0, "dropout", 17) != derive_seed(0, "dropout", 18)
    True
    """
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()) >> 1


def generator_for(device: torch.device | str, *parts: int | str) -> Generator:
    """Returns a new generator on ``device``, seeded by :func:`derive_seed`."""
    return torch.Generator(device).manual_seed(derive_seed(*parts))


def seed_global(seed: int, device: torch.device | str) -> None:
    """Seeds torch's global generators, of the CPU and of ``device``, as ``torch.manual_seed`` does.

    That function also takes down the caller's stack for devices that were not used yet, half a millisecond each time.
    """
    if torch.device(device).type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)
