"""Inputs of an adaptation to a target with fewer of the source's classes, or with others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from dalib.core.words import UNKNOWN
from dalib.engine.distributed import ALONE, World
from dalib.engine.evaluate import plain_representation
from dalib.run.classes.fewer import expected_classes, resampled, target_kind
from dalib.run.classes.prior import KINDS
from dalib.run.classes.unknown import ExpectedKnown
from dalib.run.features.feature_space import standardization

if TYPE_CHECKING:
    from dalib.judge.evidence import Evidence
    from dalib.judge.kinds import TargetKind
    from dalib.run.recipe.run_models import RunModels
    from dalib.run.recipe.shared_inputs import TrainingInputs
    from dalib.run.start.kit import Kit


def fitted_to_fewer(
    inputs: TrainingInputs, done: RunModels, *, prior: str, seed: int, world: World = ALONE
) -> TrainingInputs:
    """Returns the inputs of an adaptation to a target that has some of the source's classes.

    Args:
        inputs: those of the source-only model.
        done: with the source-only model and, where there can be one, the aligned model.
        prior: as in the settings of a run; a file of shares replaces the estimate.
        seed: of the source images that are drawn again.
        world: the processes that train together; the first one estimates, because it alone has the aligned model.

    Raises:
        UserError: a file of shares that cannot be read or does not fit the classes.
    """
    train, domains, before = inputs.domains.train, inputs.domains, _before(inputs, done)
    given = None if prior in KINDS else Path(prior)
    expected = world.from_first(lambda: expected_classes(before, train.labels, train.classes, given))
    drawn = resampled(domains.train_adapted, expected.shares, seed)
    standardized = inputs.standardized
    if standardized is not None and domains.joined is None:  # labelled images of the target are scaled for the source's
        standardized = replace(standardized, source=standardization(drawn.images, inputs.device))
    return replace(inputs, domains=replace(domains, joined=drawn), standardized=standardized, expected=expected)


def can_be_told(*, baseline: bool, prior: str, kit: Kit | None) -> bool:
    """Returns whether ``--classes auto`` can decide: by a source-only model, and where no other shares are wanted."""
    alone = kit is not None and kit.model_alone
    return baseline and prior != "source" and not alone


def decide_kind(inputs: TrainingInputs, done: RunModels, *, hinted: bool = False, world: World = ALONE) -> TargetKind:
    """Judges the kind of the target; nothing depends on chance or on time.

    Images of other classes are not looked for beside hints, which would be left behind, and where a class of the source
    has their name.

    Args:
        inputs: those of the source-only model.
        done: with the source-only model and, where there can be one, the aligned model.
        hinted: whether the adaptation learns from hints.
        world: the processes that train together; the first one decides, because it alone has the aligned model.
    """
    train, before = inputs.domains.train, _before(inputs, done)
    others = not hinted and UNKNOWN not in map(str.lower, train.classes)
    return world.from_first(lambda: target_kind(before, train.labels, len(train.classes), others=others))


def _before(inputs: TrainingInputs, done: RunModels) -> dict[str, Evidence]:
    """Returns the predictions of the models from before the adaptation for the evaluated images."""
    return {name: inputs.domains.grouped(each.evaluated) for name, each in done.models.items() if name != "adapted"}


def fitted_to_known(inputs: TrainingInputs, done: RunModels, world: World = ALONE) -> TrainingInputs:
    """Returns the inputs of an adaptation to a target with images of none of the classes, which are set apart.

    Args:
        inputs: those of the source-only model.
        done: with the source-only model and, where there can be one, the aligned model.
        world: the processes that train together; the first one decides, because it alone has all predictions.

    Raises:
        UserError: too few target images.
    """

    def expected_known() -> ExpectedKnown:
        before = {name: evidence for name, evidence in done.everything.items() if name != "adapted"}
        target, every = inputs.domains.to_predict, torch.arange(len(inputs.domains.to_predict))
        features = None if inputs.space is None else plain_representation(inputs.domains.train, target, every)
        return ExpectedKnown.of(before, features)

    expected = world.from_first(expected_known)
    domains = replace(inputs.domains, target=expected.apart(inputs.domains.target))
    return replace(inputs, domains=domains, expected=expected)
