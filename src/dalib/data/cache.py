"""A cache of decoded images: the rows of many image files in one file of uint8, which later runs map.

::

    CACHE/KEY/images.u8      the rows of the images that could be read, one after the other: (K, C, size, size)
    CACHE/KEY/index.json     what it was made of, and the files that could not be read
    CACHE/KEY.part/          a cache that is being built: images.u8 with a row for each file, done with a byte for each
    CACHE/KEY.lock           held by the process that builds it
    CACHE/numbers/*.json     of a set of files, which of them hold whole numbers beyond 8 bits (dalib.data.depth)

KEY is a hash of the files' paths below their folder, sizes and times of change, in order, of the contents of some of
them, and of all settings that decide pixels. A changed, added or removed file is another KEY; a moved folder is not.
Contents count because archives and containers may give all files one time, and uncompressed images are of one size.

A build that was killed resumes where it was: a file counts as done only once its row is on the disk. A cache appears
under its name whole, by a rename. Of two processes that want the same cache at once, the second waits for the first,
and reads what that one made; if the first dies, the second continues its work. Where a file system has no locks,
each builds a copy of its own, and the first to end publishes it.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import functools
import hashlib
import json
import os
import shutil
import stat
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs
import torch
from rich.filesize import decimal

from dalib.core.errors import Message, Setting, UserError
from dalib.core.files import Unreadable, locked, open_to_write, read_at, sync, write_at, write_json
from dalib.data.decoding import pillow_warnings_as_errors, read_pixels, reason, whole_numbers
from dalib.data.depth import WholeNumbers
from dalib.data.formats import formats
from dalib.data.shards import open_image, state_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from torch import Tensor

    from dalib.data.listing import Listing
    from dalib.data.preprocessing import Preprocessing

VERSION = 1
"""Version of the layout and of the pixels that files become; another version is another KEY."""
CHUNK = 256
"""Files between two times that a build is brought to the disk: what a killed build has to decode again, at most."""
NUMBERS_FOLDER = "numbers"
"""The folder of what files hold, beside the caches."""
HASHED_FILES = 16
"""Files whose contents count, spread evenly: two sets may have the same names, sizes and times of change."""
MIN_FREE_BYTES = 64 * 2**20
"""Bytes that a build leaves free."""

_MAX_HASHED_BYTES = 2**20  # bytes of such a file
_PIXEL_SETTINGS = ("size", "channels", "fit", "interpolation")


@dataclass(frozen=True)
class CacheEntry:
    """One cache on the disk."""

    key: str
    source: str
    """The path or name that it was built from."""
    images: int
    unreadable: int
    bytes: int
    created: str
    """ISO time; empty for a cache that is not complete."""
    complete: bool


@dataclass(frozen=True)
class CachedRows:
    """The result of :meth:`ImageCache.rows`: that of :func:`dalib.data.decoding.decode`, and its origin."""

    images: Tensor
    """(K, C, size, size) uint8, mapped from the file: writing to it changes a copy in memory, not the file."""
    kept: Tensor
    """(K,) int64 positions of the images in the listing's paths, in order."""
    unreadable: tuple[Unreadable, ...]
    key: str
    built: bool
    """True if this call decoded anything."""


def default_cache_folder() -> Path:
    """Returns ``$DALIB_CACHE``, else where the system keeps caches, else a temporary folder.

    Caches are in ``~/.cache/dalib`` (or ``$XDG_CACHE_HOME/dalib``) on Linux, in ``~/Library/Caches/dalib`` on macOS and
    in ``%LOCALAPPDATA%\\dalib\\Cache`` on Windows. The temporary folder is for users without a home folder, as those of
    containers often are.
    """
    if own := os.environ.get("DALIB_CACHE"):
        return Path(os.path.expanduser(own))  # noqa: PTH111 - pathlib's raises where there is no home
    if not os.environ.get("XDG_CACHE_HOME") and os.path.expanduser("~") == "~":  # noqa: PTH111
        return _temporary_folder()
    return platformdirs.user_cache_path("dalib", appauthor=False)


