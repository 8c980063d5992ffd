"""The reader of users' lists: images and labels, labels of target images, shares of classes.

A list is CSV with a header, or a JSON object on each line. Spreadsheets part columns by semicolons or tabs, begin a
file with a byte order mark, and some with a line ``sep=;``; all of these are read.
"""

from __future__ import annotations

import csv
import io
import json
import re
import stat
from typing import TYPE_CHECKING, Any

from dalib.core.errors import NotThereError, Setting, UserError
from dalib.data.decoding import reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    Refuse = Callable[[int, str], UserError]

LIST_ENDINGS = (".csv", ".jsonl")

_LONGEST_FIELD = 2**31 - 1
"""Characters of a field of CSV; Python's csv takes 131,072 by default."""

_SEPARATOR_LINE = re.compile(r'\s*"?sep=(.)"?[ \t]*\r?(?:\n|$)', re.IGNORECASE)
_QUOTED = re.compile(r'"[^"]*"')


def text_of(file: Path, argument: str) -> str:
    """Returns the text of a list.

    Raises:
        UserError: no such file, no regular file, one that cannot be read, or that is not UTF-8.
    """
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise UserError(Setting(argument, file), ": expected a file")
        content = file.read_bytes()
    except FileNotFoundError:
        raise NotThereError(Setting(argument, file), ": no such file") from None
    except OSError as error:
        raise UserError(Setting(argument, file), f": cannot be read ({reason(error)})") from error
    try:
        return content.decode("utf-8-sig")  # Excel begins its files with a byte order mark
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            Setting(argument, file), f", line {line}: expected UTF-8 ({error.reason}); save it as UTF-8"
        ) from error


def delimiter_of(text: str) -> str:
    """Returns the delimiter of a table: that of a line ``sep=``, else the first of , ; and tab in it.

    >>> delimiter_of("path;label"), delimiter_of("sep=;" + chr(10) + "path;label"), delimiter_of("path,label;x")
    (';', ';', ',')
    """
    if (named := _SEPARATOR_LINE.match(text)) is not None:
        return named[1]
    first = _QUOTED.sub("", next((line for line in text.split("\n") if line.strip()), ""))
    return next((letter for letter in first if letter in ",;\t"), ",")


def fields_of(text: str, refuse: Refuse) -> Iterator[tuple[int, list[str]]]:
    """Yields (line, fields) of each row of CSV that is not blank; a row of several lines counts as its first.

    Raises:
        UserError: what ``refuse`` makes of text that is not CSV.
    """
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))  # of the process; masks in a column are longer
    named = _SEPARATOR_LINE.match(text)
    skipped = 0 if named is None else text.count("\n", 0, named.end())
    delimiter = delimiter_of(text)
    body = io.StringIO(text if named is None else text[named.end() :], newline="")
    try:
        # only where quotes follow spaces, since the name of a file may begin with one
        spaced = re.search(f'{re.escape(delimiter)} +"', text) is not None
        reader = csv.reader(body, strict=True, delimiter=delimiter, skipinitialspace=spaced)
    except (ValueError, TypeError) as error:  # Python 3.13 refuses a quote or an end of line here
        raise refuse(1, f"not CSV ({error})") from error
    before = skipped
    try:
        for row in reader:
            line, before = before + 1, skipped + reader.line_num
            if any(field.strip() for field in row):
                yield line, row
    except csv.Error as error:
        raise refuse(skipped + reader.line_num, f"not CSV ({error})") from error


def rows_of(file: Path, text: str, refuse: Refuse, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields (line, value by column) of each row of a list: texts from CSV, any value from JSON lines.

    Args:
        file: only its ending counts.
        columns: expected once each, in a CSV file in any case; others are read as well.

    Raises:
        UserError: what ``refuse`` makes of a line that is not as expected.
    """
    return _csv_rows(text, refuse, columns) if file.suffix.lower() != ".jsonl" else _json_rows(text, refuse)


def _csv_rows(text: str, refuse: Refuse, wanted: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    columns: list[str] | None = None
    for line, row in fields_of(text, refuse):
        if columns is None:
            names = [name.strip() for name in row]
            columns = [each if (each := name.lower()) in wanted and each not in names else name for name in names]
            if any(columns.count(name) != 1 for name in wanted):
                once = "once each" if len(wanted) > 1 else "once"
                remedy = "rename the columns so, or put such a line first"
                raise refuse(line, f"expected {_header_of(wanted)}, {once}; got {','.join(row)!r}; {remedy}")
        elif len(row) != len(columns):
            raise refuse(
                line,
                f"expected {len(columns)} fields ({','.join(columns)}), got {len(row)}; "
                "a name with a comma in it stands in double quotes",
            )
        else:
            yield line, dict(zip(columns, row, strict=True))
    if columns is None:
        raise refuse(1, f"the file is empty; expected {_header_of(wanted)}")


def _header_of(wanted: Sequence[str]) -> str:
    return f"a header with the column{'s' if len(wanted) > 1 else ''} {','.join(wanted)}"


def _json_rows(text: str, refuse: Refuse) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):  # splitlines() also breaks at what JSON may hold
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise refuse(number, f"not JSON ({error})") from error
        if not isinstance(row, dict) or not isinstance(row.get("path"), str):
            raise refuse(number, f'expected an object such as {{"path": "1.jpg"}}, got {line.strip()[:80]}')
        yield number, row


def label_in(fields: Mapping[str, Any], line: int, refuse: Refuse) -> Any:
    """Returns the label of a row as text, or the marker of a missing one.

    Raises:
        UserError: what ``refuse`` makes of a value that is no name.
    """
    label = fields.get("label")
    if isinstance(label, int) and not isinstance(label, bool):
        return str(label)
    if isinstance(label, str):
        return label.strip()
    if label is None or (isinstance(label, float) and label != label):
        return label
    raise refuse(line, f"expected a label, the name of a class; got {label!r}")
