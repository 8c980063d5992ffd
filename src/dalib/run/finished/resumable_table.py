"""A table that is written batch by batch, resumed where a kill ended it, and divided over processes.

Rows, in whatever form the table's format gives them, go to ``OUT.part``; ``OUT.part.json`` records how far they are::

    {"of": digest of the images' names and of the model's files, "done": files, "bytes": of OUT.part, "rows": n,
     "unreadable": n, "examples": [[path, reason]], "beyond": n,
     "examples_beyond": [what such a file holds]}

The same command again drops what was written after these bytes and continues after these files, in the same batches, so
that the result is the one of a command that was never stopped. In the end ``OUT.part`` gets the name of ``OUT``, or the
format makes a file of another kind of it.

Of N processes, each takes a range of the same batches and writes ``OUT.part-I-of-N`` with a JSON file of its own. The
parts in their order are what one process writes, to the byte. They are joined by a folder that all processes see.
"""

from __future__ import annotations

import csv
import glob
import hashlib
import re
import shutil
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Protocol

from dalib.core.console import say
from dalib.core.errors import Setting, UserError
from dalib.core.files import put_in_place, read_json, sync, write_json
from dalib.core.words import UNKNOWN, counted
from dalib.run.finished.load import COLUMNS, KNOWN
from dalib.run.finished.parquet import as_parquet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import BinaryIO

    from dalib.core.files import Unreadable
    from dalib.data.depth import WholeNumbers

MOST_EXAMPLES = 5
"""Unreadable files that are kept as examples."""

_KEEP_SECONDS = 5.0  # what a kill may cost; bringing rows to the disk takes some milliseconds


class TableFormat(Protocol):
    """How rows are written, and what a file of them becomes.

    Attributes:
        noun: plural of what a row holds, for messages: ``predictions``.
        network: name of the argument that the network is given by.
        head: bytes before the first row.
    """

    @property
    def noun(self) -> str: ...
    @property
    def network(self) -> str: ...
    @property
    def head(self) -> bytes: ...

    def put(self, rows: Path, out: Path) -> None:
        """Makes ``out`` of a file of rows, whole or not at all, and removes that file."""


@dataclass(frozen=True)
class PredictionFormat:
    """Lines of CSV, which stay such or become Parquet; implements :class:`TableFormat`.

    Attributes:
        columns: names of the columns.
    """

    columns: Sequence[str] = COLUMNS
    noun: str = "predictions"
    network: str = "run"

    @property
    def head(self) -> bytes:
        """The line of the names."""
        return f"{','.join(self.columns)}\n".encode()

    def put(self, rows: Path, out: Path) -> None:
        """Makes ``out`` of the lines: Parquet if it has this ending, else CSV; prints how many are unknown."""
        if KNOWN in self.columns:
            with rows.open(encoding="utf-8", newline="") as file:
                classes = Counter(row["class"] for row in csv.DictReader(file))
            say(f"{classes[UNKNOWN]:,} of {counted(classes.total(), 'image')} are predicted as {UNKNOWN}")
        if out.suffix.lower() == ".parquet":
            as_parquet(rows, out, self.columns)
        else:
            put_in_place(rows, out)


