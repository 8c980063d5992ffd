"""The list of methods. A new method is a file in this room and a line here.

Its flags, its page in the reference, its part in the shared contract test and its name in the configuration follow from
the line; its settings, its needs and how it is built stand in its file. This module loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dalib.adaptation.settings import settings_in
from dalib.core.errors import Message, Setting

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dalib.adaptation.inputs import Buildable

SOURCE_ONLY = "source-only"
"""The baseline: the one method that does not adapt."""

METHODS: Mapping[str, str] = {
    "self-ensemble": "dalib.adaptation.self_ensemble.SelfEnsemble",
    "mean-teacher": "dalib.adaptation.mean_teacher.MeanTeacher",
    "fixmatch": "dalib.adaptation.fixmatch.FixMatch",
    "adamatch": "dalib.adaptation.adamatch.AdaMatch",
    "mcc": "dalib.adaptation.mcc.Mcc",
    SOURCE_ONLY: "dalib.adaptation.source_only.SourceOnly",
}
"""The name on the command line, and the class."""

MASKED_CONSISTENCY = "dalib.adaptation.masked_consistency.MaskedConsistency"
"""The loss that can be added to any of them."""


def adapts(method: str) -> bool:
    """Returns whether a method learns from the target; loads no torch.

    >>> adapts("mcc"), adapts("source-only")
    (True, False)
    """
    return method != SOURCE_ONLY


def group_of(method: str) -> str:
    """Returns the name of a method's settings in the configuration.

    >>> group_of("mean-teacher")
    'mean_teacher'
    """
    return method.replace("-", "_")


def module_of(method: str) -> str:
    """Returns the name of the module that holds a method.

    >>> module_of("mean-teacher")
    'dalib.adaptation.mean_teacher'
    """
    return METHODS[method].rpartition(".")[0]


def settings_of_method(method: str) -> Any:
    """Returns the class of a method's settings, and None if it has none; loads no torch."""
    return settings_in(module_of(method))


def method_class(method: str) -> Buildable:
    """Returns a method's class, which imports its file and torch."""
    module, _, name = METHODS[method].rpartition(".")
    return getattr(import_module(module), name)  # type: ignore[no-any-return]


def one_of_the_methods(fits: Callable[[Buildable], bool]) -> Message:
    """Returns the setting with the methods that adapt and fit, as the remedy in an error; imports them and torch.

    >>> str(one_of_the_methods(lambda method: method.takes_hints))
    "method='self-ensemble', mean-teacher, fixmatch or adamatch"
    """
    first, *others = (name for name in METHODS if adapts(name) and fits(method_class(name)))
    listed = "".join(f", {name}" for name in others[:-1]) + (f" or {others[-1]}" if others else "")
    return Message(Setting("method", first), listed)
