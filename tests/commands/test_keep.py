"""dalib keep: a model that is selected by hand, which the report shows."""

import sys

import pytest

from dalib.commands.main import run
from dalib.records.folder import RunFolder


@pytest.mark.parametrize("model", ["source-only", "adapted", "aligned"])
def test_the_model_is_selected_and_told_and_in_the_report(model, trained, capsys):
    assert run(["keep", str(trained), model]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told == [
        f"The {model} model is the selected model of this run (selected by the user)",
        f"report  {trained / 'report.html'}",
    ]
    selection = RunFolder.existing(trained).selection()
    assert (selection.model, selection.by) == (model, "user")


def test_a_model_of_another_name_is_refused(trained, capsys):
    assert run(["keep", str(trained), "best"]) == 2
    assert "expected one of adapted, aligned, source-only, got best" in capsys.readouterr().err


def test_the_report_shows_the_choice_where_nobody_reads_what_is_printed(trained, monkeypatch):
    class ReaderIsGone:
        def write(self, text):
            raise BrokenPipeError

    report = trained / "report.html"
    report.unlink()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", ReaderIsGone())
        assert run(["keep", str(trained), "adapted"]) == 0
    assert "selected by the user" in report.read_text(encoding="utf-8")
