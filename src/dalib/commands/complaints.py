"""Complaints in words of ours: what the command line's parser says, and what may have been meant."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dalib.core.words import meant

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST = 1000
"""Characters of a message."""

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
}
_UNION = re.compile(
    r"Does not validate against any of the Union subtypes Subtypes: .*? Errors: - (?P<first>.*?)(?: - Expected .*?)?"
    r" Given value type: <class '\w+'> Given value: ?(?P<value>.*)"
)
_SINGLE = re.compile(r"(?P<first>Expected .*?)\. Got value: ?(?P<value>.*)")
_ONE_OF = re.compile(r"Expected a typing\.Literal\[(.*)\]")
_KIND = re.compile(r"Expected a <class '(\w+)'>")
_CHOICE = re.compile(r"argument (?P<name>\S+): invalid choice: '(?P<value>.*?)' \(choose from (?P<choices>.*)\)")
_NOT_ACCEPTED = re.compile(r"Subcommand '[\w-]+' does not accept option '(?P<name>[^']+)'")
_REQUIRED = re.compile(r"the following arguments are required: (?P<names>.*)")
_UNKNOWN = re.compile(r"unrecognized arguments: (?P<name>-\S+)")


def in_our_words(message: object, names: Iterable[str] = ()) -> str:
    """A complaint of the parser's in one line: the setting, what was expected, what came, and what may be meant.

    Args:
        names: of the flags that there are, with their dashes.

    >>> in_our_words('Parser key "method": Expected a typing.Literal[\\'mcc\\', \\'fixmatch\\']. Got value: fixmtach')
    '--method: expected one of mcc, fixmatch, got fixmtach; did you mean fixmatch?'
    >>> in_our_words("unrecognized arguments: --bakbone x", ["--batch", "--backbone"])
    'unrecognized arguments: --bakbone x; did you mean --backbone?'
    >>> in_our_words("Subcommand 'train' does not accept option 'bakbone'", ["--batch", "--backbone"])
    'bakbone: no such setting; did you mean backbone?'
    >>> in_our_words("the following arguments are required: predict.run, predict.out", ["--out"])
    'expected RUN and --out, which are missing'
    """
    text = re.sub(r'Parser key "([\w.]+)":', r"--\1:", without_breaks(message))
    names = list(names)
    if (found := _UNKNOWN.search(text)) is not None:
        text += meant(found["name"].split("=")[0], names)
    elif (found := _NOT_ACCEPTED.search(text)) is not None:  # a key in a file
        text = f"{found['name']}: no such setting{meant(found['name'], [name.lstrip('-') for name in names])}"
    elif (found := _REQUIRED.search(text)) is not None:
        # as COMMAND.NAME, where the whole command line is parsed
        missing = [each.split(".", 1)[-1] for each in found["names"].split(", ")]
        missing = [f"--{each}" if f"--{each}" in names else each.upper() for each in missing]
        text = f"expected {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} missing"
    elif (found := _CHOICE.search(text)) is not None:
        choices = re.findall(r"'(.*?)'", found["choices"])
        text = f"{found['name']}: expected one of {', '.join(choices)}, got {found['value']}"
        text += meant(found["value"], choices)
    elif (found := _UNION.search(text) or _SINGLE.search(text)) is not None:
        text = text[: found.start()] + _expected(found["first"], found["value"]) + text[found.end() :]
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."


def without_breaks(message: object) -> str:
    return " ".join(str(message).split())


def _expected(first: str, value: str) -> str:
    got = value or "nothing"
    if (one_of := _ONE_OF.fullmatch(first)) is not None:
        choices = [each.strip(" '") for each in one_of[1].split(",")]
        return f"expected one of {', '.join(choices)}, got {got}{meant(value, choices)}"
    kind = _KIND.fullmatch(first)
    return f"expected {_KINDS.get(kind[1], kind[1]) if kind is not None else first}, got {got}"
