"""A page to label images in a browser, beside the list of ``dalib query``: pictures, and a button that saves it."""

from __future__ import annotations

import base64
import io
import uuid
from typing import TYPE_CHECKING

from dalib.core.errors import Call, Setting
from dalib.core.files import quoted, write_text
from dalib.core.words import UNKNOWN, with_unknown
from dalib.data.decoding import pillow_warnings_as_errors, read_picture
from dalib.report.page import environment, part

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from PIL import Image

    from dalib.data.depth import Range

SIDE = 320
"""Pixels of the longer side of a picture."""

SMALL = 64
"""Pixels; what is smaller is shown with its pixels as squares."""

Rows = list[list[str]]


def write_labelling_page(
    out: Path,
    *,
    columns: Sequence[str],
    rows: Rows,
    classes: Sequence[str],
    run: Path,
    csv_file: Path,
    picture_of: Callable[[int], Image.Image | None],
) -> int:
    """Writes the page, one file that opens without a network; the page writes the list anew with the labels in it.

    Args:
        out: the page.
        columns: of the list, path and label first.
        rows: of the list, as they are in it.
        classes: to choose from, beside a button for an image of none of them.
        run: which run asks, for what to call afterwards.
        csv_file: the list.
        picture_of: the image of a row, or None where it cannot be shown.

    Returns:
        How many images are shown; the page is not written for none.
    """
    shown = []
    for number, row in enumerate(rows):
        image = picture_of(number)
        shown.append(
            {
                "path": _text(row[0]),
                "picture": None if image is None else _data(image),
                "small": image is not None and max(image.size) <= SMALL,
            }
        )
    pictures = sum(each["picture"] is not None for each in shown)
    if pictures:
        page = environment().get_template("labels.html")
        unknown = UNKNOWN if len(with_unknown(classes)) > len(classes) else None
        content = page.render(
            rows=shown,
            cells=[[_text(cell) for cell in row] for row in rows],
            columns=list(columns),
            classes=list(classes),
            names=[_text(name) for name in (*classes, *([unknown] if unknown else []))],
            unknown=unknown,
            list=_text(quoted(csv_file)),
            command=_text(str(_told(run, csv_file))),
            file=_text(csv_file.name),
            key=f"dalib-{uuid.uuid4()}",
            style=part("style.css"),
        )
        write_text(out, content)
    return pictures


def _told(run: Path, labels: Path) -> Call:
    """Returns what takes the labels."""
    return Call("dalib.run.finished.label_estimates.evaluate_labels", Setting("run", run), Setting("labels", labels))


def picture_in(path: Path, black_white: Range | None = None) -> Image.Image | None:
    """Returns the picture in a file; None where it cannot be read. ``black_white`` is the range of its model."""
    try:
        with pillow_warnings_as_errors():
            return read_picture(path, SIDE, black_white)
    except Exception:  # whatever PIL's decoders raise
        return None


def _data(image: Image.Image) -> str:
    """Returns an address that holds the picture itself."""
    file, small = io.BytesIO(), max(image.size) <= SMALL
    image.save(file, "PNG" if small else "JPEG", quality=80)
    kind = "png" if small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def _text(name: str) -> str:
    """Returns a name as the list has it; file names need not be text."""
    return name.encode(errors="backslashreplace").decode()