@functools.cache
def writable_cache_folder(wanted: Path, on_note: Callable[[str], None] | None = None) -> Path:
    """Returns the folder to write to: ``wanted``, or a temporary one where that cannot be written.

    A folder that ``$DALIB_CACHE`` names is taken as it is. The answer is remembered, so that ``on_note`` is called
    once and not for each set of images.
    """
    if os.environ.get("DALIB_CACHE"):
        return wanted
    temporary = _temporary_folder()
    if wanted == temporary:
        why = "there is no home folder"
    else:
        # os.path's do not raise where a folder above may not be entered
        existing = next(folder for folder in (wanted, *wanted.absolute().parents) if os.path.exists(folder))  # noqa: PTH110
        if os.path.isdir(existing) and os.access(existing, os.W_OK | os.X_OK):  # noqa: PTH112
            return wanted
        why = f"{wanted} cannot be written"
    if on_note is not None:
        on_note(f"note: {why}; decoded images and features are kept in {temporary}; DALIB_CACHE names another folder")
    return temporary


@functools.cache
def _temporary_folder() -> Path:
    """Returns the user's folder among temporary files, the same each time; a new one if that name is taken."""
    user = os.getuid() if hasattr(os, "getuid") else None
    folder = Path(tempfile.gettempdir()) / ("dalib" if user is None else f"dalib-{user}")
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if stat.S_ISDIR(status.st_mode) and user in (None, status.st_uid):
            return folder
    return Path(tempfile.mkdtemp(prefix="dalib-"))


def cache_key(listing: Listing, preprocessing: Preprocessing) -> str:
    """Computes a key of 32 hexadecimal digits. A file that is absent or not permitted gives a key of its own.

    ``listing.whole_numbers`` counts, None as none.
    """
    settings = {name: getattr(preprocessing, name) for name in _PIXEL_SETTINGS if hasattr(preprocessing, name)}
    if listing.whole_numbers:  # of images of 8 bits, the range decides nothing
        settings["range"] = preprocessing.range
    # what could not be read without a package can be with it
    return _digest_of_files(listing, [VERSION, settings, formats()])


