"""dalib cache: entries that are listed and removed by their keys."""

import pytest

from dalib.commands.main import run


@pytest.fixture
def kept(folders, tmp_path, monkeypatch, capsys):
    """A cache with the decoded images of one folder; returns the key."""
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path / "cache"))
    short = ["--steps", "2", "--batch", "4", "--data.size", "16", "--method", "source-only"]
    data = ["--source", f"{folders}/source", "--target", f"{folders}/target", "--out", str(tmp_path / "run")]
    assert run(["train", *data, *short, "--quiet"]) == 0
    capsys.readouterr()
    assert run(["cache", "ls"]) == 0
    first, *entries = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{tmp_path / 'cache'}: ")
    assert first.endswith("in 2 entries")
    return [entry.split()[0] for entry in entries]


def test_entries_are_removed_by_their_keys_and_the_others_stay(kept, capsys):
    assert run(["cache", "rm", kept[0]]) == 0
    assert capsys.readouterr().out.startswith("removed ")
    assert run(["cache", "ls"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == kept[1:]


def test_nothing_is_removed_where_one_key_is_unknown(kept, capsys):
    assert run(["cache", "rm", kept[0], "other"]) == 2
    assert (
        "cache rm: other: not in the cache; give keys as `dalib cache ls` prints them, or all"
        in capsys.readouterr().err
    )
    assert run(["cache", "rm", "all"]) == 0
    assert run(["cache", "ls"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("0 bytes in 0 entries")
