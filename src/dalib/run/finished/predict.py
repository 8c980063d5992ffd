"""``dalib predict``: any number of images through a model in constant memory, resuming where it was killed.

Under torchrun the images are divided over the processes, each of which writes its part; the first one joins the parts.
:mod:`dalib.run.finished.resumable_table` describes the files.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from dalib.core.console import CountedProgress, say, say_unreadable
from dalib.core.devices import choose_device
from dalib.core.errors import RanksLostError, Setting, UserError
from dalib.core.files import Unreadable, csv_text, locked, required_path, write_text
from dalib.data.decoding import decode, whole_numbers
from dalib.data.depth import WholeNumbers, describe_outside_range, outside_range
from dalib.data.file_rows import read_folder
from dalib.data.given import may_leave_its_folder
from dalib.data.listing import is_image_file, list_names
from dalib.data.read_ahead import read_ahead
from dalib.engine.distributed import joined, lost_contact
from dalib.engine.features import divided
from dalib.records.folder import RunFolder
from dalib.run.finished.load import BATCH, COLUMNS, MANY, cells_of, chosen_model, columns_of, identity_of, open_model
from dalib.run.finished.parquet import as_parquet, columns_of_parquet, require_pyarrow
from dalib.run.finished.resumable_table import MOST_EXAMPLES, TablePart, digest_of, total_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from dalib.data.preprocessing import Preprocessing
    from dalib.data.reading import CachePolicy
    from dalib.engine.distributed import World
    from dalib.models.exported import OpenedModel
    from dalib.models.saved import ModelDescription
    from dalib.run.finished.load import ChosenModel
    from dalib.run.finished.resumable_table import PartProgress

ENDINGS = ("", ".csv", ".txt", ".parquet")
"""File endings that ``out`` accepts."""

_LONGEST = timedelta(days=30)  # that a rank whose share is done waits for the others; one that ends is noticed at once
Batch = tuple["Tensor", list[str], tuple[Unreadable, ...], "Sequence[WholeNumbers]"]
"""(N, C, size, size) uint8, their N names, the files that could not be read, and those with values beyond the range."""


def predict(
    run: RunFolder | str | Path,
    images: str,
    out: str,
    *,
    model: str | None = None,
    device: str = "auto",
    strict: bool = False,
    cache: CachePolicy = "off",
) -> int:
    """Writes ``path, class, confidence, runner_up, runner_up_confidence`` for each image below a folder.

    A model of ``classes`` other adds ``known``, the probability to be of one of them; below 0.5 the class is unknown.

    A command that was killed resumes when it is given again. Images are known by their names: those that have changed
    in between under the same name are not noticed.

    Args:
        run: a run, its folder, or what ``dalib export`` wrote.
        images: a folder of images, flat or nested, a list of them, or one image.
        out: a CSV file, or a Parquet file by the ending .parquet; written whole or not at all. A table of predictions
            that is there is replaced in the end, any other file is refused.
        model: of a run: ``adapted``, ``aligned`` or ``source-only``; by default the selected one. It is printed
            which one it is.
        strict: refuse unreadable images; otherwise they are reported and have no row.
        cache: where decoded images are kept, as for ``train``; off needs the same memory for any number of images,
            beside that for their names.

    Returns:
        How many images were predicted.

    Raises:
        UserError: bad input; ``OUT.part`` is of other images or of another model, or another process writes it; a full
            disk.
    """
    images, out = required_path(images, "images"), required_path(out, "out")
    table = check_table(out)
    place = run.root if isinstance(run, RunFolder) else Path(required_path(run, "run"))
    with joined(timeout=_LONGEST) as world, _remedies(out, world), ExitStack() as held:
        held.enter_context(world.first_prints())

        def prepared() -> _Task:
            chosen = chosen_model(place, model)
            where = device
            if world.size > 1:
                where = str(choose_device(device, local_rank=world.local_rank, processes=world.size))
            opened = open_model(place, model=chosen.model, device=where)
            source = _open(images, opened.description.preprocessing, strict, cache)
            if len(source.names) >= MANY:
                opened = opened.for_many()
            of = digest_of(
                [identity_of(place, model=chosen.model), str(BATCH), *opened.description.classes], source.names
            )
            return _Task(chosen, opened, source, images, strict, of)

        return _predict(_on_all(world, prepared), table, world, held)


@contextmanager
def _remedies(out: str, world: World) -> Iterator[None]:
    """Turns what ends a prediction early into errors that name the command to resume it."""
    try:
        yield
    except OSError as error:
        raise UserError(
            Setting("out", out),
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


@dataclass(frozen=True)
class _Task:
    """A prediction's images, model and output."""

    chosen: ChosenModel
    opened: OpenedModel
    source: _Source
    images: str
    strict: bool
    of: str
    """Digest of the images' names and of the model."""


