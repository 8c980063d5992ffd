"""Files that are written whole or not at all, even if a process is killed or power fails, and locks of processes."""

from __future__ import annotations

import contextlib
import csv
import datetime
import io
import itertools
import json
import os
import re
import shlex
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from dalib.core.errors import Setting, UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


_OF_WINDOWS_SHELLS = re.compile(r"[&|<>^(){};,'`@#]")
"""Characters that cmd or PowerShell take for their own where they stand without quotes."""

_MOVING = threading.Lock()
"""Held while a file's position is moved to where is read or written, on systems that can do no otherwise."""


@dataclass(frozen=True)
class Unreadable:
    """An image file that could not be decoded."""

    path: str
    reason: str


def put_in_place(temporary: Path, path: Path) -> None:
    """Syncs a file, or a folder of files, to the disk and renames it; a file of that name is replaced.

    The content goes first: a name that is on the disk before it would, after a power cut, name an empty file.
    """
    if temporary.is_dir():
        for each in temporary.iterdir():
            sync(each)
    sync(temporary)
    os.replace(temporary, path)  # noqa: PTH105 - the name that says it is atomic
    sync(path.parent)


def make_parent(path: Path, argument: str = "out") -> None:
    """Makes the folder that a file is to be written in, with the folders above it, as ``mkdir -p`` does.

    Args:
        path: of the file.
        argument: that names it, for the error.

    Raises:
        UserError: the folder cannot be made, or a file is in its place.
    """
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            Setting(argument, path),
            f": its folder cannot be made ({error.strerror or error}); give a place that may be written",
        ) from None


def expanded(path: str | Path) -> str:
    """Returns a path with the home folder in place of a leading ``~``; without a home folder, as it is.

    Shells leave ``--source=~/images`` as it is, and so do programs that start others.
    """
    return os.path.expanduser(path)  # noqa: PTH111 - pathlib's raises where there is no home


class LastingPath:
    """A folder by the path that was given, which is found again after the process has changed its working directory.

    Args:
        given: path, perhaps relative to the working directory of now.

    >>> place = LastingPath(Path("runs/first"))
    >>> place.path == Path("runs/first")
    True
    """

    def __init__(self, given: Path) -> None:
        self.given, self._whole = given, given.absolute()

    @property
    def path(self) -> Path:
        """The path as it was given where it still leads there, else the absolute one."""
        with contextlib.suppress(FileNotFoundError):  # the working directory was removed
            if self.given.absolute() == self._whole:
                return self.given
        return self._whole


def required_path(path: object, argument: str, *, instead: str = "") -> str:
    """Returns what was given as a path, see :func:`expanded`; ``instead`` is a remedy for something else.

    Raises:
        UserError: something else, or an empty text, which as a path would be the folder one is in.
    """
    if not isinstance(path, str | os.PathLike):
        raise UserError(Setting(argument), f": expected a path, got {type(path).__name__}{instead}")
    if not os.fspath(path).strip():
        raise UserError(Setting(argument, str(path)), ": expected a path, got an empty text")
    return expanded(os.fspath(path))


NO_URL = "expected a path on this machine, got a URL; download it first, or give the folder where it is mounted"
"""Why a URL is refused, and what to do."""


def is_url(path: str) -> bool:
    """Returns whether a path is a URL.

    >>> is_url("https://example.org/a.zip"), is_url("C:/images"), is_url("s3://bucket")
    (True, False, True)
    """
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", path) is not None


def quoted(path: str | Path) -> str:
    """Returns a path as it is typed into a shell, in a command that is printed to be given.

    >>> quoted("runs/first"), quoted("my runs/first") in ("'my runs/first'", '"my runs/first"')
    ('runs/first', True)
    """
    if os.name != "nt":
        return shlex.quote(str(path))
    typed = subprocess.list2cmdline([str(path)])  # the shells of Windows know double quotes alone
    if typed.startswith('"') or not _OF_WINDOWS_SHELLS.search(typed):
        return typed
    strokes = len(typed) - len(typed.rstrip("\\"))  # at the end they would escape the quote, unless they are doubled
    return f'"{typed}' + "\\" * strokes + '"'


def name_of_path(text: str) -> str:
    """Returns the last part of a path, by either separator where the system has two; of another name, the name.

    >>> name_of_path("runs/first"), name_of_path("mnist")
    ('first', 'mnist')
    """
    separators = (os.sep, *([os.altsep] if os.altsep else []))
    return Path(text).resolve().name if any(each in text for each in separators) else text


def name_of_folder(folder: Path) -> str:
    """Returns the name of a folder, also where the path that leads there ends in a dot or two.

    >>> name_of_folder(Path("runs/first")), name_of_folder(Path("..")) not in ("", "..")
    ('first', True)
    """
    return folder.resolve().name if folder.name in ("", "..") else folder.name


def split_name(text: str) -> tuple[str | None, str]:
    """Returns name and place of ``NAME=PLACE``; a place alone, which may have a ``=`` in it, has no name.

    >>> split_name("street=images/one"), split_name("images/size=64"), split_name("images/one")
    (('street', 'images/one'), (None, 'images/size=64'), (None, 'images/one'))
    """
    name, parted, place = text.partition("=")
    if not parted or not name or "/" in name or "\\" in name or Path(text).exists():
        return None, text
    return name, place


