"""What a person sees while a command runs: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, TextIO

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from rich.progress import TaskID

    from dalib.data.decoding import Unreadable

# In this order, as far as a method has them. Everything else is in metrics.jsonl.
SHOWN = (
    ("loss", "loss", "{:.3f}"),
    ("supervised", "supervised", "{:.3f}"),
    ("consistency", "consistency", "{:.3f}"),
    ("class_balance", "balance", "{:.3f}"),
    ("information", "information", "{:.3f}"),
    ("class_confusion", "confusion", "{:.3f}"),
    ("masked", "masked", "{:.3f}"),
    ("mask_rate", "mask", "{:.0%}"),
    ("images_per_second", "images/s", "{:,.0f}"),
)
PLAIN_LINES = 20

# What moves the cursor, names the window or turns the direction of text; an end of line and a tab are meant.
_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def describe(values: dict[str, float]) -> str:
    """The values worth showing, in one line.

    >>> describe({"step": 50, "loss": 0.5, "supervised": 0.4, "consistency": 0.1, "mask_rate": 0.25})
    'loss 0.500  supervised 0.400  consistency 0.100  mask 25%'
    """
    return "  ".join(f"{label} {form.format(values[key])}" for key, label, form in SHOWN if values.get(key))


def _redraws(stream: TextIO) -> bool:
    """Whether a line can be written over: on a terminal, unless it says that it can't, with TERM=dumb."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


class TrainingProgress:
    """Shows one training; a context manager. Give :meth:`line` the values of each line of the metrics.

    Args:
        name: of the training.
        steps: how many there are; ``start`` are done already.
        stream: where to; a terminal gets a bar that moves, anything else at most some twenty lines.
    """

    def __init__(self, name: str, steps: int, stream: TextIO, *, start: int = 0) -> None:
        self.name, self.steps, self.start, self.stream = one_line(name), steps, start, stream
        self._since = time.monotonic()
        self._printed = start
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        if _redraws(stream):
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", style="bold", markup=False),  # a name may have brackets
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[left]}"),
                TextColumn("{task.fields[values]}"),
                console=RichConsole(file=stream),
            )
            self._task = self._bar.add_task(self.name, total=steps, completed=start, left="", values="")

    def __enter__(self) -> TrainingProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def line(self, values: dict[str, float]) -> None:
        step = int(values["step"])
        left = self._left(step)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=step, left=left, values=describe(values))
        elif step == self.steps or (step - self._printed) * PLAIN_LINES >= self.steps:
            self._printed = step
            print(f"{self.name}  {step}/{self.steps}  {left}  {describe(values)}", file=self.stream, flush=True)

    def _left(self, step: int) -> str:
        seconds = (time.monotonic() - self._since) / max(1, step - self.start) * (self.steps - step)
        return f"{clock(seconds)} left" if step < self.steps else "done"


class CountedProgress:
    """Shows how far something is of which only the count is known; a context manager, called with (done, total).

    Args:
        name: what is done. Where it begins anew, for the next of several folders, the counts add up.
        stream: where to; a terminal gets a bar that moves, anything else a line at the end. Nothing is shown of what
            calls it never.
    """

    def __init__(self, name: str, stream: TextIO) -> None:
        self.name, self.stream = one_line(name), stream
        self._since = time.monotonic()
        self._before = self._done = self._total = 0
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> CountedProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif kind is None and self._total:
            took = clock(time.monotonic() - self._since)
            say(f"{self.name}: {self._before + self._total} in {took}", file=self.stream)

    def __call__(self, done: int, total: int) -> None:
        if done < self._done:
            self._before += self._total
        self._done, self._total = done, total
        if not _redraws(self.stream):
            return
        if self._bar is None:
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", style="bold", markup=False),  # a name may have brackets
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=RichConsole(file=self.stream),
            )
            self._bar.start()
            self._task = self._bar.add_task(self.name, total=total)
        assert self._task is not None
        self._bar.update(self._task, completed=self._before + done, total=self._before + total)


def say(text: str, file: TextIO | None = None) -> None:
    """Print lines, whatever is in them: names of files need not be text, and may hold what a terminal obeys."""
    print(visible(text), file=file, flush=True)


def visible(text: str) -> str:
    r"""The text with escapes in place of what a terminal would obey, and of what is no text.

    >>> print(visible("a\x1b[2J.png"))
    a\x1b[2J.png
    """
    return _COMMANDS.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def one_line(name: str) -> str:
    """:func:`visible`, of a name that is part of a line."""
    return visible(name).replace("\n", "\\n")


def say_unreadable(unreadable: Sequence[Unreadable], most: int = 5, *, count: int | None = None) -> None:
    """Tell how many images cannot be read, and some of them; ``count`` where ``unreadable`` are not all."""
    count = len(unreadable) if count is None else count
    if not count:
        return
    say(f"skipped {count} image{'s' if count > 1 else ''} that cannot be read:")
    for each in unreadable[:most]:
        say(f"  {one_line(each.path)}: {one_line(each.reason)}")
    if count > most:
        say(f"  and {count - most} more")


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours where there are any.

    >>> clock(75), clock(3675)
    ('1:15', '1:01:15')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def size_of(count: float) -> str:
    """Bytes, to be read by people.

    >>> size_of(999), size_of(1536), size_of(3 * 2**30)
    ('999 B', '1.5 KiB', '3.0 GiB')
    """
    power = next((power for power in range(4) if count < 1024 ** (power + 1)), 4)
    return f"{count:.0f} B" if power == 0 else f"{count / 1024**power:.1f} {('KiB', 'MiB', 'GiB', 'TiB')[power - 1]}"
