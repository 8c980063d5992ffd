"""What is not used is told at every door and listed in the run; the same data twice are refused."""

import json

import pytest

from dalib.commands.main import run

QUICK = ["--steps", "2", "--batch", "4", "--data.size", "16", "--method", "source-only", "--device", "cpu"]


@pytest.fixture(scope="module")
def folders(images):
    for name in ("source/dark/notes.txt", "target/a.xyz", "target/b.xyz"):
        (images / name).write_text("x")
    (images / "source/@eaDir").mkdir()
    (images / "source/@eaDir/0.png").write_bytes((images / "target/0.png").read_bytes())
    return images


def test_every_door_tells_what_is_not_used_and_the_run_lists_it(folders, tmp_path, capsys):
    source, target, out = folders / "source", folders / "target", tmp_path / "run"
    of_source = f"{source}: not used, by their endings: .txt 1; folders: @eaDir 1 (thumbnails of a NAS)"
    of_target = f"{target}: not used, by their endings: .xyz 2"
    assert run(["train", "--source", str(source), "--target", str(target), "--out", str(out), *QUICK]) == 0
    printed = capsys.readouterr().out
    assert of_source in printed
    assert of_target in printed
    assert "classes: dark, light\n" in printed
    listed = json.loads((out / "left_out.json").read_text())
    assert [each["path"] for each in listed["target"]] == [str(target / "a.xyz"), str(target / "b.xyz")]
    assert {each["path"] for each in listed["source"]} == {str(source / "dark/notes.txt"), str(source / "@eaDir")}
    for command, expected in (
        (["predict", str(out), "--images", str(target), "--out", str(tmp_path / "p.csv")], of_target),
        (["eval", str(out), "--data", str(source)], of_source),
        (["query", str(out), "--n", "2", "--out", str(tmp_path / "q.csv")], of_target),
        (["checks", "--target", str(target), *QUICK], of_target),
    ):
        assert run(command) == 0
        assert expected in capsys.readouterr().out, command


def test_the_same_folder_is_not_both_domains(folders, tmp_path, capsys):
    source, out = str(folders / "source"), tmp_path / "run"
    for more in (["--target", source], ["--source", source, "--target", str(folders / "target")]):
        assert run(["train", "--source", source, *more, "--out", str(out), *QUICK]) == 2
        assert not out.exists()
    assert run(["checks", "--source", source, "--target", source, *QUICK]) == 2
    assert capsys.readouterr().err.count("dalib: error: --target") == 2
