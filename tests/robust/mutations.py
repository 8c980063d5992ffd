"""Valid files made wrong: bytes cut, turned over, put elsewhere, zeroed or repeated; and values of another kind.

Everything follows from a seed, so that a failure comes again.
"""

from __future__ import annotations

import copy
import random
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from dalib.core.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

SLOWEST = 20.0
"""Seconds for one file, on a machine that others use too: nothing hangs. Usually it is milliseconds."""
MOST_MEMORY = 2 * 2**30
"""Bytes that a process may grow by while it reads many damaged files; 89 million pixels may take some."""

STRANGE: tuple[Any, ...] = (
    *(None, True, -1, 0, 10**30, 1e308, float("nan")),
    *("", "x", "\0", "../x", "\x1b[2J"),
    *([], {}, [[]], {"x": []}, ["x"] * 3),
)
"""What may stand in the place of a value of JSON or YAML."""


def mutated(valid: bytes, seed: str, count: int) -> Iterator[bytes]:
    """``count`` damaged copies of a file."""
    draw = random.Random(seed)
    for _ in range(count):
        content = bytearray(valid)
        for _ in range(draw.choice((1, 1, 1, 2, 4))):
            if not content:
                break
            _damage(content, draw)
        yield bytes(content)


def _damage(content: bytearray, draw: random.Random) -> None:
    start = draw.randrange(len(content)) if draw.random() < 0.5 else draw.randrange(min(len(content), 64))
    stop = min(len(content), start + draw.choice((1, 2, 4, 16, 64)))
    kind = draw.choice(("truncate", "flip", "byte", "splice", "zero", "fill", "repeat", "remove"))
    if kind == "truncate":
        del content[start:]
    elif kind == "flip":
        content[start] ^= 1 << draw.randrange(8)
    elif kind == "byte":
        content[start] = draw.choice((0, 10, 13, 34, 44, 91, 123, 127, 128, 255, draw.randrange(256)))
    elif kind == "splice":
        source = draw.randrange(len(content))
        content[start:start] = content[source : source + draw.choice((1, 8, 64))]
    elif kind == "zero":
        content[start:stop] = bytes(stop - start)
    elif kind == "fill":
        content[start:stop] = b"\xff" * (stop - start)
    elif kind == "repeat":
        content[start:stop] = content[start:stop] * draw.choice((2, 3, 50))
    else:
        del content[start:stop]


def misshapen(valid: Any, seed: str, count: int) -> Iterator[Any]:
    """``count`` copies of a content of JSON with values that are missing, doubled or of another kind."""
    draw = random.Random(seed)
    for _ in range(count):
        content = copy.deepcopy(valid)
        for _ in range(draw.choice((1, 1, 2))):
            content = _misshape(content, draw)
        yield content


def _misshape(content: Any, draw: random.Random) -> Any:
    places = list(_places(content))
    if not places or draw.random() < 0.03:
        return copy.deepcopy(draw.choice(STRANGE))
    holder, key = draw.choice(places)
    kind = draw.choice(("replace", "replace", "replace", "remove", "other"))
    if kind == "remove":
        del holder[key]
    elif kind == "replace":
        holder[key] = copy.deepcopy(draw.choice(STRANGE))
    elif isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[key]))
    else:
        holder[f"{key}x"] = copy.deepcopy(holder[key])
    return content


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    keys = content.keys() if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ()
    for key in keys:
        yield content, key
        yield from _places(content[key])


def tried(call: Callable[[], T]) -> tuple[T | None, str]:
    """What a call gives and "", or nothing and what its UserError says; another error is a failure."""
    try:
        return call(), ""
    except UserError as error:
        return None, str(error)


@contextmanager
def bounded(what: object) -> Iterator[None]:
    """Fails where one file takes longer than anybody waits."""
    since = time.monotonic()
    yield
    seconds = time.monotonic() - since
    assert seconds < SLOWEST, f"{what} took {seconds:.1f} s"


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Fails where the process grew by more than :data:`MOST_MEMORY`."""
    before = _peak()
    yield
    assert _peak() - before < MOST_MEMORY, f"memory grew by {(_peak() - before) / 2**20:.0f} MiB"


def _peak() -> int:
    """The most bytes that this process has had; 0 on Windows, which does not tell."""
    if sys.platform == "win32":
        return 0
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
