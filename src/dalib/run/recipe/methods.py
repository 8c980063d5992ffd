"""The method of a configuration, around a student."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dalib.adaptation.inputs import MethodInputs
from dalib.adaptation.masked_consistency import MaskedConsistency
from dalib.adaptation.methods import group_of, method_class
from dalib.core.errors import Setting, UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dalib.core.types import Method
    from dalib.run.settings.config import TrainConfig

COMPILE_MODES: dict[str, str | None] = {"none": None, "default": "default", "cuda-graphs": "reduce-overhead"}


def make_method(
    config: TrainConfig, student: nn.Module, num_classes: int, prior: Tensor | None = None, *, steps: int | None = None
) -> Method:
    """Builds the method of the configuration around a student.

    Args:
        prior: (C,) class shares of the target; None is uniform.
        steps: number of steps of the training, with which some weights rise; None if it is unknown and does not matter.

    Raises:
        UserError: a setting out of its range, or that the method does not have.
    """
    group = group_of(config.method)
    inputs = MethodInputs(
        student,
        num_classes,
        steps or 1,
        prior=prior,
        label_smoothing=config.optimizer.label_smoothing,
        compile_mode=COMPILE_MODES[config.compile],
        stored_views=config.features,
    )
    try:
        method = method_class(config.method).build(getattr(config, group, None), inputs)
    except ValueError as error:
        raise _about(group, config, error) from None
    adapts = method.target_views > 0
    # halfway is what a preset expects, of methods that expect shares
    if config.prior not in ("uniform", "halfway") and adapts and method.class_prior is None:
        raise UserError(
            Setting("prior", config.prior),
            f": {config.method} expects no class shares; use ",
            Setting("prior", "uniform"),
        )
    masking = config.masked_consistency
    if masking.weight == 0:
        return method
    refused = (
        (not adapts, Setting("method", config.method), "which does not adapt"),
        (config.features, Setting("features", config.features), "by which no image reaches the training"),
        (config.prior == "estimate", Setting("prior", "estimate"), "with which it is not combined"),
    )
    if beside := next((each for each in refused if each[0]), None):
        raise UserError(
            Setting("masked_consistency.weight", masking.weight),
            ": it masks target images, beside a method that adapts; leave it out with ",
            beside[1],
            f", {beside[2]}",
        )
    try:
        return MaskedConsistency.around(method, masking)
    except ValueError as error:
        raise _about("masked_consistency", config, error) from None


def _about(group: str, config: TrainConfig, error: ValueError) -> UserError:
    """Returns an error of a method's as one about the setting that its message begins with."""
    setting, colon, text = str(error).partition(":")
    if colon and hasattr(getattr(config, group, None), setting):
        return UserError(Setting(f"{group}.{setting}"), f":{text}")
    return UserError(Setting(group), f": {error}")
