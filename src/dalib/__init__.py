"""Domain adaptation by self-ensembling: labelled source images in, a classifier for the unlabelled target out.

::

    import dalib

    run = dalib.adapt("studio/", "street/")   # train, judge, report; arrays, data sets and lists do as well
    run.predict("street/")                    # labels, confidences, probabilities
    run.features("street/")                   # a vector for each image
    dalib.open_run("runs/first")              # the same object later
    dalib.compare("runs/first", run)          # which of several runs is best
    dalib.load("runs/first")("photo.jpg")     # one image
    dalib.judge_models({"a": p, "b": q})      # models that were trained elsewhere

The method's building blocks live in :mod:`dalib.adaptation.self_ensemble`, the estimator of scikit-learn in
:mod:`dalib.sklearn`; the command line is ``dalib --help``.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from dalib._version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from dalib.core.errors import RunStoppedError, UserError
    from dalib.judge.models_judgement import ModelsJudgement
    from dalib.run.adapt import adapt, adapt_each
    from dalib.run.finished.image_features import ImageFeatures
    from dalib.run.finished.image_predictions import ImagePrediction, Predictions
    from dalib.run.finished.load import Prediction, Predictor
    from dalib.run.opened import Run, Runs, compare, open_run, open_runs
    from dalib.run.others.judge_models import judge_models
    from dalib.run.settings.config import TrainConfig

if "torch" not in sys.modules:  # which reads these once
    if sys.platform == "darwin":  # see dalib.core.devices
        os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    elif sys.platform == "linux" and "OMP_WAIT_POLICY" not in os.environ:
        # threads that wait for each other a little less long before they sleep: on a machine that does other work, they
        # keep the processor from the thread that they wait for (benchmarks/LOG.md)
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")

__all__ = [
    "ImageFeatures",
    "ImagePrediction",
    "ModelsJudgement",
    "Prediction",
    "Predictions",
    "Predictor",
    "Run",
    "RunStoppedError",
    "Runs",
    "TrainConfig",
    "UserError",
    "__version__",
    "adapt",
    "adapt_each",
    "compare",
    "judge_models",
    "load",
    "open_run",
    "open_runs",
]

_PLACES = {
    "ImageFeatures": "dalib.run.finished.image_features",
    "ImagePrediction": "dalib.run.finished.image_predictions",
    "ModelsJudgement": "dalib.judge.models_judgement",
    "Prediction": "dalib.run.finished.load",
    "Predictions": "dalib.run.finished.image_predictions",
    "Predictor": "dalib.run.finished.load",
    "RunStoppedError": "dalib.core.errors",
    "UserError": "dalib.core.errors",
    "Run": "dalib.run.opened",
    "Runs": "dalib.run.opened",
    "TrainConfig": "dalib.run.settings.config",
    "adapt": "dalib.run.adapt",
    "adapt_each": "dalib.run.adapt",
    "compare": "dalib.run.opened",
    "judge_models": "dalib.run.others.judge_models",
    "open_run": "dalib.run.opened",
    "open_runs": "dalib.run.opened",
}
"""Modules of the names that are imported when first used, so that importing dalib is quick."""


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


def load(path: str | Path, *, model: str | None = None, device: str = "auto") -> Predictor:
    """Returns the model of a run's folder, or of what ``dalib export`` wrote, as a function of images.

    ``dalib.load("runs/first")("photo.jpg")`` is a :class:`dalib.run.finished.load.Prediction` with ``label``,
    ``confidence`` and ``probabilities``. Arguments and errors: :func:`dalib.run.finished.load.load`.
    """
    from dalib.run.finished.load import load  # torch takes seconds to import

    return load(path, model=model, device=device)
