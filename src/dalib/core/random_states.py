"""The global random generators of a caller: Python's, numpy's and torch's."""

from __future__ import annotations

import random
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def random_states_kept() -> Iterator[None]:
    """Gives the global generators back as they were, so that the caller's next draws are as without what runs inside.

    numpy and torch count where the caller has imported them: nobody seeds what is not imported.

    >>> random.seed(0)
    >>> with random_states_kept():
    ...     drawn = random.random()
    >>> random.random() == drawn
    True
    """
    python, give_back = random.getstate(), [_of_numpy(), _of_torch()]
    try:
        yield
    finally:
        random.setstate(python)
        for each in give_back:
            each()


def _of_numpy() -> Callable[[], object]:
    numpy: Any = sys.modules.get("numpy")
    if numpy is None:
        return _nothing
    state = numpy.random.get_state()
    return lambda: numpy.random.set_state(state)


def _of_torch() -> Callable[[], object]:
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return _nothing
    state, seed, in_use = torch.get_rng_state(), torch.initial_seed(), torch.cuda.is_initialized()
    on_gpus = torch.cuda.get_rng_state_all() if in_use else []  # it would start CUDA where it is not in use

    def give_back() -> None:
        torch.set_rng_state(state)
        if in_use:
            torch.cuda.set_rng_state_all(on_gpus)
        elif torch.cuda.is_initialized():
            torch.cuda.manual_seed_all(seed)  # as torch.manual_seed(seed) of the caller would have, once it starts

    return give_back


def _nothing() -> None:
    pass