def _digest_of_files(listing: Listing, what: object) -> str:
    hashed = hashlib.blake2b(json.dumps(what, sort_keys=True).encode(), digest_size=16)
    prefix = os.path.join(listing.root, "")  # noqa: PTH118 - with a separator at its end
    for path in listing.paths:
        try:
            found = state_of(path)
            state = f"{found.size} {found.changed} {found.offset or os.access(path, os.R_OK)}"
        except (OSError, ValueError):
            state = "absent"
        hashed.update(os.fsencode(str(path).removeprefix(prefix)) + b"\0" + state.encode() + b"\0")
    count = len(listing.paths)
    for position in sorted({number * count // HASHED_FILES for number in range(HASHED_FILES)} if count else ()):
        hashed.update(_beginning(listing.paths[position]))
    return hashed.hexdigest()


def _beginning(path: Path) -> bytes:
    """Returns the first bytes of a file; none if it cannot be read."""
    try:
        if not state_of(path).is_regular:  # opening a pipe could wait for ever
            return b""
        with open_image(path) as file:
            return file.read(_MAX_HASHED_BYTES)
    except (OSError, ValueError):
        return b""


def row_bytes(preprocessing: Preprocessing) -> int:
    """Returns the bytes of one image, in memory as on the disk."""
    return preprocessing.channels * preprocessing.size**2


class ImageCache:
    """The caches in one folder.

    Args:
        folder: made when first needed; None is :func:`default_cache_folder`, and what is not there yet is then written
            to :func:`writable_cache_folder`.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self._may_move = folder is None
        self.folder = default_cache_folder() if folder is None else Path(folder).expanduser()

    def rows(
        self,
        listing: Listing,
        preprocessing: Preprocessing,
        *,
        on_progress: Callable[[int, int], None] | None = None,
        on_note: Callable[[str], None] | None = None,
        threads: int | None = None,
    ) -> CachedRows:
        """Returns the listing's images, mapped from the cache, which is built first if it does not exist.

        Args:
            on_progress: called with (done, total) while building; not at all if there is nothing to build.
            on_note: called with a sentence about a damaged cache, a resumed build, or of waiting for another process.
            threads: threads that decode; None is one for each core.

        Raises:
            UserError: the disk is too small or becomes full, or the folder cannot be written.
        """
        if listing.whole_numbers is None:
            listing = replace(listing, whole_numbers=whole_numbers(listing.paths, threads=threads))
        key, shape = cache_key(listing, preprocessing), _shape(preprocessing)
        say = on_note or (lambda note: None)
        final = self.folder / key
        if (index := _complete(final, len(listing.paths), shape)) is not None:
            return _mapped(final, index, listing.paths, built=False)
        if self._may_move and (folder := writable_cache_folder(self.folder, on_note)) != self.folder:
            moved = ImageCache(folder)
            return moved.rows(listing, preprocessing, on_progress=on_progress, on_note=on_note, threads=threads)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._building(key, say) as part:
                # another process may have built it while this one waited
                if (index := _complete(final, len(listing.paths), shape)) is not None:
                    return _mapped(final, index, listing.paths, built=False)
                if final.exists():
                    say(f"the cache {final} is damaged and is built anew")
                    shutil.rmtree(final)
                self._build(part, listing, preprocessing, on_progress, say, threads)
                index = self._publish(part, final, len(listing.paths), shape)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise UserError(
                    f"the disk of the cache {self.folder} became full while {listing.where} was decoded; nothing is "
                    f"lost, the build goes on from there once {decimal(_needed(listing, preprocessing))} fit. ",
                    _REMEDY,
                ) from error
            raise UserError(f"the cache {self.folder} cannot be written ({reason(error)}). ", _REMEDY) from error
        return _mapped(final, index, listing.paths, built=True)

    def whole_numbers(
        self,
        listing: Listing,
        *,
        on_progress: Callable[[int, int], None] | None = None,
        threads: int | None = None,
    ) -> tuple[WholeNumbers, ...]:
        """Returns :func:`dalib.data.decoding.whole_numbers` of the listing's files, kept for the next time."""
        name = f"{_digest_of_files(listing, [VERSION, NUMBERS_FOLDER])}.json"
        writable = writable_cache_folder(self.folder) if self._may_move else self.folder
        for folder in dict.fromkeys((self.folder, writable)):
            kept = folder / NUMBERS_FOLDER / name
            with contextlib.suppress(OSError, ValueError, TypeError, LookupError):  # none yet, or damaged
                content = json.loads(kept.read_text(encoding="utf-8"))
                return tuple(_whole_numbers_from(each, listing.paths) for each in content)
        found = whole_numbers(listing.paths, on_progress=on_progress, threads=threads)
        positions = {str(path): position for position, path in enumerate(listing.paths)} if found else {}
        with contextlib.suppress(OSError):  # that nothing can be written here is told when rows are
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_json(kept, [[positions[each.path], *each[1:]] for each in found])
        return found

    def entries(self) -> tuple[CacheEntry, ...]:
        """Lists the entries in the folder, the newest first; unfinished builds and remains of them come last."""
        found = []
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if path.is_dir() and _is_key(path.name.split(".")[0]):
                with contextlib.suppress(FileNotFoundError):  # published or removed just now
                    found.append(_entry(path))
        return tuple(sorted(found, key=lambda entry: entry.created, reverse=True))

    def remove(self, keys: Iterable[str] | None = None) -> int:
        """Removes caches by the ``key`` of their entries, or all for None; returns the freed bytes.

        What a process has mapped stays readable to it. What is being built stays.

        Raises:
            UserError: a key that is not there.
        """
        entries = {entry.key: entry for entry in self.entries()}
        freed = 0
        for key in entries if keys is None else keys:
            if key not in entries:
                raise UserError(f"{key}: no such cache in {self.folder}; it has {', '.join(entries) or 'none'}")
            with locked(self.folder / f"{key.split('.')[0]}.lock", wait=False) as state:
                if state != "busy":
                    shutil.rmtree(self.folder / key)
                    freed += entries[key].bytes
        if not self.entries():
            shutil.rmtree(self.folder / NUMBERS_FOLDER, ignore_errors=True)
        return freed

    @contextlib.contextmanager
    def _building(self, key: str, say: Callable[[str], None]) -> Iterator[Path]:
        """Yields the folder to build in, locked against other processes until the block ends."""
        lock = self.folder / f"{key}.lock"
        with locked(lock, wait=False) as state:
            if state == "held":
                yield self.folder / f"{key}.part"
                return
            if state == "impossible":
                private = self.folder / f"{key}.{os.getpid()}.part"
                try:
                    yield private
                finally:
                    shutil.rmtree(private, ignore_errors=True)
                return
        say(f"another process is decoding the same images into {self.folder}; waiting for it")
        with locked(lock, wait=True):
            yield self.folder / f"{key}.part"

    def _build(
        self,
        part: Path,
        listing: Listing,
        preprocessing: Preprocessing,
        on_progress: Callable[[int, int], None] | None,
        say: Callable[[str], None],
        threads: int | None,
    ) -> None:
        """Completes ``part``: images.u8 without the unreadable ones, and index.json."""
        count, row = len(listing.paths), row_bytes(preprocessing)
        images, done_file = part / "images.u8", part / "done"
        done = self._begin(part, listing, row, say)
        with _open_to_write(images) as file:
            os.truncate(file, count * row)
            if not done_file.exists():
                _write_whole(done_file, bytes(done))
            with _open_to_write(done_file) as marks:
                unreadable = _decode_missing(file, marks, done, listing, preprocessing, on_progress, threads)
            if unreadable:
                done_file.unlink()  # rows move now: a build that is killed here begins anew
                os.truncate(file, _close_gaps(file, {position for position, _ in unreadable}, count, row))
            os.fsync(file)
        kept = count - len(unreadable)
        write_json(
            part / "index.json",
            {
                "version": VERSION,
                "source": listing.where,
                "count": count,
                "kept": kept,
                "shape": list(_shape(preprocessing)),
                "bytes": kept * row,
                "created": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
                "unreadable": unreadable,
            },
        )
        sync(part / "index.json")

    def _begin(self, part: Path, listing: Listing, row: int, say: Callable[[str], None]) -> bytearray:
        """Makes the folder of a build, or takes over the one of a killed build; returns a byte for each file."""
        count, done_file = len(listing.paths), part / "done"
        done = bytearray(count)
        if done_file.is_file() and done_file.stat().st_size == count and _file_size(part / "images.u8") == count * row:
            done = bytearray(done_file.read_bytes())
            say(f"going on with a cache that was not completed: {sum(done)} of {count} images are there")
        else:
            shutil.rmtree(part, ignore_errors=True)
        self._require_disk((count - sum(done)) * row, listing)
        part.mkdir(exist_ok=True)
        write_json(part / "source.json", listing.where)
        return done

    def _publish(self, part: Path, final: Path, count: int, shape: tuple[int, int, int]) -> dict[str, Any]:
        for name in ("done", "source.json"):
            (part / name).unlink(missing_ok=True)
        sync(part)
        try:
            part.rename(final)
        except OSError:  # without locks, another process may have been first
            if _complete(final, count, shape) is None:
                raise
        sync(self.folder)
        index = _complete(final, count, shape)
        if index is None:
            raise OSError(errno.EIO, f"what was written to {final} is not what is there")
        return index

    def _require_disk(self, needed: int, listing: Listing) -> None:
        free = shutil.disk_usage(self.folder).free
        if needed + MIN_FREE_BYTES > free:
            raise UserError(
                f"the decoded images of {listing.where} need {decimal(needed)} in the cache {self.folder} and "
                f"{decimal(free)} are free. ",
                _REMEDY,
            )


_REMEDY = Message(
    "Name a folder on another disk with DALIB_CACHE, keep nothing (",
    Setting("cache", "off"),
    "), or choose a smaller ",
    Setting("data.size"),
)


def _shape(preprocessing: Preprocessing) -> tuple[int, int, int]:
    return preprocessing.channels, preprocessing.size, preprocessing.size


def _needed(listing: Listing, preprocessing: Preprocessing) -> int:
    return len(listing.paths) * row_bytes(preprocessing)


def _whole_numbers_from(values: list[Any], paths: Sequence[Path]) -> WholeNumbers:
    position, low, high, dark, light, said = values
    whole = all(isinstance(each, int) for each in (position, low, high, dark, light, *(said or ())))
    if not (whole and position >= 0 and (said is None or len(said) == 2)):
        raise ValueError(f"expected whole numbers, got {values}")
    return WholeNumbers(str(paths[position]), low, high, dark, light, None if said is None else (said[0], said[1]))


def _complete(folder: Path, count: int, shape: tuple[int, int, int]) -> dict[str, Any] | None:
    """Reads the index of a whole cache, with a row of ``shape`` for all ``count`` files but the unreadable ones."""
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        failed = [position for position, text in index["unreadable"] if isinstance(text, str)]
        kept = count - len(failed)
        channels, height, width = shape
        whole = (
            index["version"] == VERSION
            and (index["count"], index["kept"], index["shape"]) == (count, kept, list(shape))
            and len(failed) == len(index["unreadable"]) == len(set(failed))
            and all(isinstance(position, int) and 0 <= position < count for position in failed)
            and _file_size(folder / "images.u8") == kept * channels * height * width
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return index if whole else None


def _mapped(folder: Path, index: dict[str, Any], paths: Sequence[Path], *, built: bool) -> CachedRows:
    reasons = dict(index["unreadable"])
    kept = torch.tensor([position for position in range(len(paths)) if position not in reasons], dtype=torch.int64)
    size = (len(kept), *index["shape"])
    if len(kept):
        file = str(folder / "images.u8")
        images = torch.from_file(file, shared=False, size=int(index["bytes"]), dtype=torch.uint8).view(size)
    else:  # an empty file cannot be mapped
        images = torch.empty(size, dtype=torch.uint8)
    unreadable = tuple(Unreadable(str(paths[position]), reasons[position]) for position in sorted(reasons))
    return CachedRows(images, kept, unreadable, folder.name, built)


def _size_on_disk(found: Any) -> int:
    """Returns the bytes that a file takes, of its status; on Windows, which counts no blocks, the bytes in it."""
    return int(found.st_blocks * 512) if hasattr(found, "st_blocks") else int(found.st_size)


def _entry(folder: Path) -> CacheEntry:
    size = sum(_size_on_disk(each.stat()) for each in folder.iterdir())
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        return CacheEntry(
            folder.name,
            str(index["source"]),
            int(index["kept"]),
            len(index["unreadable"]),
            size,
            str(index["created"]),
            complete=folder.suffix != ".part",
        )
    except (OSError, ValueError, KeyError, TypeError):
        return CacheEntry(folder.name, _source_of_part(folder), 0, 0, size, "", complete=False)


@contextlib.contextmanager
def _open_to_write(path: Path) -> Iterator[int]:
    file = open_to_write(path)
    try:
        yield file
    finally:
        os.close(file)


def _write_whole(path: Path, content: bytes) -> None:
    with _open_to_write(path) as file:
        write_at(file, content, 0)
        os.fsync(file)


def _decode_missing(
    file: int,
    marks: int,
    done: bytearray,
    listing: Listing,
    preprocessing: Preprocessing,
    on_progress: Callable[[int, int], None] | None,
    threads: int | None,
) -> list[list[Any]]:
    """Decodes missing rows into ``file`` and marks them; returns position and reason of the unreadable ones."""
    count, row = len(done), row_bytes(preprocessing)

    def store(position: int) -> Exception | None:
        try:
            pixels = read_pixels(listing.paths[position], preprocessing)
        except Exception as error:  # every failure is listed, none stops the build
            return error
        write_at(file, pixels.tobytes(), position * row)
        return None

    missing = [position for position in range(count) if not done[position]]
    finished = count - len(missing)
    unreadable: list[list[Any]] = []
    with pillow_warnings_as_errors(), ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        for first in range(0, len(missing), CHUNK):
            chunk = missing[first : first + CHUNK]
            for position, error in zip(chunk, pool.map(store, chunk), strict=True):
                finished += 1
                if error is None:
                    done[position] = 1
                else:  # not marked: a resumed build looks again, and has the reason
                    unreadable.append([position, reason(error)])
                if on_progress is not None:
                    on_progress(finished, count)
            os.fsync(file)
            write_at(marks, bytes(done[chunk[0] : chunk[-1] + 1]), chunk[0])
            os.fsync(marks)
    return unreadable


def _close_gaps(file: int, gaps: set[int], count: int, row: int) -> int:
    """Moves the rows behind each gap forwards; returns the remaining bytes."""
    to = min(gaps)
    for position in range(to, count):
        if position not in gaps:
            write_at(file, read_at(file, row, position * row), to * row)
            to += 1
    return to * row


def _file_size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _source_of_part(path: Path) -> str:
    try:
        return str(json.loads((path / "source.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return ""


def _is_key(name: str) -> bool:
    return len(name) == 32 and set(name) <= set("0123456789abcdef")
