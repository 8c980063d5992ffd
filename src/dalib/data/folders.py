"""Meaning of folders by their names: classes, parts of a data set, or what programs leave behind.

Files and folders that are not used are listed with the reason, and reported in one line.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import PurePath
from typing import TYPE_CHECKING

from dalib.core.errors import Setting, UserError
from dalib.core.words import some_of
from dalib.data.formats import image_endings, remedy_for
from dalib.data.spelling import key_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from dalib.core.files import Unreadable

LEFT_BEHIND = {
    "@eadir": "thumbnails of a NAS",
    "@recycle": "a recycle bin",
    "@recently-snapshot": "snapshots of a NAS",
    "#recycle": "a recycle bin",
    "#snapshot": "snapshots of a NAS",
    "$recycle.bin": "a recycle bin",
    "system volume information": "Windows' own",
    "lost+found": "the file system's own",
    "__macosx": "what macOS puts into archives",
    "__pycache__": "Python's own",
    ".ipynb_checkpoints": "copies of Jupyter",
    ".thumbnails": "thumbnails",
}
"""Folders, in lower case, whose files nobody put there as images."""

PARTS = frozenset(
    ("train", "training", "trainset", "val", "valid", "validation", "dev", "test", "testing", "testset", "eval")
)
"""Names, in lower case, of the parts that data sets are split into."""

HIDDEN = "hidden"
BESIDE = "beside the class folders"
NO_ENDING = "without an ending, and no image by its first bytes"
OF_SAMPLE = "another image of the sample"

MOST_NAMED = 5
"""Folders in a message."""

_MAX_LISTED = 10
_NOT_READ = "is not the ending of an image that is read"


def left_behind(name: str) -> str:
    """Returns the kind of a folder of this name that holds no images of the user's; empty for any other."""
    return LEFT_BEHIND.get(name.lower(), HIDDEN if name.startswith(".") else "")


def reason_not_read(ending: str) -> str:
    """Returns why a file with this ending, in lower case, is not read."""
    if not ending:
        return NO_ENDING
    remedy = remedy_for(ending)
    return f"{ending} {_NOT_READ}{f'; to read it: {remedy}' if remedy else ''}"


def describe_unused(where: str | Path, left_out: Sequence[Unreadable]) -> str:
    """Describes the unused files and folders in one line; empty if there are none.

    Hidden files count if they have an image's ending; those that systems leave everywhere, such as .DS_Store, are
    listed and not reported.
    """
    endings: Counter[str] = Counter()
    hidden = 0
    folders: Counter[tuple[str, str]] = Counter()
    members: Counter[str] = Counter()
    for each in left_out:
        path = PurePath(each.path)
        if each.reason == HIDDEN:
            hidden += path.suffix.lower() in image_endings()
        elif each.reason.startswith("a folder, "):
            folders[path.name, each.reason.removeprefix("a folder, ")] += 1
        elif each.reason == NO_ENDING or _NOT_READ in each.reason:
            endings[path.suffix.lower()] += 1
        elif each.reason != BESIDE:  # told by itself
            members[OF_SAMPLE if each.reason.startswith(OF_SAMPLE) else each.reason] += 1
    parts = []
    if endings:
        parts.append(f"by their endings: {_counted(endings)}")
    if hidden:
        parts.append(f"{hidden} hidden")
    if folders:
        listed = [f"{name} {count} ({what})" for (name, what), count in folders.most_common(_MAX_LISTED)]
        more = f" and {len(folders) - _MAX_LISTED} other names" if len(folders) > _MAX_LISTED else ""
        parts.append(f"folders: {', '.join(listed)}{more}")
    if members:
        parts.append(f"members of archives: {', '.join(f'{count} ({why})' for why, count in members.most_common())}")
    return f"{where}: not used, {'; '.join(parts)}" if parts else ""


def _counted(endings: Counter[str]) -> str:
    # what may be read after all comes first
    order = sorted(endings, key=lambda ending: (not remedy_for(ending), -endings[ending], ending))
    listed = []
    for ending in order[:_MAX_LISTED]:
        remedy = remedy_for(ending)
        listed.append(f"{ending or 'none'} {endings[ending]}{f' (to read them: {remedy})' if remedy else ''}")
    more = sum(endings[ending] for ending in order[_MAX_LISTED:])
    return ", ".join(listed) + (f" and {more} more" if more else "")


def require_classes(root: Path, folders: Sequence[Path], argument: str, known: Sequence[str] = ()) -> None:
    """Raises an error for folders that are parts of a data set, train and test, and not its classes.

    Args:
        folders: folders in ``root`` that would be classes.
        known: the names of classes that are there already; a folder of such a name is that class.

    Raises:
        UserError: parts of a data set, with the folder to give instead.
    """
    classes = {key_of(name) for name in known}
    parts = [folder for folder in folders if folder.name.lower() in PARTS and key_of(folder.name) not in classes]
    if not parts:
        return
    inside = {folder.name: _folders_in(folder) for folder in parts}
    nested = [folder for folder in parts if inside[folder.name]]
    others = {key_of(folder.name) for folder in folders if folder not in parts}
    named = " and ".join(f"{folder.name}/" for folder in (nested or parts))
    if len(parts) == len(folders) and not nested:
        if len(parts) > 1:
            raise UserError(
                Setting(argument, root),
                f": it holds {named}, which are parts of a data set and not classes, without a folder for each ",
                "class in them; expected one folder of images for each class. If they are your classes, name ",
                "them in a list (.csv with the columns path,label)",
            )
        return
    if len(nested) > 1 or (nested and len(parts) == len(folders)):
        first = ("train", "training") if argument == "source" else ("test", "val", "valid", "validation")
        best = min(nested, key=lambda folder: (folder.name.lower() not in first, folder.name))
        raise UserError(
            Setting(argument, root),
            f": it holds {named}{(', each' if len(nested) > 1 else '')} with the folders ",
            f"{some_of(inside[best.name], MOST_NAMED)}: these are the parts of a data set and not its classes; give ",
            Setting(argument, best),
        )
    for folder in nested:
        if shared := [name for name in inside[folder.name] if key_of(name) in others]:
            raise UserError(
                Setting(argument, root),
                f": it holds {folder.name}/ with the folders {some_of(shared, MOST_NAMED)}, beside folders of these ",
                f"names: {folder.name} is a part of a data set and not a class; move it out of {root}",
            )


def class_folder_warning(root: Path, inside: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Returns a warning if every class folder holds folders of the same names, which may be the classes.

    Args:
        inside: the names of the folders in each class folder.
    """
    sets = [{key_of(name) for name in names} for names in inside.values()]
    if len(sets) < 2 or len(sets[0]) < 2 or any(each != sets[0] for each in sets[1:]):
        return ()
    first = next(iter(inside))
    return (
        f"warning: {root}: the class folders {some_of(sorted(inside), MOST_NAMED)} all hold the folders "
        f"{some_of(sorted(inside[first]), MOST_NAMED)}; if these are the classes, give {root / first}",
    )


def hint_at_class_folders(root: Path) -> str:
    """Returns the path to give instead of a folder whose only folder holds the classes; empty if unknown."""
    found = [name for name in _folders_in(root) if not left_behind(name)]
    if len(found) != 1 or len(classes := _folders_in(root / found[0])) < 2:
        return ""
    return f"; it holds the folders {some_of(classes, MOST_NAMED)}: give {root / found[0]}"


def _folders_in(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(each.name for each in entries if each.is_dir() and not left_behind(each.name))
    except OSError:
        return []
