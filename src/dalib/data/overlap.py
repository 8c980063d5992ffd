"""Checks for files that are in source and target, or in two sources."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dalib.core.errors import Setting, UserError
from dalib.core.places import in_short
from dalib.data.named import NAMED
from dalib.data.shards import open_image, shard_of, state_of
from dalib.data.sources import BUILT_IN_SOURCES, BUILT_IN_TARGETS

if TYPE_CHECKING:
    from collections.abc import Sequence


def require_apart(sources: Sequence[str], target: str | None) -> None:
    """Raises an error for data that are given twice, before a file is opened; it follows links.

    A target that holds the source is not refused: labelled images may lie among the unlabelled ones. It shows in
    :func:`shared_files`.

    Args:
        sources: names or paths of one or several.
        target: None where there is none.

    Raises:
        UserError: two sources that are the same or of which one holds the other, or a target that is a source or lies
            in one.
    """
    _require_distinct(
        "source",
        sources,
        twice=", and its images would count twice; give it once",
        inside="there twice, under two classes",
    )
    if target is None or _is_name(target):  # a named set may be both, as where a method is tried: it is told
        return
    for source in sources:
        if _same(source, target):
            raise UserError(
                Setting("target", target),
                f": it is the source, too{_as(source, target)}; expected unlabelled images of another domain, ",
                "give their folder",
            )
        if _lies_in(target, source):
            raise UserError(
                Setting("target", target),
                ": it lies in ",
                Setting("source", source),
                ", where its images are labelled by the name of a folder; move it out, or give as ",
                Setting("source"),
                " a folder that holds the classes alone",
            )


def require_targets_apart(targets: Sequence[str]) -> None:
    """Raises an error for several targets of which two are the same or one holds the other; it follows links.

    Raises:
        UserError: the first two of these.
    """
    _require_distinct("target", targets, twice="; give each target once", inside="of both targets")


def _require_distinct(argument: str, places: Sequence[str], *, twice: str, inside: str) -> None:
    """Raises an error for two places that are the same or of which one holds the other.

    Args:
        argument: whose values the places are.
        places: names or paths.
        twice: end of the message about a place that is given twice.
        inside: what images would be that lie in two of the places.
    """
    for number, place in enumerate(places):
        for before in places[:number]:
            if _same(before, place):
                raise UserError(Setting(argument, place), f": it is there twice{_as(before, place)}{twice}")
            for inner, outer in ((place, before), (before, place)):
                if _lies_in(inner, outer):
                    raise UserError(
                        Setting(argument, inner),
                        ": it lies in ",
                        Setting(argument, outer),
                        f", so its images would be {inside}; give folders that do not hold each other",
                    )


def shared_files(first: Sequence[str], second: Sequence[str]) -> tuple[str, ...]:
    """Returns the names in ``second`` that are files of ``first``, by whatever path or link.

    What is no file, an image of a named set, is known by its name.
    """
    if not first or not second:
        return ()
    identities = [_identities(names) for names in (first, second)]
    shared = np.isin(identities[1], identities[0])
    return tuple(second[position] for position in np.flatnonzero(shared).tolist())


MOST_READ = 4000
"""Files that are read to find copies; where more have the size of another one, none are, and checks compares all."""


def copied_files(first: Sequence[str], second: Sequence[str]) -> dict[str, str]:
    """Returns the names in ``second`` whose files have the bytes of a file in ``first``, each with that file's name.

    Only files are read whose size one of the other domain has, which few photographs do; of more than MOST_READ of
    them, as of uncompressed images, none.
    """
    of_size = [by_size(names) for names in (first, second)]
    both = of_size[0].keys() & of_size[1].keys()
    if sum(len(sizes[size]) for sizes in of_size for size in both) > MOST_READ:
        return {}
    found: dict[str, str] = {}
    for size in both:
        known = {digest: name for name in reversed(of_size[0][size]) if (digest := digest_of(name))}
        found |= {name: known[digest] for name in of_size[1][size] if (digest := digest_of(name)) in known}
    return {name: found[name] for name in second if name in found}


def by_size(names: Sequence[str]) -> dict[int, list[str]]:
    """Returns the names of files by their size in bytes, in the order given, without empty ones and what is no file."""
    found: dict[int, list[str]] = {}
    for name in names:
        try:
            state = state_of(Path(name))
        except (OSError, ValueError):  # of a set that is no files
            continue
        if state.is_regular and state.size:
            found.setdefault(state.size, []).append(name)
    return found


def digest_of(name: str) -> bytes:
    """Returns the digest of a file's bytes; empty where it cannot be read."""
    try:
        with open_image(Path(name)) as file:
            return hashlib.file_digest(file, "blake2b").digest()
    except OSError:
        return b""


