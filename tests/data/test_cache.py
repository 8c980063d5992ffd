"""Decoded once, mapped ever after: equal to decoding, whole or not there, and never believed when damaged."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from dalib.core import files
from dalib.core.errors import UserError
from dalib.data import cache
from dalib.data.cache import ImageCache, cache_key, default_cache_folder, row_bytes
from dalib.data.decoding import decode
from dalib.data.listing import list_images
from dalib.data.preprocessing import Preprocessing

COLOUR = Preprocessing(size=8, channels=3)


def draw(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (10, 12, 3), dtype=np.uint8)).save(path)
    return path


def folder_of(root: Path, count: int = 6, broken: tuple[int, ...] = ()) -> Path:
    for number in range(count):
        path = draw(root / f"{number:03d}.png", number)
        if number in broken:
            path.write_bytes(b"")
    return root


def listed(root: Path):
    return list_images(root, argument="target")


def never(*args):
    pytest.fail("decoded again")


@pytest.fixture
def images(tmp_path) -> Path:
    return folder_of(tmp_path / "images")


@pytest.fixture
def store(tmp_path) -> ImageCache:
    return ImageCache(tmp_path / "cache")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("broken", [(), (0,), (5,), (1, 2, 4), tuple(range(6))])
def test_the_rows_are_those_that_decoding_gives_now_and_later(tmp_path, store, monkeypatch, channels, broken):
    listing = listed(folder_of(tmp_path / "images", broken=broken))
    preprocessing = Preprocessing(8, channels)
    expected, kept, unreadable = decode(listing.paths, preprocessing)
    first = store.rows(listing, preprocessing)
    monkeypatch.setattr(cache, "read_pixels", never)
    second = store.rows(listing, preprocessing)
    assert (first.built, second.built) == (True, False)
    for rows in (first, second):
        assert isinstance(rows.images, torch.Tensor)
        assert rows.images.dtype == torch.uint8
        assert torch.equal(rows.images, expected)
        assert torch.equal(rows.kept, kept)
        assert rows.unreadable == unreadable


def test_what_is_left_is_two_files(images, store):
    rows = store.rows(listed(images), COLOUR)
    assert [path.name for path in store.folder.iterdir()] == [rows.key]
    assert sorted(path.name for path in (store.folder / rows.key).iterdir()) == ["images.u8", "index.json"]
    assert (store.folder / rows.key / "images.u8").stat().st_size == 6 * row_bytes(COLOUR)


def test_writing_to_the_rows_changes_no_file(images, store):
    rows = store.rows(listed(images), COLOUR).images
    before = rows.clone()
    rows.fill_(0)
    assert torch.equal(store.rows(listed(images), COLOUR).images, before)


def test_progress_is_told_while_building_alone(images, store):
    calls = []
    store.rows(listed(images), COLOUR, on_progress=lambda done, total: calls.append((done, total)))
    assert calls == [(number, 6) for number in range(1, 7)]
    store.rows(listed(images), COLOUR, on_progress=never)


def test_a_complete_cache_is_read_where_nothing_can_be_written(images, store, monkeypatch):
    store.rows(listed(images), COLOUR)
    monkeypatch.setattr(Path, "mkdir", never)
    monkeypatch.setattr(cache, "locked", never)
    assert not store.rows(listed(images), COLOUR).built


def test_the_key_is_of_content_and_order_and_not_of_the_place(tmp_path, images):
    key = cache_key(listed(images), COLOUR)
    moved = tmp_path / "moved"
    shutil.copytree(images, moved)  # keeps the times
    assert cache_key(listed(moved), COLOUR) == key
    first = images / "000.png"
    status = first.stat()
    os.utime(first, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert cache_key(listed(images), COLOUR) != key
    os.utime(first, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert cache_key(listed(images), COLOUR) == key
    first.write_bytes(first.read_bytes() + b"x")
    os.utime(first, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert cache_key(listed(images), COLOUR) != key
    first.rename(images / "999.png")
    assert cache_key(listed(images), COLOUR) != key


def test_the_key_knows_files_that_are_absent_or_may_not_be_read(images, monkeypatch):
    listing = listed(images)
    key = cache_key(listing, COLOUR)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    refused = cache_key(listing, COLOUR)
    listing.paths[0].unlink()
    assert len({key, refused, cache_key(listing, COLOUR)}) == 3


def test_the_key_is_of_what_decides_pixels_alone(images):
    listing = listed(images)
    plain = Preprocessing(8, 3)
    same = [Preprocessing(8, 3, mean=(0.5,) * 3, std=(0.5,) * 3), Preprocessing(8, 3, crop=6)]
    other = [
        Preprocessing(9, 3),
        Preprocessing(8, 1),
        Preprocessing(8, 3, fit="stretch"),
        Preprocessing(8, 3, interpolation="bicubic"),
    ]
    assert {cache_key(listing, each) for each in same} == {cache_key(listing, plain)}
    assert len({cache_key(listing, each) for each in (plain, *other)}) == 5


def test_another_version_of_the_layout_is_another_key(images, monkeypatch):
    key = cache_key(listed(images), COLOUR)
    monkeypatch.setattr(cache, "VERSION", cache.VERSION + 1)
    assert cache_key(listed(images), COLOUR) != key


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="where Linux keeps caches")
def test_the_folder_is_named_by_the_environment_or_is_where_caches_are(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DALIB_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_cache_folder() == tmp_path / ".cache" / "dalib"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache_folder() == tmp_path / "xdg" / "dalib"
    monkeypatch.setenv("DALIB_CACHE", "~/own")
    assert ImageCache().folder == tmp_path / "own"


def damage_size(folder: Path) -> None:
    with (folder / "images.u8").open("ab") as file:
        file.write(b"x")


def damage_index(folder: Path) -> None:
    (folder / "index.json").write_text('{"version"')


def damage_count(folder: Path) -> None:
    index = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps({**index, "unreadable": [[99, "gone"]]}))


@pytest.mark.parametrize(
    "damage",
    [
        damage_size,
        damage_index,
        damage_count,
        lambda folder: (folder / "index.json").write_text("[]"),
        lambda folder: (folder / "index.json").unlink(),
        lambda folder: (folder / "images.u8").unlink(),
        lambda folder: os.truncate(folder / "images.u8", 5),
    ],
)
def test_a_damaged_cache_is_built_anew_with_a_note(images, store, damage):
    first = store.rows(listed(images), COLOUR)
    expected = first.images.clone()
    damage(store.folder / first.key)
    notes: list[str] = []
    again = store.rows(listed(images), COLOUR, on_note=notes.append)
    assert again.built
    assert torch.equal(again.images, expected)
    assert "is damaged and is built anew" in notes[0]
    assert not store.rows(listed(images), COLOUR).built


Usage = namedtuple("Usage", "total used free")


def test_sizes_are_told_where_the_system_counts_no_blocks():
    assert cache._size_on_disk(SimpleNamespace(st_size=1000)) == 1000
    assert cache._size_on_disk(SimpleNamespace(st_size=1000, st_blocks=8)) == 4096


def test_too_small_a_disk_is_told_with_sizes_before_anything_is_written(images, store, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 2**20))
    with pytest.raises(UserError, match=r"images of .* need 1\.2 kB in the cache .* and 1\.0 MB are free.*DALIB_CACHE"):
        store.rows(listed(images), COLOUR)
    assert not list(store.folder.iterdir())


def test_a_disk_that_becomes_full_publishes_nothing_and_what_is_there_is_used(tmp_path, store, monkeypatch):
    listing = listed(folder_of(tmp_path / "images", 10))
    monkeypatch.setattr(cache, "CHUNK", 2)
    own, written = os.pwrite, []

    def full(file, content, offset):
        if len(content) == row_bytes(COLOUR):
            written.append(offset)
            if len(written) > 5:
                raise OSError(errno.ENOSPC, "No space left on device")
        return own(file, content, offset)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(UserError, match=r"became full while .* was decoded"):
        store.rows(listing, COLOUR, threads=1)
    assert [(entry.complete, entry.source) for entry in store.entries()] == [(False, listing.where)]
    monkeypatch.setattr(os, "pwrite", own)
    notes: list[str] = []
    rows = store.rows(listing, COLOUR, on_note=notes.append)
    assert "4 of 10 images are there" in notes[0]
    assert torch.equal(rows.images, decode(listing.paths, COLOUR)[0])


def test_short_writes_are_completed(images, store, monkeypatch):
    own = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, content, offset: own(file, content[:50], offset))
    assert torch.equal(store.rows(listed(images), COLOUR).images, decode(listed(images).paths, COLOUR)[0])


def test_a_system_without_writing_at_a_place_builds_the_same_cache(tmp_path, store, monkeypatch):
    folder = folder_of(tmp_path / "images", 10)
    sorted(folder.rglob("*.*"))[3].write_bytes(b"no image")  # so that rows move
    monkeypatch.delattr(os, "pwrite", raising=False)
    monkeypatch.delattr(os, "pread", raising=False)
    rows = store.rows(listed(folder), COLOUR, threads=4)
    assert len(rows.unreadable) == 1
    assert torch.equal(rows.images, decode(listed(folder).paths, COLOUR)[0])


def test_a_folder_that_cannot_be_written_is_told(images, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"the cache .*file cannot be written"):
        ImageCache(tmp_path / "file").rows(listed(images), COLOUR)


SLOW_BUILD = """
import sys, time
from dalib.data import cache
from dalib.data.listing import list_images
from dalib.data.preprocessing import Preprocessing
own, cache.CHUNK = cache.read_pixels, 4
def slow(path, preprocessing):
    time.sleep(float(sys.argv[3]))
    return own(path, preprocessing)
