"""Reads tables of probabilities, whoever wrote them: CSV, NPZ and Parquet."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dalib.core.console import one_line
from dalib.core.errors import Call, Setting, UserError
from dalib.core.files import expanded
from dalib.core.places import in_short
from dalib.core.words import UNKNOWN, meant, some_quoted
from dalib.data.spelling import Classes, is_missing
from dalib.data.tables import delimiter_of, fields_of, text_of
from dalib.judge.checked import SUM_TOLERANCE
from dalib.run.finished.load import COLUMNS, KNOWN, KNOWN_CLASS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from torch import Tensor

NAME_COLUMNS = ("path", "name", "file", "filename", "file_name", "image", "image_id", "id", "")
"""Columns that hold the images' names, in any case; the last is how pandas writes an index. Otherwise the first one."""

LABEL_COLUMNS = ("label", "labels")
"""Columns that hold true classes; read from validation tables alone."""

ENDINGS = (".csv", ".tsv", ".txt", ".npz", ".parquet")

MOST_LISTED = 3

_ROUNDED = 0.1  # how far from 1 rounding takes a sum


@dataclass(frozen=True)
class ProbabilityTable:
    """The probabilities of one model for some images.

    Attributes:
        probabilities: (M, C) float64, rows that sum to 1.
        names: M names; None where the table has none.
        classes: C names; None where the table has none.
        labels: M names of true classes, or their positions; None without a column of them.
        groups: M cells of the column of groups, equal for images that belong together; None without such a column.
        most_likely_only: whether the table holds the two likeliest classes alone, as that of ``dalib predict`` does.
            The rest of each row is spread evenly.
        over: of such a table, gives the same with the rest spread over these classes; others are added behind them.
    """

    probabilities: Tensor
    names: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None
    labels: tuple[str, ...] | tuple[int, ...] | None = None
    most_likely_only: bool = False
    over: Callable[[tuple[str, ...]], ProbabilityTable] | None = field(default=None, repr=False, compare=False)
    groups: tuple[Any, ...] | None = None

    def in_order_of(self, names: Sequence[str] | None, classes: Sequence[str], where: Setting) -> ProbabilityTable:
        """Returns the table with its rows and columns in this order.

        Raises:
            UserError: other images or classes, or another number of them where it has no names.
        """
        probabilities, labels, groups = self.probabilities, self.labels, self.groups
        if self.classes is None or tuple(self.classes) == tuple(classes):
            if probabilities.shape[1] != len(classes):
                raise UserError(where, f": expected {len(classes)} classes, got {probabilities.shape[1]}")
        else:
            columns = {name: place for place, name in enumerate(self.classes)}
            if not self.most_likely_only and columns.keys() != set(classes):
                raise UserError(where, f": expected the classes {_some(classes)}; {_difference(classes, self.classes)}")
            probabilities = probabilities[:, [columns[name] for name in classes]]
        if names is not None and self.names is not None and tuple(self.names) != tuple(names):
            rows = _rows_in_order(self.names, names, where)
            probabilities = probabilities[rows]
            labels = None if labels is None else tuple(labels[row] for row in rows)  # type: ignore[assignment]
            groups = None if groups is None else tuple(groups[row] for row in rows)
        elif names is not None and len(probabilities) != len(names):
            raise UserError(where, f": expected {len(names)} rows, one an image, got {len(probabilities)}")
        listed = None if names is None else tuple(names)
        return replace(self, probabilities=probabilities, names=listed, labels=labels, groups=groups)


