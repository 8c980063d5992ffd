"""Files of features: the name of each image and its vector, float32, as NPZ, as a folder of arrays, or as Parquet.

::

    OUT.npz      features.npy (N, D) float32, names.npy (N,) text, both without compression: numpy.load
    OUT/         the same two arrays as files, which numpy maps into memory: numpy.load(..., mmap_mode="r")
    OUT.parquet  path: text; features: list of D float32

Row i of the features is of the image ``names[i]``. Equal rows give equal files, to the byte. Until all rows are there,
each is a record of its name and its numbers, so that a file of records can be cut and joined anywhere between two.
"""

from __future__ import annotations

import shutil
import struct
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from dalib.core.errors import Setting, UserError
from dalib.core.files import irreplaceable, put_in_place, refused_as
from dalib.run.finished.parquet import columns_of_parquet, require_pyarrow
from dalib.run.finished.table_of_images import checked_place, in_its_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

ENDINGS = (".npz", ".parquet", "")
"""File endings that ``out`` accepts; without an ending it is a folder."""

FEATURES, NAMES, PATH = "features", "names", "path"
FILES = (f"{FEATURES}.npy", f"{NAMES}.npy")
"""The arrays of a folder, and of an NPZ file."""

_LENGTH = struct.Struct("<I")
_ROW_GROUP = 4096  # rows of a Parquet file that are in memory together: 21 MB of 1280 features
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time in an archive, so that it does not depend on the clock


@dataclass(frozen=True)
class FeatureFormat:
    """Records of a name and its features; implements :class:`dalib.run.finished.resumable_table.TableFormat`.

    Attributes:
        width: D, the number of features of an image.
        network: name of the argument that the network is given by.
    """

    width: int
    network: str = "run"
    noun: str = "features"
    head: bytes = b""

    def rows(self, names: Sequence[str], features: Tensor) -> bytes:
        """Returns the records of N images and their features (N, D)."""
        values = np.ascontiguousarray(features.numpy(), dtype="<f4")
        assert values.shape == (len(names), self.width)
        records = []
        for name, own in zip(names, values, strict=True):
            # file names need not be text: bytes that are not UTF-8 come as lone surrogates, and are written as escapes
            text = name.encode("utf-8", errors="backslashreplace")
            records += [_LENGTH.pack(len(text)), text, own.tobytes()]
        return b"".join(records)

    def put(self, rows: Path, out: Path) -> None:
        """Makes ``out`` of a file of records, whole or not at all, and removes that file."""
        kind = out.suffix.lower()
        temporary = out.with_name(f"{out.name}.part.tmp")
        write = {".npz": self._write_npz, ".parquet": self._write_parquet}.get(kind, self._write_folder)
        with refused_as(out):
            try:
                write(rows, temporary)
                if out.is_dir():  # no system replaces a folder at once
                    _require_replaceable(out, str(out))  # since it was checked, somebody may have put something there
                    shutil.rmtree(out)
                put_in_place(temporary, out)
            except BaseException:
                _remove(temporary)
                raise
        rows.unlink(missing_ok=True)

    def _write_npz(self, rows: Path, out: Path) -> None:
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:

            @contextmanager
            def member(name: str) -> Iterator[BinaryIO]:
                with archive.open(zipfile.ZipInfo(name, _EPOCH), "w", force_zip64=True) as file:
                    yield cast("BinaryIO", file)

            self._write_arrays(rows, member)

    def _write_folder(self, rows: Path, out: Path) -> None:
        _remove(out)
        out.mkdir()
        self._write_arrays(rows, lambda name: (out / name).open("wb"))

    def _write_arrays(self, rows: Path, opened: Callable[[str], Any]) -> None:
        """Writes both arrays, one after the other, reading the records once for each and once for their number."""
        count, longest = 0, 1
        for name, _ in self.records(rows, features=False):
            count, longest = count + 1, max(longest, len(name))
        with opened(FILES[0]) as file:
            _write_header(file, "<f4", (count, self.width))
            for _, values in self.records(rows):
                file.write(values)
        with opened(FILES[1]) as file:
            _write_header(file, f"<U{longest}", (count,))
            for name, _ in self.records(rows, features=False):
                file.write(name.encode("utf-32-le").ljust(4 * longest, b"\0"))

    def _write_parquet(self, rows: Path, out: Path) -> None:
        arrow, parquet = require_pyarrow(out, ".npz")
        schema = arrow.schema([(PATH, arrow.string()), (FEATURES, arrow.list_(arrow.float32(), self.width))])
        with parquet.ParquetWriter(out, schema) as writer:
            names: list[str] = []
            values: list[bytes] = []

            def write_group() -> None:
                flat = arrow.array(np.frombuffer(b"".join(values), dtype="<f4"))
                lists = arrow.FixedSizeListArray.from_arrays(flat, self.width)
                writer.write_table(arrow.table([arrow.array(names, arrow.string()), lists], schema=schema))
                names.clear()
                values.clear()

            for name, own in self.records(rows):
                names.append(name)
                values.append(own)
                if len(names) == _ROW_GROUP:
                    write_group()
            if names:
                write_group()

    def records(self, rows: Path, *, features: bool = True) -> Iterator[tuple[str, bytes]]:
        """Yields the name of each record and the bytes of its features; empty bytes without ``features``."""
        size = 4 * self.width
        with rows.open("rb", buffering=2**20) as file:
            while head := file.read(_LENGTH.size):
                name = file.read(_LENGTH.unpack(head)[0]).decode("utf-8")
                if features:
                    yield name, file.read(size)
                else:
                    file.seek(size, 1)
                    yield name, b""


