"""Lists of image files, without decoding one: class folders, any folder, shards, or a list in CSV or JSON lines.

A list has the columns ``path`` and, for labelled images, ``label``, the name of the class::

    path,label                         {"path": "cats/1.jpg", "label": "cat"}
    cats/1.jpg,cat                     {"path": "dogs/1.jpg", "label": "dog"}
    dogs/1.jpg,dog

Spreadsheets' dialects are read, too (:mod:`dalib.data.tables`). Paths are relative to the list's folder and do not
leave it. Other columns are ignored. A line that repeats another is left out; one that gives the same file another label
is an error. What stands for a missing label, such as NaN, is no class (:func:`dalib.data.spelling.is_missing`).
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dalib.core.errors import NotThereError, Setting, UserError
from dalib.core.files import NO_URL, Unreadable, is_url
from dalib.core.places import is_given
from dalib.core.words import counted, meant
from dalib.data.decoding import reason
from dalib.data.folders import (
    BESIDE,
    HIDDEN,
    class_folder_warning,
    describe_unused,
    left_behind,
    reason_not_read,
    require_classes,
)
from dalib.data.formats import has_image_signature, image_endings
from dalib.data.shards import (
    JSON_FIELDS,
    LABEL_ENDINGS,
    are_shards,
    expand_shards,
    label_of,
    read_contents,
    refuse_compressed,
    require_shards,
)
from dalib.data.spelling import Classes, FilesAsSpelled, is_missing, key_of, united
from dalib.data.tables import LIST_ENDINGS, label_in, rows_of, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dalib.data.depth import WholeNumbers
    from dalib.data.shards import Contents
    from dalib.data.tables import Refuse


@dataclass(frozen=True)
class Listing:
    """Image files and, if labelled, their classes."""

    where: str
    """The path that the user gave."""
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
    """Number of files that were left out for their ending."""
    notes: tuple[str, ...] = ()
    """Notes for the user, a sentence each."""
    left_out: tuple[Unreadable, ...] = ()
    """Files and folders that are not used, with the reason; what is in such a folder is not listed."""
    whole_numbers: tuple[WholeNumbers, ...] | None = None
    """Files with whole numbers beyond 8 bits; None if not looked up yet."""

    @property
    def of_list(self) -> bool:
        """Whether the user wrote a list of the files, some of which may therefore not be there."""
        return _is_list(Path(self.where)) and not is_given(self.where)


def join_listings(listings: Sequence[Listing]) -> Listing:
    """Returns labelled listings as one, with all of their classes, united by name; one alone stays as it is."""
    if len(listings) == 1:
        return listings[0]
    classes, positions = united([listing.classes or () for listing in listings])
    labels = [own[label] for own, listing in zip(positions, listings, strict=True) for label in listing.labels or ()]
    ignored: Counter[str] = Counter()
    for listing in listings:
        ignored.update(listing.ignored)
    known = [listing.whole_numbers for listing in listings]
    return Listing(
        " + ".join(listing.where for listing in listings),
        listings[0].root,
        tuple(path for listing in listings for path in listing.paths),
        tuple(labels),
        classes,
        tuple(each for listing in listings for each in listing.unreadable),
        ignored,
        tuple(note for listing in listings for note in listing.notes),
        tuple(each for listing in listings for each in listing.left_out),
        None if None in known else tuple(each for found in known for each in found or ()),
    )


def list_labelled(
    where: str | Path, *, argument: str, allow_outside: bool = False, known: Sequence[str] = ()
) -> Listing:
    """Lists the labelled images of a folder with a folder for each class, at any depth in it, or of a list.

    Args:
        argument: name in errors, such as ``source``.
        allow_outside: let the paths of a list leave its folder.
        known: classes that are there already. A label of a list such as None is one of them or stands for no label.

    Raises:
        UserError: no such folder or list, no class folder, a class folder without images; a line of a list that has no
            path or label, contradicts another, or leaves the folder.
    """
    path = Path(where)
    if _is_list(path):
        return _read_list(path, argument, labelled=True, allow_outside=allow_outside, known=known)
    if (shards := expand_shards(path)) is not None:
        return _read_shards(path, shards, argument, labelled=True, known=known)
    _require_folder(path, argument, labelled=True)
    found = _Found()
    folders = class_folders(path, argument=argument)
    require_classes(path, folders, argument, known)
    loose = _look_beside(path, found)
    if not folders:
        raise UserError(
            Setting(argument, path),
            ": expected one folder of images for each class, found no folder in it; move the images of each ",
            "class into a folder with the class's name",
        )
    paths: list[Path] = []
    labels: list[int] = []
    classes, (positions,) = united([[folder.name for folder in folders]])
    for label, folder in zip(positions, folders, strict=True):
        images = list(_walk(folder, found))
        if not images:
            because = f"; {found.unreadable[-1].path}: {found.unreadable[-1].reason}" if found.unreadable else ""
            inside = [each for each in found.left_out if Path(each.path).is_relative_to(folder)]
            because += f"; {line}" if (line := describe_unused(folder, inside)) else ""
            raise UserError(
                Setting(argument, path),
                f": the class folder {folder.name!r} holds no image ({', '.join(image_endings())}){because}; add ",
                "some or remove the folder",
            )
        paths += images
        labels += [label] * len(images)
    beside = "1 image beside the class folders is" if loose == 1 else f"{loose} images beside the class folders are"
    notes = [f"{path}: {beside} not used"] if loose else []
    for label, name in enumerate(classes):
        same = [folder.name for position, folder in zip(positions, folders, strict=True) if position == label]
        if len(same) > 1:
            notes.append(f"{path}: the folders {', '.join(map(ascii, same))} are one class, {name}")
    notes += class_folder_warning(path, {folder.name: found.inside.get(folder, ()) for folder in folders})
    return found.listing(str(where), path, tuple(paths), tuple(labels), classes, notes)


def _look_beside(root: Path, found: _Found) -> int:
    """Lists files beside class folders; returns how many of them are images."""
    loose = 0
    for each in sorted(root.iterdir()):
        if each.is_dir():
            if what := left_behind(each.name):
                found.leave_out(each, f"a folder, {what}")
        elif each.name.startswith("."):
            found.leave_out(each, HIDDEN)
        elif (ending := each.suffix.lower()) in image_endings() or (not ending and _begins_as_an_image(each, found)):
            loose += each.is_file()
            found.leave_out(each, BESIDE)
        else:
            found.leave_out(each, reason_not_read(ending))
    return loose


def list_images(where: str | Path, *, argument: str, allow_outside: bool = False) -> Listing:
    """Lists every image below a folder, in the order of the paths, or of a list; labels are ignored.

    Args:
        argument, allow_outside: see :func:`list_labelled`.

    Raises:
        UserError: no such folder or list, no image in it; a line of a list without a path or that leaves the folder.
    """
    path = Path(where)
    if _is_list(path):
        return _read_list(path, argument, labelled=False, allow_outside=allow_outside)
    if (shards := expand_shards(path)) is not None:
        return _read_shards(path, shards, argument, labelled=False)
    _require_folder(path, argument)
    found = _Found()
    paths = tuple(_walk(path, found))
    if not paths:
        raise _no_image(path, argument, found)
    return found.listing(str(where), path, paths)


def list_names(
    where: str | Path, *, argument: str, allow_outside: bool = False
) -> tuple[list[str], tuple[Unreadable, ...], tuple[str, ...]]:
    """Returns the paths of :func:`list_images` as text, its ``unreadable`` and its ``notes``; raises the same errors.

    A path as text takes a quarter of the memory of a :class:`Path`, which matters when there are millions.
    """
    path = Path(where)
    if _is_list(path) or are_shards(path):
        listing = list_images(path, argument=argument, allow_outside=allow_outside)
        return [str(each) for each in listing.paths], listing.unreadable, listing.notes
    _require_folder(path, argument)
    found = _Found()
    names = [str(each) for each in _walk(path, found)]
    if not names:
        raise _no_image(path, argument, found)
    line = describe_unused(path, found.left_out)
    return names, tuple(found.unreadable), (line,) if line else ()


def is_image_file(path: Path) -> bool:
    """Returns whether a path is one file of an image, by its ending."""
    return path.suffix.lower() in image_endings() and path.is_file()


def _no_image(path: Path, argument: str, found: _Found) -> UserError:
    because = f" ({found.unreadable[0].path}: {found.unreadable[0].reason})" if found.unreadable else ""
    because += f"; {line}" if (line := describe_unused(path, found.left_out)) else ""
    return UserError(
        Setting(argument, path),
        f": expected images ({', '.join(image_endings())}), found none in it or below it{because}",
    )


def class_folders(root: Path, *, argument: str) -> list[Path]:
    """Returns the folders in ``root`` that would be its classes, sorted.

    Raises:
        UserError: ``root`` cannot be read.
    """
    try:
        return sorted(path for path in root.iterdir() if path.is_dir() and not left_behind(path.name))
    except OSError as error:
        raise UserError(Setting(argument, root), f": cannot be read ({reason(error)})") from error


class _Found:
    """Other files and folders in a walk through images."""

    def __init__(self) -> None:
        self.unreadable: list[Unreadable] = []
        self.ignored: Counter[str] = Counter()
        self.left_out: list[Unreadable] = []
        self.inside: dict[Path, list[str]] = {}
        """The names of the folders in each folder that a walk began in."""

    def cannot(self, error: OSError) -> None:
        self.unreadable.append(Unreadable(str(error.filename), reason(error)))

    def leave_out(self, path: str | Path, why: str) -> None:
        self.left_out.append(Unreadable(str(path), why))

    def listing(
        self,
        where: str,
        root: Path,
        paths: tuple[Path, ...],
        labels: tuple[int, ...] | None = None,
        classes: tuple[str, ...] | None = None,
        notes: Sequence[str] = (),
    ) -> Listing:
        """Returns the listing of the found files, with one line about unused ones."""
        line = describe_unused(root, self.left_out)
        every = (*notes, line) if line else tuple(notes)
        unreadable, left_out = tuple(self.unreadable), tuple(self.left_out)
        return Listing(where, root, paths, labels, classes, unreadable, dict(self.ignored), every, left_out)


def _walk(root: Path, found: _Found) -> Iterator[Path]:
    seen: set[tuple[int, int]] = set()
    endings = image_endings()
    for folder, folders, files in os.walk(root, onerror=found.cannot, followlinks=True):
        status = os.stat(folder)  # noqa: PTH116
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        unused = {name: left_behind(name) or _leads_up(Path(folder) / name, root) for name in folders}
        for name, what in unused.items():
            if what:
                found.leave_out(Path(folder) / name, f"a folder, {what}")
        folders[:] = sorted(name for name, what in unused.items() if not what)
        found.inside.setdefault(root, list(folders))
        for name in sorted(files):
            path = Path(folder) / name
            if name.startswith("."):
                found.leave_out(path, HIDDEN)
                continue
            ending = path.suffix.lower()
            if ending in endings or (not ending and _begins_as_an_image(path, found)):
                yield path
            else:
                found.ignored[ending] += 1
                found.leave_out(path, reason_not_read(ending))


def _leads_up(folder: Path, root: Path) -> str:
    """Returns a reason where a folder is a link to one that holds ``root``, whose images are all around; else empty."""
    if folder.is_symlink() and root.resolve().is_relative_to(folder.resolve()):
        return "a link to a folder that it lies in"
    return ""


def _begins_as_an_image(path: Path, found: _Found) -> bool:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe could wait for ever
            return False
        with path.open("rb") as file:
            return has_image_signature(file.read(16))
    except OSError as error:
        found.unreadable.append(Unreadable(str(path), reason(error)))
        return False


def _read_shards(
    where: Path, shards: Sequence[Path], argument: str, *, labelled: bool, known: Sequence[str] = ()
) -> Listing:
    """Lists the images of shards in the order of the archives; see :mod:`dalib.data.shards`."""
    contents = _contents_of(where, shards, argument)
    paths = tuple(each.shard / key for each in contents for key in each.keys)
    line = describe_unused(where, [lost for each in contents for lost in each.left_out])
    listing = Listing(
        str(where),
        Path(os.path.commonpath([each.parent for each in shards])),
        paths,
        unreadable=tuple(lost for each in contents for lost in each.unreadable),
        left_out=tuple(lost for each in contents for lost in each.left_out),
        notes=(line,) if line else (),
    )
    if not labelled:
        return listing
    names, how = _labels_in_shards(where, contents, argument, Classes(known))
    classes, (labels,) = united([names])
    note = f"{where}: {len(paths)} images in {counted(len(shards), 'shard')}, classes from {how}"
    return replace(listing, labels=tuple(labels), classes=classes, notes=(note, *listing.notes))


def _contents_of(where: Path, shards: Sequence[Path], argument: str) -> list[Contents]:
    require_shards(where, shards, argument)
    contents = [read_contents(each) for each in shards]
    if not any(each.keys for each in contents):
        because = next((f" ({lost.path}: {lost.reason})" for each in contents for lost in each.unreadable), "")
        raise UserError(
            Setting(argument, where),
            f": expected images ({', '.join(image_endings())}) in the archive, found none{because}",
        )
    return contents


def _labels_in_shards(
    where: Path, contents: Sequence[Contents], argument: str, known: Classes
) -> tuple[list[str], str]:
    """Returns the name of each sample's class, and where it was found."""
    for ending in LABEL_ENDINGS:
        if any(each.labels[ending] for each in contents):
            found = _labels_by_member(where, contents, argument, ending, known)
            if found is not None:
                return found, f"their .{ending} members"
    flat = next((f"{each.shard}/{key}" for each in contents for key in each.keys if "/" not in key), None)
    if flat is not None:
        raise UserError(
            Setting(argument, where),
            f": nothing tells the class of {flat}; expected a member {Path(flat).name}.cls, .json (with the field ",
            f"{' or '.join(JSON_FIELDS)}, a text or a whole number) or .txt beside the image, or a folder with the ",
            "class's name in its key",
        )
    return [key.split("/")[0] for each in contents for key in each.keys], "the folders in their keys"