def overlap_warnings(source: Sequence[str], labels: Sequence[int], target: Sequence[str]) -> tuple[str, ...]:
    """Returns a warning about source files that are also in the target, and one about files twice in the source.

    Args:
        labels: the class of each file of the source.
    """
    return (*_twice(source, labels), *_in_both(source, target))


def _twice(names: Sequence[str], labels: Sequence[int]) -> tuple[str, ...]:
    first: dict[bytes, int] = {}
    pairs = []
    for position, identity in enumerate(_identities(names).tolist()):
        if (before := first.setdefault(identity, position)) != position:
            pairs.append((before, position))
    if not pairs:
        return ()
    differ = [(before, position) for before, position in pairs if labels[before] != labels[position]]
    before, position = (differ or pairs)[0]
    classes = f", {len(differ)} of them under two classes" if differ else ""
    what = "image of the source is" if len(pairs) == 1 else "images of the source are"
    return (f"warning: {len(pairs)} {what} there twice{classes}, for instance {names[before]} = {names[position]}",)


def _in_both(source: Sequence[str], target: Sequence[str]) -> tuple[str, ...]:
    shared = shared_files(source, target)
    if not shared:
        return ()
    what = "image of the target is an image" if len(shared) == 1 else "images of the target are images"
    return (
        f"warning: {len(shared)} of {len(target)} {what} of the source, too, for instance {shared[0]}; an accuracy "
        "measured on them says nothing",
    )


def copy_warnings(source: Sequence[str], target: Sequence[str]) -> tuple[str, ...]:
    """Returns a warning about files of the target that are copies of the source's, if there are any."""
    shared = {*shared_files(source, target)}
    copies = copied_files(source, [name for name in target if name not in shared])
    if not copies:
        return ()
    name, twin = next(iter(copies.items()))
    what = "is a copy" if len(copies) == 1 else "are copies"
    return (
        f"warning: {len(copies)} of {len(target)} images of the target {what} of the source's, for instance "
        f"{in_short(twin)} = {in_short(name)}; an accuracy measured on them says nothing",
    )


def _identities(names: Sequence[str]) -> np.ndarray:
    """Returns (N,) bytes that are equal for the same file; the name if there is no file."""
    found = []
    for name in names:
        try:
            shard = shard_of(name)
            status = os.stat(shard or name)  # noqa: PTH116 - there may be millions
            inside = b"" if shard is None else b" %d" % state_of(Path(name)).offset
        except (OSError, ValueError):
            found.append(b"name " + os.fsencode(name))
        else:
            found.append(b"%d %d%b" % (status.st_dev, status.st_ino, inside))
    return np.array(found, dtype=bytes)


def _same(first: str, second: str) -> bool:
    if _is_name(first) or _is_name(second):
        return first == second
    try:
        return Path(first).samefile(second)
    except (OSError, ValueError):
        return first == second


def _lies_in(inner: str, outer: str) -> bool:
    try:
        if _is_name(inner) or _is_name(outer) or not (Path(outer).is_dir() and Path(inner).is_dir()):
            return False
        return Path(outer).resolve() in Path(inner).resolve().parents
    except (OSError, ValueError):
        return False


def _is_name(where: str) -> bool:
    """Returns whether this is the name of a data set and never a folder."""
    return where in (*NAMED, *BUILT_IN_SOURCES, *BUILT_IN_TARGETS)


def _as(first: str, second: str) -> str:
    return "" if first == second else f" (as {first})"
