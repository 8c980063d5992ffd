"""``dalib predict``: any number of images through a model in constant memory, going on where a kill ended it.

Under torchrun the images are divided over the processes, each of which writes its part; the first one joins the parts.

Rows are written batch by batch to ``OUT.part``; ``OUT.part.json`` says how far they are::

    {"of": digest of the images' names and of the model's files, "done": files, "bytes": of OUT.part, "rows": n,
     "unreadable": n, "examples": [[path, reason]], "beyond": n,
     "examples_beyond": [what such a file holds]}

The same command again drops what was written after these bytes and goes on after these files, in the same batches, so
that the result is the one of a command that was never stopped. In the end ``OUT.part`` gets the name of ``OUT``; a
Parquet file is made of it.

Of N processes, each takes a range of the same batches and writes ``OUT.part-I-of-N`` with a JSON file of its own. The
parts in their order are what one process writes, to the byte. They are joined by a folder that all processes see.
"""

from __future__ import annotations

import csv
import hashlib
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dalib.core.console import CountedProgress, say, say_unreadable
from dalib.core.devices import choose_device
from dalib.core.errors import RanksLostError, Setting, UserError
from dalib.core.files import (
    Unreadable,
    csv_text,
    locked,
    put_in_place,
    read_json,
    required_path,
    sync,
    write_json,
)
from dalib.data.decoding import decode, whole_numbers
from dalib.data.depth import WholeNumbers, describe_outside_range, outside_range
from dalib.data.given import may_leave_its_folder
from dalib.data.listing import is_image_file, list_names
from dalib.data.sources import read_folder
from dalib.engine.distributed import joined, lost_contact
from dalib.engine.features import divided
from dalib.records.folder import RunFolder
from dalib.run.load import COLUMNS, MANY, cells_of, chosen_model, columns_of, identity_of, is_number, open_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import BinaryIO

    from torch import Tensor

    from dalib.data.preprocessing import Preprocessing
    from dalib.data.sources import CachePolicy
    from dalib.engine.distributed import World
    from dalib.models.exported import OpenedModel
    from dalib.models.saved import ModelDescription
    from dalib.run.load import ChosenModel

ENDINGS = ("", ".csv", ".txt", ".parquet")
"""File endings that ``out`` accepts."""

_BATCH = 64  # the first is read before anything is predicted
_KEEP_SECONDS = 5.0  # what a kill may cost; bringing rows to the disk takes some milliseconds
_LONGEST = timedelta(days=30)  # that a rank whose share is done waits for the others; one that ends is noticed at once
_EXAMPLES = 5  # of unreadable files
_ROW_GROUP = 65_536  # rows of a Parquet file that are in memory together

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

    A command that was killed goes on when it is given again. Images are known by their names: those that have changed
    in between under the same name are not noticed.

    Args:
        run: a run, its folder, or what ``dalib export`` wrote.
        images: a folder of images, flat or nested, a list of them, or one image.
        out: a CSV file, or a Parquet file by the ending .parquet; written whole or not at all. A table of predictions
            that is there is replaced in the end, any other file is refused.
        model: of a run: ``adapted``, ``aligned`` or ``source-only``; by default the selected one. It is printed
            which one it is.
        strict: refuse unreadable images; otherwise they are told and have no row.
        cache: where decoded images are kept, as for ``train``; off needs the same memory for any number of images,
            beside that for their names.

    Returns:
        How many images were predicted.

    Raises:
        UserError: bad input; ``OUT.part`` is of other images or of another model, or another process writes it; a full
            disk.
    """
    images, out = required_path(images, "images"), required_path(out, "out")
    _check_table(out)
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
            of = _digest_of([identity_of(place, model=chosen.model), str(_BATCH), *opened.description.classes], source)
            return _Task(chosen, opened, source, images, strict, of)

        return _predict(_on_all(world, prepared), Path(out), world, held)


@contextmanager
def _remedies(out: str, world: World) -> Iterator[None]:
    """Turns what ends a prediction early into errors that say how to resume it."""
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
    part = _Part(out, task.of, columns_of(task.opened.description), world.rank, world.size)

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


def _check_table(out: str) -> None:
    """Refuses a table that cannot be written, before images are read."""
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
    if not path.absolute().parent.is_dir():
        raise UserError(Setting("out", out), ": its folder does not exist; make it first")
    if path.suffix.lower() == ".parquet":
        _pyarrow(out)
    if path.is_file() and path.stat().st_size and _header_of(path)[: len(COLUMNS)] != COLUMNS:
        raise UserError(
            Setting("out", out),
            ": there is a file already that is not a table of predictions, which alone would be replaced; give another "
            "name",
        )


def _header_of(table: Path) -> tuple[str, ...]:
    """Returns the names of a table's columns; empty where it is no such table."""
    if table.suffix.lower() == ".parquet":
        arrow, parquet = _pyarrow(table)
        try:
            return tuple(parquet.read_schema(table).names)
        except (arrow.ArrowException, OSError):
            return ()
    with table.open("rb") as file:
        return tuple(file.readline(1000).decode("utf-8", errors="replace").rstrip("\r\n").split(","))


