"""Settings as they are spelled: in Python, on the command line, and in no library code as flags."""

import ast
import importlib
import pickle
import re
from pathlib import Path

import pytest

import dalib
from dalib.commands.flags import COMMANDS, POSITIONAL, SWITCHES, FlagSpelling
from dalib.commands.parser import SUBCOMMANDS, make_parser
from dalib.core.console import say
from dalib.core.errors import (
    Call,
    ImageChangedError,
    Message,
    Setting,
    TrainingDivergedError,
    UserError,
    spelled,
)

ROOT = Path(dalib.__file__).parent
AGAIN = Call("dalib.adapt", Setting("resume", Path("my run")))
KEEP = Call("dalib.run.finished.select.keep", Setting("run", "runs/first"), Setting("model", "adapted"))
LABELS = Call(
    "dalib.run.finished.label_estimates.evaluate_labels", Setting("run", Path("a b")), Setting("labels", "to_label.csv")
)
EXPORT = Call("dalib.run.export.export", Setting("format", "hf"))


@pytest.mark.parametrize(
    ("part", "python", "flags"),
    [
        (Setting("features", 4), "features=4", "--features 4"),
        (Setting("time_limit", 1.0), "time_limit=1.0", "--time 1"),
        (Setting("data.range", "0,4095"), "data.range='0,4095'", "--data.range 0,4095"),
        (Setting("out", Path("runs/first")), "out='runs/first'", "--out runs/first"),
        (Setting("data.validation_share"), "data.validation_share", "--data.validation_share"),
        (Setting("strict", True), "strict=True", "--strict"),
        (Setting("baseline", False), "baseline=False", "--baseline false"),
        (Setting("model.bottleneck_dim", None), "model.bottleneck_dim=None", "--model.bottleneck_dim null"),
        (Setting("run", "runs/first"), "run='runs/first'", "RUN runs/first"),
        (Setting("run"), "run", "RUN"),
        (AGAIN, "dalib.adapt(resume='my run')", "dalib train --resume 'my run'"),
        (KEEP, "dalib.open_run('runs/first').keep(model='adapted')", "dalib keep runs/first adapted"),
        (
            LABELS,
            "dalib.open_run('a b').evaluate_labels(labels='to_label.csv')",
            "dalib eval 'a b' --labels to_label.csv",
        ),
        (EXPORT, "run.export(format='hf')", "dalib export --format hf"),
        (Call("dalib.run.finished.query.query"), "dalib.Run.query", "dalib query"),
        (
            Call("dalib.run.finished.query.query", Setting("run", "runs/first"), Setting("count", 30)),
            "dalib.open_run('runs/first').query(count=30)",
            "dalib query runs/first --n 30",
        ),
    ],
)
def test_a_part_of_a_message_is_spelled_for_its_reader(part, python, flags):
    assert str(part) == python
    assert part.text(FlagSpelling()) == flags
    assert str(UserError("use ", part, "!")) == f"use {python}!"
    assert UserError("use ", part, "!").text(FlagSpelling()) == f"use {flags}!"


def test_the_front_door_spells_what_is_inside_of_other_text():
    error = UserError(Setting("batch", 1), ": expected at least 2")
    with spelled(FlagSpelling()):
        assert f"not measured: {error}" == "not measured: --batch 1: expected at least 2"
        assert str(UserError(error, ". Nothing was written")) == "--batch 1: expected at least 2. Nothing was written"
    assert f"not measured: {error}" == "not measured: batch=1: expected at least 2"


def test_a_warning_is_printed_in_the_spelling_that_is_set(capsys):
    warning = Message("note: ", Setting("seed", 1))
    say(warning)
    with spelled(FlagSpelling()):
        say(warning)
    assert capsys.readouterr().out == "note: seed=1\nnote: --seed 1\n"


@pytest.mark.parametrize("kind", [UserError, ImageChangedError, TrainingDivergedError])
def test_an_error_stays_itself_between_processes(kind):
    again = pickle.loads(pickle.dumps(kind(Setting("features", 4), ": too many")))
    assert type(again) is kind
    assert again.text(FlagSpelling()) == "--features 4: too many"


@pytest.mark.parametrize("function", COMMANDS)
def test_what_a_remedy_names_is_there(function):
    module, name = function.rsplit(".", 1)
    assert callable(getattr(importlib.import_module(module), name))
    assert COMMANDS[function] in SUBCOMMANDS


def test_the_table_of_flags_is_that_of_the_parser():
    commands = make_parser()._subcommands_action._name_parser_map
    actions = [action for command in commands.values() for action in command._actions]
    switches = {action.dest for action in actions if action.nargs == 0 and action.const is True}
    assert switches == set(SWITCHES)
    flagged = {action.dest for action in actions if action.option_strings}
    assert not flagged & set(POSITIONAL)
    assert {action.dest for action in actions if not action.option_strings} >= set(POSITIONAL)


FLAG = re.compile(r"(?<![\w-])--[a-z]\w+")
COMMAND = re.compile(rf"\bdalib ({'|'.join(SUBCOMMANDS)})\b")
TYPED = {
    "report.page": "the command that repeats a run: adapt takes no file of settings",
    "report.next_steps": "likewise, to train again with some of them changed",
    "report.models_page": "the title that tells a page of its own from other files",
    "run.export": "the README of a model, which whoever has it reads",
}
"""Modules outside of the room that type a command or a flag, with the reason."""


def flags_in(module: Path) -> list[str]:
    """String literals of a module that name flags or commands, without docstrings."""
    found, pending = [], [ast.parse(module.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        text = ""
        if isinstance(node, ast.JoinedStr):  # as a whole, with a word in place of each value
            text = "".join(each.value if isinstance(each, ast.Constant) else "VALUE" for each in node.values)
            pending += [each for each in node.values if not isinstance(each, ast.Constant)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):  # which is documentation
            pending += ast.iter_child_nodes(node)
        if FLAG.search(text) or COMMAND.search(text):
            found.append((node.lineno, text))
    return [f"line {line}: {text}" for line, text in sorted(found)]


@pytest.mark.parametrize(
    "module",
    sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in ROOT.rglob("*.py")
        if path.relative_to(ROOT).parts[0] not in ("commands", "__main__.py")
    ),
)
def test_library_code_names_settings_and_calls_and_no_flags_or_commands(module):
    found = flags_in(ROOT.joinpath(*module.split(".")).with_suffix(".py"))
    assert found if module in TYPED else not found


def test_pages_have_no_command_of_their_own():
    pages = {page.name: page.read_text(encoding="utf-8") for page in (ROOT / "report").glob("*.html")}
    assert pages
    assert not [name for name, text in pages.items() if re.search(r"<code>dalib", text)]


def test_a_flag_in_a_message_would_be_found(tmp_path):
    (tmp_path / "m.py").write_text(
        '"""About --seed."""\nx = f"{1}: leave out --seed"\ny = f"dalib keep {x}"\n"""--seed it is."""\n'
        'z = "as `dalib query` wrote it"\n"the dalib package"\n'
    )
    assert flags_in(tmp_path / "m.py") == [
        "line 2: VALUE: leave out --seed",
        "line 3: dalib keep VALUE",
        "line 5: as `dalib query` wrote it",
    ]
