"""A table with a row for each image, computed batch by batch in constant memory, and resumed where it was killed.

``predict`` and ``features`` differ in what they compute of a batch and in the form of their rows. Under torchrun the
images are divided over the processes, each of which writes its part; the first one joins the parts.
:mod:`dalib.run.finished.resumable_table` describes the files.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from dalib.core.console import CountedProgress, say, say_note, say_unreadable
from dalib.core.devices import choose_device
from dalib.core.errors import RanksLostError, Setting, UserError
from dalib.core.files import Unreadable, locked, make_parent
from dalib.core.refusals import require_writable
from dalib.data.decoding import decode, whole_numbers
from dalib.data.depth import WholeNumbers, describe_outside_range, outside_range
from dalib.data.file_rows import read_folder
from dalib.data.given import may_leave_its_folder
from dalib.data.listing import is_image_file, list_names
from dalib.data.read_ahead import read_ahead
from dalib.engine.distributed import joined, lost_contact
from dalib.engine.features import divided
from dalib.run.finished.resumable_table import MOST_EXAMPLES, TablePart, total_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from dalib.data.preprocessing import Preprocessing
    from dalib.data.reading_options import CachePolicy
    from dalib.engine.distributed import World
    from dalib.run.finished.resumable_table import PartProgress, TableFormat

_LONGEST = timedelta(days=30)  # that a rank whose share is done waits for the others; one that ends is noticed at once
ReadImages = tuple["Tensor", list[str], tuple[Unreadable, ...], "Sequence[WholeNumbers]"]
"""(N, C, size, size) uint8, their N names, the files that could not be read, and those with values beyond the range."""


@dataclass(frozen=True)
class ImageSource:
    """Images by number, to be read some at a time.

    Attributes:
        given: folder, list, shards or image, as the argument has it.
        names: of all images.
        read: reads the images from the first number up to the second.
        unreadable: files that are known to be unreadable.
        preprocessing: how images become rows.
        strict: whether an unreadable image is an error.
    """

    given: str
    names: Sequence[str]
    read: Callable[[int, int], ReadImages]
    unreadable: tuple[Unreadable, ...]
    preprocessing: Preprocessing
    strict: bool


@dataclass(frozen=True)
class ImageTable:
    """What is computed of which images, and how it is written.

    Attributes:
        source: images.
        rows: names of N images and their pixels (N, C, size, size) uint8 -> N rows as they are written.
        form: form of the rows and of the table.
        of: digest of the images' names and of the network; a table that was begun resumes where it is the same.
        batch: images that are read, and then computed, together.
        announced: line that is printed before the first batch; may be empty.
    """

    source: ImageSource
    rows: Callable[[Sequence[str], Tensor], bytes]
    form: TableFormat
    of: str
    batch: int
    announced: str


def write_table_of_images(out: Path, prepared: Callable[[str], ImageTable], device: str) -> int:
    """Writes a table, alone or as one of the processes that torchrun started; returns its number of rows.

    Args:
        out: a place that :func:`checked_place` returned.
        prepared: returns what to compute, on a device of that name; called on all ranks, on the first one first.
        device: as it was asked for.

    Raises:
        UserError: bad input; ``OUT.part`` is of other images or of another model, or another process writes it; a full
            disk.
    """
    with joined(timeout=_LONGEST) as world, _remedies(out, world), ExitStack() as held:
        held.enter_context(world.first_prints())

        def on_own_device() -> ImageTable:
            several = world.size > 1
            own = choose_device(device, local_rank=world.local_rank, processes=world.size) if several else device
            return prepared(str(own))

        return _write(_on_all(world, on_own_device), out, world, held)


def checked_place(out: str, endings: Sequence[str], expected: str, example: str, *, folder: bool = False) -> Path:
    """Refuses a place that no table can be written to, before images are read.

    Args:
        out: as it was given.
        endings: those that are accepted.
        expected: these in words: ``.csv, or in .parquet``.
        example: name of a file, for the remedy where ``out`` is a folder.
        folder: whether a folder that is there may be replaced; the caller looks into it.

    Raises:
        UserError: another ending, a folder, or a pipe or device.
    """
    path = Path(out)
    if path.suffix.lower() not in endings:
        raise UserError(
            Setting("out", out), f": expected a name that ends in {expected}; other kinds of files are not written"
        )
    if path.is_dir() and not folder:
        raise UserError(
            Setting("out", out), f": expected a file, this is a folder; name a file in it, such as {path}/{example}"
        )
    if out == "-" or (path.exists() and not path.is_file() and not path.is_dir()):  # it would be replaced by the table
        raise UserError(
            Setting("out", out),
            ": expected the name of a file; a table goes to no pipe and no device, because it is written whole or not "
            "at all",
        )
    return path


def in_its_folder(path: Path) -> Path:
    """Makes the folder of a place that is good, and returns where a link there leads, whose place a table would take.

    Raises:
        UserError: the folder cannot be made, or no file can be written in it.
    """
    make_parent(path)
    path = path.resolve() if path.is_symlink() else path
    require_writable(path.absolute().parent, Setting("out", str(path)))
    return path


def open_images(images: str, preprocessing: Preprocessing, strict: bool, cache: CachePolicy) -> ImageSource:
    """Lists images; those in a cache are decoded now, others batch by batch.

    Args:
        images: a folder of images, flat or nested, a list of them, shards, or one image.
        preprocessing: how they become rows.
        strict: refuse unreadable images; otherwise they are reported and have no row.
        cache: where decoded images are kept.

    Raises:
        UserError: no image, or an unreadable one with ``strict``.
    """
    alone = is_image_file(Path(images))
    if cache != "off" and not alone:
        with CountedProgress(f"reading {images}") as progress:
            kept = read_folder(
                Path(images),
                preprocessing,
                argument="images",
                strict=strict,
                cache=cache,
                on_progress=progress,
                on_note=say_note,
            )
        return ImageSource(
            images,
            kept.names,
            lambda first, end: (kept.images[torch.arange(first, end)], list(kept.names[first:end]), (), ()),
            kept.unreadable,
            preprocessing,
            strict,
        )
    every, unreadable, notes = (
        ([images], (), ())
        if alone
        else list_names(images, argument="images", allow_outside=may_leave_its_folder(images))
    )
    for note in notes:
        say_note(note)
    if unreadable and strict:
        raise _refused(images, unreadable[0])

    def read(first: int, end: int) -> ReadImages:
        names = every[first:end]
        paths = [Path(name) for name in names]
        rows, positions, failed = decode(paths, preprocessing)
        black_white = preprocessing.range
        clipped = () if black_white is None else outside_range(whole_numbers(paths), black_white)
        return rows, [names[position] for position in positions.tolist()], failed, clipped

    return ImageSource(images, every, read, unreadable, preprocessing, strict)


def _refused(given: str, file: Unreadable) -> UserError:
    return UserError(
        Setting("images", given), f": {file.path}: {file.reason}; leave out ", Setting("strict"), " to skip it"
    )


@contextmanager
def _remedies(out: Path, world: World) -> Iterator[None]:
    """Turns what ends a table early into errors that name the command to resume it."""
    try:
        yield
    except OSError as error:
        raise UserError(
            Setting("out", str(out)),
            f": {error.filename or out} cannot be written ({error.strerror or error}); make room, or let it ",
            "be written, and give the same command again, which goes on",
        ) from error
    except RuntimeError as error:
        if world.size == 1 or not lost_contact(error):
            raise
        raise RanksLostError(
            f"rank {world.rank} of {world.size} lost the others, one of them ended or cannot be reached. What that "
            "one printed says why; give the same command again, which goes on"
        ) from None


def _on_all(world: World, prepared: Callable[[], ImageTable]) -> ImageTable:
    """Prepares on all ranks, first on the first one, which reports errors and leaves on the disk what the others read.

    Raises:
        UserError: bad input, or ranks that see other images or another model than the first one.
    """
    first: list[ImageTable] = []

    def prepare() -> str:
        first.append(prepared())
        return first[0].of

    of = world.from_first(prepare)
    table = first[0] if world.first else prepared()
    if table.of != of:
        raise UserError(
            Setting("images", table.source.given),
            f": rank {world.rank} sees other images or another model than the first one; give paths that are the same ",
            "files on all machines",
        )
    return table


def _write(table: ImageTable, out: Path, world: World, held: ExitStack) -> int:
    """Computes this rank's share, joins the parts of all ranks, and returns the number of rows."""
    part = TablePart(out, table.of, table.form, world.rank, world.size)

    def begin() -> None:
        if held.enter_context(locked(part.lock, wait=False)) == "busy":
            raise UserError(
                Setting("out", str(out)), ": another process is writing it; wait for it or give another name"
            )
        part.refuse_other_divisions()

    world.from_first(begin)
    if table.announced:
        say(table.announced)
    _write_share(table, part)
    every = world.from_all(part.progress)
    return world.from_first(lambda: _finish(table, part, every))