def _no_name(label: object) -> str:
    return f"{str(label)[:80]}, which is no name of a class; write a text or a whole number"


def _labels_by_member(
    where: Path, contents: Sequence[Contents], argument: str, ending: str, known: Classes
) -> list[str] | None:
    """Returns the class of each sample by its member; None where these are no classes, but captions or other facts."""
    names: list[str] = []
    missing = ""
    for each in contents:
        for key in each.keys:
            try:
                label = label_of(each, ending, key)
            except ValueError as error:
                raise UserError(
                    Setting(argument, where), f": {each.shard}/{key}.{ending} cannot be read ({reason(error)})"
                ) from error
            if isinstance(label, int) and not isinstance(label, bool):
                label = str(label)
            if isinstance(label, str) and (known.find(label) is not None or not is_missing(label)):
                names.append(label)
            elif not missing:
                missing = f"{each.shard}/{key} has {'none; add it' if is_missing(label) else _no_name(label)}"
    if not names or (ending == "txt" and len(names) > _FEW and 2 * len(set(names)) > len(names)):
        return None
    if missing:
        raise UserError(
            Setting(argument, where),
            f": the classes are in .{ending} members, and {missing}, or leave the sample out",
        )
    return names


_FEW = 10  # images of which a text each may still be classes


def _is_list(path: Path) -> bool:
    return path.suffix.lower() in LIST_ENDINGS and not path.is_dir()


