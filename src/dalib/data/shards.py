"""Shards: tar archives of images in WebDataset's layout, read in place by the offsets of their members.

A sample is what an archive holds under one key: the path up to the first dot of the file's name, so that ``cats/7.jpg``
and ``cats/7.cls`` are the image and the class of ``cats/7``. An image is known by the path ``shard.tar/key`` wherever
files are known by theirs. Its order is that of the shards and, in a shard, that of the archive.

An archive is never unpacked. Only regular members count; a link, a device, a sparse file, and a name that leaves the
archive are left out with the reason. A member is read through a window on the archive, so that an image needs as much
memory as a file of its own; the index of a shard takes 24 bytes for each of its images.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import stat
import tarfile
import threading
from dataclasses import dataclass, field
from io import BufferedReader
from itertools import islice
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import numpy as np

from dalib.core.errors import Setting, UserError
from dalib.core.files import Unreadable
from dalib.data.folders import HIDDEN, OF_SAMPLE, reason_not_read
from dalib.data.formats import image_endings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ENDING = ".tar"
LABEL_ENDINGS = ("cls", "json", "txt")
"""Endings of the members that may hold a sample's class, in the order in which they are looked for."""
JSON_FIELDS = ("label", "class", "cls")
"""Fields of a ``.json`` member that may hold the class, in the order in which they are looked for."""
MAX_LABEL_BYTES = 2**20
"""Bytes of a member that is read for a class."""
MAX_SHARDS = 100_000
"""Shards that one pattern may stand for."""

_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")
_RANGE = re.compile(r"([0-9]+)\.\.([0-9]+)")


@dataclass(frozen=True)
class Span:
    """The place of a member in its archive, in bytes."""

    offset: int
    size: int


@dataclass
class Contents:
    """Samples of one shard, in the order of the archive."""

    shard: Path
    keys: list[str] = field(default_factory=list)
    images: list[Span] = field(default_factory=list)
    labels: dict[str, dict[str, Span]] = field(default_factory=lambda: {ending: {} for ending in LABEL_ENDINGS})
    """Members that may hold a class, by ending and key."""
    left_out: list[Unreadable] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)


@dataclass(frozen=True)
class FileState:
    """Identifies the state of an image file, which may be in a shard."""

    is_regular: bool
    size: int
    changed: int
    """Time of change in nanoseconds."""
    offset: int = 0
    """Bytes before it in its shard."""


def expand_shards(where: Path) -> list[Path] | None:
    """Returns the archives that a path stands for; None if it stands for none.

    That is one archive, a pattern in braces such as ``train-{000..012}.tar``, or a folder that holds archives and
    neither folders nor images beside them.

    Raises:
        UserError: a pattern of too many archives.

    >>> [each.name for each in expand_shards(Path("a-{08..10}.tar"))]
    ['a-08.tar', 'a-09.tar', 'a-10.tar']
    """
    if where.is_dir():
        return _shards_in(where)
    if where.suffix.lower() != ENDING:
        return None
    if where.exists() or "{" not in str(where):
        return [where]
    names = list(islice(_without_braces(str(where)), MAX_SHARDS + 1))  # ranges multiply
    if len(names) > MAX_SHARDS:
        raise UserError(f"the pattern {where} stands for more than {MAX_SHARDS} shards; give a narrower one")
    return [Path(each) for each in dict.fromkeys(names)]


def are_shards(where: str | Path) -> bool:
    """Returns whether a path stands for archives, which need not exist."""
    return expand_shards(Path(where)) is not None


def require_shards(where: Path, shards: Sequence[Path], argument: str) -> None:
    """Refuses archives that are not there.

    Raises:
        UserError: that, with how many are missing.
    """
    missing = [each for each in shards if not each.is_file()]
    if missing:
        some = f"{len(missing)} of its {len(shards)} shards are missing, such as {missing[0]}; "
        raise UserError(
            Setting(argument, where),
            f": {some if len(shards) > 1 else 'no such file; '}expected tar archives: one, a pattern such as ",
            "train-{000..012}.tar in quotes, or a folder of them",
        )


def refuse_compressed(where: Path, argument: str) -> None:
    """Refuses a compressed archive, in which nothing can be found without reading all that is before it.

    Raises:
        UserError: that.
    """
    if where.name.lower().endswith(_COMPRESSED):
        raise UserError(
            Setting(argument, where),
            ": a compressed archive cannot be read in any order; decompress it to a .tar (images gain nothing by it)",
        )


