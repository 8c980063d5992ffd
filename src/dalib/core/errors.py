"""Errors that the user can mend, and messages that spell settings as Python or the command line does.

Library code names an argument by its name; the front door decides how it is spelled: ``features=4`` in Python,
``--features 4`` on the command line. A message is therefore made of parts, and spelled when it is read::

    UserError(Setting("features", 4), ": expected at most ", Setting("batch", 2))

The command line sets its spelling for all that runs below it (:func:`spelled`), so that a message inside of another
one, or a warning that is printed, needs nobody to pass the spelling on.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from traceback import extract_tb, format_list
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol

from dalib.core.places import in_short, is_given, is_given_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()
"""The value of a setting that is named alone; None is a value."""


class Spelling(Protocol):
    """Writes settings and calls for one kind of reader."""

    def setting(self, setting: Setting) -> str:
        """Returns a setting, with its value if it has one."""

    def call(self, call: Call) -> str:
        """Returns the call, or the command, in words."""


class Part(Protocol):
    """A part of a message beside text: a setting, a call, or another message."""

    def text(self, spelling: Spelling | None = None) -> str:
        """Returns the part as it is spelled; by default in the spelling that is set."""


@dataclass(frozen=True)
class Setting:
    """An argument or setting by its name; those of groups have a dot.

    >>> str(Setting("features", 4)), str(Setting("data.range"))
    ('features=4', 'data.range')
    """

    name: str
    value: Any = ABSENT

    def text(self, spelling: Spelling | None = None) -> str:
        return (spelling or _SPELLING.get()).setting(self)

    def __str__(self) -> str:
        return self.text()


class Call:
    """A remedy: what to call, by its full name, with these arguments.

    >>> str(Call("dalib.run.finished.select.keep", Setting("run", "runs/first"), Setting("model", "adapted")))
    "dalib.open_run('runs/first').keep(model='adapted')"
    >>> str(Call("dalib.run.finished.select.keep")), str(Call("dalib.adapt", Setting("resume", "runs/first")))
    ('dalib.Run.keep', "dalib.adapt(resume='runs/first')")
    """

    def __init__(self, function: str, *settings: Setting) -> None:
        self.function, self.settings = function, settings

    def text(self, spelling: Spelling | None = None) -> str:
        return (spelling or _SPELLING.get()).call(self)

    def __str__(self) -> str:
        return self.text()


RUN_METHODS: Mapping[str, str] = MappingProxyType(
    {
        "dalib.run.finished.measure.evaluate": "evaluate",
        "dalib.run.finished.label_estimates.evaluate_labels": "evaluate_labels",
        "dalib.run.finished.query.query": "query",
        "dalib.run.finished.predict.predict": "predict",
        "dalib.run.finished.features.features": "features",
        "dalib.run.export.export": "export",
        "dalib.run.finished.select.keep": "keep",
    }
)
"""Functions of a run that are methods of :class:`dalib.run.opened.Run`, which a reader in Python has at hand."""


class PythonSpelling:
    """Settings as arguments in Python, and functions of a run as methods of it.

    Args:
        names: what a setting is called here, where it has another name.
    """

    def __init__(self, **names: str) -> None:
        self.names = names

    def setting(self, setting: Setting) -> str:
        """Returns the argument with its value; objects in its place are named by what they are."""
        value = os.fspath(setting.value) if isinstance(setting.value, os.PathLike) else setting.value
        if isinstance(value, str) and is_given(value):
            return f"{self.names.get(setting.name, setting.name)} ({in_short(value)})"
        if isinstance(value, str) and is_given_table(value):
            return self.names.get(setting.name, setting.name)
        return self._argument(setting)

    def _argument(self, setting: Setting) -> str:
        name = self.names.get(setting.name, setting.name)
        value = os.fspath(setting.value) if isinstance(setting.value, os.PathLike) else setting.value
        return name if value is ABSENT else f"{name}={value!r}"

    def call(self, call: Call) -> str:
        method, settings = RUN_METHODS.get(call.function), {each.name: each for each in call.settings}
        if method is None:
            given = ", ".join(map(self._argument, call.settings))
            return f"{call.function}({given})" if given else call.function
        run = settings.pop("run", None)
        if run is None and not settings:
            return f"dalib.Run.{method}"
        at_hand = run is None or run.value is ABSENT
        of = "run" if at_hand else f"dalib.open_run({os.fspath(run.value)!r})"  # type: ignore[union-attr]
        return f"{of}.{method}({', '.join(map(self._argument, settings.values()))})"


_PACKAGE = os.fspath(Path(__file__).parents[1])

_SPELLING: ContextVar[Spelling] = ContextVar("spelling", default=PythonSpelling())  # noqa: B039 - it has no state


@contextmanager
def spelled(spelling: Spelling) -> Iterator[None]:
    """Sets how messages are spelled where nothing else is asked for."""
    token = _SPELLING.set(spelling)
    try:
        yield
    finally:
        _SPELLING.reset(token)


class Message:
    """Text that names settings, to be printed or to be part of another message.

    >>> str(Message("leave out ", Setting("strict")))
    'leave out strict'
    """

    def __init__(self, *parts: str | Part) -> None:
        self.parts = parts

    def text(self, spelling: Spelling | None = None) -> str:
        """Returns the whole text; by default in the spelling that is set, Python's unless a front door sets its own."""
        return "".join(part if isinstance(part, str) else part.text(spelling) for part in self.parts)

    def __str__(self) -> str:
        return self.text()


