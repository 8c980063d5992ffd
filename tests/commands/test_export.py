"""dalib export: formats by name, and the model that is asked for."""

import pytest

from dalib.commands.main import run
from dalib.core.errors import UserError
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


def test_a_library_in_place_of_a_format_is_refused_with_the_format_that_it_opens(trained, tmp_path, capsys):
    assert run(["export", str(trained), "--format", "timm", "--out", "x"]) == 2
    told = "expected one of onnx, torch-export, torch, hf, kit, got timm; timm opens hf, dalib.load opens torch"
    assert told in capsys.readouterr().err
    with pytest.raises(UserError, match=r"^format='timm': expected one of onnx, .*; timm opens hf"):
        export.export(trained, "timm", tmp_path / "x")
