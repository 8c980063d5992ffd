"""A page to label images in a browser, beside the list of ``dalib query``: pictures, and a button that saves it."""

from __future__ import annotations

import base64
import io
import re
import uuid
from itertools import takewhile
from typing import TYPE_CHECKING

from dalib.core.errors import Call, Setting
from dalib.core.files import quoted, write_text
from dalib.core.places import in_short
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
    groups: str | None = None,
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
        groups: of images, as the list was asked for; what takes the labels is called with the same.

    Returns:
        How many images are shown; the page is not written for none.
    """
    shown = []
    folder, names = in_folder([row[0] for row in rows])
    for number, row in enumerate(rows):
        image = picture_of(number)
        shown.append(
            {
                "path": _text(in_short(row[0])),
                "name": _text(names[number]),
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
            folder=_text(folder),
            list=_text(quoted(csv_file)),
            command=_text(str(_told(run, csv_file, groups))),
            file=_text(csv_file.name),
            key=f"dalib-{uuid.uuid4()}",
            style=part("style.css"),
        )
        write_text(out, content)
    return pictures


def in_folder(paths: Sequence[str]) -> tuple[str, list[str]]:
    """Returns the folder that images lie in, as their paths have it, and their names in it.

    Images that were given as objects lie in none that anybody has seen.

    >>> in_folder(["/data/street/a/1.png", "/data/street/b/1.png"]), in_folder(["1.png"])
    (('/data/street/', ['a/1.png', 'b/1.png']), ('', ['1.png']))
    """
    parts = [re.split(r"(?<=[/\\])", in_short(path)) for path in paths]
    in_all = takewhile(lambda same: len(set(same)) == 1, zip(*(each[:-1] for each in parts), strict=False))
    shared = [folder for folder, *_ in in_all]
    return "".join(shared), ["".join(each[len(shared) :]) for each in parts]


def _told(run: Path, labels: Path, groups: str | None) -> Call:
    """Returns the call that takes the labels."""
    settings = [Setting("run", run), Setting("labels", labels)]
    if groups is not None:
        settings.append(Setting("groups", groups))
    return Call("dalib.run.finished.label_estimates.evaluate_labels", *settings)


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