def open_to_write(path: Path) -> int:
    """Opens a file to be read and written at any place, without cutting it; made if it is not there."""
    return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)  # else Windows changes line ends


def write_at(file: int, content: bytes | memoryview, offset: int) -> None:
    """Writes all of it at a place of a file; several threads may.

    It uses no mapping: where a write fails on a full disk, a mapping kills the process.
    """
    view = memoryview(content)
    while view:
        if hasattr(os, "pwrite"):
            written = os.pwrite(file, view, offset)
        else:
            with _MOVING:
                os.lseek(file, offset, os.SEEK_SET)
                written = os.write(file, view)
        view, offset = view[written:], offset + written


def read_at(file: int, count: int, offset: int) -> bytes:
    """Reads up to ``count`` bytes at a place of a file; several threads may."""
    if hasattr(os, "pread"):
        return os.pread(file, count, offset)
    with _MOVING:
        os.lseek(file, offset, os.SEEK_SET)
        return os.read(file, count)


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    r"""Formats rows as lines of CSV. It quotes a carriage return like a newline, which csv does not.

    >>> csv_text([["a\rb.png", 1], ["c.png", 2]])
    '"a\rb.png",1\nc.png,2\n'
    """
    lines = []
    for row in rows:
        line = io.StringIO()
        csv.writer(line).writerow(row)
        lines.append(line.getvalue().removesuffix("\r\n"))
    return "".join(f"{line}\n" for line in lines)


def sync(path: Path) -> None:
    """Syncs a file, or the names in a folder, to the disk, where the system can."""
    with contextlib.suppress(PermissionError):  # Windows opens no folder
        file = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)  # it syncs only what may be written
        try:
            os.fsync(file)
        finally:
            os.close(file)


@contextlib.contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[str]:
    """Yields ``held`` where this process alone has the lock, else ``busy`` or ``impossible``; removes the file.

    The operating system's lock ends with its process, so nothing is left of one that was killed.
    """
    path.touch(mode=0o644)  # raises where the folder cannot be written; behind it an error means: no locks here
    lock = FileLock(path, mode=0o644, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire(blocking=wait)
    except Timeout:
        yield "busy"
        return
    except OSError:  # a file system without locks
        yield "impossible"
        return
    try:
        yield "held"
    finally:
        # before the release, or it could be the next process's; Windows lets nobody remove it, and filelock does after
        with contextlib.suppress(OSError):
            path.unlink()
        lock.release()


def read_json(path: Path) -> Any:
    """Reads a JSON file that dalib wrote.

    Raises:
        UserError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; is the run complete?") from None
    except (ValueError, RecursionError) as error:  # also numbers of more digits, and lists deeper, than Python takes
        raise UserError(f"{path}: expected JSON ({error}); the file is damaged") from None


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file whole or not at all."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def refused_as(path: Path) -> Iterator[None]:
    """Makes errors of the system name ``path``, which was asked for, and not the files that it is made of.

    >>> with refused_as(Path("street.parquet")):
    ...     raise OSError(28, "Error writing bytes to file", "street.parquet.csv.tmp")
    Traceback (most recent call last):
    OSError: [Errno 28] No space left on device: 'street.parquet'
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def write_text(path: Path, content: str) -> None:
    """Writes a text file as :func:`write_bytes` does."""
    # file names need not be text: bytes that are not UTF-8 come as lone surrogates, and are written as escapes
    write_bytes(path, content.encode("utf-8", errors="backslashreplace"))


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all.

    Raises:
        OSError: the system refuses it; the error names ``path``, and nothing is left beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")  # another process may write the same file
    try:
        temporary.write_bytes(content)
        put_in_place(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:  # a full disk's names no file
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def irreplaceable(folder: Path) -> str:
    """Describes a folder whose place no other can take by being renamed; empty for others."""
    with contextlib.suppress(FileNotFoundError):  # the folder of this process was removed
        if Path.cwd().is_relative_to(folder.resolve()):
            return "the folder in which this process works"
    return "where another disk is mounted" if os.path.ismount(folder.resolve()) else ""  # pathlib's is not on Windows


def free_folder(parent: Path, name: str) -> Path:
    """Returns a folder that is not there, named after the time and ``name``; those of one second are numbered."""
    dated = f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{name}"
    names = itertools.chain([dated], (f"{dated}-{number}" for number in itertools.count(2)))
    return next(folder for folder in (parent / each for each in names) if not folder.exists())


def reserved_folder(parent: Path, name: str, held: contextlib.ExitStack) -> Path:
    """Makes an empty folder with a name of :func:`free_folder`, which no other process then takes.

    One that cannot be made is named all the same: writing to it raises the reason.

    Args:
        parent: folder that it is made in, which is made too.
        name: end of its name.
        held: removes the folder, where it is still empty then, and a parent that was made for it.
    """
    while True:
        folder, made = free_folder(parent, name), not parent.exists()
        try:
            folder.mkdir(parents=True)
        except OSError:
            if folder.exists():  # since it was looked for
                continue
            return folder
        for each in (parent, folder) if made else (folder,):
            held.callback(_remove_empty, each)
        return folder


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
