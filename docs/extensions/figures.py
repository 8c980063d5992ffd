"""Draws the figures by code when the pages are built: each program in figures/ once, and again when it changes.

The programs run beside those of the gallery, and are waited for before the first page is read.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sphinx.util import logging

import dalib

if TYPE_CHECKING:
    from sphinx.application import Sphinx

DRAWN = Path("generated") / "figures"


AFTER_THE_GALLERY = 900  # of builder-inited, at which Sphinx-Gallery has 500


class Drawing(NamedTuple):
    """A program that draws.

    Attributes:
        process: the running program.
        stamp: file that records what was drawn.
        content: the stamp of this drawing.
    """

    process: subprocess.Popen[bytes]
    stamp: Path
    content: str


def setup(app: Sphinx) -> dict[str, Any]:
    drawings: list[Drawing] = []
    app.connect("config-inited", lambda app, config: drawings.extend(start(Path(app.confdir))))
    app.connect("builder-inited", lambda app: finish(drawings), priority=AFTER_THE_GALLERY)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def start(docs: Path) -> list[Drawing]:
    """Starts what is new in figures/; a program writes its files into the folder that it is given."""
    drawn = docs / DRAWN
    drawn.mkdir(parents=True, exist_ok=True)
    style = (docs / "figures" / "_style.py").read_bytes()
    started = []
    for program in sorted((docs / "figures").glob("[!_]*.py")):
        stamp = drawn / f"{program.stem}.stamp"
        content = hashlib.sha256(program.read_bytes() + style + dalib.__version__.encode()).hexdigest()
        if not stamp.exists() or stamp.read_text(encoding="utf-8") != content:
            logging.getLogger(__name__).info("drawing %s", program.name)
            environment = {**os.environ, "MPLBACKEND": "agg"}
            process = subprocess.Popen([sys.executable, program, drawn], env=environment)  # noqa: S603 - our own
            started.append(Drawing(process, stamp, content))
    return started


def finish(drawings: list[Drawing]) -> None:
    """Waits until everything is drawn.

    Raises:
        subprocess.CalledProcessError: a program that failed.
    """
    for process, stamp, content in drawings:
        if process.wait():
            raise subprocess.CalledProcessError(process.returncode, process.args)
        stamp.write_text(content, encoding="utf-8")
