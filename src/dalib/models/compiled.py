"""Forward passes by torch.compile, where the user asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

Forward = TypeVar("Forward", bound="Callable[..., object]")


def compiled(forward: Forward, mode: str | None) -> Forward:
    """Returns ``forward`` compiled at its first call; unchanged if ``mode`` is None.

    What is compiled is the call and not the module: the module itself stays as it was, for evaluation and saving.
    Mode ``'reduce-overhead'`` replays CUDA graphs, whose outputs live until the next step: call
    :func:`mark_step` before each.
    """
    return forward if mode is None else torch.compile(forward, mode=mode)  # type: ignore[return-value]


def mark_step(mode: str | None) -> None:
    """Notifies CUDA graphs that outputs of the previous step are no longer needed."""
    if mode is not None:
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