class TablePart:
    """OUT.part and OUT.part.json of a rank; :meth:`begin`, :meth:`add` a batch at a time, :meth:`end`, :meth:`publish`.

    Args:
        out: the table.
        of: digest of what it is of (:func:`digest_of`); the parts of another one are refused.
        form: how it is written.
        rank, size: this process among those that write the table.
    """

    def __init__(self, out: Path, of: str, form: TableFormat, rank: int = 0, size: int = 1) -> None:
        self.out, self.form, self.rank, self.size = out, form, rank, size
        self.rows, self.state = self._files_of(rank)
        self.lock = out.with_name(out.name + ".part.lock")
        self.progress = PartProgress(of)
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

    def begin(self, images: str, count: int) -> PartProgress:
        """Opens the file, behind what is in it of the same command.

        Raises:
            UserError: it is of another command.
        """
        before = self._before(images)
        if before is None:
            self._file = self.rows.open("wb")
            if self.rank == 0:
                self._write(self.form.head)
                self.progress.bytes = len(self.form.head)
            self.keep()  # from here on nobody else's command goes on with it
        else:
            self.progress = before
            self._file = self.rows.open("r+b")
            self._file.truncate(before.bytes)  # a batch that was being written
            self._file.seek(before.bytes)
            say(f"going on after {before.done} of {count} images")
        return self.progress

    def _before(self, images: str) -> PartProgress | None:
        """Returns how far the same command came; None if it left nothing to resume from."""
        if not self.rows.is_file() or not self.state.is_file():
            return None
        try:
            before = PartProgress(**read_json(self.state))
            mine = before.of == self.progress.of
            whole = self.rows.stat().st_size >= before.bytes
        except (TypeError, UserError):
            return None
        if not mine:
            raise UserError(
                Setting("out", self.out),
                f": {self.rows} holds {before.rows} {self.form.noun} of other images or of another model than ",
                Setting("images", images),
                " and ",
                Setting(self.form.network),
                "; give the same to go on, or remove it to begin anew",
            )
        if not whole:
            say(f"{self.rows}: shorter than {self.state.name} says; beginning anew")
        return before if whole else None

    def add(
        self,
        rows: bytes,
        names: Sequence[str],
        unreadable: Sequence[Unreadable],
        clipped: Sequence[WholeNumbers],
    ) -> None:
        """Writes the rows of a batch; they count once they are whole."""
        before = self.progress
        room = MOST_EXAMPLES - len(before.examples)
        after = replace(
            before,
            done=before.done + len(names) + len(unreadable),
            bytes=before.bytes + len(rows),
            rows=before.rows + len(names),
            unreadable=before.unreadable + len(unreadable),
            examples=[*before.examples, *((each.path, each.reason) for each in unreadable[:room])],
            beyond=before.beyond + len(clipped),
            examples_beyond=[*before.examples_beyond, *clipped][:1],
        )
        self._write(rows)
        self.progress = after  # at once: after Ctrl-C in between, rows would count that belong to no image
        if time.monotonic() - self._kept > _KEEP_SECONDS:
            self.keep()

    def _write(self, content: bytes) -> None:
        assert self._file is not None
        self._file.write(content)
        self._file.flush()

    def keep(self) -> None:
        """Brings the rows to the disk, and then how many bytes they are."""
        sync(self.rows)
        write_json(self.state, asdict(self.progress))
        self._kept = time.monotonic()

    def end(self) -> None:
        """Closes the file; of a command that did nothing yet, nothing is left."""
        assert self._file is not None
        self._file.close()
        if self.progress.done:
            with suppress(OSError):  # a full disk has its error already, and what was kept before stays true
                self.keep()
        else:
            self.remove()

    def remove(self) -> None:
        """Removes the files of this rank."""
        self._remove(self.rank)

    def remove_all(self) -> None:
        """Removes the files of all ranks."""
        for rank in range(self.size):
            self._remove(rank)

    def _remove(self, rank: int) -> None:
        """Removes the files of a rank, and what a process that was killed while it wrote one of them left beside it."""
        for each in self._files_of(rank):
            for left in (each, *each.parent.glob(f"{glob.escape(each.name)}.*.tmp")):
                left.unlink(missing_ok=True)

    def publish(self, lengths: Sequence[int]) -> None:
        """Makes OUT of the rows of all ranks; ``lengths`` are their bytes.

        Raises:
            UserError: parts that are not in this folder.
        """
        self.form.put(self.rows if self.size == 1 else self._join(lengths), self.out)
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


@dataclass
class PartProgress:
    """How far a part is: the content of OUT.part.json."""

    of: str
    done: int = 0
    bytes: int = 0
    rows: int = 0
    unreadable: int = 0
    examples: list[tuple[str, str]] = field(default_factory=list)
    beyond: int = 0
    examples_beyond: list[WholeNumbers] = field(default_factory=list)


def total_of(every: Sequence[PartProgress]) -> PartProgress:
    """Returns the progress of all ranks as that of one."""
    return PartProgress(
        every[0].of,
        sum(each.done for each in every),
        sum(each.bytes for each in every),
        sum(each.rows for each in every),
        sum(each.unreadable for each in every),
        [example for each in every for example in each.examples][:MOST_EXAMPLES],
        sum(each.beyond for each in every),
        [example for each in every for example in each.examples_beyond][:1],
    )


def digest_of(what: Sequence[str], names: Sequence[str]) -> str:
    """Returns the digest of what a table is of: texts about its model, and the names of its images."""
    digest = hashlib.blake2b(digest_size=16)
    for each in chain(what, [str(len(names))], names):
        digest.update(each.encode(errors="surrogateescape") + b"\0")
    return digest.hexdigest()
