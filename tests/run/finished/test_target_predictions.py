"""What a run keeps of its predictions, and what is said where it is missing or damaged."""

import pytest
from safetensors.torch import save_file

from dalib.commands.main import run
from predicted_run import fill_in, made, query

pytestmark = pytest.mark.usefixtures("few_digits")


@pytest.fixture
def a_run(tmp_path):
    return made(tmp_path / "run")


@pytest.mark.parametrize(("content", "told"), [("model: {bottleneck", "expected YAML"), ("- 1", "expected settings")])
def test_a_damaged_configuration_is_told(a_run, tmp_path, capsys, content, told):
    found, labels, _ = a_run
    fill_in(query(found, tmp_path / "few.csv", "--n", "20"), labels, tmp_path / "few.csv")
    (found / "config.yaml").write_text(content)
    capsys.readouterr()
    assert run(["eval", str(found), "--labels", str(tmp_path / "few.csv")]) == 2
    assert f"{found}/config.yaml: {told}" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["predictions.safetensors", "images.json"])
@pytest.mark.parametrize("command", ["query", "eval"])
def test_an_older_run_says_what_to_do(missing, command, a_run, tmp_path, capsys):
    found, *_ = a_run
    (found / missing).unlink()
    (tmp_path / "few.csv").write_text("path,label\n")
    more = {"query": ["--out", str(tmp_path / "new.csv")], "eval": ["--labels", str(tmp_path / "few.csv")]}[command]
    assert run([command, str(found), *more]) == 2
    error = capsys.readouterr().err
    assert missing in error
    assert "older version" in error
    assert error.count("\n") == 1


def test_damaged_predictions_are_told(a_run, tmp_path, capsys):
    found, _, tensors = a_run
    save_file({"target/adapted": tensors["target/adapted"][:10].clone()}, found / "predictions.safetensors")
    assert run(["query", str(found), "--out", str(tmp_path / "few.csv")]) == 2
    assert "damaged" in capsys.readouterr().err
    (found / "predictions.safetensors").write_bytes(b"nothing")
    assert run(["query", str(found), "--out", str(tmp_path / "few.csv")]) == 2
    assert "damaged" in capsys.readouterr().err