cache.read_pixels = slow
store = cache.ImageCache(sys.argv[2])
say = lambda done, total: print(done, flush=True)
rows = store.rows(list_images(sys.argv[1], argument="target"), Preprocessing(8, 3), on_progress=say, threads=2)
print("built" if rows.built else "read", flush=True)
"""


def start(images: Path, store: ImageCache, seconds: float) -> subprocess.Popen:
    command = [sys.executable, "-c", SLOW_BUILD, str(images), str(store.folder), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("broken", [(), (3, 20)])
def test_a_build_that_was_killed_goes_on(tmp_path, store, monkeypatch, broken):
    images = folder_of(tmp_path / "images", 40, broken)
    listing = listed(images)
    with start(images, store, 0.02) as process:
        for line in process.stdout:
            if int(line) >= 13:
                process.send_signal(signal.SIGKILL)
                break
    (entry,) = store.entries()
    assert not entry.complete
    done = (store.folder / entry.key / "done").read_bytes()
    assert 8 <= sum(done) < 40
    # rows that are not marked may be half written
    file = store.folder / entry.key / "images.u8"
    rows = np.fromfile(file, np.uint8).reshape(40, -1)
    rows[np.frombuffer(done, np.uint8) == 0] = 99
    rows.tofile(file)
    decoded, own = [], cache.read_pixels

    def counted(path, preprocessing):
        decoded.append(path)
        return own(path, preprocessing)

    monkeypatch.setattr(cache, "read_pixels", counted)
    calls = []
    cached = store.rows(listing, COLOUR, on_progress=lambda *call: calls.append(call))
    expected, kept, unreadable = decode(listing.paths, COLOUR)
    assert len(decoded) == len(calls) == 40 - sum(done)
    assert calls[-1] == (40, 40)
    assert torch.equal(cached.images, expected)
    assert torch.equal(cached.kept, kept)
    assert cached.unreadable == unreadable
    assert [path.name for path in store.folder.iterdir()] == [cached.key]


@pytest.mark.parametrize("spoil", ["no done", "short done", "short images"])
def test_what_a_build_left_is_not_believed_unless_it_is_whole(images, store, spoil):
    listing = listed(images)
    part = store.folder / f"{cache_key(listing, COLOUR)}.part"
    part.mkdir(parents=True)
    (part / "images.u8").write_bytes(bytes((5 if spoil == "short images" else 6) * row_bytes(COLOUR)))
    if spoil != "no done":
        (part / "done").write_bytes(b"\x01" * (5 if spoil == "short done" else 6))
    notes: list[str] = []
    assert torch.equal(store.rows(listing, COLOUR, on_note=notes.append).images, decode(listing.paths, COLOUR)[0])
    assert not notes


def test_a_build_that_was_killed_while_rows_moved_begins_anew(tmp_path, store, monkeypatch):
    listing = listed(folder_of(tmp_path / "images", broken=(1,)))

    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(cache, "_close_gaps", killed)
        with pytest.raises(KeyboardInterrupt):
            store.rows(listing, COLOUR)
    assert torch.equal(store.rows(listing, COLOUR).images, decode(listing.paths, COLOUR)[0])


def test_of_two_processes_the_second_reads_what_the_first_built(tmp_path, store):
    images = folder_of(tmp_path / "images", 40)
    with start(images, store, 0.02) as first, start(images, store, 0.02) as second:
        said = sorted(process.stdout.read().split()[-1] for process in (first, second))
    assert said == ["built", "read"]
    rows = store.rows(listed(images), COLOUR)
    assert not rows.built
    assert torch.equal(rows.images, decode(listed(images).paths, COLOUR)[0])


def test_the_second_goes_on_when_the_first_dies(tmp_path, store):
    images = folder_of(tmp_path / "images", 40)
    notes: list[str] = []
    with start(images, store, 0.02) as first:
        for line in first.stdout:
            if int(line) >= 9:
                break
        results = []
        waiting = threading.Thread(
            target=lambda: results.append(store.rows(listed(images), COLOUR, on_note=notes.append))
        )
        waiting.start()
        while not notes:
            time.sleep(0.005)
        first.send_signal(signal.SIGKILL)
        waiting.join(60)
    assert torch.equal(results[0].images, decode(listed(images).paths, COLOUR)[0])
    assert "waiting for it" in notes[0]
    assert "going on with a cache" in notes[1]


@pytest.mark.skipif(os.name == "nt", reason="flock is of POSIX")
def test_without_locks_each_builds_its_own_and_one_is_published(images, store, monkeypatch):
    listing = listed(images)
    key = cache_key(listing, COLOUR)
    monkeypatch.setattr("fcntl.flock", lambda file, how: (_ for _ in ()).throw(OSError(errno.ENOLCK, "no locks")))
    publish = ImageCache._publish

    def second_wins(self, part, final, count, shape):
        monkeypatch.setattr(ImageCache, "_publish", publish)
        shutil.copytree(part, self.folder / "copy")
        (self.folder / "copy" / "done").unlink()
        (self.folder / "copy" / "source.json").unlink()
        (self.folder / "copy").rename(final)
        return publish(self, part, final, count, shape)

    monkeypatch.setattr(ImageCache, "_publish", second_wins)
    rows = store.rows(listing, COLOUR)
    assert torch.equal(rows.images, decode(listing.paths, COLOUR)[0])
    assert [path.name for path in store.folder.glob("*.part")] == []
    assert (store.folder / key).is_dir()


def test_caches_are_listed_and_removed(tmp_path, store):
    assert store.entries() == ()
    first = store.rows(listed(folder_of(tmp_path / "one", broken=(2,))), COLOUR)
    second = store.rows(listed(folder_of(tmp_path / "two", 3)), COLOUR)
    (store.folder / "not ours").mkdir()
    entries = {entry.key: entry for entry in store.entries()}
    assert set(entries) == {first.key, second.key}
    assert entries[first.key].source == str(tmp_path / "one")
    assert (entries[first.key].images, entries[first.key].unreadable) == (5, 1)
    assert all(entry.complete and entry.created and entry.bytes > 0 for entry in entries.values())
    expected = first.images.clone()
    assert store.remove([first.key]) == entries[first.key].bytes
    assert torch.equal(first.images, expected)  # still mapped
    assert [entry.key for entry in store.entries()] == [second.key]
    with pytest.raises(UserError, match=r"no such cache in .*; it has"):
        store.remove([first.key])
    store.remove()
    assert store.entries() == ()
    assert [path.name for path in store.folder.iterdir()] == ["not ours"]


def test_what_is_being_built_is_not_removed(images, store):
    rows = store.rows(listed(images), COLOUR)
    with files.locked(store.folder / f"{rows.key}.lock", wait=False) as state:
        assert state == "held"
        assert store.remove() == 0
    assert len(store.entries()) == 1


def test_names_that_are_no_text_are_cached(tmp_path, store):
    path = tmp_path / "images" / os.fsdecode(b"\xff.png")
    draw(tmp_path / "images" / "a.png", 0).rename(path)
    draw(tmp_path / "images" / "b.png", 1).write_bytes(b"")
    rows = store.rows(listed(tmp_path / "images"), COLOUR)
    assert len(rows.images) == 1
    assert not store.rows(listed(tmp_path / "images"), COLOUR).built


@pytest.fixture
def no_named_cache(monkeypatch):
    for name in ("DALIB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.skipif(os.name == "nt", reason="users of POSIX")
def test_without_a_home_there_is_a_temporary_folder(images, tmp_path, monkeypatch, no_named_cache):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    # what the system says of a user id without an entry in passwd, with HOME not set
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    cache._temporary_folder.cache_clear()
    notes: list[str] = []
    try:
        assert ImageCache().folder == tmp_path / f"dalib-{os.getuid()}"
        for _ in range(2):
            rows = ImageCache().rows(listed(images), COLOUR, on_note=notes.append)
        assert not rows.built
    finally:
        cache._temporary_folder.cache_clear()
    assert ["there is no home folder" in note for note in notes] == [True]


@pytest.mark.skipif(os.name == "nt", reason="users of POSIX")
def test_a_home_that_cannot_be_written_is_told_once_and_another_folder_serves(
    images, tmp_path, monkeypatch, no_named_cache
):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).startswith(str(home)) and allowed(path, mode))
    cache._temporary_folder.cache_clear()
    notes: list[str] = []
    try:
        for size in (16, 20):
            ImageCache().rows(listed(images), Preprocessing(size, 3), on_note=notes.append)
        (folder,) = {path.parent for path in tmp_path.glob("dalib*/*/index.json") for path in [path.parent]}
    finally:
        cache._temporary_folder.cache_clear()
    assert notes == [
        f"note: {home}/.cache/dalib cannot be written; decoded images and features are kept in {folder}; "
        "DALIB_CACHE names another folder"
    ]
    assert folder.stat().st_mode & 0o077 == 0


@pytest.mark.skipif(os.name == "nt", reason="users of POSIX")
def test_where_a_home_cannot_be_written_what_files_hold_is_looked_up_once(
    images, tmp_path, monkeypatch, no_named_cache
):
    home = tmp_path / "home"
    home.mkdir(mode=0o555)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    allowed, mkdir = os.access, Path.mkdir

    def make(folder, *given, **options):
        if folder.is_relative_to(home):
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        mkdir(folder, *given, **options)

    monkeypatch.setattr(Path, "mkdir", make)
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).startswith(str(home)) and allowed(path, mode))
    looked_up = []
    monkeypatch.setattr(cache, "whole_numbers", lambda *_, **__: looked_up.append(1) or ())
    cache._temporary_folder.cache_clear()
    try:
        for _ in range(2):
            assert ImageCache().whole_numbers(listed(images)) == ()
    finally:
        cache._temporary_folder.cache_clear()
    assert looked_up == [1]


def test_a_temporary_folder_of_somebody_else_is_not_used(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"dalib-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    cache._temporary_folder.cache_clear()
    try:
        assert ImageCache(cache._temporary_folder()).folder.name.startswith("dalib-")
        assert not cache._temporary_folder().is_symlink()
    finally:
        cache._temporary_folder.cache_clear()


def test_a_folder_that_was_named_is_not_left_for_another(images, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"the cache .*file cannot be written"):
        ImageCache().rows(listed(images), COLOUR)


def test_the_key_is_of_content_where_names_sizes_and_times_are_the_same(tmp_path):
    """As of two domains out of one archive, or of a container that gives all files one time."""
    keys = set()
    for number, place in enumerate(("first", "second")):
        path = tmp_path / place / "0.bmp"
        path.parent.mkdir()
        Image.new("L", (8, 8), number).save(path)
        os.utime(path, (1, 1))
        keys.add(cache_key(listed(path.parent), COLOUR))
    assert len(keys) == 2