def read_table(
    place: str | Path,
    argument: str,
    classes: Iterable[str] = (),
    *,
    labels_alone: bool = False,
    groups: str | None = None,
) -> ProbabilityTable:
    """Reads one table of probabilities.

    CSV and Parquet have a column of names and one for each class, or the columns of ``dalib predict``; CSV may be
    parted by semicolons or tabs, with decimal commas. NPZ holds ``probabilities`` and, where they are known, ``names``,
    ``classes`` and ``labels``.

    Args:
        place: the file.
        argument: the argument that errors name.
        classes: all classes, for a table of ``dalib predict``, which names two an image. Others are added behind them.
        labels_alone: whether names and a column ``label`` without probabilities will do: each image is surely of one of
            ``classes``, and rows without a label, or without any probability, are left out.
        groups: name of a column, if the table has it, of what images that belong together have in common: no class.

    Raises:
        UserError: no such file, another format, names twice, values that are no numbers, NaN, or rows that do not sum
            to 1.
    """
    path = Path(expanded(place))
    where = Setting(argument, str(place))
    ending = path.suffix.lower()
    if ending not in ENDINGS and (path / "judgement.json").is_file():
        raise UserError(
            where, ": a run; expected a table, as `", Call("dalib.run.finished.predict.predict"), "` writes it"
        )
    if ending not in ENDINGS:
        raise UserError(where, f": expected a table that ends in {', '.join(ENDINGS)}")
    if not path.is_file():
        raise UserError(where, ": expected a file, this is a folder" if path.is_dir() else ": no such file")
    if ending == ".npz":
        table = _of_npz(path, where, tuple(classes) if labels_alone else (), groups)
    else:
        columns, rows, mark = _parquet(path, where) if ending == ".parquet" else _csv(path, argument, where)
        columns, rows, together = without_groups(columns, rows, groups)
        table = _of_columns(columns, rows, mark, where, tuple(classes), labels_alone=labels_alone)
        table = with_groups(table, together)
    return replace(table, probabilities=checked_probabilities(table.probabilities, where, table.names))


def table_of_columns(
    columns: list[str], rows: list[list[Any]], where: Setting, classes: tuple[str, ...] = ()
) -> ProbabilityTable:
    """Returns the table of named columns, as :func:`read_table` reads those of a file."""
    table = _of_columns(columns, rows, ".", where, classes)
    return replace(table, probabilities=checked_probabilities(table.probabilities, where, table.names))


def checked_probabilities(values: Any, where: Setting, names: Sequence[str] | None = None) -> Tensor:
    """Returns probabilities (M, C) as float64 whose rows sum to 1 exactly.

    Raises:
        UserError: another shape, NaN, negative numbers, or rows that do not sum to 1.
    """
    try:
        plain = values.detach().cpu().double() if isinstance(values, torch.Tensor) else values
        p = torch.from_numpy(np.require(plain, np.float64, "W"))  # what pandas gives is read-only, of which torch warns
    except (TypeError, ValueError) as error:
        raise UserError(where, f": expected numbers (images, classes) ({error})") from None
    if p.ndim != 2 or p.shape[0] < 1 or p.shape[1] < 2:
        raise UserError(
            where, f": expected probabilities (images, classes) of at least 2 classes, got shape {tuple(p.shape)}"
        )
    if names is not None and len(names) != len(p):
        raise UserError(where, f": expected as many names as rows, got {len(names)} and {len(p)}")

    def first(bad: Tensor) -> str:
        row = int(bad.nonzero()[0])
        name = f" ({names[row]})" if names is not None else ""
        return f"{int(bad.sum())} of {len(p)} rows, the first is row {row + 1}{name}"

    if bool((bad := ~p.isfinite().all(dim=1)).any()):
        raise UserError(where, f": NaN or infinite values in {first(bad)}; expected probabilities")
    sums = p.sum(dim=1)
    bad = (p < -SUM_TOLERANCE).any(dim=1) | ((sums - 1).abs() > SUM_TOLERANCE)
    if bool(bad.any()):
        row = int(bad.nonzero()[0])
        raise UserError(
            where,
            f": expected rows of at least 0 that sum to 1, got {float(sums[row]):g} in {first(bad)}; "
            f"{_remedy_for(p[row])}",
        )
    p = p.clamp_min(0)
    return p / p.sum(dim=1, keepdim=True)


def _remedy_for(row: Tensor) -> str:
    """Returns how numbers that are no probabilities may become some."""
    total = float(row.sum())
    if abs(total - 100) < 2:
        return "divide percentages by 100"
    if bool((row >= 0).all()) and abs(total - 1) < _ROUNDED:
        return "divide rounded probabilities by their sum, or give more digits"
    return "apply softmax to logits first"


def pair_of(given: Any, where: Setting, what: str) -> tuple[Any, Any]:
    """Returns values and labels that come as a pair."""
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise UserError(where, f": expected a pair ({what}, labels), got {type(given).__name__}")
    return given[0], given[1]