def _predict_share(task: _Task, part: _Part) -> None:
    """Brings ``part`` to its end."""
    opened, source, images = task.opened, task.source, task.images
    begins, end = divided(len(source.names), part.rank, part.size, _BATCH)
    total = end - begins
    progress = part.begin(images, total)
    try:
        with CountedProgress(
            "predictions" if part.size == 1 else f"predictions of 1 of {part.size} processes"
        ) as shown:
            for rows, names, unreadable, clipped in _batches(source, begins + progress.done, end):
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


def _finish(task: _Task, part: _Part, every: Sequence[_Progress]) -> int:
    """Publishes the parts of all ranks, with notes on what could not be read; returns the number of rows."""
    opened, source, images, total = task.opened, task.source, task.images, len(task.source.names)
    progress = _total(every)
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
    say_unreadable(told[:_EXAMPLES], count=progress.unreadable + len(source.unreadable))
    part.publish([each.bytes for each in every])
    return progress.rows


def _total(every: Sequence[_Progress]) -> _Progress:
    """Returns the progress of all ranks as that of one."""
    return _Progress(
        every[0].of,
        sum(each.done for each in every),
        sum(each.bytes for each in every),
        sum(each.rows for each in every),
        sum(each.unreadable for each in every),
        [example for each in every for example in each.examples][:_EXAMPLES],
        sum(each.beyond for each in every),
        [example for each in every for example in each.examples_beyond][:1],
    )


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


def _batches(source: _Source, done: int, count: int) -> Iterator[Batch]:
    """Yields the batches from image ``done`` up to ``count``; the next one is read while one is used."""
    firsts = range(done, count, _BATCH)
    with ThreadPoolExecutor(1, thread_name_prefix="read") as pool:
        begun = [pool.submit(source.read, first, min(first + _BATCH, count)) for first in firsts[:1]]
        for first in firsts:
            after = first + _BATCH
            if after < count:
                begun.append(pool.submit(source.read, after, min(after + _BATCH, count)))
            yield begun.pop(0).result()


def _lines(names: Sequence[str], probabilities: Tensor, description: ModelDescription) -> str:
    return csv_text(cells_of(names, probabilities, description))


def _digest_of(what: Sequence[str], source: _Source) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for each in chain(what, [str(len(source.names))], source.names):
        digest.update(each.encode(errors="surrogateescape") + b"\0")
    return digest.hexdigest()


@dataclass
class _Progress:
    """OUT.part.json."""

    of: str
    done: int = 0
    bytes: int = 0
    rows: int = 0
    unreadable: int = 0
    examples: list[tuple[str, str]] = field(default_factory=list)
    beyond: int = 0
    examples_beyond: list[WholeNumbers] = field(default_factory=list)


