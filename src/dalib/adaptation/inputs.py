"""Everything that a method is built from beside its own settings."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from dalib.core.ranges import check_smoothing
from dalib.judge.evidence import Confidence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

    from dalib.core.types import Method


@dataclass(frozen=True)
class MethodInputs:
    """The inputs that every method is built from, whatever its settings.

    Attributes:
        student: network to train: images -> logits (N, num_classes), alone or first in a tuple.
        num_classes: number of classes, C.
        steps: number of steps of the whole training, at least 1.
        prior: (C,) class shares of the target; None is uniform.
        label_smoothing: label smoothing of the cross-entropy on the source, in [0, 1).
        compile_mode: mode of torch.compile for the forward passes; None does not compile.
        stored_views: number of views of each image that are stored, so that a method cannot have more different ones;
            0 if views are drawn anew.

    Raises:
        ValueError: a label smoothing out of its range.
    """

    student: nn.Module
    num_classes: int
    steps: int
    prior: Tensor | None = None
    label_smoothing: float = 0.0
    compile_mode: str | None = None
    stored_views: int = 0

    def __post_init__(self) -> None:
        check_smoothing(self.label_smoothing)


class Buildable(Protocol):
    """The class of a method: its properties, and how a :class:`dalib.core.types.Method` is built."""

    joins_domains: bool
    """Whether source and target images are one batch of the student, for which the source's images have to be there."""
    takes_hints: bool
    """Whether the method has an attribute ``refining``, through which hints reach the predictions it learns from."""
    rising: tuple[str, ...]
    """Settings for the number of steps over which a weight rises; 0 is the whole weight from the first step on."""

    def confidence(self, settings: Any) -> Confidence:
        """Returns when a target image counts as confident, by these settings: where the method has a mask, by its own.

        Evaluations and the judgement show the share of such images, of the method's model and of its baseline.
        """
        ...

    def build(self, settings: Any, inputs: MethodInputs) -> Method:
        """Returns the method with these settings; a method without settings is given None.

        Raises:
            ValueError: a setting out of its range; the message begins with the setting's name.
        """
        ...


def common_confidence(settings: object) -> Confidence:  # noqa: ARG001 - a method without a mask has none
    """Returns when a target image counts as confident where the method has no mask: at the common threshold."""
    return Confidence()


@contextmanager
def named_as(**settings: str) -> Iterator[None]:
    """Lets errors name the setting that an argument of another name was made from.

    Args:
        settings: name of the setting for each argument.

    >>> with named_as(consistency_weight="weight"):
    ...     raise ValueError("consistency_weight: expected at least 0, got -1")
    Traceback (most recent call last):
    ValueError: weight: expected at least 0, got -1
    """
    try:
        yield
    except ValueError as error:
        argument, colon, text = str(error).partition(":")
        if argument not in settings:
            raise
        raise ValueError(f"{settings[argument]}{colon}{text}") from None
