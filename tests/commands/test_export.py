"""dalib export: formats by name, and the model that is asked for."""

import pytest

from dalib.commands.main import run
from dalib.run import export


@pytest.mark.parametrize("kind", ["onnx", "torch-export", "torch", "hf"])
@pytest.mark.parametrize("model", [None, "source-only"])
def test_it_exports_the_run_in_the_format(kind, model, trained, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(export, "export", lambda run, *given, **more: asked.append((run.root, given, more)) or "there")
    assert run(["export", str(trained), "--format", kind, "--out", "x", *(["--model", model] if model else [])]) == 0
    assert asked == [(trained, (kind, "x"), {"model": model})]
    assert capsys.readouterr().out == "wrote there\n"


def test_another_format_is_refused_with_the_nearest_name(trained, capsys):
    assert run(["export", str(trained), "--format", "onx", "--out", "x"]) == 2
    assert "did you mean onnx?" in capsys.readouterr().err
