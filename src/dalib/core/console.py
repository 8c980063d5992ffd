"""Output of a command while it runs: a live line on a terminal, plain lines elsewhere.

Everything that is printed goes through here, because standard output may be closed, full, of another encoding than the
names of files, or an object that can do nothing but write. None of that ends a run.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import sys
import time
from contextvars import ContextVar
from enum import IntEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from dalib.core.errors import Message, OutputClosedError, UserError
from dalib.core.notebook import NotebookBar, is_notebook
from dalib.core.parts import parts_that_add_up
from dalib.core.words import some_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from rich.progress import Progress, TaskID
    from rich.table import Table

    from dalib.core.errors import Part
    from dalib.core.files import Unreadable

SHORTER = {"class_balance": "balance", "class_confusion": "confusion"}
"""Names of loss parts that are long for a line."""

SHOWN_METRICS = (("mask_rate", "mask", "{:.0%}"), ("images_per_second", "images/s", "{:,.0f}"))
"""Metrics that a line shows after the loss and its parts, where a method has them. The others are in metrics.jsonl."""

MAX_PLAIN_LINES = 20
MOST_UNREADABLE = 5  # that are listed
SECONDS_BETWEEN_LINES = 15.0  # of a download, where there is no terminal
_BESIDE_NAME, _SHORTEST_NAME = 62, 16  # columns that a bar with its count and its pace takes, and characters of a name

WIDEST_TABLE = 400  # characters of a line of a table that no terminal breaks

SILENCE = 30.0
"""Seconds without a line, at most, where output is no terminal and work continues."""

# What moves the cursor, names the window or turns the direction of text; an end of line and a tab are meant.
_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class Loudness(IntEnum):
    """Amount that a command prints beside its errors."""

    QUIET = 0
    """Results alone."""
    USUAL = 1
    VERBOSE = 2
    """Measurements, choices and every line of the metrics, too."""


_LOUDNESS: ContextVar[Loudness] = ContextVar("loudness", default=Loudness.USUAL)


@contextlib.contextmanager
def loudness(level: Loudness) -> Iterator[None]:
    """Sets how much is printed inside."""
    token = _LOUDNESS.set(level)
    try:
        yield
    finally:
        _LOUDNESS.reset(token)


_SILENT: ContextVar[bool] = ContextVar("silent", default=False)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Discards results, notes and warnings inside, which another process of the same training prints; errors stay."""
    token = _SILENT.set(True)
    try:
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
            yield
    finally:
        _SILENT.reset(token)


def describe(values: dict[str, float]) -> str:
    """Formats the values worth showing as one line; what is 0 is left out.

    >>> describe({"step": 50, "supervised": 0.4, "class_balance": 0.1, "mask_rate": 0.25, "loss": 0.5})
    'loss 0.500  supervised 0.400  balance 0.100  mask 25%'
    """
    parts = [(name, SHORTER.get(name, name.replace("_", " ")), "{:.3f}") for name in parts_that_add_up([values])]
    shown = [("loss", "loss", "{:.3f}"), *parts, *SHOWN_METRICS]
    return "  ".join(f"{label} {form.format(values[key])}" for key, label, form in shown if values.get(key))


class Output:
    """Writes to a stream that may be absent, closed, full, or of an encoding that lacks some letters.

    What the encoding lacks is written as escapes. Once the stream cannot be written to, the rest is dropped.

    Args:
        stream: None, as ``sys.stdout`` is where a process was started without one, takes everything and shows nothing.
        on_loss: called once, with the reason, when the stream cannot be written to any more.
    """

    def __init__(self, stream: Any, on_loss: Callable[[Exception], None] | None = None) -> None:
        self.stream = stream
        self._on_loss = on_loss
        self._lost = stream is None

    def write(self, text: str) -> int:
        self._try(lambda: self.stream.write(_encodable(text, self.encoding)))
        return len(text)

    def flush(self) -> None:
        self._try(getattr(self.stream, "flush", lambda: None))

    def isatty(self) -> bool:
        try:
            return not self._lost and bool(self.stream.isatty())
        except (AttributeError, OSError, ValueError):  # it has no such method, or is closed
            return False

    @property
    def encoding(self) -> str:
        return getattr(self.stream, "encoding", None) or "utf-8"

    def __getattr__(self, name: str) -> Any:  # what else a stream has, such as fileno and buffer
        return getattr(self.stream, name)

    def _try(self, act: Callable[[], object]) -> None:
        if self._lost:
            return
        try:
            act()
        except (OutputClosedError, UserError):  # of an Output behind this one
            raise
        except RuntimeError:  # the line of a signal that comes while another one is written
            return
        except (OSError, ValueError) as error:  # ValueError: closed
            self._lost = True
            if self._on_loss is not None:
                self._on_loss(error)