def positions_of(labels: Any, classes: Sequence[str], count: int, where: Setting) -> Tensor:
    """Returns the classes (N,) int64 of labels that are names or positions.

    Whole numbers that are all names of classes are these names: of classes 1, 2 and 3, the label 1 is the first.

    Raises:
        UserError: another number of labels than rows, or a label that is none of the classes.
    """
    listed = np.asarray(labels.detach().cpu() if isinstance(labels, torch.Tensor) else labels).ravel().tolist()
    if len(listed) != count:
        raise UserError(where, f": expected as many labels as rows, got {len(listed)} and {count}")
    if all(isinstance(each, float) and each.is_integer() for each in listed):  # pandas makes floats of whole numbers
        listed = [int(each) for each in listed]
    at = {name: number for number, name in enumerate(classes)}
    unknown = [each for each in listed if str(each) not in at]
    if unknown and all(isinstance(each, int) and not isinstance(each, bool) for each in listed):
        if not all(0 <= each < len(classes) for each in listed):
            raise UserError(
                where, f": expected labels from 0 to {len(classes) - 1}, got {min(listed)} to {max(listed)}"
            )
        return torch.tensor(listed)
    if missing := next((row for row, each in enumerate(listed, 1) if is_missing(each) and str(each) not in at), None):
        raise UserError(where, f": row {missing} has no label ({listed[missing - 1]!r}); leave out rows without")
    if unknown:
        near = meant(str(unknown[0]), classes)
        raise UserError(where, f": the label {str(unknown[0])!r} is none of the classes {_some(classes)}{near}")
    return torch.tensor([at[str(each)] for each in listed])


def common_classes(tables: Iterable[ProbabilityTable]) -> tuple[str, ...] | None:
    """Returns the classes of the first whole table, else all that the others name, sorted; None without names."""
    tables = list(tables)
    for each in tables:
        if each.classes is not None and not each.most_likely_only:
            return each.classes
    named = {name for each in tables for name in each.classes or ()}
    return tuple(sorted(named)) or None


def common_names(tables: Iterable[ProbabilityTable]) -> tuple[str, ...] | None:
    """Returns the images' names in the order of the first table that has names; None without any."""
    return next((each.names for each in tables if each.names is not None), None)


def without_groups(
    columns: list[str], rows: list[list[Any]], groups: str | None
) -> tuple[list[str], list[list[Any]], tuple[Any, ...] | None]:
    """Returns columns and rows without the column of groups, and its cells; None where it is not there."""
    if groups is None or columns.count(groups) != 1:
        return columns, rows, None
    place = columns.index(groups)
    cells = tuple(row[place] for row in rows)
    if place == _place_of_names(columns) and columns[place].lower() in NAME_COLUMNS:
        return columns, rows, cells
    return columns[:place] + columns[place + 1 :], [row[:place] + row[place + 1 :] for row in rows], cells


def with_groups(table: ProbabilityTable, groups: tuple[Any, ...] | None) -> ProbabilityTable:
    """Returns a table with the cells of the column of groups, also where all of its classes are known later."""
    over = table.over
    if groups is None or over is None:
        return replace(table, groups=groups)
    return replace(table, groups=groups, over=lambda classes: replace(over(classes), groups=groups))


def _place_of_names(columns: Sequence[str]) -> int:
    lower = [name.strip().lower() for name in columns]
    return next((lower.index(name) for name in NAME_COLUMNS if name in lower), 0)