def _where_to_look(root: Path) -> str:
    """Returns the folder beside a missing one that is spelled nearly like it, or else where it was looked for."""
    try:
        near = meant(root.name, [each.name for each in root.absolute().parent.iterdir() if each.is_dir()])
    except OSError:  # nor is there the folder around it
        near = ""
    return near or ("" if root.is_absolute() else f" in {Path.cwd()}; give the path from there on, or an absolute one")


def _require_folder(root: Path, argument: str, *, labelled: bool = False) -> None:
    is_image = root.suffix.lower() in image_endings()
    lists = "a list ends in .csv or .jsonl, a shard of images in .tar"
    if not root.exists():
        if is_image:
            raise NotThereError(Setting(argument, root), ": no such file", f"; expected a folder of images; {lists}")
        raise NotThereError(Setting(argument, root), ": no such folder", _where_to_look(root))
    refuse_compressed(root, argument)
    if root.is_dir():
        return
    if is_image:
        raise UserError(
            Setting(argument, root),
            ": expected a folder, this is a file of one image; give "
            + ("a folder with one folder of images for each class" if labelled else "the folder that it is in")
            + f", or a list: a .csv with the {'headings path and label' if labelled else 'heading path'} and a line "
            "for each image",
        )
    raise UserError(Setting(argument, root), f": expected a folder, this is a file; {lists}")


