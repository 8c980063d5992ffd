"""Places of images that are given in Python: paths and names as they are; objects are kept as files in the cache."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dalib.core.console import CountedProgress, say_unreadable
from dalib.core.errors import UserError
from dalib.core.files import expanded
from dalib.core.places import is_place
from dalib.run.settings.image_defaults import SAMPLED

if TYPE_CHECKING:
    from dalib.data.given import Given


@dataclass(frozen=True)
class Place:
    """Where images are, as a configuration names it, and what shows of which kind they are."""

    name: Any
    looked_at: Any


def check_before_kept(source: Any, target: Any, evaluated: Any) -> None:
    """Refuses what is no images in any of the arguments, before images of another one are kept.

    Places are listed, and objects are looked at as far as no image is read. Where all are places nothing is kept, and
    nothing is checked here.

    Args:
        source, target, evaluated: as :func:`dalib.run.adapt.adapt` takes them; dictionaries hold one for each name.

    Raises:
        UserError: no such place, or objects of a wrong kind.
    """
    sources = [source] if is_place(source) else _sources_in(source) or [source]
    targets = [*target.values()] if type(target) is dict else [target]
    labelled = [*evaluated.values()] if isinstance(evaluated, dict) else [evaluated]
    given = [each for each in (*sources, *targets, *labelled) if each is not None]
    if all(map(is_place, given)):
        return
    from dalib.data.given import labelled_items, unlabelled_items  # it imports torch

    if not is_place(source):
        _require_labels(sources)
    arguments = {"source": sources, "target": targets, "evaluate": labelled}
    every = [(argument, each) for argument, values in arguments.items() for each in values if each is not None]
    for argument, each in every:  # objects first, which takes no time
        if not is_place(each):
            (unlabelled_items if argument == "target" else labelled_items)(each, argument)
    for argument, each in every:
        if is_place(each):
            _require_listed(each, argument, labelled=argument == "source")


def _sources_in(source: Any) -> list[Any] | None:
    """Returns the sources in a list of several; None for one."""
    from dalib.data.given import several_sources

    return several_sources(source)


def _require_labels(sources: list[Any]) -> None:
    """Refuses a list of image files in place of several sources."""
    from dalib.data.given import are_image_files

    if are_image_files(sources):
        raise UserError(
            "source: these are images without labels; give pairs (path, label), or a folder with a folder of images "
            "for each class"
        )


def _require_listed(place: str | os.PathLike[str], argument: str, *, labelled: bool) -> None:
    """Refuses a folder or a list without images; named sets are left to the run, which may download them."""
    from dalib.data.named import NAMED_AS_FILES
    from dalib.data.sources import listing_of

    path = expanded(os.fspath(place))
    if path not in NAMED_AS_FILES:
        listing_of(path, argument=argument, labelled=labelled)


def place_of_source(source: Any, strict: bool, column: str | None = None) -> Place:
    """Returns the place of a source, or of several; images are kept where they are objects.

    Args:
        source: as :func:`dalib.run.adapt.adapt` takes it.
        strict: refuse images that cannot be read.
        column: further column of a data frame, such as one of groups.

    Raises:
        UserError: images without labels, or of a wrong kind.
    """
    if is_place(source):
        return Place(source, source)
    several = _sources_in(source)
    if several is None:
        return place_of_labelled(source, "source", strict, column)
    _require_labels(several)
    places = [each if is_place(each) else place_of_labelled(each, "source", strict, column) for each in several]
    names = [each.name if isinstance(each, Place) else each for each in places]
    looked_at = [each.looked_at if isinstance(each, Place) else [each] for each in places]
    return Place(names, [file for each in looked_at for file in each])


def place_of_labelled(images: Any, argument: str, strict: bool, column: str | None = None) -> Place:
    """Returns the place of labelled images of one kind; errors name the ``argument``, see :func:`place_of_source`."""
    if is_place(images):
        return Place(images, images)
    from dalib.data.given import keep_labelled

    with CountedProgress(f"keeping {argument}") as progress:
        return _kept(keep_labelled(images, argument=argument, strict=strict, on_progress=progress, column=column))


def place_of_target(target: Any, strict: bool, argument: str = "target", column: str | None = None) -> Place:
    """Returns the place of images without labels; a list of one path is that path. See :func:`place_of_source`."""
    if isinstance(target, list | tuple) and len(target) == 1 and is_place(target[0]):
        target = target[0]
    if is_place(target):
        return Place(target, target)
    from dalib.data.given import keep_unlabelled

    with CountedProgress(f"keeping {argument}") as progress:
        return _kept(keep_unlabelled(target, argument=argument, strict=strict, on_progress=progress, column=column))


def place_of_targets(targets: dict[str, Any], strict: bool, column: str | None = None) -> Place:
    """Returns the places of several targets under their names."""
    places = {name: place_of_target(each, strict, f"target {name}", column) for name, each in targets.items()}
    looked = [[each] if isinstance(each, str | Path) else each for each in (each.looked_at for each in places.values())]
    return Place({name: each.name for name, each in places.items()}, [file for files in looked for file in files])


def _kept(given: Given) -> Place:
    say_unreadable(given.unreadable)
    return Place(str(given.list), given.files[:: max(1, len(given.files) // SAMPLED)])
