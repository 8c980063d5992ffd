"""The aligned model: source-only with the target's normalisation statistics."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import nn

from dalib.engine.predict import recompute_statistics
from dalib.run.recipe import recipe
from dalib.run.recipe.run_models import FinishedModel
from dalib.run.recipe.task import predictions_of_all

if TYPE_CHECKING:
    from dalib.run.recipe.shared_inputs import TrainingInputs


def align(source_only: FinishedModel, inputs: TrainingInputs) -> FinishedModel | None:
    """Returns the aligned model: the source-only one with the target's normalisation statistics.

    Nothing is trained. Of features of a frozen backbone it is their standardisation that is the target's, of other
    networks the running statistics of batch normalisation. On the source it is the source-only model.

    Args:
        source_only: it and its predictions.
        inputs: the target's rows.

    Returns:
        The aligned model and its predictions; None where the network has no statistics that could be the target's, or
        where several processes take them together (``sync_norms``).

    Source: AdaBN (Li et al. 2017).
    """
    before, own = source_only.trained, inputs.of("aligned")[0]
    model = copy.deepcopy(before.model)
    if inputs.space is not None:
        can_be_aligned = inputs.standardized is not None
    else:
        rows = inputs.domains.target.images
        # layers that take their statistics over all processes would wait for the others, which align nothing
        alone = not any(isinstance(module, nn.SyncBatchNorm) for module in model.modules())
        can_be_aligned = alone and len(rows) > 1 and recompute_statistics(model, rows, own.plain, device=inputs.device)
    if not can_be_aligned:
        return None
    on_target = replace(inputs.domains, validation=inputs.domains.validation.none())
    evaluator = recipe.make_evaluator(on_target, own, inputs.device)
    found, on_source = evaluator.evidence(model), source_only.evaluated
    everything = predictions_of_all("aligned", replace(before, model=model, evidence=found), own, evaluator)
    known = {"validation": on_source.validation, "labels": on_source.labels}
    evaluated = replace(found, **known, validation_features=on_source.validation_features)
    assert source_only.everything is not None
    everywhere = {"validation": source_only.everything.validation, "labels": source_only.everything.labels}
    return FinishedModel(replace(before, model=model, evidence=evaluated), replace(everything, **everywhere))
