"""Predictions as Parquet: the columns of such a file, and a CSV file written as one."""

from __future__ import annotations

import contextlib
import csv
from typing import TYPE_CHECKING, Any

from dalib.core.errors import Setting, UserError
from dalib.core.files import put_in_place, refused_as
from dalib.run.finished.load import is_number

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_ROW_GROUP = 65_536  # rows of a Parquet file that are in memory together


def as_parquet(lines: Path, out: Path, columns: Sequence[str]) -> None:
    """Puts a CSV file in the place of ``out`` as Parquet, whole or not at all, and removes it.

    Raises:
        OSError: the system refuses it; the error names ``out``, and the CSV file is left.
    """
    temporary = out.with_name(f"{out.name}.part.tmp")
    with refused_as(out):
        try:
            write_parquet(lines, temporary, columns)
            put_in_place(temporary, out)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
    lines.unlink(missing_ok=True)


def write_parquet(lines: Path, out: Path, columns: Sequence[str]) -> None:
    """Writes a CSV file as Parquet: text, and float32 for the probabilities; a group of rows at a time."""
    arrow, parquet = require_pyarrow(out)
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


def columns_of_parquet(table: Path) -> tuple[str, ...]:
    """Returns the names of a Parquet file's columns; empty where it is no such file."""
    arrow, parquet = require_pyarrow(table)
    try:
        return tuple(parquet.read_schema(table).names)
    except (arrow.ArrowException, OSError):
        return ()


def require_pyarrow(out: str | Path, instead: str = ".csv") -> tuple[Any, Any]:
    """Returns pyarrow and pyarrow.parquet, imported here because they are not needed for other files.

    Args:
        out: the file that is to be written or read.
        instead: ending of a file that does without, for the remedy.

    Raises:
        UserError: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError(
            Setting("out", out),
            f": pyarrow is not installed; pip install pyarrow, or give a name that ends in {instead}",
        ) from None
    return pyarrow, pyarrow.parquet