def _on_all(world: World, prepared: Callable[[], _Task]) -> _Task:
    """Prepares on all ranks, first on the first one, which reports errors and leaves on the disk what the others read.

    Raises:
        UserError: bad input, or ranks that see other images or another model than the first one.
    """
    first: list[_Task] = []

    def prepare() -> str:
        first.append(prepared())
        return first[0].of

    of = world.from_first(prepare)
    task = first[0] if world.first else prepared()
    if task.of != of:
        raise UserError(
            Setting("images", task.images),
            f": rank {world.rank} sees other images or another model than the first one; give paths that are the same ",
            "files on all machines",
        )
    return task


def _predict(task: _Task, out: Path, world: World, held: ExitStack) -> int:
    """Predicts this rank's share, joins the parts of all ranks, and returns the number of rows."""
    part = TablePart(out, task.of, columns_of(task.opened.description), world.rank, world.size)

    def begin() -> None:
        if held.enter_context(locked(part.lock, wait=False)) == "busy":
            raise UserError(Setting("out", out), ": another process is writing it; wait for it or give another name")
        part.refuse_other_divisions()

    world.from_first(begin)
    if task.chosen.in_words:
        say(f"predicting with the {task.chosen.in_words}")
    _predict_share(task, part)
    every = world.from_all(part.progress)
    return world.from_first(lambda: _finish(task, part, every))


def check_table(out: str) -> Path:
    """Refuses a table that cannot be written, before images are read; returns its place, to which a link leads.

    Raises:
        UserError: another kind of file, a folder, a device, a file that is not a table of predictions.
    """
    path = Path(out)
    if path.suffix.lower() not in ENDINGS:
        raise UserError(
            Setting("out", out),
            ": expected a name that ends in .csv, or in .parquet; other kinds of files are not written",
        )
    if path.is_dir():
        raise UserError(
            Setting("out", out), f": expected a file, this is a folder; name a file in it, such as {path}/street.csv"
        )
    if out == "-" or (path.exists() and not path.is_file()):  # it would be replaced by the table
        raise UserError(
            Setting("out", out),
            ": expected the name of a file; a table goes to no pipe and no device, because it is written whole or not "
            "at all",
        )
    if not path.absolute().parent.is_dir():
        raise UserError(Setting("out", out), ": its folder does not exist; make it first")
    if path.suffix.lower() == ".parquet":
        require_pyarrow(out)
    if path.is_file() and path.stat().st_size and _header_of(path)[: len(COLUMNS)] != COLUMNS:
        raise UserError(
            Setting("out", out),
            ": there is a file already that is not a table of predictions, which alone would be replaced; give another "
            "name",
        )
    return path.resolve() if path.is_symlink() else path  # else the table would take the link's place


def _header_of(table: Path) -> tuple[str, ...]:
    """Returns the names of a table's columns; empty where it is no such table."""
    if table.suffix.lower() == ".parquet":
        return columns_of_parquet(table)
    with table.open("rb") as file:
        return tuple(file.readline(1000).decode("utf-8", errors="replace").rstrip("\r\n").split(","))


