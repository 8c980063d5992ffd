"""The survey of a user's files in words, as ``dalib checks`` prints it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.filesize import decimal

from dalib.core.console import say, say_note, say_unreadable, say_warning
from dalib.core.errors import Setting
from dalib.core.words import some_of
from dalib.data.spelling import spelled_alike

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dalib.data.survey import DomainSurvey, Survey

MOST = 10
"""Names in a line."""


def say_files(domain: DomainSurvey | None) -> None:
    """Prints what was found of the files of one domain, and warns of what looks wrong; None has no files."""
    if domain is None:
        return
    if domain.width is not None and domain.height is not None:
        width, height = (
            f"{each.least}"
            if each.least == each.greatest
            else f"{each.least} to {each.greatest} (median {each.median:.0f})"
            for each in (domain.width, domain.height)
        )
        say(f"  width {width}, height {height} pixels; kinds of pixels: {_counts(domain.modes)}")
    if numbers := domain.whole_numbers:
        low, high = min(each.low for each in numbers), max(each.high for each in numbers)
        say(f"  more than 8 bits in {len(numbers)} images: minimum {low}, maximum {high}")
    if domain.constant:
        count = len(domain.constant)
        what = "images are of one colour and show" if count > 1 else "image is of one colour and shows"
        say_warning(f"{domain.where}: {count} {what} nothing, for instance {domain.constant[0]}")
    for note in domain.notes:
        say_note(note if note.startswith("warning: ") else f"  {note}")
    _say_copies(domain)
    say_unreadable(domain.unreadable)


def _say_copies(domain: DomainSurvey) -> None:
    """Prints how many images are copies; of copies under two classes, one label is wrong, which is a warning."""
    if not domain.duplicates:
        return
    copies = [(group[0], name) for group in domain.duplicates for name in group[1:]]
    class_of = domain.class_of_duplicate
    differ = [pair for pair in copies if len({class_of.get(name) for name in pair}) > 1]
    what = "images are copies" if len(copies) > 1 else "image is a copy"
    if differ:
        classes = f"{len(differ)} of them under two classes" if len(copies) > 1 else "under two classes"
        say_warning(f"{domain.where}: {len(copies)} {what} of another, {classes}, for instance {' = '.join(differ[0])}")
    else:
        say(f"  {len(copies)} {what} of another, for instance {' = '.join(domain.duplicates[0][:3])}")


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name or 'none'} {count}" for name, count in list(counts.items())[:MOST])


def say_both(found: Survey) -> None:
    """Prints what was found of both domains together: classes of one alone, shared images, and the room they take."""
    alike = spelled_alike(found.only_in_source, found.only_in_target)
    if alike:
        pairs = some_of([f"{name!r} of the source is {other!r} in the target" for name, other in alike], MOST)
        say_warning(f"{pairs}; to measure on the target's folders, give them the source's names")
    only_in_source, only_in_target = (
        [name for name in names if all(name not in pair for pair in alike)]
        for names in (found.only_in_source, found.only_in_target)
    )
    for names, where, other, classes in (
        (only_in_source, "source", "target", "fewer"),
        (only_in_target, "target", "source", "other"),
    ):
        if names:
            say_warning(
                f"by the names of the folders, only the {where} has the classes "
                f"{some_of(names, MOST)}, not the {other}; {Setting('classes', classes)} is made for that"
            )
    if found.shared_images:
        first, second = found.shared_images[0]
        count = len(found.shared_images)
        what = "images are" if count > 1 else "image is"
        say_warning(
            f"{count} {what} in source and target, for instance {first} = {second}; an accuracy measured on "
            "such images says nothing"
        )
    if found.row_bytes:
        free = "" if found.free_disk is None else f", {decimal(found.free_disk)} free"
        memory = "" if found.free_memory is None else f", {decimal(found.free_memory)} free"
        say(
            f"decoded, the images take {decimal(found.row_bytes)}: on the disk in {found.cache_folder}{free} "
            f"({Setting('cache', 'disk')}), in memory{memory} ({Setting('cache', 'ram')}), or nowhere "
            f"({Setting('cache', 'off')})"
        )
