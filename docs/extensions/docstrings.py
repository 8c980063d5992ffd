"""How our docstrings are read: sentences that begin with a word such as Source stand alone, dashes are dashes, a letter
is no number of a list, and what stands before a colon is no type.

Short code, on any page, is marked, so that it is not broken at its hyphens.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from docutils import nodes

if TYPE_CHECKING:
    from sphinx.application import Sphinx

SHORT = 30  # characters, which a telephone has room for
WORD = 20  # characters, which a column of a table has room for
TYPE = ":type: "
ALONE = re.compile(r"(Misleads|Raises|Source): \S")
LETTER = re.compile(r"^(\s+\w[\w, ]*: )(?=(?:[A-Za-z]\.|\([A-Za-z]\))(?:\s|$))")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("autodoc-process-docstring", _parted, priority=100)  # before napoleon
    app.connect("autodoc-process-docstring", _untyped, priority=900)  # after it
    app.connect("doctree-read", _dashed)
    app.connect("doctree-read", _marked)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _parted(app: Sphinx, kind: str, name: str, value: object, options: object, lines: list[str]) -> None:  # noqa: ARG001
    lines[:] = parted(lines)


def _untyped(app: Sphinx, kind: str, name: str, value: object, options: object, lines: list[str]) -> None:  # noqa: ARG001
    if kind in ("attribute", "data", "property"):
        lines[:] = untyped(lines)


def untyped(lines: list[str]) -> list[str]:
    """With what stood before the colon of an attribute's first line back there; napoleon takes it for a type.

    >>> untyped(["where things are.", "", ":type: Settings that may change"])
    ['Settings that may change: where things are.', '']
    """
    taken = [line for line in lines if line.startswith(TYPE)]
    if not taken:
        return lines
    first, *rest = [line for line in lines if not line.startswith(TYPE)]
    return [f"{taken[0].removeprefix(TYPE)}: {first}", *rest]


def parted(lines: list[str]) -> list[str]:
    """With an empty line before each line that begins such a sentence, and letters that Sphinx would count by marked.

    >>> parted(["In [0, 1].", "Source: ours."])
    ['In [0, 1].', '', 'Source: ours.']
    >>> print(*parted(["    weight: w.", "    call: (p) -> scalar."]), sep="\\n")
        weight: \\w.
        call: \\(p) -> scalar.
    """
    found: list[str] = []
    for line in lines:
        if ALONE.match(line) and found and found[-1]:
            found.append("")
        found.append(LETTER.sub(r"\1\\", line))
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
        if len(code.astext()) <= WORD:
            code["classes"].append("word")
