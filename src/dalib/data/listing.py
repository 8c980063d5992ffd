"""Which image files a user points at, without decoding one: class folders, any folder, or a list in CSV or JSON lines.

A list has the columns ``path`` and, for labelled images, ``label``, the name of the class::

    path,label                         {"path": "cats/1.jpg", "label": "cat"}
    cats/1.jpg,cat                     {"path": "dogs/1.jpg", "label": "dog"}
    dogs/1.jpg,dog

Paths are relative to the list's folder and do not leave it. Other columns are ignored. A line that repeats another is
left out; one that gives the same file another label is an error.
"""

from __future__ import annotations

import csv
import io
import json
import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dalib.data.decoding import Unreadable, has_image_signature, reason
from dalib.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Refuse = Callable[[int, str], UserError]

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
LIST_ENDINGS = (".csv", ".jsonl")


@dataclass(frozen=True)
class Listing:
    """Image files and, where they are wanted, their classes."""

    where: str
    """What the user pointed at."""
    root: Path
    """The folder that the files are below."""
    paths: tuple[Path, ...]
    labels: tuple[int, ...] | None = None
    """Positions in ``classes``, one for each path; None for images without labels."""
    classes: tuple[str, ...] | None = None
    """Names, sorted."""
    unreadable: tuple[Unreadable, ...] = ()
    """Folders, and files without an ending, that could not be looked into."""
    ignored: Mapping[str, int] = field(default_factory=dict)
    """How many files were left out for their ending."""
    notes: tuple[str, ...] = ()
    """What the user may want to know, a sentence each."""


def list_labelled(where: str | Path, *, argument: str, allow_outside: bool = False) -> Listing:
    """The labelled images of a folder with a folder for each class, at any depth in it, or of a list.

    Args:
        argument: what errors name, such as ``--source``.
        allow_outside: let the paths of a list leave its folder.

    Raises:
        UserError: no such folder or list, no class folder, a class folder without images; a line of a list that has no
            path or label, contradicts another, or leaves the folder.
    """
    path = Path(where)
    if _is_list(path):
        return _read_list(path, argument, labelled=True, allow_outside=allow_outside)
    _require_folder(path, argument)
    folders = class_folders(path, argument=argument)
    if not folders:
        raise UserError(
            f"{argument} {path}: expected one folder of images for each class, found no folder in it; "
            "move the images of each class into a folder with the class's name"
        )
    found = _Found()
    paths: list[Path] = []
    labels: list[int] = []
    for label, folder in enumerate(folders):
        images = list(_walk(folder, found))
        if not images:
            because = f"; {found.unreadable[-1].path}: {found.unreadable[-1].reason}" if found.unreadable else ""
            raise UserError(
                f"{argument} {path}: the class folder {folder.name!r} holds no image "
                f"({', '.join(IMAGE_ENDINGS)}){because}; add some or remove the folder"
            )
        paths += images
        labels += [label] * len(images)
    beside = [each for each in path.iterdir() if each.suffix.lower() in IMAGE_ENDINGS and each.is_file()]
    loose = sum(not each.name.startswith(".") for each in beside)
    notes = (f"{path}: {loose} images beside the class folders are not used",) if loose else ()
    classes = tuple(folder.name for folder in folders)
    return Listing(
        str(where), path, tuple(paths), tuple(labels), classes, tuple(found.unreadable), dict(found.ignored), notes
    )


def list_images(where: str | Path, *, argument: str, allow_outside: bool = False) -> Listing:
    """Every image below a folder, in the order of the paths, or of a list; without labels, whatever is there.

    Args:
        argument, allow_outside: as for :func:`list_labelled`.

    Raises:
        UserError: no such folder or list, no image in it; a line of a list without a path or that leaves the folder.
    """
    path = Path(where)
    if _is_list(path):
        return _read_list(path, argument, labelled=False, allow_outside=allow_outside)
    _require_folder(path, argument)
    found = _Found()
    paths = tuple(_walk(path, found))
    if not paths:
        raise _no_image(path, argument, found)
    return Listing(str(where), path, paths, None, None, tuple(found.unreadable), dict(found.ignored))


