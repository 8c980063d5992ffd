"""Working ahead changes when a batch is made, and nothing else."""

import copy
import threading
import time

import pytest
import torch

from dalib.data.prefetch import Prefetched


class Squares:
    """Batches that are the square of their step; remembers who made what."""

    device = torch.device("cpu")
    rank = 3
    images_per_step = 7
    seed = 11

    def __init__(self, *, fail_at: int = -1, seconds: float = 0.0) -> None:
        self.made: list[int] = []
        self.threads: set[int] = set()
        self.fail_at, self.seconds = fail_at, seconds

    def batch_at(self, step: int) -> int:
        time.sleep(self.seconds)
        self.made.append(step)
        self.threads.add(threading.get_ident())
        if step == self.fail_at:
            raise RuntimeError(f"step {step} cannot be made")
        return step * step


def wait_for(condition) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.mark.parametrize("ahead", [1, 2, 5])
@pytest.mark.parametrize("steps", [range(8), range(3, 9), [5, 5, 2, 9, 0, 1, 40, 39]])
def test_batches_are_those_of_the_stream(ahead, steps):
    with Prefetched(Squares(), ahead) as stream:
        assert [stream.batch_at(step) for step in steps] == [step * step for step in steps]


def test_the_next_steps_are_made_before_they_are_asked_for_each_once_and_in_one_other_thread():
    squares = Squares()
    with Prefetched(squares, 2) as stream:
        stream.batch_at(0)
        wait_for(lambda: squares.made == [0, 1, 2])
        assert stream.batch_at(1) == 1
        wait_for(lambda: squares.made == [0, 1, 2, 3])
        time.sleep(0.02)
        assert squares.made == [0, 1, 2, 3]
        assert len(squares.threads) == 1
        assert threading.get_ident() not in squares.threads


def test_nothing_is_made_from_the_end_on():
    squares = Squares()
    with Prefetched(squares, 4, end=3) as stream:
        assert [stream.batch_at(step) for step in range(3)] == [0, 1, 4]
    assert squares.made == [0, 1, 2]


def test_what_goes_wrong_is_raised_at_its_own_step_and_the_others_go_on():
    with Prefetched(Squares(fail_at=2), 2) as stream:
        assert [stream.batch_at(0), stream.batch_at(1)] == [0, 1]
        with pytest.raises(RuntimeError, match="step 2 cannot be made"):
            stream.batch_at(2)
        assert stream.batch_at(3) == 9


def test_leaving_early_ends_the_thread_and_makes_no_more():
    squares = Squares(seconds=0.05)
    before = threading.active_count()
    with pytest.raises(KeyError), Prefetched(squares, 50) as stream:  # noqa: PT012
        stream.batch_at(0)
        raise KeyError
    assert threading.active_count() == before
    assert len(squares.made) <= 3


def test_after_closing_batches_are_made_when_asked_for():
    squares = Squares()
    stream = Prefetched(squares)
    stream.close()
    stream.close()
    assert stream.batch_at(3) == 9
    assert squares.made == [3]


def test_the_loop_finds_what_it_finds_on_the_stream():
    with Prefetched(Squares()) as stream:
        assert (stream.device, stream.rank, stream.images_per_step, stream.seed) == (torch.device("cpu"), 3, 7, 11)
        with pytest.raises(AttributeError, match="no_such"):
            _ = stream.no_such


def test_a_half_made_object_has_no_attributes_and_does_not_recurse():
    with pytest.raises(AttributeError):
        _ = copy.copy(Prefetched.__new__(Prefetched)).device


def test_working_no_step_ahead_is_refused():
    with pytest.raises(ValueError, match="ahead: expected at least 1, got 0"):
        Prefetched(Squares(), 0)