def _write_share(table: ImageTable, part: TablePart) -> None:
    """Brings ``part`` to its end."""
    source, noun = table.source, table.form.noun
    begins, end = divided(len(source.names), part.rank, part.size, table.batch)
    total = end - begins
    begun = part.begin(source.given, total)
    try:
        with CountedProgress(noun if part.size == 1 else f"{noun} of 1 of {part.size} processes") as shown:
            for pixels, names, unreadable, clipped in read_ahead(source.read, begins + begun.done, end, table.batch):
                if unreadable and source.strict:
                    raise _refused(source.given, unreadable[0])
                part.add(table.rows(names, pixels) if names else b"", names, unreadable, clipped)
                shown(part.progress.done, total)
    except KeyboardInterrupt:
        say(f"{part.rows}: {part.progress.done} of {total} images; the same command goes on from there")
        raise
    finally:
        part.end()


def _finish(table: ImageTable, part: TablePart, every: Sequence[PartProgress]) -> int:
    """Publishes the parts of all ranks, with notes on what could not be read; returns the number of rows."""
    source, total = table.source, len(table.source.names)
    progress = total_of(every)
    black_white = source.preprocessing.range
    if progress.beyond and black_white is not None:
        say(
            describe_outside_range(
                [WholeNumbers(*each) for each in progress.examples_beyond], black_white, progress.beyond
            )
        )
    told = [*(Unreadable(*each) for each in progress.examples), *source.unreadable]
    if not progress.rows:
        part.remove_all()
        example = f" (for instance {told[0].path}: {told[0].reason})" if told else ""
        raise UserError(Setting("images", source.given), f": none of its {total} images can be read{example}")
    say_unreadable(told[:MOST_EXAMPLES], count=progress.unreadable + len(source.unreadable))
    part.publish([each.bytes for each in every])
    return progress.rows
