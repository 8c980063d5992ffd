"""Figures drawn by code when the pages are built: each program in figures/ once, and again when it changes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sphinx.util import logging

import dalib

if TYPE_CHECKING:
    from sphinx.application import Sphinx

DRAWN = Path("generated") / "figures"


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("config-inited", lambda app, config: draw(Path(app.confdir)))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def draw(docs: Path) -> None:
    """Run what is new in figures/; a program writes its files into the folder that it is given.

    Raises:
        subprocess.CalledProcessError: a program that failed.
    """
    drawn = docs / DRAWN
    drawn.mkdir(parents=True, exist_ok=True)
    style = (docs / "figures" / "_style.py").read_bytes()
    for program in sorted((docs / "figures").glob("[!_]*.py")):
        stamp = drawn / f"{program.stem}.stamp"
        content = hashlib.sha256(program.read_bytes() + style + dalib.__version__.encode()).hexdigest()
        if not stamp.exists() or stamp.read_text(encoding="utf-8") != content:
            logging.getLogger(__name__).info("drawing %s", program.name)
            environment = {**os.environ, "MPLBACKEND": "agg"}
            subprocess.run([sys.executable, program, drawn], check=True, env=environment)  # noqa: S603 - our own
            stamp.write_text(content, encoding="utf-8")
