"""The parser's complaints, in one line that names the setting and what may have been meant."""

import pytest

from dalib.commands.main import run


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["predict", "run", "--images", "x"], "expected --out, which is missing (see dalib predict --help)"),
        (["export"], "expected RUN, --format and --out, which are missing (see dalib export --help)"),
        (["compare"], "expected RUNS, which is missing"),
    ],
)
def test_what_is_missing_is_named_as_it_is_typed(arguments, told, capsys):
    assert run(arguments) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train", "--time", "-3m"], "--time: expected a value, got none; give one that begins with - as --time=VALUE"),
        (["train", "--source", "--target", "x"], "--source: expected a value, got none; give one"),
        (["train", "--strict=yes"], "--strict: expected no value, got yes; give --strict alone, or leave it out"),
        (["judge", "a.csv", "b.csv", "--classes"], "--classes: expected a value, got none"),
    ],
)
def test_a_value_that_is_missing_or_too_many_is_told_in_words(arguments, told, capsys):
    assert run(arguments) == 2
    assert capsys.readouterr().err.startswith(f"dalib: error: {told}")


def test_flags_are_not_abbreviated(capsys):
    assert run(["train", "--source", "a", "--target", "b", "--epoch", "1"]) == 2
    assert "--epoch" in (told := capsys.readouterr().err)
    assert "did you mean --epochs?" in told


def test_folders_without_their_options_are_told_which(capsys):
    assert run(["train", "studio", "street"]) == 2
    assert "unrecognized arguments: studio street; expected --source FOLDER --target FOLDER" in capsys.readouterr().err
    assert run(["report", "one", "two"]) == 2
    assert "--source" not in capsys.readouterr().err


@pytest.mark.parametrize("command", [["predict", "run", "--out", "x.csv", "--images"], ["train", "--target"]])
def test_the_files_of_a_shells_pattern_are_told_in_short(command, capsys):
    assert run([*command, *(f"target/{number}.png" for number in range(9))]) == 2
    told = capsys.readouterr().err
    assert "unrecognized arguments: target/1.png target/2.png target/3.png ...; expected one folder, or a list" in told
    assert "a pattern such as *.png" in told
    assert run([*command, "shards-0.tar", "shards-1.tar"]) == 2
    assert "shards-1.tar; a pattern of shards stands in quotes" in capsys.readouterr().err


def test_a_word_in_place_of_a_share_is_answered_with_the_range(capsys):
    assert run(["train", "--model.domain_statistics", "off"]) == 2
    expected = "--model.domain_statistics: expected a number from 0 to 1, auto or joined, got off"
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["--print_config"], ["--print_config=skip_default"]])
@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("data:\n  sze: 3\n", "data.sze: no such setting; did you mean data.size? (see dalib train --help)\n"),
        ("stepz: 3\n", "stepz: no such setting; did you mean steps?"),
    ],
)
def test_a_setting_of_a_file_that_does_not_exist_is_named(content, told, more, tmp_path, capsys):
    (tmp_path / "a.yaml").write_text(content)
    assert run(["train", "--config", str(tmp_path / "a.yaml"), *more]) == 2
    assert capsys.readouterr().err.startswith(f"dalib: error: {told}")