def read_contents(shard: Path) -> Contents:
    """Reads the headers of an archive; of a damaged one, those before the damage, which ``unreadable`` names."""
    found = Contents(shard)
    endings = tuple(each[1:] for each in image_endings())
    plain: dict[str, tuple[int, bool]] = {}  # key -> row of its image, and whether its ending has no other dot
    for member in _members(shard, found):
        name = _safe_name(member, found)
        if name is None:
            continue
        folder, _, base = name.rpartition("/")
        stem, _, ending = base.partition(".")
        key, ending = f"{folder}/{stem}" if folder else stem, ending.lower()
        span = Span(member.offset_data, member.size)
        if ending in LABEL_ENDINGS:
            found.labels[ending].setdefault(key, span)
        elif ending.rpartition(".")[2] not in endings:
            found.left_out.append(Unreadable(f"{shard}/{name}", reason_not_read(PurePosixPath(name).suffix.lower())))
        elif key not in plain:
            plain[key] = (len(found.keys), ending in endings)
            found.keys.append(key)
            found.images.append(span)
        else:
            row, is_plain = plain[key]
            if ending in endings and not is_plain:  # 7.seg.png came before 7.jpg
                found.images[row], plain[key] = span, (row, True)
            found.left_out.append(Unreadable(f"{shard}/{name}", f"{OF_SAMPLE} {key}"))
    _remember(found)
    return found


def label_of(contents: Contents, ending: str, key: str) -> Any:
    """Returns the class of a sample as its member has it: a text, or a value of JSON; None without one.

    Raises:
        ValueError: a member that is too large, or that is not text or JSON.
    """
    span = contents.labels[ending].get(key)
    if span is None:
        return None
    if span.size > MAX_LABEL_BYTES:
        raise ValueError(f"{span.size} bytes are too many for a class")
    with contents.shard.open("rb") as file:
        file.seek(span.offset)
        text = file.read(span.size).decode("utf-8-sig")
    if ending != "json":
        return text.strip()
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("not JSON that can be read") from error
    if isinstance(value, dict):
        return next((value[name] for name in JSON_FIELDS if value.get(name) is not None), None)
    return value if isinstance(value, str | int) else None


def open_image(path: Path | bytes) -> BufferedReader:
    """Opens an image file to read its bytes: a file of its own, one in a shard, or the bytes of one in memory.

    Raises:
        OSError: no such file, or no such member.
    """
    if isinstance(path, bytes):
        return BufferedReader(io.BytesIO(path))
    place = _place_of(path)
    if place is None:
        return path.open("rb")
    shard, span = place
    return BufferedReader(_Window(shard, span))


def state_of(path: Path | bytes) -> FileState:
    """Returns the state of an image file, of its own, in a shard, or in memory.

    Raises:
        OSError: no such file, or no such member.
    """
    if isinstance(path, bytes):
        return FileState(True, len(path), 0)
    place = _place_of(path)
    if place is None:
        status = path.stat()
        return FileState(stat.S_ISREG(status.st_mode), status.st_size, status.st_mtime_ns)
    shard, span = place
    return FileState(True, span.size, shard.stat().st_mtime_ns, span.offset)


def shard_of(path: str | Path) -> Path | None:
    """Returns the archive that an image is in; None for a file of its own."""
    if ENDING not in os.fspath(path).lower():  # there may be millions, and most are no members
        return None
    return next((each for each in Path(path).parents if each.suffix.lower() == ENDING and each.is_file()), None)


def _shards_in(folder: Path) -> list[Path] | None:
    """Returns the archives of a folder, sorted; None if it holds folders or images, or no archive."""
    endings = image_endings()
    shards: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for each in entries:
                ending = os.path.splitext(each.name)[1].lower()  # noqa: PTH122 - of text
                if each.name.startswith("."):
                    continue
                if ending in endings or each.is_dir():
                    return None
                if ending == ENDING:
                    shards.append(each.name)
    except OSError:  # told by whoever reads the folder
        return None
    return [folder / name for name in sorted(shards)] or None


def _without_braces(text: str) -> Iterator[str]:
    """Yields the names that a pattern stands for; braces that are no pattern stay."""
    found = re.search(r"\{([^{}]*)\}", text)
    choices = [] if found is None else _choices(found[1])
    if found is None or not choices:
        yield text
        return
    for choice in choices:
        yield from _without_braces(text[: found.start()] + choice + text[found.end() :])


