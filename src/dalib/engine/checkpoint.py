"""Checkpoints: written whole or not at all, read without unpickling code, the newest readable one wins."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """A moment between two steps."""

    step: int
    """How many steps are done: the number of the next one."""
    method: dict[str, Any]
    optimizer: dict[str, Any]


class CheckpointFolder:
    """The checkpoints of one training, the last ``keep`` of them.

    Args:
        folder: made at the first save.
        keep: at least 1; 2 leaves one to fall back on where the newest is damaged.
    """

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        if keep < 1:
            raise ValueError(f"keep: expected at least 1, got {keep}")
        self.folder = folder
        self.keep = keep

    def save(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint under a temporary name, bring it to the disk, then rename it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step-{checkpoint.step:09d}.pt"
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            torch.save(
                {
                    "format": FORMAT,
                    "step": checkpoint.step,
                    "method": checkpoint.method,
                    "optimizer": checkpoint.optimizer,
                },
                file,
            )
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105 - the name that says it is atomic
        for old in self._paths()[: -self.keep]:
            old.unlink()

    def newest(self, device: torch.device) -> Checkpoint | None:
        """The newest checkpoint that can be read, its tensors on ``device``; None where there is none.

        Warns of each damaged one that it passes over.

        Raises:
            ValueError: a checkpoint of a newer format than this version reads.
        """
        for path in reversed(self._paths()):
            try:
                content = torch.load(path, map_location=device, weights_only=True)
                found = content["format"]
                # what a newer format holds is not ours to judge
                known = (
                    Checkpoint(content["step"], content["method"], content["optimizer"]) if found <= FORMAT else None
                )
            except Exception as error:  # a damaged file raises anything; the one before it still counts
                warnings.warn(f"{path}: damaged checkpoint passed over ({error})", stacklevel=2)
                continue
            if known is None:
                raise ValueError(f"{path}: written in format {found}; this version reads up to {FORMAT}: update dalib")
            return known
        return None

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.pt"))
