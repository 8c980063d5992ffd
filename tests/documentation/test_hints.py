"""The page on hints: its Python runs, and its command is understood."""

import re
import shlex

from site_modules import DOCS

from dalib.commands.parser import make_parser

TEXT = (DOCS / "hints.md").read_text(encoding="utf-8")


def test_the_example_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path / "cache"))
    (code,) = re.findall(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    exec(compile(code, "hints.md", "exec"), {"__name__": "hints"})
    assert "Hints for 200 of 200 target images were trusted to" in capsys.readouterr().out


def test_the_command_is_understood():
    (command,) = re.findall(r"^dalib (.*)$", TEXT, re.MULTILINE)
    assert make_parser().parse_args(shlex.split(command)).train.hints == "clip.csv"
