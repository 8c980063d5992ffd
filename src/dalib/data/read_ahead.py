"""Reads the next part of something while the part before it is used."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

T = TypeVar("T")


def read_ahead(read: Callable[[int, int], T], first: int, end: int, batch: int) -> Iterator[T]:
    """Yields what ``read`` returns for each part of a range; the next one is read in a thread while one is used.

    Args:
        read: called with the first number of a part and the one behind its last, one part at a time.
        first, end: the range.
        batch: numbers in a part, of which the last may have fewer.

    >>> list(read_ahead(lambda first, end: [*range(first, end)], 3, 8, 2))
    [[3, 4], [5, 6], [7]]
    """
    with ThreadPoolExecutor(1, thread_name_prefix="read") as reader:
        following: Future[T] | None = None
        for begin in range(first, end, batch):
            ready = following or reader.submit(read, begin, min(begin + batch, end))
            if (after := begin + batch) < end:
                following = reader.submit(read, after, min(after + batch, end))
            yield ready.result()