def _read_list(file: Path, argument: str, *, labelled: bool, allow_outside: bool, known: Sequence[str] = ()) -> Listing:
    text = text_of(file, argument)
    base, inside = file.parent, os.path.realpath(file.parent)
    first: dict[str, tuple[int, str, str]] = {}  # key of a path -> the line that it was on, its label, the path
    paths: list[Path] = []
    names: list[str] = []
    repeated = 0
    files, classes, checked = FilesAsSpelled(), Classes(known), is_given(file)

    def refuse(line: int, what: str) -> UserError:
        return UserError(Setting(argument, file), f", line {line}: {what}")

    for line, fields in rows_of(file, text, refuse, ("path", "label") if labelled else ("path",)):
        path = fields["path"]
        if not path.strip():
            raise refuse(line, "the path is empty")
        if "\0" in path:
            raise refuse(line, f"{path!r} is not a path")
        if is_url(path.strip()):  # a path would lose one of its slashes
            raise refuse(line, f"{path!r}: {NO_URL}")
        whole = files.find(base / path)
        real = os.path.realpath(whole)
        if not allow_outside and not _lies_in(inside, real):
            raise refuse(
                line,
                f"{path!r} leaves the folder of the list ({inside}), it is {real}; put the list in a folder that holds "
                "the images, or in one above",
            )
        label = _label_of(fields, line, refuse, classes, checked=checked) if labelled else ""
        norm = os.path.normpath(whole)
        key = key_of(norm)
        if key in first and _are_two_files(first[key][2], norm):  # Linux tells café from café, and "a" from "a "
            key = f"\0{norm}"  # which is no other path's key: that of the first may be spelled as the second
        if key in first:
            line_before, label_before, _ = first[key]
            if key_of(label_before) != key_of(label):
                if checked:  # nobody has seen its lines
                    raise UserError(
                        Setting(argument, file),
                        f": {path!r} is there as {label_before!r} and as {label!r}; give it one label",
                    )
                raise refuse(line, f"{path!r} is {label!r} here and {label_before!r} on line {line_before}")
            repeated += 1
            continue
        first[key] = (line, label, norm)
        paths.append(whole)
        if labelled:
            names.append(label)
    if not paths:
        raise UserError(
            Setting(argument, file), ": expected at least one line with a path, found none; write one for each image"
        )
    notes = (f"{file}: {repeated} lines repeat another and are left out",) if repeated else ()
    if not labelled:
        return Listing(str(file), base, tuple(paths), notes=notes)
    every, (positions,) = united([names])
    return Listing(str(file), base, tuple(paths), tuple(positions), every, notes=notes)