def check_features(out: str) -> Path:
    """Refuses a place that features cannot be written to, before images are read; returns it, or where a link leads.

    Raises:
        UserError: another kind of file, a pipe or device, a file or folder that is there and holds no features.
    """
    folder = not Path(out).suffix
    path = checked_place(
        out, ENDINGS, ".npz, in .parquet, or in nothing, for a folder of arrays", "street.npz", folder=folder
    )
    if path.suffix.lower() == ".parquet":
        require_pyarrow(out, ".npz")
    if path.exists():
        _require_replaceable(path, out)
    return in_its_folder(path)


def _require_replaceable(path: Path, out: str) -> None:
    """Refuses a place that exists, and that features cannot replace or should not; ``out`` is it as it was given."""
    if not _may_be_replaced(path):
        what = "folder" if path.is_dir() else "file"
        raise UserError(
            Setting("out", out),
            f": there is a {what} already that does not hold features alone, which alone would be replaced; give "
            "another name",
        )
    if path.is_dir() and (what := irreplaceable(path)):
        raise UserError(
            Setting("out", out),
            f": this is {what}, which no other can replace; give a folder in it, such as {path / 'features'}",
        )


def write_features(path: Path, names: Sequence[str], features: Tensor) -> None:
    """Writes features (N, D) that are in memory, with the names of their N images; whole or not at all.

    Args:
        path: a place that :func:`check_features` returned.
    """
    form, rows = FeatureFormat(features.shape[1]), path.with_name(f"{path.name}.rows.tmp")
    try:
        with refused_as(path):
            rows.write_bytes(form.rows(names, features))
        form.put(rows, path)
    finally:
        rows.unlink(missing_ok=True)


def _may_be_replaced(path: Path) -> bool:
    """Returns whether a place that exists is empty, or holds features as they are written here."""
    if path.is_dir():
        return {each.name for each in path.iterdir()} in (set(), set(FILES))
    if not path.suffix:
        return False  # a file where a folder is to be
    if not path.stat().st_size:
        return True
    if path.suffix.lower() == ".parquet":
        return columns_of_parquet(path) == (PATH, FEATURES)
    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(archive.namelist()) == FILES
    except (OSError, zipfile.BadZipFile):
        return False


def _write_header(file: Any, kind: str, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})


def _remove(place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
