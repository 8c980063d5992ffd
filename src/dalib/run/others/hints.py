"""Hints of a run: read from a table or taken as arrays, and reported in the end."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dalib.adaptation.methods import method_class, one_of_the_methods
from dalib.core.console import say
from dalib.core.errors import Setting, UserError
from dalib.core.files import expanded, write_bytes
from dalib.core.places import TABLES, in_short, is_given_table
from dalib.core.words import meant, some_quoted
from dalib.data.cache import default_cache_folder, writable_cache_folder
from dalib.data.labels import name_such_as, row_of, rows_by_name
from dalib.engine.evaluate import evaluated_rows
from dalib.judge.comparison import MIN_IMAGES
from dalib.judge.evidence import Evidence
from dalib.judge.ranking import judge_predictions
from dalib.judge.structure import structure_of
from dalib.records.hints import HintedClass, Hints
from dalib.run.others.model_tables import ENDINGS, LABEL_COLUMNS, NAME_COLUMNS, read_table
from dalib.run.others.table_objects import cells_of, is_frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from dalib.adaptation.hints import TrustedHints
    from dalib.judge.structure import Representation
    from dalib.run.recipe.run_models import RunModels


def check_hints(hints: str | None, method: str, classes: str) -> None:
    """Refuses hints that are not there, or beside settings that have no use for them.

    Args:
        hints: the file; None without hints.
        method: name of what is to learn from them.
        classes: whether the target is expected to have the source's classes.

    Raises:
        UserError: no such table, or a method or classes that hints do not fit.
    """
    if hints is None:
        return
    where = Setting("hints", hints)
    if not method_class(method).takes_hints:
        raise UserError(
            where,
            f": {method} has no teacher that hints could refine; leave them out, or take ",
            one_of_the_methods(lambda each: each.takes_hints),
        )
    if classes == "other":  # images that are set apart would leave their hints behind
        raise UserError(
            where, ": hints name the source's classes alone; leave them out, or leave out ", Setting("classes", classes)
        )
    path = Path(hints)
    if path.suffix.lower() not in ENDINGS:
        raise UserError(where, f": expected a table that ends in {', '.join(ENDINGS)}")
    if not path.is_file():
        raise UserError(where, ": expected a file, this is a folder" if path.is_dir() else ": no such file")


def read_hints(where: str | Path, names: Sequence[str], target: str, classes: Sequence[str]) -> Tensor:
    """Reads hints for the images of a target.

    The table has probabilities of some or all of the classes, or a column ``label`` with one class an image; images
    are found by their names, as in lists of labels, and images without a row have no hint. A table without names
    (.npz) has a row for each image of the target, in its order.

    Returns:
        (N, C) float32 probabilities; rows of zeros are images without a hint.

    Raises:
        UserError: a table that cannot be read, images that are none of the target's, or columns that are no class.
    """
    setting = Setting("hints", where)
    table = read_table(where, "hints", classes, labels_alone=True)
    found = torch.zeros(len(names), len(classes))
    rows = _rows_of(table.names, len(table.probabilities), names, target, setting)
    columns = _columns_of(table.classes, table.probabilities.shape[1], classes, setting)
    found[torch.tensor(rows)[:, None], torch.tensor(columns)] = table.probabilities.float()
    count = int((found.sum(dim=1) > 0).sum())
    say(f"hints: {count} of {len(names)} target images" + ("" if is_given_table(where) else f" ({setting})"))
    return found


def _rows_of(own: Sequence[str] | None, count: int, names: Sequence[str], target: str, where: Setting) -> list[int]:
    """Returns the target's row for each row of a table; ``own`` are the table's names, None without any."""
    if own is None:
        if count != len(names):
            raise UserError(
                where, f": expected {len(names)} rows, one for each target image, got {count}; or add names of images"
            )
        return list(range(count))
    known = rows_by_name(names, target)
    found = [row_of(name, known) for name in own]
    if strange := [name for name, row in zip(own, found, strict=True) if row is None]:
        listed = some_quoted([in_short(name) for name in strange], 3)
        more = "" if len(strange) == 1 else f" ({len(strange)} rows)"
        raise UserError(
            where,
            f": {listed}{more}: none of the {len(names)} images of the target {in_short(target)}; expected "
            + name_such_as(names),
        )
    rows = [row for row in found if row is not None]
    if len(set(rows)) < len(rows):
        counts = Counter(rows)
        twice = next(name for name, row in zip(reversed(own), reversed(rows), strict=True) if counts[row] > 1)
        raise UserError(where, f": the image {in_short(twice)!r} has more than one row; leave one")
    return rows


def _columns_of(own: Sequence[str] | None, count: int, classes: Sequence[str], where: Setting) -> list[int]:
    """Returns the class of each column of a table; ``own`` are the columns' names, None without any."""
    if own is None:
        if count != len(classes):
            raise UserError(
                where, f": expected {len(classes)} columns, one for each class, got {count}; or add names of classes"
            )
        return list(range(count))
    if strange := [name for name in own if name not in classes]:
        raise UserError(
            where,
            f": the column {strange[0]!r} is none of the classes {some_quoted(classes)}{meant(strange[0], classes)}",
        )
    return [classes.index(name) for name in own]


