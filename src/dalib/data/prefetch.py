"""Prefetching: a thread makes the batches of the next steps while this step runs."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from types import TracebackType

    import torch

Made = TypeVar("Made", covariant=True)


class Stream(Protocol[Made]):
    """The part of :class:`dalib.data.stream.TwoDomainStream` that the loop uses."""

    @property
    def device(self) -> torch.device: ...

    @property
    def rank(self) -> int: ...

    @property
    def images_per_step(self) -> int: ...

    @property
    def in_memory(self) -> bool:
        """True if batches are made from memory alone, so that there is nothing to wait for."""
        ...

    def batch_at(self, step: int) -> Made:
        """Returns the batch of one step, which depends on the step alone."""
        ...


class Prefetched(Generic[Made]):
    """A stream that works ahead: ``batch_at(step)`` returns the stream's batch and begins the next ones.

    One thread makes the batches, in the order of the steps. Steps may be asked for in any order; those in a row are
    quick. What goes wrong with a step is raised when that step is asked for. A context manager; after :meth:`close`,
    batches are made when asked for.

    Args:
        ahead: batches that wait at most, each of them in memory.
        end: the first step that nobody will ask for, if that is known.

    Raises:
        ValueError: ``ahead`` below 1.
    """

    def __init__(self, stream: Stream[Made], ahead: int = 2, *, end: int | None = None) -> None:
        if ahead < 1:
            raise ValueError(f"ahead: expected at least 1, got {ahead}")
        self.stream, self.ahead, self.end = stream, ahead, end
        self._pool: ThreadPoolExecutor | None = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        self._begun: dict[int, Future[Made]] = {}

    @property
    def device(self) -> torch.device:
        return self.stream.device

    @property
    def rank(self) -> int:
        return self.stream.rank

    @property
    def images_per_step(self) -> int:
        return self.stream.images_per_step

    def __getattr__(self, name: str) -> Any:
        if name == "stream":  # not there yet: without this, copying a half-made object would not end
            raise AttributeError(name)
        return getattr(self.stream, name)

    def batch_at(self, step: int) -> Made:
        if self._pool is None:
            return self.stream.batch_at(step)
        last = step + self.ahead if self.end is None else min(step + self.ahead, self.end - 1)
        for other in [each for each in self._begun if not step <= each <= last]:
            self._begun.pop(other).cancel()
        for each in (step, *range(step + 1, last + 1)):
            if each not in self._begun:
                self._begun[each] = self._pool.submit(self.stream.batch_at, each)
        return self._begun.pop(step).result()

    def close(self) -> None:
        """Stops working ahead; waits for the batch in progress."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
            self._begun.clear()

    def __enter__(self) -> Prefetched[Made]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