def _choices(inside: str) -> list[str]:
    if (numbers := _RANGE.fullmatch(inside)) is not None:
        first, last = int(numbers[1]), int(numbers[2])
        if last - first >= MAX_SHARDS:
            raise UserError(f"the pattern {{{inside}}} stands for more than {MAX_SHARDS} shards; give a narrower one")
        return [f"{number:0{len(numbers[1])}d}" for number in range(first, last + 1)]
    return inside.split(",") if "," in inside else []


def _members(shard: Path, found: Contents) -> Iterator[tarfile.TarInfo]:
    """Yields the regular members that are whole; others are noted."""
    size = shard.stat().st_size
    try:
        with tarfile.open(shard, "r:") as archive:  # "r:" opens no compressed one
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined] # else it keeps all of them
                if member.isdir():
                    continue
                if not member.isreg() or member.issparse():
                    kind = "a link" if member.issym() or member.islnk() else "no regular file"
                    found.left_out.append(Unreadable(f"{shard}/{member.name}", f"{kind} in the archive"))
                elif member.offset_data + member.size > size:
                    raise tarfile.ReadError("unexpected end of data")
                else:
                    yield member
    except (tarfile.TarError, OSError, ValueError) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        found.unreadable.append(Unreadable(str(shard), f"not a tar archive, or a damaged one ({why})"))


def _safe_name(member: tarfile.TarInfo, found: Contents) -> str | None:
    """Returns the name of a member that stays in its archive on every system; None for one that is left out."""
    name, windows = PurePosixPath(member.name), PureWindowsPath(member.name)
    unsafe = name.is_absolute() or windows.anchor or ".." in name.parts or "\\" in member.name or "\0" in member.name
    if not unsafe and not any(part.startswith(".") for part in name.parts):
        return str(name)
    why = "its name leaves the archive" if unsafe else HIDDEN
    found.left_out.append(Unreadable(f"{found.shard}/{member.name}", why))
    return None


class _Index:
    """Places of a shard's images by the hash of their keys."""

    def __init__(self, state: tuple[int, int], contents: Contents) -> None:
        self.state = state
        hashes = np.array([_hash(key) for key in contents.keys], np.uint64)
        order = np.argsort(hashes, kind="stable")
        self.hashes = hashes[order]
        self.spans = np.array([(each.offset, each.size) for each in contents.images], np.int64).reshape(-1, 2)[order]

    def find(self, key: str) -> Span | None:
        wanted = np.uint64(_hash(key))
        row = int(np.searchsorted(self.hashes, wanted))
        if row == len(self.hashes) or self.hashes[row] != wanted:
            return None
        return Span(*self.spans[row].tolist())


_indices: dict[str, _Index] = {}
_reading = threading.Lock()


def _hash(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(os.fsencode(key), digest_size=8).digest(), "little")


def _state(shard: Path) -> tuple[int, int]:
    status = shard.stat()
    return status.st_size, status.st_mtime_ns


def _remember(contents: Contents) -> _Index:
    index = _Index(_state(contents.shard), contents)
    _indices[os.path.abspath(contents.shard)] = index  # noqa: PTH100 - of text, as there may be millions of calls
    return index


def _place_of(path: Path) -> tuple[Path, Span] | None:
    """Returns the shard of an image and its place there; None for a file of its own.

    Raises:
        FileNotFoundError: the shard has no such image.
    """
    shard = shard_of(path)
    if shard is None:
        return None
    name = os.path.abspath(shard)  # noqa: PTH100
    index = _indices.get(name)
    if index is None or index.state != _state(shard):
        with _reading:  # threads that decode would each read it
            index = _indices.get(name)
            if index is None or index.state != _state(shard):
                read_contents(shard)
                index = _indices[name]
    span = index.find(path.relative_to(shard).as_posix())
    if span is None:
        raise FileNotFoundError(2, "no such image in the shard", str(path))
    return shard, span


class _Window(io.RawIOBase):
    """The bytes of one member of an archive as a file."""

    def __init__(self, shard: Path, span: Span) -> None:
        self._file = shard.open("rb", buffering=0)
        self._span, self._position = span, 0
        self._file.seek(span.offset)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._span.size}[whence]
        if start + offset < 0:
            raise ValueError(f"offset: expected a place in the member, got {start + offset}")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")[: max(0, self._span.size - self._position)]
        self._file.seek(self._span.offset + self._position)
        count = self._file.readinto(view) if len(view) else 0
        self._position += count or 0
        return count or 0

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
