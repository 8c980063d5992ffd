"""The predictions of a run's models for all target images, as the run's folder keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file

from dalib.core.errors import Call, Setting, UserError
from dalib.models.saved import load_description
from dalib.records.candidates import CANDIDATES
from dalib.records.folder import RunFolder, models_of
from dalib.records.images import ImageNames
from dalib.records.judgement import Judgement
from dalib.records.summary import Summary
from dalib.run.finished.measure import answers

if TYPE_CHECKING:
    from torch import Tensor

    from dalib.models.known import KnownRule


def target_predictions(run: RunFolder) -> tuple[list[str], dict[str, Tensor]]:
    """Returns the names of the target's images and each model's probabilities (N, C).

    Of a run that expects images of none of its classes they are (N, C + 1), with unknown as the last class.

    The first two models are those by which images to label are chosen: the adapted one, and the baseline that it was
    judged beside or, without a judgement, that is selected.

    Raises:
        UserError: not in the run's folder, or damaged.
    """
    missing = [path.name for path in (run.predictions, run.images) if not path.is_file()]
    if missing:
        raise UserError(
            Setting("run", run.root),
            f": {' and '.join(missing)} missing; training has not finished (",
            run.resume_call,
            "), or the run was made by an older version (again: ",
            Call("dalib.adapt", Setting("config", run.config), Setting("out", "NEW")),
            ")",
        )
    names = list(ImageNames.read(run.images).target)
    try:
        tensors = load_file(run.predictions)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{run.predictions}: cannot be read ({error}); the file is damaged") from None
    found = {name: tensors[f"target/{name}"] for name in _compared_first(run) if f"target/{name}" in tensors}
    shapes = {tuple(p.shape) for p in found.values()}
    if not found or shapes != {(len(names), len(classes_of(run)))}:
        raise UserError(
            f"{run.predictions}: expected predictions of {len(names)} target images, as in {run.images.name}, and "
            f"{len(classes_of(run))} classes; the file is damaged"
        )
    rules = _rules(run)
    return names, {name: answers(p, rules.get(name)) for name, p in found.items()}


def where_models_differ(predictions: dict[str, Tensor]) -> Tensor:
    """Returns (N,) bool: where the first two models name different classes; nowhere if there is one model."""
    classes = [p.argmax(dim=1) for p in predictions.values()][:2]
    return classes[0] != classes[-1]


def configuration_of(run: RunFolder) -> dict[str, Any]:
    """Returns the settings that a run was made with, as its folder has them.

    Raises:
        UserError: none there, or a damaged file.
    """
    try:
        content = yaml.safe_load(run.config.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{run.config}: no such file; is the run complete?") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{run.config}: expected YAML ({' '.join(str(error).split())}); the file is damaged") from None
    if not isinstance(content, dict):
        raise UserError(f"{run.config}: expected settings; the file is damaged")
    return content


def classes_of(run: RunFolder) -> list[str]:
    """Returns the names of the classes of a run."""
    return list(Summary.read(run.summary).classes)


def _rules(run: RunFolder) -> dict[str, KnownRule | None]:
    """Returns each model's rule for unknown images; empty where the run has no model any more."""
    try:
        return {name: load_description(folder).known for name, folder in models_of(run).items()}
    except UserError:
        return {}


def _compared_first(run: RunFolder) -> list[str]:
    """Returns the names that models may have, those that are compared first."""
    selected = run.selection().model
    judged: str | None = Judgement.read(run.judgement).baseline if run.judgement.is_file() else None
    baseline = judged or (selected if selected != "adapted" else None)
    first = ["adapted", baseline or "source-only"]
    return [*first, *(each.name for each in CANDIDATES if each.name not in first)]
