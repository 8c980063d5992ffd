"""``dalib predict``: any number of images through a model in constant memory, resuming where it was killed.

:mod:`dalib.run.finished.table_of_images` reads the images, divides them over processes, and joins the parts.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dalib.core.errors import Setting, UserError
from dalib.core.files import csv_text, refused_as, required_path, write_text
from dalib.records.folder import RunFolder
from dalib.run.finished.load import BATCH, COLUMNS, MANY, cells_of, chosen_model, columns_of, identity_of, open_model
from dalib.run.finished.parquet import as_parquet, columns_of_parquet, require_pyarrow
from dalib.run.finished.resumable_table import PredictionFormat, digest_of
from dalib.run.finished.table_of_images import (
    ImageTable,
    checked_place,
    in_its_folder,
    open_images,
    write_table_of_images,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from dalib.data.reading_options import CachePolicy
    from dalib.models.saved import ModelDescription

ENDINGS = ("", ".csv", ".txt", ".parquet")
"""File endings that ``out`` accepts."""


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

    def prepared(device: str) -> ImageTable:
        chosen = chosen_model(place, model)
        opened = open_model(place, model=chosen.model, device=device)
        description = opened.description
        source = open_images(images, description.preprocessing, strict, cache)
        if len(source.names) >= MANY:
            opened = opened.for_many()
        return ImageTable(
            source,
            lambda names, rows: _lines(names, opened.probabilities(rows), description),
            PredictionFormat(columns_of(description)),
            digest_of([identity_of(place, model=chosen.model), str(BATCH), *description.classes], source.names),
            BATCH,
            f"predicting with the {chosen.in_words}" if chosen.in_words else "",
        )

    return write_table_of_images(table, prepared, device)


def check_table(out: str) -> Path:
    """Refuses a table that cannot be written, before images are read; returns its place, to which a link leads.

    Raises:
        UserError: another kind of file, a folder, a device, a file that is not a table of predictions.
    """
    path = checked_place(out, ENDINGS, ".csv, or in .parquet", "street.csv")
    if path.suffix.lower() == ".parquet":
        require_pyarrow(out)
    if path.is_file() and path.stat().st_size and _header_of(path)[: len(COLUMNS)] != COLUMNS:
        raise UserError(
            Setting("out", out),
            ": there is a file already that is not a table of predictions, which alone would be replaced; give another "
            "name",
        )
    return in_its_folder(path)


def _header_of(table: Path) -> tuple[str, ...]:
    """Returns the names of a table's columns; empty where it is no such table."""
    if table.suffix.lower() == ".parquet":
        return columns_of_parquet(table)
    with table.open("rb") as file:
        return tuple(file.readline(1000).decode("utf-8", errors="replace").rstrip("\r\n").split(","))


def write_table(path: Path, names: Sequence[str], probabilities: Tensor, description: ModelDescription) -> None:
    """Writes a table as :func:`predict` does, of predictions that are in memory; whole or not at all.

    Args:
        path: a place that :func:`check_table` returned.
        names: of the N images.
        probabilities: (N, C).
        description: of the model that they are of.

    Raises:
        OSError: the system refuses it; the error names ``path``, and nothing is left beside it.
    """
    columns = columns_of(description)
    content = csv_text([columns, *cells_of(names, probabilities, description)])
    if path.suffix.lower() != ".parquet":
        write_text(path, content)
        return
    lines = path.with_name(f"{path.name}.csv.tmp")
    try:
        with refused_as(path):
            write_text(lines, content)
        as_parquet(lines, path, columns)
    finally:
        lines.unlink(missing_ok=True)


def _lines(names: Sequence[str], probabilities: Tensor, description: ModelDescription) -> bytes:
    # file names need not be text: bytes that are not UTF-8 come as lone surrogates, and are written as escapes
    return csv_text(cells_of(names, probabilities, description)).encode("utf-8", errors="backslashreplace")
