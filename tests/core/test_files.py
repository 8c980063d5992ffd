"""Locks and what is left of them, and files where the system is another one."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dalib.core import files
from dalib.core.errors import UserError
from dalib.core.files import (
    irreplaceable,
    locked,
    name_of_path,
    open_to_write,
    put_in_place,
    quoted,
    read_at,
    read_json,
    required_path,
    reserved_folder,
    write_at,
    write_bytes,
    write_json,
    write_text,
)

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


@pytest.mark.parametrize("windows", [False, True])
def test_threads_write_and_read_at_places_of_one_file(tmp_path, monkeypatch, windows):
    if windows:  # which has neither
        monkeypatch.delattr(os, "pwrite", raising=False)
        monkeypatch.delattr(os, "pread", raising=False)
    file = open_to_write(tmp_path / "rows")
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda row: write_at(file, bytes([row, 10, 13]) * 50, 150 * row), range(200)))
            read = list(pool.map(lambda row: read_at(file, 150, 150 * row), range(200)))
    finally:
        os.close(file)
    assert read == [bytes([row, 10, 13]) * 50 for row in range(200)]
    assert (tmp_path / "rows").read_bytes() == b"".join(read)


def test_files_are_synced_where_only_files_that_may_be_written_can_be(tmp_path, monkeypatch):
    """As on Windows, which also opens no folder."""
    own_open, own_sync, writable = os.open, os.fsync, set()

    def opened(path, flags, *more):
        if path.is_dir():
            raise PermissionError(errno.EACCES, "a folder")
        file = own_open(path, flags, *more)
        (writable.add if flags & os.O_RDWR else writable.discard)(file)
        return file

    def synced(file):
        if file not in writable:
            raise OSError(errno.EBADF, "Bad file descriptor")
        own_sync(file)

    monkeypatch.setattr(os, "name", "nt")
    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "fsync", synced)
    (tmp_path / "new.tmp").write_bytes(b"new")
    put_in_place(tmp_path / "new.tmp", tmp_path / "new")
    monkeypatch.undo()
    assert (tmp_path / "new").read_bytes() == b"new"


def test_text_has_the_same_line_ends_on_every_system(tmp_path):
    write_text(tmp_path / "a.txt", "one\ntwo\n")
    assert (tmp_path / "a.txt").read_bytes() == b"one\ntwo\n"


@pytest.mark.parametrize("fails", ["write", "sync"])
@pytest.mark.parametrize(("write", "after"), [(write_text, "after"), (write_bytes, b"after")])
def test_a_file_that_a_full_disk_refuses_is_named_and_leaves_nothing(write, after, fails, tmp_path, monkeypatch):
    def full(*given, **more):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_text(tmp_path / "a.json", "before")
    if fails == "write":
        monkeypatch.setattr(Path, "write_bytes", full)
    else:
        monkeypatch.setattr(files, "sync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*a\.json'$") as refused:
        write(tmp_path / "a.json", after)
    assert refused.value.filename == str(tmp_path / "a.json")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.json": "before"}


def test_two_processes_may_write_one_file_at_once(tmp_path, monkeypatch):
    path, this_process = tmp_path / "index.json", os.getpid()

    def late(temporary, to):
        monkeypatch.undo()
        monkeypatch.setattr(os, "getpid", lambda: this_process + 1)
        write_json(path, {"by": "the other"})
        put_in_place(temporary, to)

    monkeypatch.setattr(files, "put_in_place", late)
    write_json(path, {"by": "this"})
    assert read_json(path) == {"by": "this"}
    assert list(tmp_path.iterdir()) == [path]


def test_the_name_of_a_path_is_found_by_either_separator(monkeypatch):
    monkeypatch.setattr(os, "sep", "\\")
    monkeypatch.setattr(os, "altsep", "/")
    assert name_of_path("data/labelled") == "labelled"
    assert name_of_path("usps-test") == "usps-test"


def test_commands_are_quoted_for_the_shell_of_the_system(monkeypatch):
    assert quoted("my runs/first") == "'my runs/first'"
    monkeypatch.setattr(os, "name", "nt")
    assert quoted("my runs/first") == '"my runs/first"'
    assert quoted("C:\\R&D\\first") == '"C:\\R&D\\first"'  # what follows an & is another command
    assert quoted("a;b\\") == '"a;b\\\\"'
    assert quoted("C:\\runs\\first") == "C:\\runs\\first"


def test_a_path_is_required_by_the_name_of_its_argument():
    assert required_path(Path("a/b"), "run") == str(Path("a/b"))
    for path, message in (
        (None, "run: expected a path, got NoneType; or else"),
        ("", "run='': expected a path, got an empty text"),
        (" ", "run=' ': expected a path, got an empty text"),
    ):
        with pytest.raises(UserError) as raised:
            required_path(path, "run", instead="; or else")
        assert str(raised.value) == message


def test_a_folder_that_a_process_is_in_or_below_is_irreplaceable(tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    monkeypatch.chdir(tmp_path / "a" / "b")
    for folder in (Path(), Path(".."), tmp_path / "link"):
        assert irreplaceable(folder) == "the folder in which this process works"
    (tmp_path / "c").mkdir()
    assert irreplaceable(tmp_path / "c") == ""
    monkeypatch.setattr("os.path.ismount", lambda place: Path(place).name == "c")
    assert irreplaceable(tmp_path / "c") == "where another disk is mounted"


def test_a_name_is_reserved_until_something_is_in_its_folder_or_nothing_came_of_it(tmp_path):
    parent = tmp_path / "runs"
    with contextlib.ExitStack() as held, contextlib.ExitStack() as other:
        folders = [reserved_folder(parent, "street", each) for each in (held, other, other)]
        assert len({*folders}) == 3
        assert all(each.is_dir() and each.name.split("-", 2)[2].startswith("street") for each in folders)
        (folders[1] / "summary.json").write_text("{}")
    assert [*parent.iterdir()] == [folders[1]]
    with contextlib.ExitStack() as held:
        assert not reserved_folder(folders[1] / "summary.json", "street", held).exists()  # a file is no folder
    with contextlib.ExitStack() as held:
        reserved_folder(tmp_path / "later", "street", held)
    assert not (tmp_path / "later").exists()
