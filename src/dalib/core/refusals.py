"""Places that the system refuses, for a full disk, another owner or too long a name, as errors in words."""

from __future__ import annotations

import errno
import os
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dalib.core.errors import NotWrittenError, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dalib.core.errors import Setting

_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_TRIED = 4096
"""Bytes that are written to find out whether a folder takes any: a block, which an empty file does not need."""


def refusal(error: OSError, again: str) -> str | None:
    """Returns the place that the system refuses, why, and the remedy; None for another fault.

    Args:
        error: what the system raised.
        again: what to do once that is mended.
    """
    if error.errno == errno.ENAMETOOLONG and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}; give another name, and {again}"
    if error.errno not in _FULL and (error.errno not in _NOT_ALLOWED or error.filename is None):
        return None
    # writing to a full disk fails without the file's name
    name = "what was to be written" if error.filename is None else os.fsdecode(error.filename).removesuffix(".tmp")
    remedy = (
        "make room"
        if error.errno in _FULL
        else "let it be read and written, or work in a folder, or on a copy, of yours"
    )
    return f"{name}: {error.strerror}; {remedy}, and {again}"


@contextmanager
def refusals_in_words(result: Any = None, called: str = "") -> Iterator[None]:
    """Turns what the system refuses to write into an error for callers in Python.

    Args:
        result: what was computed and is about to be written; the error has it.
        called: word for ``result`` in the message, such as predictions.

    Raises:
        NotWrittenError: a full disk, or a place that may not be written.
    """
    try:
        yield
    except OSError as error:
        if (said := refusal(error, "call this again")) is None:
            raise
        kept = f". The {called} are not lost: they are the error's attribute result" if called else ""
        raise NotWrittenError(f"{said}{kept}", result=result) from error


def require_writable(folder: Path, setting: Setting) -> None:
    """Refuses a folder in which no file can be written, before the work whose result goes there.

    Args:
        folder: that is there.
        setting: which names it, for the error.

    Raises:
        UserError: the system refuses it, such as on a full disk.
    """
    try:
        with tempfile.NamedTemporaryFile(prefix=".dalib-", dir=folder) as file:
            file.write(bytes(_TRIED))
            file.flush()
    except OSError as error:
        raise UserError(
            setting,
            f": no file can be written in {folder} ({error.strerror or error}); make room, let it be written, or give "
            "another place",
        ) from None