def _lies_in(folder: str, file: str) -> bool:
    try:
        return os.path.commonpath([folder, file]) == folder
    except ValueError:  # on Windows, another drive
        return False


def _are_two_files(first: str, second: str) -> bool:
    """Returns whether names that compare as equal are spelled differently and belong to two files."""
    try:
        return first != second and not os.path.samefile(first, second)  # noqa: PTH121 - of text
    except (OSError, ValueError):
        return False


def _label_of(fields: dict[str, Any], line: int, refuse: Refuse, known: Classes, *, checked: bool) -> str:
    """Returns the label of a row of a list in which every image has one; ``checked`` ones are all classes."""
    label = label_in(fields, line, refuse)
    if isinstance(label, str) and (known.find(label) is not None or (checked and label)):
        return label
    if not is_missing(label):
        assert isinstance(label, str)
        return label
    path = fields["path"]
    if isinstance(label, str) and not label:
        raise refuse(line, f"{path!r} has no label; write one, or leave the line out")
    if label is None:
        raise refuse(line, f"expected a label, the name of a class; got None for {path!r}; leave the line out")
    raise refuse(
        line,
        f"{path!r} has no label: {label!r} stands for a missing one; leave the line out or, if it is a class, give it "
        f"another name, such as 'class {label}'",
    )
