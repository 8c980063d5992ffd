"""Arguments before they are parsed."""

import pytest

from dalib.commands.arguments import prepared, written
from dalib.commands.main import run


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train", "--source=https://example.org/a//b", "--target", "x"], "--source https://example.org/a//b: "),
        (["train", "--source", "x", "--target", "s3://bucket//x"], "--target s3://bucket//x: "),
        (["train", "--source=[a, https://example.org//b]", "--target", "x"], "'https://example.org//b'"),
        (["eval", "https://example.org//run", "--data", "x"], "RUN https://example.org//run: "),
        (["predict", "run", "--images", "x", "--out=s3://bucket//x.csv"], "--out s3://bucket//x.csv: "),
    ],
)
def test_a_url_is_refused_as_it_was_given(arguments, told, capsys):
    assert run(arguments) == 2
    assert told in (line := capsys.readouterr().err)
    assert "expected a path on this machine, got a URL" in line


def test_a_place_is_known_as_it_was_written(tmp_path):
    (tmp_path / "a.yaml").write_text("target: 'night: 1'\nevaluate: 'night: 2'\n")
    arguments = ["train", "--config", str(tmp_path / "a.yaml"), "--evaluate", "day: 3"]
    assert {name: written(arguments)[name] for name in ("target", "evaluate")} == {
        "target": "night: 1",
        "evaluate": "day: 3",
    }


def test_several_labelled_sets_are_not_of_one_target(capsys):
    assert run(["train", "--source", "x", "--target", "y", "--evaluate", "a", "--evaluate=b"]) == 2
    assert "--evaluate: expected one labelled set for one target, got 2" in capsys.readouterr().err


def test_labelled_sets_are_of_the_targets_in_a_file(tmp_path):
    (tmp_path / "a.yaml").write_text("source: x\ntarget:\n  night: y\n  day: z\n")
    typed = ["--config", str(tmp_path / "a.yaml"), "--evaluate", "day=a", "--evaluate", "night=b"]
    arguments = prepared(["train", *typed]).arguments
    assert arguments[arguments.index("--evaluate") + 1] == '{"day": "a", "night": "b"}'