def _of_columns(
    columns: list[str],
    rows: list[list[Any]],
    numbers: str,
    where: Setting,
    classes: tuple[str, ...],
    *,
    labels_alone: bool = False,
) -> ProbabilityTable:
    """Returns the table of named columns; ``numbers`` is the decimal mark of numbers that come as text."""
    if repeated := sorted({name for name in columns if columns.count(name) > 1}):
        raise UserError(where, f": the column {repeated[0]!r} is there {columns.count(repeated[0])} times")
    lower = [name.strip().lower() for name in columns]
    place = _place_of_names(columns)
    if lower[place] in LABEL_COLUMNS:
        raise UserError(where, f": expected a column of the images' names, such as path, got {','.join(columns)[:200]}")
    names = tuple(str(row[place]) for row in rows)
    _require_once(names, where)
    labelled = next((lower.index(name) for name in LABEL_COLUMNS if name in lower and lower.index(name) != place), None)
    labels = None if labelled is None else tuple(str(row[labelled]).strip() for row in rows)
    if set(COLUMNS[1:]) <= set(lower):
        at = {name: lower.index(name) for name in COLUMNS[1:]}
        if KNOWN in lower:
            at["class"] = _column_of_known_class(lower, rows, where)
        return _of_predictions(
            [{name: row[column] for name, column in at.items()} for row in rows], names, labels, numbers, where, classes
        )
    leave_out = {place, labelled, *(number for number, name in enumerate(lower) if not name)}  # an index of pandas
    if "confidence" in lower and "confidence" not in [name.lower() for name in classes]:  # Predictions.to_pandas
        leave_out.add(lower.index("confidence"))
        if KNOWN in lower and KNOWN not in [name.lower() for name in classes]:
            leave_out.add(lower.index(KNOWN))
        labels = None  # they are what a model predicts, and nobody's truth
    chosen = [number for number in range(len(columns)) if number not in leave_out]
    if labels_alone and not chosen and labels is not None:
        return _of_labels(labels, names, classes, where)
    if len(chosen) < 2:
        raise UserError(
            where,
            f": expected a column of names and one of probabilities for each class"
            f"{', or a column label' * labels_alone}, got {','.join(columns)[:200]}",
        )
    given = list(range(len(rows)))
    if labels_alone:
        given = [line for line in given if not all(is_missing(rows[line][column]) for column in chosen)]
        if not given:
            raise UserError(where, ": no probability in it; write one for each class, or leave out images without")
        names = tuple(names[line] for line in given)
        labels = None if labels is None else tuple(labels[line] for line in given)
    values = np.array(
        [
            [_number(rows[line][column], numbers, line + 1, columns[column], where) for column in chosen]
            for line in given
        ],
        dtype=np.float64,
    ).reshape(len(given), len(chosen))
    return ProbabilityTable(
        torch.from_numpy(values), names, tuple(columns[column].strip() for column in chosen), labels
    )


def _column_of_known_class(columns: list[str], rows: list[list[Any]], where: Setting) -> int:
    """Returns the column of the most probable known class in predictions that call some images unknown.

    Raises:
        UserError: a table of an older version, which does not have it, with unknown images.
    """
    if KNOWN_CLASS in columns:
        return columns.index(KNOWN_CLASS)
    place = columns.index("class")
    unknown = [line for line, row in enumerate(rows, 1) if str(row[place]).strip() == UNKNOWN]
    if unknown:
        raise UserError(
            where,
            f", row {unknown[0]}: an image that is called {UNKNOWN}, in a table without the column {KNOWN_CLASS}; "
            "write it again: ",
            Call("dalib.run.finished.predict.predict"),
        )
    return place


def _of_labels(
    labels: Sequence[Any], names: Sequence[str] | None, classes: tuple[str, ...], where: Setting
) -> ProbabilityTable:
    """Returns a table in which each image that has a label is surely of that class."""
    given = [row for row, label in enumerate(labels) if not is_missing(label) or str(label) in classes]
    if not given:
        raise UserError(where, ": no label in it; write the class of each image into the column label")
    known = Classes(classes)
    found = [known.find(str(labels[row])) for row in given]
    if (wrong := next((place for place, each in enumerate(found) if each is None), None)) is not None:
        label, row = str(labels[given[wrong]]), given[wrong]
        of = "" if names is None else f" ({in_short(names[row])})"
        raise UserError(
            where,
            f", row {row + 1}{of}: {one_line(label)[:40]!r} is none of the classes{meant(label, classes)}; expected "
            f"one of {_some(classes)}, or nothing for an image without a label",
        )
    certain = torch.nn.functional.one_hot(torch.tensor(found), len(classes)).double()
    return ProbabilityTable(certain, None if names is None else tuple(names[row] for row in given), classes)