class _Part:
    """OUT.part and OUT.part.json; :meth:`begin`, :meth:`add` a batch at a time, :meth:`end`, :meth:`publish`."""

    def __init__(self, out: Path, of: str, columns: Sequence[str] = COLUMNS, rank: int = 0, size: int = 1) -> None:
        self.out, self.columns, self.rank, self.size = out, columns, rank, size
        self.rows, self.state = self._files_of(rank)
        self.lock = out.with_name(out.name + ".part.lock")
        self.progress = _Progress(of)
        self._file: BinaryIO | None = None
        self._kept = time.monotonic()

    def _files_of(self, rank: int) -> tuple[Path, Path]:
        """Returns the rows of a rank and the file that records how many are done."""
        share = "" if self.size == 1 else f"-{rank + 1}-of-{self.size}"
        rows = self.out.with_name(f"{self.out.name}.part{share}")
        return rows, rows.with_name(f"{rows.name}.json")

    def refuse_other_divisions(self) -> None:
        """Refuses to begin beside the parts of another number of processes.

        Raises:
            UserError: there are such.
        """
        own = {self._files_of(rank)[1].name for rank in range(self.size)}
        others = re.compile(re.escape(self.out.name) + r"\.part(?:-[0-9]+-of-([0-9]+))?\.json")
        for each in sorted(self.out.absolute().parent.iterdir()):
            found = others.fullmatch(each.name)
            if found is not None and each.name not in own:
                raise UserError(
                    Setting("out", self.out),
                    f": {each} is what {found[1] or 1} of torchrun's processes left of it; start as many to go on, or ",
                    f"remove the files {self.out}.part* to begin anew",
                )

    def begin(self, images: str, count: int) -> _Progress:
        """Open the file, behind what is in it of the same command.

        Raises:
            UserError: it is of another command.
        """
        before = self._before(images)
        if before is None:
            self._file = self.rows.open("wb")
            if self.rank == 0:
                self._write(",".join(self.columns) + "\n")
            self.keep()  # from here on nobody else's command goes on with it
        else:
            self.progress = before
            self._file = self.rows.open("r+b")
            self._file.truncate(before.bytes)  # a batch that was being written
            self._file.seek(before.bytes)
            say(f"going on after {before.done} of {count} images")
        return self.progress

    def _before(self, images: str) -> _Progress | None:
        """Returns how far the same command came; None if it left nothing to resume from."""
        if not self.rows.is_file() or not self.state.is_file():
            return None
        try:
            before = _Progress(**read_json(self.state))
            mine = before.of == self.progress.of
            whole = self.rows.stat().st_size >= before.bytes
        except (TypeError, UserError):
            return None
        if not mine:
            raise UserError(
                Setting("out", self.out),
                f": {self.rows} holds {before.rows} predictions of other images or of another model than ",
                Setting("images", images),
                " and ",
                Setting("run"),
                "; give the same to go on, or remove it to begin anew",
            )
        if not whole:
            say(f"{self.rows}: shorter than {self.state.name} says; beginning anew")
        return before if whole else None

    def add(
        self,
        text: str,
        names: Sequence[str],
        unreadable: Sequence[Unreadable],
        clipped: Sequence[WholeNumbers],
    ) -> None:
        """The lines of a batch; they count once they are whole."""
        self._write(text)
        progress = self.progress
        progress.done += len(names) + len(unreadable)
        progress.rows += len(names)
        progress.unreadable += len(unreadable)
        room = _EXAMPLES - len(progress.examples)
        progress.examples += [(each.path, each.reason) for each in unreadable[:room]]
        progress.beyond += len(clipped)
        progress.examples_beyond = [*progress.examples_beyond, *clipped][:1]
        if time.monotonic() - self._kept > _KEEP_SECONDS:
            self.keep()

    def _write(self, text: str) -> None:
        assert self._file is not None
        # file names need not be text: bytes that are not UTF-8 come as lone surrogates, and are written as escapes
        content = text.encode("utf-8", errors="backslashreplace")
        self._file.write(content)
        self._file.flush()
        self.progress.bytes += len(content)

    def keep(self) -> None:
        """Bring the lines to the disk, and then how many bytes they are."""
        sync(self.rows)
        write_json(self.state, asdict(self.progress))
        self._kept = time.monotonic()

    def end(self) -> None:
        """Close the file; of a command that did nothing yet, nothing is left."""
        assert self._file is not None
        self._file.close()
        if self.progress.done:
            with suppress(OSError):  # a full disk has its error already, and what was kept before stays true
                self.keep()
        else:
            self.remove()

    def remove(self) -> None:
        for each in self._files_of(self.rank):
            each.unlink(missing_ok=True)

    def remove_all(self) -> None:
        for rank in range(self.size):
            for each in self._files_of(rank):
                each.unlink(missing_ok=True)

    def publish(self, lengths: Sequence[int]) -> None:
        """Make OUT of the rows of all ranks; ``lengths`` are their bytes.

        Raises:
            UserError: parts that are not in this folder.
        """
        whole = self.rows if self.size == 1 else self._join(lengths)
        if self.out.suffix.lower() == ".parquet":
            temporary = self.out.with_name(self.out.name + ".tmp")
            _write_parquet(whole, temporary, self.columns)
            put_in_place(temporary, self.out)
            whole.unlink(missing_ok=True)
        else:
            put_in_place(whole, self.out)
        self.remove_all()

    def _join(self, lengths: Sequence[int]) -> Path:
        """Returns a file of the rows of all ranks, which stay as they are until it is in place."""
        joined_rows = self.out.with_name(self.out.name + ".part.joined")
        with joined_rows.open("wb") as whole:
            for rank, length in enumerate(lengths):
                rows, _ = self._files_of(rank)
                if not length:  # a rank without a batch leaves nothing
                    continue
                if not rows.is_file() or rows.stat().st_size != length:
                    raise UserError(
                        Setting("out", self.out),
                        f": the part {rows.name} is not here as rank {rank} wrote it; give a folder that all machines ",
                        "share",
                    )
                with rows.open("rb") as part:
                    shutil.copyfileobj(part, whole)
        return joined_rows


def _write_parquet(lines: Path, out: Path, columns: Sequence[str]) -> None:
    """The CSV file as Parquet: text, and float32 for the probabilities; a group of rows at a time."""
    arrow, parquet = _pyarrow(out)
    text, number = arrow.string(), arrow.float32()
    schema = arrow.schema([(name, number if is_number(name) else text) for name in columns])

    def group(rows: list[list[str]]) -> Any:
        by_column = zip(*rows, strict=True)
        return arrow.table(
            [
                arrow.array([float(each) for each in column] if kind == number else column, kind)
                for column, kind in zip(by_column, schema.types, strict=True)
            ],
            schema=schema,
        )

    with lines.open(encoding="utf-8", newline="") as file, parquet.ParquetWriter(out, schema) as writer:
        reader = csv.reader(file)
        next(reader)
        rows: list[list[str]] = []
        for row in reader:
            rows.append(row)
            if len(rows) == _ROW_GROUP:
                writer.write_table(group(rows))
                rows = []
        if rows:
            writer.write_table(group(rows))


def _pyarrow(out: str | Path) -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError(
            Setting("out", out), ": pyarrow is not installed; pip install pyarrow, or give a name that ends in .csv"
        ) from None
    return pyarrow, pyarrow.parquet
