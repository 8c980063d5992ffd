"""Fails if too many docstrings of src/dalib open with a fragment ("Of one model.", "What a run takes.").

A docstring opens with a verb ("Returns the loss.") or with the thing ("Preprocessing of the target.").

::

    python .ci/docstrings.py              # prints the fragments above the limit
    python .ci/docstrings.py --all        # prints all of them
"""

from __future__ import annotations

import ast
import itertools
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
    """Returns place and first line of the docstring of each module, class, function, constant and field of a file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            texts = [(getattr(node, "lineno", 1), ast.get_docstring(node) or ""), *_of_names(node.body)]
            place = path.relative_to(SOURCES.parents[1]).as_posix()
            found += [(f"{place}:{line}", text.splitlines()[0]) for line, text in texts if text]
    return found


def _of_names(body: list[ast.stmt]) -> list[tuple[int, str]]:
    """Returns line and text of each string that stands under a constant or a field and describes it."""
    found = []
    for named, under in itertools.pairwise(body):
        text = under.value if isinstance(named, ast.Assign | ast.AnnAssign) and isinstance(under, ast.Expr) else None
        if isinstance(text, ast.Constant) and isinstance(text.value, str):
            found.append((text.lineno, text.value.strip()))
    return found


def is_fragment(text: str) -> bool:
    """Returns whether a docstring opens with a word that begins a fragment, or an example."""
    opening = text.split()[0].strip(".,:;`").lower()
    return opening in OPENINGS or not opening.strip(">")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