def _of_predictions(
    rows: list[Mapping[str, Any]],
    names: tuple[str, ...],
    labels: tuple[str, ...] | None,
    numbers: str,
    where: Setting,
    classes: tuple[str, ...],
) -> ProbabilityTable:
    """Returns the table of ``dalib predict``, which holds two classes an image; the rest is spread evenly."""
    named = {str(row[column]).strip() for row in rows for column in ("class", "runner_up")}
    known = (*classes, *sorted(named - set(classes)))
    if len(known) < 2:
        raise UserError(where, f": expected at least 2 classes, got {_some(known)}")
    at = {name: number for number, name in enumerate(known)}
    values = np.zeros((len(rows), len(known)))
    for line, row in enumerate(rows, 1):
        shares = [_number(row[name], numbers, line, name, where) for name in ("confidence", "runner_up_confidence")]
        if not all(-SUM_TOLERANCE <= share <= 1 + SUM_TOLERANCE for share in shares):
            raise UserError(
                where, f", row {line}: expected confidences from 0 to 1, got {shares[0]:g} and {shares[1]:g}"
            )
        rest = max(0.0, 1 - sum(shares))
        values[line - 1] = rest / max(1, len(known) - 2)
        for name, share in zip(("class", "runner_up"), shares, strict=True):
            values[line - 1, at[str(row[name]).strip()]] = share
    sums = values.sum(axis=1, keepdims=True)
    values = np.where(sums > 0, values / np.where(sums > 0, sums, 1), values)  # they were rounded to four places
    over = partial(_of_predictions, rows, names, labels, numbers, where)
    return ProbabilityTable(torch.from_numpy(values), names, known, labels, most_likely_only=True, over=over)


def _csv(path: Path, argument: str, where: Setting) -> tuple[list[str], list[list[Any]], str]:
    text = text_of(path, argument)

    def refuse(line: int, what: str) -> UserError:
        return UserError(where, f", line {line}: {what}")

    lines = list(fields_of(text, refuse))
    if len(lines) < 2:
        raise UserError(where, ": expected a header and at least one row")
    columns = [name.strip() for name in lines[0][1]]
    for line, row in lines[1:]:
        if len(row) != len(columns):
            raise refuse(line, f"expected {len(columns)} fields ({','.join(columns)[:200]}), got {len(row)}")
    return columns, [row for _, row in lines[1:]], "." if delimiter_of(text) == "," else ","


def _parquet(path: Path, where: Setting) -> tuple[list[str], list[list[Any]], str]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise UserError(where, ": pyarrow is not installed; pip install pyarrow, or give CSV") from None
    try:
        table = parquet.read_table(path)
    except (ArrowException, OSError) as error:
        raise UserError(where, f": cannot be read as Parquet ({str(error)[:200]})") from None
    columns = [str(name) for name in table.column_names]
    if "__index_level_0__" in columns:  # the unnamed index of pandas
        columns[columns.index("__index_level_0__")] = ""
    rows = [list(row) for row in zip(*(column.to_pylist() for column in table.columns), strict=True)]
    if not rows:
        raise UserError(where, ": expected at least one row")
    return columns, rows, "."


def _of_npz(
    path: Path, where: Setting, classes_of_labels: tuple[str, ...] = (), groups: str | None = None
) -> ProbabilityTable:
    """Returns the table in arrays; with ``classes_of_labels`` labels of images that have names will do."""
    arrays = read_arrays(path, where)
    if classes_of_labels and "probabilities" not in arrays and {"names", "labels"} <= arrays.keys():
        of_images = tuple(str(each) for each in arrays["names"].tolist())
        _require_once(of_images, where)
        return _of_labels(arrays["labels"].tolist(), of_images, classes_of_labels, where)
    if "probabilities" not in arrays:
        wide = [name for name, each in arrays.items() if each.ndim == 2 and each.dtype.kind == "f"]
        if len(wide) != 1:
            raise UserError(where, f": expected an array named probabilities, got {_some(list(arrays))}")
        arrays["probabilities"] = arrays[wide[0]]
    names = next((arrays[name] for name in ("names", "paths", "name", "path") if name in arrays), None)
    classes, labels = arrays.get("classes"), arrays.get("labels", arrays.get("label"))
    listed = None if names is None else tuple(map(str, names.tolist()))
    if listed is not None:
        _require_once(listed, where)
    of_labels: Any = None if labels is None else tuple(labels.tolist())
    probabilities = checked_probabilities(arrays["probabilities"], where, listed)
    if classes is not None and len(classes) != probabilities.shape[1]:
        raise UserError(
            where, f": expected as many classes as columns, got {len(classes)} and {probabilities.shape[1]}"
        )
    known = None if classes is None else tuple(map(str, classes.tolist()))
    together = None if groups is None or groups not in arrays else tuple(arrays[groups].ravel().tolist())
    if together is not None and len(together) != len(probabilities):
        raise UserError(
            where, f": expected as many values in {groups} as rows, got {len(together)} and {len(probabilities)}"
        )
    return ProbabilityTable(probabilities, listed, known, of_labels, groups=together)