def _encodable(text: str, encoding: str) -> str:
    try:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    except LookupError:  # a name of no encoding
        return text.encode("ascii", "backslashreplace").decode()


def output(stream: Any = None) -> Output:
    """Returns the stream, by default standard output as it is now, in a form that can always be written to."""
    stream = sys.stdout if stream is None else stream
    return stream if isinstance(stream, Output) else Output(stream)


@contextlib.contextmanager
def standard_streams(*, lists: bool) -> Iterator[None]:
    """Makes standard output and error such that whoever writes to them, argparse too, never fails.

    Args:
        lists: whether the command is over once nobody reads what it prints. Others continue their work.

    Raises:
        OutputClosedError: while a command that lists prints, and its reader is gone, as ``head`` is after ten lines.
        UserError: while a command that lists prints into a file that cannot be written to.
    """
    before = sys.stdout, sys.stderr

    def lost(error: Exception) -> None:
        _drop_rest(before[0])
        # Windows has no number of its own for a reader that is gone
        gone = isinstance(error, BrokenPipeError) or (os.name == "nt" and getattr(error, "errno", 0) == errno.EINVAL)
        what = f"standard output cannot be written ({getattr(error, 'strerror', None) or error})"
        if lists and gone:
            raise OutputClosedError(what) from None
        if lists:
            raise UserError(f"{what}; make room, or send it elsewhere") from None
        if not gone:
            say(f"dalib: note: {what}; going on without it", sys.stderr)

    output_now, errors_now = Output(before[0], lost), Output(before[1], lambda _: _drop_rest(before[1]))
    sys.stdout, sys.stderr = output_now, errors_now
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _drop_rest(stream: Any) -> None:
    """Redirects the file behind a stream to nowhere, because Python writes its buffer when it ends."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        number = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, number)
        finally:
            os.close(nowhere)


def occupy_standard_files() -> None:
    """Opens the null device in place of each standard file that the process was started without.

    The next file that is opened would else get their number, and what libraries print would be written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # of the numbers that are free it gets the lowest
            if opened != number:
                os.close(opened)


def _redraws(stream: Output) -> bool:
    """Returns whether a line can be overwritten: in a notebook, or on a terminal, unless TERM=dumb."""
    return is_notebook(stream.stream) or (stream.isatty() and os.environ.get("TERM") != "dumb")


def _columns(stream: Output) -> int:
    """Returns the columns of the terminal that a stream is; very many where it is none."""
    return shutil.get_terminal_size().columns if stream.isatty() and not is_notebook(stream.stream) else sys.maxsize


def cut_in_middle(text: str, length: int) -> str:
    """Returns a text of at most that many characters, of which the last are the most informative.

    >>> cut_in_middle("features of photographs/street/images", 25)
    'features…hs/street/images'
    """
    head = length // 3
    return text if len(text) <= length else f"{text[:head]}…{text[head + 1 - length :]}"


def _bar(stream: Output, *columns: Any, counted: bool = True, expand: bool = False) -> Any:
    """Returns a progress bar with these columns after its own, of which the last is a count.

    On a narrow terminal the name is cut, and then the text beside the bar.
    """
    if is_notebook(stream.stream):
        return NotebookBar()
    from rich.console import Console as RichConsole  # only now: it takes a tenth of a second
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

    return Progress(
        SpinnerColumn("dots" if stream.encoding.lower().startswith("utf") else "line"),
        TextColumn("{task.description}", style="bold", markup=False),  # a name may have brackets
        BarColumn(bar_width=24),
        *([MofNCompleteColumn()] if counted else []),
        *columns,
        console=RichConsole(file=cast("IO[str]", stream)),
        expand=expand,
    )