def _predict_share(task: _Task, part: TablePart) -> None:
    """Brings ``part`` to its end."""
    opened, source, images = task.opened, task.source, task.images
    begins, end = divided(len(source.names), part.rank, part.size, BATCH)
    total = end - begins
    progress = part.begin(images, total)
    try:
        with CountedProgress(
            "predictions" if part.size == 1 else f"predictions of 1 of {part.size} processes"
        ) as shown:
            for rows, names, unreadable, clipped in read_ahead(source.read, begins + progress.done, end, BATCH):
                if unreadable and task.strict:
                    first = unreadable[0]
                    raise UserError(
                        Setting("images", images),
                        f": {first.path}: {first.reason}; leave out ",
                        Setting("strict"),
                        " to skip it",
                    )
                text = _lines(names, opened.probabilities(rows), opened.description) if names else ""
                part.add(text, names, unreadable, clipped)
                shown(progress.done, total)
    except KeyboardInterrupt:
        say(f"{part.rows}: {progress.done} of {total} images; the same command goes on from there")
        raise
    finally:
        part.end()


def _finish(task: _Task, part: TablePart, every: Sequence[PartProgress]) -> int:
    """Publishes the parts of all ranks, with notes on what could not be read; returns the number of rows."""
    opened, source, images, total = task.opened, task.source, task.images, len(task.source.names)
    progress = total_of(every)
    black_white = opened.description.preprocessing.range
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
        raise UserError(Setting("images", images), f": none of its {total} images can be read{example}")
    say_unreadable(told[:MOST_EXAMPLES], count=progress.unreadable + len(source.unreadable))
    part.publish([each.bytes for each in every])
    return progress.rows


@dataclass(frozen=True)
class _Source:
    """Images by number, to be read some at a time."""

    names: Sequence[str]
    read: Callable[[int, int], Batch]
    """Reads the images from the first number up to the second."""
    unreadable: tuple[Unreadable, ...]
    """Files that are known to be unreadable."""


def _open(images: str, preprocessing: Preprocessing, strict: bool, cache: CachePolicy) -> _Source:
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
                on_note=say,
            )
        return _Source(
            kept.names,
            lambda first, end: (kept.images[torch.arange(first, end)], list(kept.names[first:end]), (), ()),
            kept.unreadable,
        )
    every, unreadable, notes = (
        ([images], (), ())
        if alone
        else list_names(images, argument="images", allow_outside=may_leave_its_folder(images))
    )
    for note in notes:
        say(note)
    if unreadable and strict:
        some = unreadable[0]
        raise UserError(
            Setting("images", images), f": {some.path}: {some.reason}; leave out ", Setting("strict"), " to skip it"
        )

    def read(first: int, end: int) -> Batch:
        names = every[first:end]
        paths = [Path(name) for name in names]
        rows, positions, failed = decode(paths, preprocessing)
        black_white = preprocessing.range
        clipped = () if black_white is None else outside_range(whole_numbers(paths), black_white)
        return rows, [names[position] for position in positions.tolist()], failed, clipped

    return _Source(every, read, unreadable)


def write_table(path: Path, names: Sequence[str], probabilities: Tensor, description: ModelDescription) -> None:
    """Writes a table as :func:`predict` does, of predictions that are in memory; whole or not at all.

    Args:
        path: a place that :func:`check_table` returned.
        names: of the N images.
        probabilities: (N, C).
        description: of the model that they are of.
    """
    columns = columns_of(description)
    lines = path if path.suffix.lower() != ".parquet" else path.with_name(f"{path.name}.csv.tmp")
    write_text(lines, csv_text([columns]) + _lines(names, probabilities, description))
    if lines != path:
        as_parquet(lines, path, columns)


def _lines(names: Sequence[str], probabilities: Tensor, description: ModelDescription) -> str:
    return csv_text(cells_of(names, probabilities, description)) if names else ""