def hints_file(hints: Any) -> str:
    """Returns the file of hints that are given in Python, which is written to the cache unless it is one already.

    Args:
        hints: a path; probabilities (N, C) as an array or a tensor, in the target's order; a data frame of pandas or
            polars with the columns of a table, whose index, or the number of each row, names the images where no column
            does; or a dictionary of images' names and classes.

    Raises:
        UserError: none of these.
    """
    if isinstance(hints, str | Path):
        return expanded(hints)
    if isinstance(hints, Mapping):
        return kept_table(csv_table("hints", ["path", "label"], list(hints.items())), ".csv")
    if is_frame(hints):
        columns, rows = [str(each) for each in hints.columns], cells_of(hints)
        named = any(each.strip().lower() in NAME_COLUMNS for each in columns)
        if not hasattr(hints, "index") and rows and columns[0].strip().lower() not in LABEL_COLUMNS:
            named = named or isinstance(rows[0][0], str)  # polars has no index: text in front is names
        if not named:
            index = getattr(hints, "index", range(len(rows)))
            columns, rows = ["path", *columns], [[name, *row] for name, row in zip(index, rows, strict=True)]
        return kept_table(csv_table("hints", columns, rows), ".csv")
    try:
        values = np.asarray(hints.detach().cpu() if isinstance(hints, torch.Tensor) else hints, dtype=np.float64)
    except (TypeError, ValueError):
        values = np.zeros(0)
    if values.ndim != 2:
        raise UserError(
            f"hints: expected a file, probabilities (images, classes), a data frame, or a dictionary of images and "
            f"classes, got {type(hints).__name__}"
        )
    content = io.BytesIO()
    np.savez(content, probabilities=values)
    shape = f"{values.shape}".encode()  # equal bytes in another shape are another table
    return kept_table(content.getvalue(), ".npz", hashlib.blake2b(shape + values.tobytes(), digest_size=16).hexdigest())


def csv_table(argument: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    """Returns a table as the content of a CSV file.

    Raises:
        UserError: no row in it.
    """
    if not rows:
        raise UserError(Setting(argument), ": expected at least one image, got none")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode()


def kept_table(content: bytes, ending: str, digest: str | None = None) -> str:
    """Writes a table into the cache under the digest of its content, unless it is there, and returns its path."""
    folder = writable_cache_folder(default_cache_folder(), say) / TABLES
    file = folder / f"{digest or hashlib.blake2b(content, digest_size=16).hexdigest()}{ending}"
    if not file.is_file():
        write_bytes(file, content)
    return str(file)


def hints_record(
    trusted: TrustedHints,
    models: RunModels,
    classes: Sequence[str],
    neutral: Representation | None,
) -> Hints:
    """Returns the record of how far hints were trusted.

    Args:
        trusted: hints with the last estimate of their worth.
        models: with the adapted model's predictions for all images.
        classes: names.
        neutral: representation of the evaluated images by a network that no model trained; None compares nothing.
    """
    annotator, given, held_back = trusted.annotator, trusted.given.double(), trusted.held_back
    adapted = models.everything["adapted"].target.double()
    there = given.sum(dim=1) > 0
    named = torch.where(there, given.argmax(dim=1), -1)
    likely = adapted.clamp_min(1e-9).log() + annotator.log_likelihood(given, trusted.originals.double())
    of_class = likely.softmax(dim=1)[there]
    right = of_class.gather(1, named[there][:, None]).mean().item() if bool(there.any()) else None
    meaning = (annotator.confusion * adapted.mean(dim=0)[:, None]).argmax(dim=0).tolist()
    hinted = []
    for number, name in enumerate(classes):
        own = named == number
        same = (adapted.argmax(dim=1) == number)[own].double().mean().item() if bool(own.any()) else None
        trust = annotator.worth[number].item()
        hinted.append(HintedClass(name, int(own.sum()), same, trust, classes[meaning[number]] if trust else ""))
    others = [name for name in models.everything if name != "adapted"]
    return Hints(
        images=len(given),
        hinted=int(there.sum()),
        held_back=0 if held_back is None else int(held_back.sum()),
        gain=annotator.gain,
        copied=dict(zip(others, annotator.copied.tolist(), strict=True)) if annotator.gain else {},
        right=right if annotator.gain else None,
        better=_better(given, adapted, classes, neutral) if bool(there.all()) else None,
        classes=tuple(hinted),
    )


def _better(hints: Tensor, adapted: Tensor, classes: Sequence[str], neutral: Representation | None) -> float | None:
    """Returns the probability that the adapted model is better than hints for every image; None if it is unknown."""
    rows = evaluated_rows(len(hints))
    if neutral is None or len(rows) < MIN_IMAGES:
        return None
    nothing = torch.zeros(0, len(classes), dtype=torch.float64), torch.zeros(0, dtype=torch.int64)
    said = {"hints": Evidence(*nothing, hints[rows]), "adapted": Evidence(*nothing, adapted[rows])}
    return judge_predictions(said, classes, structure_of(neutral, len(classes))).probability("adapted", "hints")
