"""A method around a student, with masked images beside it; what does not fit is an error of a setting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dalib.adaptation.masked_consistency import MaskedConsistency
from dalib.adaptation.methods import group_of, method_class
from dalib.core.errors import Setting, UserError

if TYPE_CHECKING:
    from dalib.adaptation.inputs import MethodInputs
    from dalib.adaptation.masked_consistency import MaskedConsistencyConfig
    from dalib.core.types import Method


def build_method(
    name: str, settings: Any, inputs: MethodInputs, *, expected_shares: str, masking: MaskedConsistencyConfig
) -> Method:
    """Builds a method around a student, with masked images beside it where they have a weight.

    Args:
        name: one of ``dalib.adaptation.methods.METHODS``.
        settings: its own; None for a method without any.
        inputs: the student, and what goes for any method.
        expected_shares: kind of the class shares that the run expects of the target, or their file.
        masking: settings of the masked images.

    Raises:
        UserError: a setting out of its range, or that the method does not have.
    """
    group = group_of(name)
    try:
        method = method_class(name).build(settings, inputs)
    except ValueError as error:
        raise _about(group, settings, error) from None
    adapts = method.target_views > 0
    # halfway is what a preset expects, of methods that expect shares
    if expected_shares not in ("uniform", "halfway") and adapts and method.class_prior is None:
        raise UserError(
            Setting("prior", expected_shares),
            f": {name} expects no class shares; use ",
            Setting("prior", "uniform"),
        )
    if masking.weight == 0:
        return method
    refused = (
        (not adapts, Setting("method", name), "which does not adapt"),
        (inputs.stored_views, Setting("features", inputs.stored_views), "by which no image reaches the training"),
        (expected_shares == "estimate", Setting("prior", "estimate"), "with which it is not combined"),
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
        raise _about("masked_consistency", masking, error) from None


def _about(group: str, settings: Any, error: ValueError) -> UserError:
    """Returns an error of a method's as one about the setting that its message begins with."""
    setting, colon, text = str(error).partition(":")
    if colon and hasattr(settings, setting):
        return UserError(Setting(f"{group}.{setting}"), f":{text}")
    return UserError(Setting(group), f": {error}")
