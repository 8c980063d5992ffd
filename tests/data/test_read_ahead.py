"""The next part is read while one is used, and none beyond it."""

import threading

import pytest

from dalib.data.read_ahead import read_ahead


def test_the_next_part_is_read_while_one_is_used_and_no_other():
    begun, third = [], threading.Event()

    def read(first, end):
        begun.append(first)
        if first == 4:
            third.set()
        return first, end

    parts = read_ahead(read, 0, 7, 2)
    assert next(parts) == (0, 2)
    assert not third.wait(0.05)
    assert next(parts) == (2, 4)
    assert third.wait(5)
    assert list(parts) == [(4, 6), (6, 7)]
    assert begun == [0, 2, 4, 6]


def test_an_empty_range_reads_nothing_and_an_error_comes_where_its_part_would():
    assert list(read_ahead(lambda *_: pytest.fail("read"), 3, 3, 2)) == []

    def read(first, end):
        if first == 2:
            raise OSError("lost")
        return first

    parts = read_ahead(read, 0, 4, 2)
    assert next(parts) == 0
    with pytest.raises(OSError, match="lost"):
        next(parts)