def read_arrays(path: Path, where: Setting) -> dict[str, np.ndarray]:
    """Returns the arrays of a .npz, .npy or .safetensors file, without running what is in it."""
    try:
        if path.suffix.lower() == ".safetensors":
            from safetensors.torch import load_file

            return {
                name: tensor.double().numpy() if tensor.is_floating_point() else tensor.numpy()
                for name, tensor in load_file(path).items()
            }
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return {"features": content}
        with content:
            return {name: content[name] for name in content.files}
    except FileNotFoundError:
        raise UserError(where, ": no such file") from None
    except Exception as error:  # the readers raise whatever they like for a damaged file
        hint = "; save names as text, such as np.array(names, dtype=str)" if "pickle" in str(error).lower() else ""
        raise UserError(where, f": cannot be read ({str(error)[:200]}){hint}") from None


def _number(value: Any, mark: str, row: int, column: str, where: Setting) -> float:
    try:
        return float(value.strip().replace(",", ".") if mark == "," and isinstance(value, str) else value)
    except (TypeError, ValueError):
        if value is None or str(value).strip() == "":
            return math.nan
        raise UserError(
            where, f", row {row}: expected a number in the column {column!r}, got {str(value)[:40]!r}"
        ) from None


def _rows_in_order(own: Sequence[str], wanted: Sequence[str], where: Setting) -> list[int]:
    """Returns the row of each wanted name; folders that all names of a table share do not count."""
    for change in (list, without_shared_folder):
        rows = {name: row for row, name in enumerate(change(own))}
        asked = change(wanted)
        if rows.keys() == set(asked):
            return [rows[name] for name in asked]
    raise UserError(where, f": its images are not those of the first model; {_difference(wanted, own)}")


def without_shared_folder(names: Sequence[str]) -> list[str]:
    """Returns names with / between their parts and without the folder that all of them lie in.

    >>> without_shared_folder(["a/b/1.png", "a/c/1.png"])
    ['b/1.png', 'c/1.png']
    """
    depth = len(shared_folder(names))
    return ["/".join(_parts(each)[depth:]) for each in names]


def other_folder(own: Sequence[str], wanted: Sequence[str]) -> tuple[str, str] | None:
    """Returns the folders of two lists of the same names below them, if they are called otherwise.

    >>> other_folder(["night/1.png", "night/2.png"], ["in/day/1.png", "in/day/2.png"])
    ('night', 'in/day')
    >>> other_folder(["/data/day/1.png", "/data/day/2.png"], ["day/1.png", "day/2.png"])
    >>> other_folder(["1.png", "2.png"], ["day/1.png", "day/2.png"])
    """
    first, second = shared_folder(own), shared_folder(wanted)
    if not first or not second or first[-1] == second[-1]:
        return None
    return "/".join(first), "/".join(second)


def shared_folder(names: Sequence[str]) -> list[str]:
    """Returns the parts of the folder that all names lie in."""
    parts = [_parts(each) for each in names]
    depth = 0
    while all(len(each) > depth + 1 for each in parts) and len({each[depth] for each in parts}) == 1:
        depth += 1
    return parts[0][:depth] if parts else []


def _parts(name: str) -> list[str]:
    return name.replace("\\", "/").split("/")


def _require_once(names: Sequence[str], where: Setting) -> None:
    if len(set(names)) < len(names):
        seen: set[str] = set()
        twice = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise UserError(where, f": the image {twice!r} has more than one row; leave one")


def _difference(wanted: Sequence[str], got: Sequence[str]) -> str:
    lacks = [name for name in wanted if name not in set(got)]
    more = [name for name in got if name not in set(wanted)]
    said = ([f"it lacks {_some(lacks)}"] if lacks else []) + ([f"it also has {_some(more)}"] if more else [])
    near = meant(lacks[0], more) if len(lacks) == 1 and more else ""
    return " and ".join(said) + near


def _some(names: Sequence[str]) -> str:
    return some_quoted(names, MOST_LISTED) or "none"