class _Silence:
    """Decides when a line is due: before SILENCE seconds have passed without one, as far as the calls come in time."""

    def __init__(self) -> None:
        self._called = self._printed = time.monotonic()
        self._longest = 0.0

    def ends(self) -> bool:
        """Returns whether to print now, because the next call may come too late."""
        now = time.monotonic()
        self._longest, self._called = max(self._longest, now - self._called), now
        return now + self._longest - self._printed >= SILENCE

    def printed(self) -> None:
        self._printed = time.monotonic()


_SHOWN: ContextVar[TrainingProgress | CountedProgress | None] = ContextVar("shown", default=None)


def beat() -> None:
    """Reports to the progress that is shown, if any, that work continues, so that it prints a line where one is due."""
    if (progress := _SHOWN.get()) is not None:
        progress.beat()


class TrainingProgress:
    """Shows one training; a context manager. Give :meth:`line` the values of each line of the metrics.

    Args:
        name: name of the training.
        steps: number of steps; ``start`` are done already.
        stream: where to, by default standard output; a terminal gets a bar that moves, anything else at most some
            twenty lines, and more only where nothing was printed for half a minute.
    """

    def __init__(self, name: str, steps: int, stream: Any = None, *, start: int = 0) -> None:
        self.name, self.steps, self.start, self.stream = one_line(name), steps, start, output(stream)
        self._since = time.monotonic()
        self._silence = _Silence()
        self._printed = self._step = start
        self._values = ""
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        if _LOUDNESS.get() > Loudness.QUIET and _redraws(self.stream):
            from rich.progress import TextColumn
            from rich.table import Column

            # on a narrow terminal the values are cut, and not the bar and the time
            rest = Column(ratio=1, no_wrap=True, overflow="ellipsis")
            values = TextColumn("{task.fields[values]}", table_column=rest)
            self._bar = _bar(self.stream, TextColumn("{task.fields[left]}"), values, expand=True)
            self._task = self._bar.add_task(self.name, total=steps, completed=start, left="", values="")

    def __enter__(self) -> TrainingProgress:
        self._before = _SHOWN.set(self)
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _SHOWN.reset(self._before)
        if self._bar is not None:
            self._bar.stop()

    def line(self, values: dict[str, float]) -> None:
        """Shows the values of a line of the metrics."""
        self._step, self._values = int(values["step"]), describe(values)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._step, left=self._left(), values=self._values)
        elif (
            self._step == self.steps
            or (self._step - self._printed) * MAX_PLAIN_LINES >= self.steps
            or _LOUDNESS.get() == Loudness.VERBOSE
        ):
            self._print()

    def step(self, step: int) -> None:
        """Sets how many steps are done, between two lines of the metrics."""
        self._step = step
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=step, left=self._left())
        self.beat()

    def beat(self) -> None:
        """Prints a line where one is due; see :func:`beat`."""
        if self._bar is None and self._silence.ends():
            self._print()

    def _print(self) -> None:
        self._printed = self._step
        self._silence.printed()
        say(f"{self.name}  {self._step}/{self.steps}  {self._left()}  {self._values}".rstrip(), self.stream)

    def _left(self) -> str:
        done = self._step - self.start
        if not done:
            return "begun"
        seconds = (time.monotonic() - self._since) / done * (self.steps - self._step)
        return f"{clock(seconds)} left" if self._step < self.steps else "done"


