"""Refusal of data that a run cannot use, from folders and lists alone: before anything is measured or decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from dalib.core.console import say
from dalib.core.errors import Setting
from dalib.core.words import counted, some_of
from dalib.data.given import may_leave_its_folder, require_kept
from dalib.data.labels import read_target_labels
from dalib.data.listing import list_labelled
from dalib.data.named import NAMED, data_root, require_files
from dalib.data.sources import (
    BUILT_IN_LABELLED,
    positions_of_classes,
    refuse_test_set,
    require_two_classes,
)
from dalib.data.spelling import key_of, spelled_alike, united
from dalib.run.classes.prior import first_prior
from dalib.run.classes.unknown import require_enough_for_others
from dalib.run.start.domains import list_domains

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dalib.data.listing import Listing
    from dalib.run.start.domains import DataRequest, Listings
    from dalib.run.start.initial_weights import Start

MOST_NAMED = 5
"""Folders at most that a note names."""


@dataclass(frozen=True)
class LabelledSet:
    """The labelled set that is measured after training.

    Attributes:
        name: of the labelled set; None measures nothing.
        others: whether it may have classes that the source lacks.
    """

    name: str | None
    others: bool = False


def check_data(request: DataRequest, labelled: LabelledSet, *, prior: str, start: Start | None = None) -> Listings:
    """Refuses sources, a target, labels, a prior and a labelled set that are not there or do not fit each other.

    Returns the files of source and target, for :func:`dalib.run.start.domains.open_domains`.

    No image is decoded; what only decoding shows is refused when the images are read. Classes of named sets are known
    when these are read, and what depends on them waits until then.

    Args:
        request: names of source and target, and how they are opened.
        labelled: what is measured after training.
        prior: class prior, or a file of it.
        start: models to start from, whose classes the source has to have.

    Raises:
        UserError: the first thing that is wrong.
    """
    for argument, names in (("source", request.sources), ("target", [request.target])):
        for name in [each for each in names if each in NAMED]:
            refuse_test_set(name, argument)
            require_files(name, data_root(request.root), argument=argument, download=request.download)
    files = list_domains(request)
    classes, labels = _classes_of(request, files)
    if labels is not None and classes is not None:
        require_two_classes(classes, request.source)
        _note_alike(classes)
        if start is not None:
            start.check_classes(classes)
    target = files.target
    if classes is not None and target is not None and not labelled.others:
        _note_other_classes(target, classes)
    check_beside(request, files, labelled, prior=prior)
    return files


def check_beside(request: DataRequest, files: Listings, labelled: LabelledSet, *, prior: str) -> None:
    """Refuses labels, a prior and a labelled set that are not there or do not fit source and target.

    Args:
        request: names of source and target, and how they are opened.
        files: theirs.
        labelled: what is measured after training.
        prior: class prior, or a file of it.

    Raises:
        UserError: the first thing that is wrong.
    """
    classes, labels = _classes_of(request, files)
    target = files.target
    if labels is not None and classes is not None:
        first_prior(prior, torch.tensor(labels), classes)
    if request.target_labels is not None and classes is not None and target is not None:
        names = [str(path) for path in target.paths]
        read_target_labels(request.target_labels, names, classes, request.target, argument="target_labels")
    if labelled.others and target is not None:
        require_enough_for_others(len(target.paths))
    if labelled.name is not None:
        _check_labelled_set(request, labelled.name, None if labelled.others else classes)


def _classes_of(request: DataRequest, files: Listings) -> tuple[tuple[str, ...] | None, list[int] | None]:
    """Returns the classes of the source, or of the kit, and the source's labels; None where no file has them."""
    classes = None if request.kit is None else request.kit.description.classes
    found = [each for each in files.sources if each is not None]
    if not found or len(found) < len(files.sources):
        return classes, None
    classes, positions = united([each.classes or () for each in found])
    return classes, [own[label] for own, each in zip(positions, found, strict=True) for label in each.labels or ()]


def _note_alike(classes: Sequence[str]) -> None:
    """Prints which classes differ in spelling alone, as folders of two people or two places often do."""
    if alike := spelled_alike(classes, classes):
        some = some_of([f"{other!r} and {name!r}" for name, other in alike], MOST_NAMED)
        say(
            f"note: of the source's classes, {some} differ in spelling alone and are trained as several; if they are "
            "one class, give them one name"
        )


def _note_other_classes(target: Listing, classes: Sequence[str]) -> None:
    """Prints which of the target's folders are named unlike any class, where most of them are named like one."""
    # an image beside the folders is in none
    folders = ["" if path.parent == target.root else path.parent.name for path in target.paths]
    known = {*map(key_of, classes)}
    named = dict.fromkeys(folders)
    alike = {name for name, _ in spelled_alike(named, classes)}
    others = [name for name in named if name and key_of(name) not in known and name not in alike]
    if not others or len(named) < 2 * len(others):
        return
    held = [path for name, path in zip(folders, target.paths, strict=True) if name in others]
    if target.of_list:
        held = [path for path in held if path.is_file()]
        others = [name for name in others if any(path.parent.name == name for path in held)]
    if not held:
        return
    some = ", ".join([*others[:MOST_NAMED], *(["..."] if len(others) > MOST_NAMED else [])])
    say(
        f"note: folders of the target that are named like no class of the source ({some}) hold "
        f"{counted(len(held), 'image')}; each gets one of the source's classes. If they are none of these: "
        f"{Setting('classes', 'other')}"
    )


def _check_labelled_set(request: DataRequest, name: str, classes: Sequence[str] | None) -> None:
    """Refuses a labelled set that is not there, or has other classes than these where they are given."""
    if name in NAMED:
        require_files(name, data_root(request.root), argument="evaluate", download=request.download)
    elif name not in BUILT_IN_LABELLED:
        require_kept(name, "evaluate")
        allowed = may_leave_its_folder(name)
        listing = list_labelled(name, argument="evaluate", allow_outside=allowed, known=classes or ())
        if classes is not None:
            positions_of_classes(listing.classes or (), classes, "evaluate", name)