def list_names(
    where: str | Path, *, argument: str, allow_outside: bool = False
) -> tuple[list[str], tuple[Unreadable, ...], tuple[str, ...]]:
    """The paths of :func:`list_images` as text, its ``unreadable`` and its ``notes``; errors as there.

    A path as text takes a quarter of the memory of a :class:`Path`, which tells when there are millions.
    """
    path = Path(where)
    if _is_list(path):
        listing = _read_list(path, argument, labelled=False, allow_outside=allow_outside)
        return [str(each) for each in listing.paths], listing.unreadable, listing.notes
    _require_folder(path, argument)
    found = _Found()
    names = [str(each) for each in _walk(path, found)]
    if not names:
        raise _no_image(path, argument, found)
    return names, tuple(found.unreadable), ()


def _no_image(path: Path, argument: str, found: _Found) -> UserError:
    because = f" ({found.unreadable[0].path}: {found.unreadable[0].reason})" if found.unreadable else ""
    return UserError(
        f"{argument} {path}: expected images ({', '.join(IMAGE_ENDINGS)}), found none in it or below it{because}"
    )


def class_folders(root: Path, *, argument: str) -> list[Path]:
    """The folders in ``root`` that would be its classes, sorted.

    Raises:
        UserError: ``root`` cannot be read.
    """
    try:
        return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise UserError(f"{argument} {root}: cannot be read ({reason(error)})") from error


def image_files(root: Path) -> Iterator[Path]:
    """Files below ``root`` with an image's ending, sorted, without hidden ones; follows links, but no loop of them.

    A file without any ending counts if it begins as an image does.
    """
    return _walk(root, _Found())


class _Found:
    """What a walk comes across beside images."""

    def __init__(self) -> None:
        self.unreadable: list[Unreadable] = []
        self.ignored: Counter[str] = Counter()

    def cannot(self, error: OSError) -> None:
        self.unreadable.append(Unreadable(str(error.filename), reason(error)))


def _walk(root: Path, found: _Found) -> Iterator[Path]:
    seen: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(root, onerror=found.cannot, followlinks=True):
        status = os.stat(folder)  # noqa: PTH116
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.startswith("."):
                continue
            path = Path(folder) / name
            ending = path.suffix.lower()
            if ending in IMAGE_ENDINGS or (not ending and _begins_as_an_image(path, found)):
                yield path
            else:
                found.ignored[ending] += 1


def _begins_as_an_image(path: Path, found: _Found) -> bool:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe could wait for ever
            return False
        with path.open("rb") as file:
            return has_image_signature(file.read(16))
    except OSError as error:
        found.unreadable.append(Unreadable(str(path), reason(error)))
        return False


def _is_list(path: Path) -> bool:
    return path.suffix.lower() in LIST_ENDINGS and not path.is_dir()


def _require_folder(root: Path, argument: str) -> None:
    if not root.exists():
        raise UserError(f"{argument} {root}: no such folder")
    if not root.is_dir():
        raise UserError(f"{argument} {root}: expected a folder, this is a file; a list ends in .csv or .jsonl")


