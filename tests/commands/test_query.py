"""dalib query: so many images, into the file that is named."""

import csv

from dalib.commands.main import run


def test_it_writes_a_list_that_a_seed_repeats(trained, tmp_path, capsys):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        out = tmp_path / f"{name}.csv"
        assert run(["query", str(trained), "--n", "6", "--seed", seed, "--out", str(out)]) == 0
    first, second, other = ((tmp_path / f"{name}.csv").read_text() for name in "abc")
    assert first == second != other
    rows = list(csv.DictReader(first.splitlines()))
    assert len(rows) == 6
    assert {row["label"] for row in rows} == {""}
    assert f"dalib eval {trained} --labels {tmp_path / 'a.csv'}" in capsys.readouterr().out


def test_a_list_that_is_there_and_no_images_are_refused(trained, tmp_path, capsys):
    (tmp_path / "there.csv").write_text("somebody's labels")
    assert run(["query", str(trained), "--out", str(tmp_path / "there.csv")]) == 2
    assert (tmp_path / "there.csv").read_text() == "somebody's labels"
    assert run(["query", str(trained), "--n", "0", "--out", str(tmp_path / "new.csv")]) == 2
    assert "--n 0: expected at least 1" in capsys.readouterr().err
    assert not (tmp_path / "new.csv").exists()


def test_labels_do_not_change_what_the_user_selected(trained, tmp_path, capsys):
    assert run(["query", str(trained), "--n", "3", "--out", str(tmp_path / "before.csv")]) == 0
    assert "(selected without target labels); labels can change that" in capsys.readouterr().out
    assert run(["keep", str(trained), "source-only"]) == 0
    assert run(["query", str(trained), "--n", "3", "--out", str(tmp_path / "after.csv")]) == 0
    assert "(selected by the user); labels do not change that" in capsys.readouterr().out
