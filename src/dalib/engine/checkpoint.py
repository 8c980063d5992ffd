"""Checkpoints that are written whole or not at all and read without unpickling code; the newest readable one counts."""

from __future__ import annotations

import io
import warnings
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from dalib.core.errors import UserError
from dalib.core.files import put_in_place

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 2
"""1 had no metrics and no loss scale."""


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training between two steps."""

    step: int
    """Number of completed steps, which is the number of the next one."""
    method: dict[str, Any]
    optimizer: dict[str, Any]
    log: dict[str, Any] = field(default_factory=dict)
    """Metrics that are not written yet."""
    scaler: dict[str, Any] = field(default_factory=dict)
    """The loss scale of half precision."""


class CheckpointFolder:
    """The folder of one training's last ``keep`` checkpoints.

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
        """Writes the checkpoint under a temporary name, syncs it to the disk, then renames it.

        Raises:
            OSError: the disk is full, or may not be written; what was there before is still there.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step-{checkpoint.step:09d}.pt"
        temporary = path.with_suffix(".tmp")
        content = io.BytesIO()  # torch turns the error of a full disk into one that does not say so
        torch.save({"format": FORMAT, **vars(checkpoint)}, content)
        temporary.unlink(missing_ok=True)  # a link in a run of somebody else's would be followed
        try:
            temporary.write_bytes(content.getbuffer())
            put_in_place(temporary, path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        for old in self._paths()[: -self.keep]:
            old.unlink()

    def newest(self, device: torch.device) -> Checkpoint | None:
        """Returns the newest readable checkpoint, its tensors on ``device``; None if there is none.

        Warns of each damaged one that it passes over.

        Raises:
            UserError: a checkpoint of a newer format than this version reads.
        """
        for path in reversed(self._paths()):
            try:
                with zipfile.ZipFile(path) as records:
                    if (broken := records.testzip()) is not None:  # torch does not look at the checksums
                        raise ValueError(f"the checksum of {broken} does not fit")
                    # no checksum covers the directory, and of what it calls a folder torch leaves the memory unwritten
                    if any(record.external_attr & 0x10 or record.is_dir() for record in records.infolist()):
                        raise ValueError("a tensor is marked as a folder")
                content = torch.load(path, map_location=device, weights_only=True)
                found = content.pop("format")
                # what a newer format holds is not ours to judge
                known = Checkpoint(**content) if found <= FORMAT else None
            except Exception as error:  # a damaged file raises anything; the one before it still counts
                warnings.warn(f"{path}: damaged checkpoint passed over ({error})", stacklevel=2)
                continue
            if known is None:
                raise UserError(f"{path}: written in format {found}; this version reads up to {FORMAT}: update dalib")
            return known
        return None

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.pt"))
