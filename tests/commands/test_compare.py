"""dalib compare: the runs in the order in which they are named."""

import pytest

from dalib.commands.main import run
from dalib.run.finished import compare


def test_it_compares_the_runs_that_are_named(monkeypatch):
    asked = []
    monkeypatch.setattr(compare, "compare_runs", asked.append)
    assert run(["compare", "runs/b", "runs/a"]) == 0
    assert asked == [["runs/b", "runs/a"]]


@pytest.mark.parametrize("arguments", [["compare"], ["compare", "runs/a", "--best"]])
def test_what_it_does_not_take_is_refused(arguments, capsys):
    assert run(arguments) == 2
    assert capsys.readouterr().err.startswith("dalib: error: ")
