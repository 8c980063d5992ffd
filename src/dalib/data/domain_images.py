"""Images of a domain in the form in which a run has them: rows with names, and for the source also labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dalib.core.words import some_of

if TYPE_CHECKING:
    from torch import Tensor

    from dalib.core.files import Unreadable
    from dalib.data.rows import Rows

_MOST_IN_REPR = 10  # classes


@dataclass(frozen=True)
class UnlabelledImages:
    """Images of the target; there is no field for labels."""

    images: Rows
    """N rows of (C, size, size) uint8: a tensor, with the exceptions of :func:`dalib.data.sources.open_source`."""
    names: tuple[str, ...]
    """N paths, or names where there are no files."""
    unreadable: tuple[Unreadable, ...] = ()
    left_out: tuple[Unreadable, ...] = ()
    """Files and folders that are no images by their names."""
    outside: Rows | None = None
    """Rows of further images that seem to be of none of the classes, where such are set apart for a training."""

    def __repr__(self) -> str:
        return f"UnlabelledImages({_rows_in_short(self.images)})"


@dataclass(frozen=True)
class LabelledImages:
    """Images of the source, or of a labelled evaluation set."""

    images: Rows
    """N rows of (C, size, size) uint8: a tensor, with the exceptions of :func:`dalib.data.sources.open_source`."""
    labels: Tensor
    """(N,) int64, positions in ``classes``."""
    classes: tuple[str, ...]
    names: tuple[str, ...]
    unreadable: tuple[Unreadable, ...] = ()
    left_out: tuple[Unreadable, ...] = ()
    """Files and folders that are no images by their names."""

    def none(self) -> LabelledImages:
        """Returns none of these images, of the same classes and the same kind of rows."""
        return replace(self, images=self.images[self.labels[:0]], labels=self.labels[:0], names=())

    def __repr__(self) -> str:
        counts = self.labels.bincount(minlength=len(self.classes)).tolist()
        each = some_of([f"{name} {count}" for name, count in zip(self.classes, counts, strict=False)], _MOST_IN_REPR)
        return f"LabelledImages({_rows_in_short(self.images)}, {len(self.classes)} classes: {each})"


def _rows_in_short(rows: Rows) -> str:
    """Returns how many rows there are, and their shape where it is known."""
    shape = getattr(rows, "shape", None)
    return f"{len(rows)} images" if shape is None else f"{len(rows)} images of {tuple(shape[1:])}"
