"""Predict with the workers of a Ray cluster: the table of ``dalib predict``, resumed where a kill ended it.

    pip install '.[ray]'
    python examples/ray_data/predict.py runs/first street/ street.csv --workers 4

The driver lists the images and writes; workers read and predict. Images in an object store are read with
``ray.data.read_binary_files("s3://...", include_paths=True)`` in place of ``from_items``: Predict takes their bytes.
"""

from __future__ import annotations

import argparse
import csv
import io
from pathlib import Path

import ray

import dalib
from dalib.core.files import csv_text, put_in_place
from dalib.data.listing import list_names

BATCH = 64


class Predict:
    """A worker's model, opened once; called with batches of columns."""

    def __init__(self, run: str) -> None:
        self.predictor = dalib.load(run)

    def __call__(self, batch: dict) -> dict:
        return self.predictor.table(list(batch.get("bytes", batch["path"])), list(batch["path"]))


def rows_in(part: Path) -> dict[str, list[str]]:
    """Returns the whole lines that an earlier call left, by their path; a line that was being written is cut off."""
    if not part.is_file():
        return {}
    content = part.read_bytes()
    rows = list(csv.reader(io.StringIO(content.decode("utf-8", errors="ignore"), newline="")))
    if rows and not (content.endswith(b"\n") and len(rows[-1]) == len(rows[0])):
        part.write_bytes(csv_text(rows[:-1]).encode("utf-8"))
        rows = rows[:-1]
    return {row[0]: row for row in rows}


def predict(run: str, images: str, out: str, workers: int) -> int:
    """Writes predictions in the order of the images; returns how many."""
    names, _, _ = list_names(images, argument="images")
    part = Path(f"{out}.part")
    done = rows_in(part)
    todo = ray.data.from_items([{"path": name} for name in names if name not in done])
    found = todo.map_batches(Predict, fn_constructor_args=(run,), batch_size=BATCH, concurrency=workers)
    columns: tuple[str, ...] = ()
    with part.open("a", encoding="utf-8", newline="") as file:
        for batch in found.iter_batches(batch_size=BATCH, batch_format="numpy"):
            columns = tuple(batch)
            rows = [
                [value if isinstance(value, str) else f"{value:.4f}" for value in row]
                for row in zip(*batch.values(), strict=True)
            ]
            file.write(csv_text(rows))
            file.flush()
            done |= {row[0]: row for row in rows}
    columns = columns or dalib.run.finished.load.columns_of(dalib.load(run).model.description)
    whole = Path(f"{out}.tmp")
    ordered = [done[name] for name in names if name in done]  # an image that cannot be read has no row
    whole.write_text(csv_text([list(columns), *ordered]), encoding="utf-8", newline="")
    put_in_place(whole, Path(out))
    part.unlink()
    return len(ordered)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("images")
    parser.add_argument("out")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    print(predict(given.run, given.images, given.out, given.workers), "predictions in", given.out)
