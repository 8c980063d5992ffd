"""Places of images that are given in Python: paths and names as they are; objects are kept as files in the cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dalib.core.console import CountedProgress, say_unreadable
from dalib.core.errors import UserError
from dalib.run.settings.image_defaults import SAMPLED

if TYPE_CHECKING:
    from dalib.data.given import Given


@dataclass(frozen=True)
class Place:
    """Where images are, as a configuration names it, and what shows of which kind they are."""

    name: Any
    looked_at: Any


def place_of_source(source: Any, strict: bool) -> Place:
    """Returns the place of a source, or of several; images are kept where they are objects.

    Args:
        source: as :func:`dalib.run.adapt.adapt` takes it.
        strict: refuse images that cannot be read.

    Raises:
        UserError: images without labels, or of a wrong kind.
    """
    from dalib.data.given import are_image_files, is_place, several_sources

    if is_place(source):
        return Place(source, source)
    several = several_sources(source)
    if several is None:
        return place_of_labelled(source, "source", strict)
    if are_image_files(several):
        raise UserError(
            "source: these are images without labels; give pairs (path, label), or a folder with a folder of images "
            "for each class"
        )
    places = [each if is_place(each) else place_of_labelled(each, "source", strict) for each in several]
    names = [each.name if isinstance(each, Place) else each for each in places]
    looked_at = [each.looked_at if isinstance(each, Place) else [each] for each in places]
    return Place(names, [file for each in looked_at for file in each])


def place_of_labelled(images: Any, argument: str, strict: bool) -> Place:
    """Returns the place of labelled images of one kind; errors name the ``argument``, see :func:`place_of_source`."""
    from dalib.data.given import is_place, keep_labelled

    if is_place(images):
        return Place(images, images)
    with CountedProgress(f"keeping {argument}") as progress:
        return _kept(keep_labelled(images, argument=argument, strict=strict, on_progress=progress))


def place_of_target(target: Any, strict: bool, argument: str = "target") -> Place:
    """Returns the place of images without labels; a list of one path is that path. See :func:`place_of_source`."""
    from dalib.data.given import is_place, keep_unlabelled

    if isinstance(target, list | tuple) and len(target) == 1 and is_place(target[0]):
        target = target[0]
    if is_place(target):
        return Place(target, target)
    with CountedProgress(f"keeping {argument}") as progress:
        return _kept(keep_unlabelled(target, argument=argument, strict=strict, on_progress=progress))


def place_of_targets(targets: dict[str, Any], strict: bool) -> Place:
    """Returns the places of several targets under their names."""
    places = {name: place_of_target(each, strict, f"target {name}") for name, each in targets.items()}
    looked = [[each] if isinstance(each, str | Path) else each for each in (each.looked_at for each in places.values())]
    return Place({name: each.name for name, each in places.items()}, [file for files in looked for file in files])


def _kept(given: Given) -> Place:
    say_unreadable(given.unreadable)
    return Place(str(given.list), given.files[:: max(1, len(given.files) // SAMPLED)])