def _read_list(file: Path, argument: str, *, labelled: bool, allow_outside: bool) -> Listing:
    text = text_of(file, argument)
    rows = _csv_rows if file.suffix.lower() == ".csv" else _json_rows
    base, inside = file.parent, os.path.realpath(file.parent)
    first: dict[str, tuple[int, str | None]] = {}  # path -> the line that it was on, its label
    paths: list[Path] = []
    names: list[str] = []
    repeated = 0

    def refuse(line: int, what: str) -> UserError:
        return UserError(f"{argument} {file}, line {line}: {what}")

    for line, path, label in rows(text, refuse, labelled):
        if not path:
            raise refuse(line, "the path is empty")
        if "\0" in path:
            raise refuse(line, f"{path!r} is not a path")
        whole = base / path
        real = os.path.realpath(whole)
        if not allow_outside and os.path.commonpath([inside, real]) != inside:
            raise refuse(
                line,
                f"{path!r} leaves the folder of the list ({inside}), it is {real}; put the list in a folder that holds "
                "the images, or in one above",
            )
        if labelled and not label:
            raise refuse(line, f"{path!r} has no label")
        key = os.path.normpath(whole)
        if key in first:
            line_before, label_before = first[key]
            if label_before != label:
                raise refuse(line, f"{path!r} is {label!r} here and {label_before!r} on line {line_before}")
            repeated += 1
            continue
        first[key] = (line, label)
        paths.append(whole)
        if label is not None:
            names.append(label)
    if not paths:
        raise UserError(f"{argument} {file}: expected at least one line with a path, found none")
    notes = (f"{file}: {repeated} lines repeat another and are left out",) if repeated else ()
    if not labelled:
        return Listing(str(file), base, tuple(paths), notes=notes)
    classes = tuple(sorted(set(names)))
    positions = {name: position for position, name in enumerate(classes)}
    return Listing(str(file), base, tuple(paths), tuple(positions[name] for name in names), classes, notes=notes)


def text_of(file: Path, argument: str) -> str:
    """The text of a list.

    Raises:
        UserError: no such file, no regular file, one that cannot be read, or that is not UTF-8.
    """
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise UserError(f"{argument} {file}: expected a file")
        content = file.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{argument} {file}: no such file") from None
    except OSError as error:
        raise UserError(f"{argument} {file}: cannot be read ({reason(error)})") from error
    try:
        return content.decode("utf-8-sig")  # Excel begins its files with a byte order mark
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{argument} {file}, line {line}: expected UTF-8 ({error.reason}); save it as UTF-8") from error


def _csv_rows(text: str, refuse: Refuse, labelled: bool) -> Iterator[tuple[int, str, str | None]]:
    """(line, path, label) of each row; lines count from 1, and a row of several lines counts as its last."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    wanted = "path,label" if labelled else "path"
    columns: list[str] | None = None
    try:
        for row in reader:
            if not any(field.strip() for field in row):
                continue
            if columns is None:
                columns = [name.strip() for name in row]
                missing = [name for name in wanted.split(",") if columns.count(name) != 1]
                if missing:
                    raise refuse(
                        reader.line_num,
                        f"expected a header with the columns {wanted}, once each; got {','.join(row)!r}",
                    )
                continue
            if len(row) != len(columns):
                raise refuse(
                    reader.line_num,
                    f"expected {len(columns)} fields ({','.join(columns)}), got {len(row)}; "
                    "a name with a comma in it stands in double quotes",
                )
            label = row[columns.index("label")].strip() if labelled else None
            yield reader.line_num, row[columns.index("path")], label
    except csv.Error as error:
        raise refuse(reader.line_num, f"not CSV ({error})") from error
    if columns is None:
        raise refuse(1, f"the file is empty; expected a header with the columns {wanted}")


def _json_rows(text: str, refuse: Refuse, labelled: bool) -> Iterator[tuple[int, str, str | None]]:
    for number, line in enumerate(text.split("\n"), start=1):  # splitlines() also breaks at what JSON may hold
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise refuse(number, f"not JSON ({error})") from error
        if not isinstance(row, dict) or not isinstance(row.get("path"), str):
            raise refuse(number, f'expected an object such as {{"path": "1.jpg"}}, got {line.strip()[:80]}')
        label = row.get("label")
        if labelled and isinstance(label, int) and not isinstance(label, bool):
            label = str(label)
        if labelled and not isinstance(label, str):
            raise refuse(number, f"expected a label, the name of a class; got {label!r}")
        yield number, row["path"], label.strip() if labelled and isinstance(label, str) else None
