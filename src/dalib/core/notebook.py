"""Progress bars in notebooks, which show HTML and know no cursor. Knows no IPython until a bar is shown."""

from __future__ import annotations

import html
import time
from importlib import import_module
from typing import Any

SECONDS_BETWEEN = 0.2
"""Least time between two drawings: each is a message to the browser."""


def is_notebook(stream: Any) -> bool:
    """Returns whether what is written to a stream appears below the cell of a notebook."""
    return type(stream).__module__.split(".")[0] == "ipykernel"


class NotebookBar:
    """A progress bar with the calls of rich's that :mod:`dalib.core.console` makes; it stays when it is done."""

    def __init__(self) -> None:
        self._name, self._done, self._total = "", 0, 0
        self._fields: dict[str, str] = {}
        self._handle: Any = None
        self._drawn = 0.0

    def add_task(self, name: str, *, total: int, completed: int = 0, **fields: str) -> int:
        self._name, self._total, self._done, self._fields = name, total, completed, fields
        return 0

    def start(self) -> None:
        shown = import_module("IPython.display")
        self._handle = shown.display(shown.HTML(self.html()), display_id=True)

    def update(self, task: int, *, completed: int, total: int | None = None, **fields: str) -> None:
        self._done = completed
        self._total = self._total if total is None else total
        self._fields |= fields
        if time.monotonic() - self._drawn >= SECONDS_BETWEEN:
            self._draw()

    def stop(self) -> None:
        self._draw()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        if self._handle is not None:
            self._handle.update(import_module("IPython.display").HTML(self.html()))

    def html(self) -> str:
        """Returns the bar as it is now."""
        rest = "&ensp;".join(html.escape(text) for text in self._fields.values() if text)
        bar = f"<progress value='{self._done}' max='{max(1, self._total)}'></progress> {self._done}/{self._total}"
        return f"<div><b>{html.escape(self._name)}</b> {bar}&ensp;{rest}</div>"
