"""Fails if too many docstrings of src/dalib open with a fragment ("Of one model.", "What a run takes.").

A docstring opens with a verb ("Returns the loss.") or with the thing ("Preprocessing of the target.").

::

    python .ci/docstrings.py              # prints the fragments above the limit
    python .ci/docstrings.py --all        # prints all of them
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

MOST_FRAGMENTS = 0.02
"""The share of docstrings that may open with a fragment."""

SOURCES = Path(__file__).parents[1] / "src" / "dalib"
OPENINGS = frozenset(
    word
    for words in (
        "of what as how that those none whether which where why when who whose",
        "by in on at for from after before with without to than if while inside there",
        "no not nobody nothing did is are so also only but and or because still",
    )
    for word in words.split()
)


def main(arguments: list[str]) -> int:
    openings = [found for path in sorted(SOURCES.rglob("*.py")) for found in docstrings(path)]
    fragments = [(place, text) for place, text in openings if is_fragment(text)]
    share = len(fragments) / len(openings)
    too_many = share > MOST_FRAGMENTS
    if too_many or "--all" in arguments:
        for place, text in fragments:
            print(f"{place}: {text}")
    print(
        f"{len(fragments)} of {len(openings)} docstrings ({share:.1%}) open with a fragment; limit {MOST_FRAGMENTS:.1%}"
    )
    return int(too_many)


def docstrings(path: Path) -> list[tuple[str, str]]:
    """Returns place and first line of the docstring of each module, class and function of a file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                line = getattr(node, "lineno", 1)
                found.append((f"{path.relative_to(SOURCES.parents[1]).as_posix()}:{line}", text.splitlines()[0]))
    return found


def is_fragment(text: str) -> bool:
    """Returns whether a docstring opens with a word that begins a fragment, or an example."""
    opening = text.split()[0].strip(".,:;`").lower()
    return opening in OPENINGS or not opening.strip(">")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