class _SpelledError(Exception):
    """An error whose arguments are the parts of a message."""

    def __init__(self, *parts: str | Part) -> None:
        super().__init__(*parts)

    def text(self, spelling: Spelling | None = None) -> str:
        """Returns the message; see :meth:`Message.text`."""
        return Message(*self.args).text(spelling)

    def __str__(self) -> str:
        return self.text()

    def _render_traceback_(self) -> list[str]:
        """Returns the lines that IPython shows: the message, and who called, without dalib's own lines."""
        called = [each for each in extract_tb(self.__traceback__) if not each.filename.startswith(_PACKAGE)]
        return [*format_list(called[-1:]), f"{type(self).__name__}: {self}"]


class UserError(_SpelledError, ValueError):
    """Bad input: the message names the argument or file, what was expected, what came, and the remedy."""


class ImageChangedError(UserError):
    """An image file that is read again and again is gone, or holds another picture than before."""


class NotThereError(UserError):
    """A file or folder that an argument names is not there.

    Its parts are the argument with the place, what is not there, and how to name another place, if that helps.
    """


class NotWrittenError(UserError):
    """A result cannot be written, because the disk is full or the place may not be written.

    Attributes:
        result: what was computed, if it is to be had; such as predictions.
    """

    def __init__(self, *parts: str | Part, result: Any = None) -> None:
        super().__init__(*parts)
        self.result = result


class ReportedByRankZeroError(UserError):
    """An error of the first of several processes, which prints it."""


class OutputClosedError(RuntimeError):
    """The reader of a command's output is gone, and printing is all that the command does."""


class TrainingDivergedError(_SpelledError, RuntimeError):
    """A loss became NaN or infinite; the message names the step and the part."""


class CollapsedError(RuntimeError):
    """A training shows signs of collapse, without a NaN."""

    def __init__(self, step: int, reason: str) -> None:
        super().__init__(f"step {step}: {reason}")
        self.step, self.reason = step, reason


class StoppedError(RuntimeError):
    """A training was asked to stop, and left after a whole step."""

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped after step {step}")
        self.step = step


class RanksLostError(_SpelledError, RuntimeError):
    """One of several processes that train together ended."""


class RunStoppedError(_SpelledError, RuntimeError):
    """A run was stopped by a signal; the message has the command that resumes it."""

    def __init__(self, message: str | Part, signal: int) -> None:
        super().__init__(message)
        self.code = 128 + signal


def in_a_line(error: BaseException) -> str:
    """Returns kind and message of an error in one line of at most 200 characters, for another message.

    >>> in_a_line(ValueError("no"))
    'ValueError: no'
    """
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200].removesuffix(": ")
