"""Handling of Ctrl-C and of termination signals: the first lets the step end and be saved, the next stops at once."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dalib.core.console import say

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class StopRequests:
    """Listens for signals; a context manager. Signals that were ignored, such as SIGHUP under nohup, stay ignored.

    Attributes:
        signal: the number of the signal that came, if one did.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._patient = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequests:
        if threading.current_thread() is threading.main_thread():  # no other may listen
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._came)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def at_a_step(self) -> Iterator[StopRequests]:
        """Defers stopping in the block: the first signal only sets :attr:`signal`, which the loop reads between two
        steps.
        """
        self._patient = True
        try:
            yield self
        finally:
            self._patient = False

    def _came(self, number: int, _: FrameType | None) -> None:
        first, self.signal = self.signal is None, number
        if not (first and self._patient):
            raise KeyboardInterrupt
        say("stopping after this step; once more to stop at once")
