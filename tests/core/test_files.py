"""Locks, and what is left of them."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

from dalib.core.files import locked

HOLD = """
import sys, time
from pathlib import Path
from dalib.core.files import locked
with locked(Path(sys.argv[1]), wait=False) as state:
    print(state, flush=True)
    time.sleep(60)
"""


def test_one_holds_a_lock_and_the_file_is_gone_afterwards(tmp_path):
    path = tmp_path / "a.lock"
    path.write_text("")  # of a process that was killed
    with locked(path, wait=False) as first, locked(path, wait=False) as second:
        assert (first, second) == ("held", "busy")
    assert not path.exists()
    with locked(path, wait=False) as again:
        assert again == "held"


def test_a_lock_ends_with_its_process(tmp_path):
    path = tmp_path / "a.lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with locked(path, wait=False) as state:
            assert state == "busy"
        holder.kill()
    with locked(path, wait=False) as state:
        assert state == "held"
    assert not path.exists()


def test_only_one_of_many_that_wait_holds_a_lock_at_a_time(tmp_path):
    inside, most = [0], [0]

    def work():
        for _ in range(5):
            with locked(tmp_path / "a.lock", wait=True) as state:
                assert state == "held"
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.001)
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (inside, most) == ([0], [1])
    assert list(tmp_path.iterdir()) == []