class CountedProgress:
    """Shows the progress of something whose count is known; a context manager, called with (done, total).

    Args:
        name: what is done. Where it begins anew, for the next of several folders, the counts add up.
        stream: where to, by default standard output; a terminal gets a bar that moves, anything else a line at the end,
            and one every half a minute. Nothing is shown of what calls it never.
        brief: show nothing of what ends within half a minute.
    """

    def __init__(self, name: str, stream: Any = None, *, brief: bool = False) -> None:
        self.name, self.stream, self._brief = one_line(name), output(stream), brief
        self._since = time.monotonic()
        self._silence = _Silence()
        self._before = self._done = self._total = 0
        self._first: tuple[int, float] | None = None
        self._printed = False
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> CountedProgress:
        self._outer = _SHOWN.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _SHOWN.reset(self._outer)
        if self._bar is not None:
            self._bar.stop()
        elif kind is None and self._total and (self._printed or not self._brief):
            took = clock(time.monotonic() - self._since)
            say(f"{self.name}: {self._before + self._total} in {took}", self.stream)

    def __call__(self, done: int, total: int) -> None:
        if done < self._done or (self._done == self._total != total):  # the next one may begin at a higher count
            self._before += self._total
        self._done, self._total = done, total
        if self._first is None:
            self._first = self._before + done, time.monotonic()
        if _LOUDNESS.get() == Loudness.QUIET:
            return
        if not _redraws(self.stream):
            self.beat()
        elif self._bar is not None or not self._brief or self._silence.ends():
            self._draw()

    def beat(self) -> None:
        """Prints a line where one is due; see :func:`beat`."""
        if self._bar is None and self._total and not _redraws(self.stream) and self._silence.ends():
            self._silence.printed()
            self._printed = True
            pace = f", {self._pace()}" if self._pace() else ""
            say(f"{self.name}: {self._before + self._done}/{self._before + self._total}{pace}", self.stream)

    def _draw(self) -> None:
        if self._bar is None:
            from rich.progress import TextColumn

            self._bar = _bar(self.stream, TextColumn("{task.fields[pace]}"))
            self._bar.start()
            name = cut_in_middle(self.name, max(_SHORTEST_NAME, _columns(self.stream) - _BESIDE_NAME))
            self._task = self._bar.add_task(name, total=self._total, pace="")
        assert self._task is not None
        done, total = self._before + self._done, self._before + self._total
        self._bar.update(self._task, completed=done, total=total, pace=self._pace())

    def _pace(self) -> str:
        """Returns rate and time left; empty while they are not known.

        The first call does not count: what is there from before may be reported by it.
        """
        assert self._first is not None
        counted, seconds = self._before + self._done - self._first[0], time.monotonic() - self._first[1]
        if counted <= 0 or seconds <= 0:
            return ""
        rate = counted / seconds
        per_second = f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s"
        shown = per_second if rate >= 0.1 else f"{clock(1 / rate)} each"
        return f"{shown}, {clock((self._total - self._done) / rate)} left"


class BytesProgress:
    """Shows the progress of a download; call :meth:`add` with each number of bytes, and :meth:`close` at the end.

    Args:
        name: what is downloaded.
        total: number of bytes; None where it is not known.
        begun: number of bytes that are there already.
        stream: where to, by default standard output; a terminal gets a bar that moves, anything else a line each 15
            seconds and one at the end.
    """

    def __init__(self, name: str, total: int | None, begun: int = 0, stream: Any = None) -> None:
        self.name, self.total, self.done, self.stream = one_line(name), total, begun, output(stream)
        self._since = self._printed = time.monotonic()
        self._begun, self._closed = begun, False
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        if _LOUDNESS.get() > Loudness.QUIET and _redraws(self.stream):
            from rich.progress import DownloadColumn, TransferSpeedColumn

            self._bar = _bar(self.stream, DownloadColumn(), TransferSpeedColumn(), counted=False)
            self._bar.start()
            self._task = self._bar.add_task(self.name, total=total, completed=begun)

    def add(self, count: int) -> None:
        self.done += count
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self.done)
        elif (now := time.monotonic()) - self._printed >= SECONDS_BETWEEN_LINES:
            self._printed = now
            say(f"{self.name}: {self._amount()}, {self._rate(now)}", self.stream)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._bar is not None:
            self._bar.stop()
        else:
            say(f"{self.name}: {self._amount()} in {clock(time.monotonic() - self._since)}", self.stream)

    def _amount(self) -> str:
        from rich.filesize import decimal

        whole = self.total is None or self.done == self.total
        return decimal(self.done) if whole else f"{decimal(self.done)} of {decimal(cast('int', self.total))}"

    def _rate(self, now: float) -> str:
        from rich.filesize import decimal

        rate = (self.done - self._begun) / max(now - self._since, 1e-3)
        left = "" if not self.total or not rate else f", {clock((self.total - self.done) / rate)} left"
        return f"{decimal(round(rate))}/s{left}"


