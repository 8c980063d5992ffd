"""Domain adaptation by self-ensembling: labelled source images in, a classifier for the unlabelled target out.

``dalib.load("runs/first")("photo.jpg")`` predicts. The method's building blocks live in
:mod:`dalib.adaptation.self_ensemble`; the command line is ``dalib --help``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dalib._version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from dalib.run.load import Predictor

__all__ = ["__version__", "load"]


def load(path: str | Path, *, model: str | None = None, device: str = "auto") -> Predictor:
    """The model of a run's folder, or of what ``dalib export`` wrote, as a function of images.

    ``dalib.load("runs/first")("photo.jpg")`` is a :class:`dalib.run.load.Prediction` with ``label``, ``confidence``
    and ``probabilities``. Arguments and errors: :func:`dalib.run.load.load`.
    """
    from dalib.run.load import load  # torch takes seconds to import

    return load(path, model=model, device=device)
