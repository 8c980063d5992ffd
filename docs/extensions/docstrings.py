"""How our docstrings are read: sentences that begin with a word such as Source stand alone, dashes are dashes.

Short code, on any page, is marked, so that it is not broken at its hyphens.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from docutils import nodes

if TYPE_CHECKING:
    from sphinx.application import Sphinx

SHORT = 30  # characters, which a telephone has room for
ALONE = re.compile(r"(Misleads|Raises|Source): \S")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("autodoc-process-docstring", _parted, priority=100)  # before napoleon
    app.connect("doctree-read", _dashed)
    app.connect("doctree-read", _marked)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _parted(app: Sphinx, kind: str, name: str, value: object, options: object, lines: list[str]) -> None:  # noqa: ARG001
    lines[:] = parted(lines)


def parted(lines: list[str]) -> list[str]:
    """With an empty line before each line that begins such a sentence.

    >>> parted(["In [0, 1].", "Source: ours."])
    ['In [0, 1].', '', 'Source: ours.']
    """
    found: list[str] = []
    for line in lines:
        if ALONE.match(line) and found and found[-1]:
            found.append("")
        found.append(line)
    return found


def _dashed(_: Sphinx, doctree: nodes.document) -> None:
    """Between a parameter and what is said of it, Sphinx has two hyphens for its smart quotes to join."""
    for text in list(doctree.findall(nodes.Text)):
        after_name = text.parent.index(text) and isinstance(text.parent[text.parent.index(text) - 1], nodes.strong)
        if text.astext() == " -- " or (after_name and text.astext().startswith(" -- ")):
            text.parent.replace(text, nodes.Text(text.astext().replace("--", "\N{EN DASH}", 1)))


def _marked(_: Sphinx, doctree: nodes.document) -> None:
    for code in doctree.findall(nodes.literal):
        if len(code.astext()) <= SHORT:
            code["classes"].append("short")
