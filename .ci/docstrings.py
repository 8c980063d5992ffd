"""Fails if too many docstrings of src/dalib open with a fragment ("Of one model."), or let things say, tell or go on.

A docstring opens with a verb ("Returns the loss.") or with the thing ("Preprocessing of the target."). Where things
"say" or "tell" and runs "go on", there are plainer words: record, show, separate, report, resume.

::

    python .ci/docstrings.py              # prints the ones above a limit
    python .ci/docstrings.py --all        # prints all of them
"""

from __future__ import annotations

import ast
import itertools
import re
import sys
from pathlib import Path

MOST_FRAGMENTS = 0.02
"""The share of docstrings that may open with a fragment."""

MOST_TALKING = 0.002
"""The share of docstrings in which something may say, tell or go on."""

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


TALK = re.compile(
    r"\b(?:says?|said|saying|tells?|told|telling|(?:go(?:es)?|going|went|gone)\s+on(?=[\s,.;:]))\b", re.IGNORECASE
)


def main(arguments: list[str]) -> int:
    found = [each for path in sorted(SOURCES.rglob("*.py")) for each in docstrings(path)]
    fragments = [(place, text.splitlines()[0]) for place, text in found if is_fragment(text)]
    talking = [(place, words) for place, text in found if (words := talk_in(text))]
    failed = False
    for what, listed, most in (
        ("open with a fragment", fragments, MOST_FRAGMENTS),
        ("let things say, tell or go on", talking, MOST_TALKING),
    ):
        share = len(listed) / len(found)
        if share > most or "--all" in arguments:
            for place, text in listed:
                print(f"{place}: {text}")
        print(f"{len(listed)} of {len(found)} docstrings ({share:.1%}) {what}; limit {most:.1%}")
        failed |= share > most
    return int(failed)


def docstrings(path: Path) -> list[tuple[str, str]]:
    """Returns place and text of the docstring of each module, class, function, constant and field of a file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            texts = [(getattr(node, "lineno", 1), ast.get_docstring(node) or ""), *_of_names(node.body)]
            place = path.relative_to(SOURCES.parents[1]).as_posix()
            found += [(f"{place}:{line}", text) for line, text in texts if text]
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


def talk_in(text: str) -> str:
    """Returns the words of a docstring that let things talk; examples and code in backticks do not count."""
    prose = re.sub(r"`[^`]*`|^ *(>>>|\.\.\.|said:).*$", "", text, flags=re.MULTILINE)
    return ", ".join(each.group(0) for each in TALK.finditer(prose))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