def say(text: str | Part, file: Any = None) -> None:
    """Prints lines of any content: file names need not be text, and may hold control sequences of a terminal.

    A quiet command prints none of them on standard output; see :func:`say_result` for what it does print.

    Args:
        text: what to print; a message that names settings is spelled as the front door asks.
        file: where to, by default standard output. One that cannot be written to is no error: see :class:`Output`.
    """
    if file is not sys.stderr and _LOUDNESS.get() == Loudness.QUIET:
        return
    _write(text, file)


def say_result(text: str | Part) -> None:
    """Prints a command's result on standard output, also under --quiet; otherwise as :func:`say` does."""
    _write(text, None)


def say_json(content: Any) -> None:
    """Prints a command's result as JSON, in ASCII alone, also under --quiet.

    Escapes that :func:`say` or a narrow encoding would put into a name are none of JSON's.
    """
    _write(json.dumps(content, indent=1).replace("\x7f", "\\u007f"), None)


def say_warning(text: str | Part) -> None:
    """Prints a warning beside a command's results, on standard error, also under --quiet."""
    if not _SILENT.get():
        _write(Message("warning: ", text), sys.stderr)


def say_note(text: str) -> None:
    """Prints a sentence about images as :func:`say` does; one that begins with "warning: " as :func:`say_warning`."""
    if text.startswith("warning: "):
        say_warning(text.removeprefix("warning: "))
    else:
        say(text)


def prints_for_all() -> bool:
    """Returns whether this process is the one that prints, of those that a launcher started; known before torch is."""
    return os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")) == "0"


def say_table(table: Table) -> None:
    """Prints a table of rich's on standard output, also under --quiet, as wide as it is where that is no terminal."""
    from rich.console import Console as RichConsole

    where = output()
    width = None if where.isatty() else WIDEST_TABLE
    RichConsole(file=cast("IO[str]", where), width=width, highlight=False).print(table)


def say_detail(text: str | Part) -> None:
    """Prints a detail, under --verbose alone; otherwise as :func:`say` does."""
    if _LOUDNESS.get() == Loudness.VERBOSE:
        _write(text, None)


def _write(text: str | Part, file: Any) -> None:
    where = output(file)
    where.write(f"{visible(str(text))}\n")
    where.flush()


def visible(text: str) -> str:
    r"""Returns the text with escapes in place of control characters and of characters that cannot be encoded.

    >>> print(visible("a\x1b[2J.png"))
    a\x1b[2J.png
    """
    return _COMMANDS.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def one_line(name: str) -> str:
    """Returns a name made :func:`visible`, to be part of a line."""
    return visible(name).replace("\n", "\\n")


def some_classes(names: Sequence[str], most: int = 10) -> str:
    """Returns the first names, each in one line, those with a comma in quotes, and how many more there are.

    >>> some_classes(["cat", "dog, small", "owl"], most=2)
    'cat, "dog, small" and 1 more'
    """
    return some_of([f'"{name}"' if "," in name else name for name in map(one_line, names)], most)


def say_unreadable(unreadable: Sequence[Unreadable], *, count: int | None = None) -> None:
    """Prints how many images cannot be read, and some of them; ``count`` if ``unreadable`` is a part of them."""
    count = len(unreadable) if count is None else count
    if not count:
        return
    say(f"skipped {count} image{'s' if count > 1 else ''} that cannot be read:")
    for each in unreadable[:MOST_UNREADABLE]:
        say(f"  {one_line(each.path)}: {one_line(each.reason)}")
    if count > MOST_UNREADABLE:
        say(f"  and {count - MOST_UNREADABLE} more")


def clock(seconds: float) -> str:
    """Formats seconds as minutes and seconds, with hours where there are any.

    >>> clock(75), clock(3675)
    ('1:15', '1:01:15')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
