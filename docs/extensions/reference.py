"""Generated pages: settings (:mod:`dalib.run.settings.config`), methods, options of the parsers, values of presets."""

from __future__ import annotations

import argparse
import inspect
import re
import types
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from dalib.adaptation.methods import METHODS, group_of, module_of, settings_of_method
from dalib.commands.parser import make_parser
from dalib.run.settings.config import TrainConfig
from dalib.run.settings.presets import PRESETS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx

PAGES = Path("generated") / "reference"
ON_ANOTHER_PAGE = ("dalib.adaptation.self_ensemble",)
"""Modules of methods with a page of their own."""
WORDS: dict[Any, str] = {bool: "true or false", int: "whole number", float: "number", str: "text"}


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("config-inited", lambda app, config: write_pages(Path(app.confdir) / PAGES))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write_pages(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pages = {
        "configuration": configuration(),
        "methods": methods(),
        "command-line": command_line(),
        "presets": presets(),
    }
    for name, text in pages.items():
        page = folder / f"{name}.rst"
        if not page.exists() or page.read_text(encoding="utf-8") != text:  # an old date saves a page's rebuilding
            page.write_text(text, encoding="utf-8")


def configuration() -> str:
    """Every setting of ``dalib train``, in the order of the code."""
    parts = [
        _heading("Configuration", "="),
        "Every setting is a flag of ``dalib train`` and ``dalib checks``, and a key of the YAML file that ``--config`` "
        "takes: ``--self_ensemble.threshold 0.9`` is ``self_ensemble: {threshold: 0.9}``. ``--print_config`` prints "
        "the file. In Python each group is a frozen dataclass of :mod:`dalib.run.settings.config`. Presets give other "
        "defaults: :doc:`presets`.",
        "In flags ``-`` and ``_`` are the same; ``null`` in a file is a setting that is left out.",
        _heading("The run", "-"),
        ".. program:: dalib train",
    ]
    hints = get_type_hints(TrainConfig)
    for name, setting, default, text in settings(TrainConfig):
        if not is_dataclass(hints[name]):
            parts.append(_option(name, setting, default, text))
    for group in fields(TrainConfig):
        made: Any = hints[group.name]
        if is_dataclass(made):
            parts += [_heading(f"{group.name}", "-"), _escaped(_before_attributes(made))]
            parts += [
                _option(f"{group.name}.{name}", kind, default, text) for name, kind, default, text in settings(made)
            ]
    return "\n\n".join(parts) + "\n"


def methods() -> str:
    """Returns the page of every method: what it is, its settings, and its module."""
    parts = [
        _heading("Methods", "="),
        "Each method is one file that fulfils :class:`dalib.core.types.Method` and holds its settings. ``--method`` "
        "chooses one; the table in :doc:`/recipes` compares them, and :doc:`/extending/index` adds one.",
    ]
    for method in METHODS:
        module, made = module_of(method), settings_of_method(method)
        parts += [f".. _method-{method}:", _heading(method, "-")]
        if made is not None:
            names = [f"{group_of(method)}.{field.name}" for field in fields(made)]
            parts.append(_escaped(_before_attributes(made)))
            parts.append(", ".join(f":option:`--{name} <dalib train --{name}>`" for name in names))
        if module in ON_ANOTHER_PAGE:
            parts.append(f":mod:`{module}`")
        else:
            parts += [f"``{module}``", f".. automodule:: {module}"]
    return "\n\n".join(parts) + "\n"


def settings(made: Any) -> Iterator[tuple[str, str, Any, str]]:
    """Name, type in words, default and description of each field of a dataclass of the configuration."""
    hints, described, fresh = get_type_hints(made), descriptions(made), made()
    for field in fields(made):
        yield field.name, in_words(hints[field.name]), getattr(fresh, field.name), described.get(field.name, "")


def descriptions(made: Any) -> dict[str, str]:
    """What the ``Attributes`` of a docstring say.

    >>> descriptions(TrainConfig)["seed"]
    'random seed of the run.'
    """
    _, _, listed = (inspect.getdoc(made) or "").partition("Attributes:\n")
    entries = re.findall(r"^ {4}(\w+(?:, \w+)*): (.*(?:\n {8}.*)*)", listed, re.MULTILINE)
    return {name: " ".join(text.split()) for names, text in entries for name in names.split(", ")}


def in_words(hint: Any) -> str:
    """A type as a user would say it.

    >>> in_words(int | None), in_words(Literal["a", "b"])
    ('whole number, or null', 'a or b')
    """
    if hint is type(None):
        return "null"
    if get_origin(hint) is Literal:
        *first, last = map(str, get_args(hint))
        return f"{', '.join(first)} or {last}" if first else last
    if get_origin(hint) in (Union, types.UnionType):
        return ", or ".join(in_words(each) for each in get_args(hint))
    if get_origin(hint) is list:
        return "a list of such"
    return WORDS.get(hint) or str(getattr(hint, "__name__", hint))


def command_line() -> str:
    """Every subcommand, its arguments and options."""
    parser = make_parser()
    (commands,) = (action for action in parser._actions if isinstance(action.choices, dict))
    parts = [
        _heading("Command line", "="),
        _escaped(parser.description or ""),
        "The exit code is 0; 1 where training diverged or a process of several was lost; 2 for bad input, with one "
        "line on standard error that names the argument, what was expected and what to do; and 128 and the signal's "
        "number where a signal stopped it, 130 after Ctrl-C; 141 where a command that "
        "only prints (checks, compare, judge, cache, completion) lost its reader, as `| head` is after ten lines.",
    ]
    brief = {action.dest: action.help for action in commands._choices_actions}
    parts.append("\n".join(f"- :ref:`dalib {name} <command-{name}>`: {_escaped(text)}" for name, text in brief.items()))
    known = {name for name, _ in _flat(TrainConfig)}
    for name, command in commands.choices.items():
        parts += [f".. _command-{name}:", _heading(f"dalib {name}", "-"), _escaped(command.description or "")]
        parts += [f".. program:: dalib {name}"]
        options = [action for action in command._actions if action.help != argparse.SUPPRESS]
        positional = [action for action in options if not action.option_strings]
        named = [action for action in options if action.option_strings]
        if any(action.dest == "config" for action in named):
            parts.append("It takes every setting of :doc:`configuration` as a flag, and:")
            named = [action for action in named if not _is_setting(action, known)]
        parts += [_of_parser(action) for action in positional + named if "--help" not in action.option_strings]
    return "\n\n".join(parts) + "\n"


def presets() -> str:
    """A table of settings by presets."""
    names = list(PRESETS)
    used = [name for name, _ in _flat(TrainConfig) if any(name in PRESETS[preset] for preset in names)]
    defaults = dict(_flat(TrainConfig))
    parts = [
        _heading("Presets", "="),
        "What each preset sets; an empty cell is the default. ``--preset NAME`` is a starting point that every other "
        "flag changes, and a backbone of timm's asks for ``photo-features`` by itself. Which is for what: "
        ":doc:`/recipes`.",
        ".. list-table::\n   :header-rows: 1\n   :stub-columns: 1\n",
    ]
    rows = [["setting", "default", *names]]
    for setting in used:
        values = [_value(PRESETS[name][setting]) if setting in PRESETS[name] else "" for name in names]
        rows.append([f":option:`{setting} <dalib train --{setting}>`", _value(defaults[setting]), *values])
    table = "\n".join("   * - " + "\n     - ".join(row) for row in rows)
    return "\n\n".join(parts) + "\n" + table + "\n"


def _flat(made: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    hints, fresh = get_type_hints(made), made()
    for field in fields(made):
        inner: Any = hints[field.name]
        if is_dataclass(inner):
            yield from _flat(inner, f"{field.name}.")
        else:
            yield prefix + field.name, getattr(fresh, field.name)


def _is_setting(action: argparse.Action, known: set[str]) -> bool:
    flags = {"strict", "overwrite", "download"}  # added by hand, as flags without a value
    return (action.dest in known and action.dest not in flags) or any(
        action.dest == group or action.dest.startswith(f"{group}.")
        for group, hint in get_type_hints(TrainConfig).items()
        if is_dataclass(hint)
    )


def _of_parser(action: argparse.Action) -> str:
    value = ""
    if action.nargs != 0 and action.option_strings:
        shown = action.metavar if isinstance(action.metavar, str) else action.dest.split(".")[-1].upper()
        value = " " + "".join(filter(str.isprintable, shown))
    if not action.option_strings:
        name = action.metavar if isinstance(action.metavar, str) else action.dest
        name += " ..." if action.nargs in ("+", "*") else ""
    else:
        name = ", ".join(option + value for option in action.option_strings)
    lines = [_escaped(action.help or "")]
    facts = []
    if action.choices is not None:
        facts.append("One of " + ", ".join(f"``{each}``" for each in action.choices) + ".")
    if action.default not in (None, argparse.SUPPRESS, False, []) and action.option_strings:
        facts.append(f"Default: {_value(action.default)}.")
    if getattr(action, "required", False) and action.option_strings:
        facts.append("Required.")
    return f".. option:: {name}\n\n   " + "\n\n   ".join([*lines, *([" ".join(facts)] if facts else [])])


def _option(name: str, kind: str, default: Any, text: str) -> str:
    value = name.split(".")[-1].upper()
    return f".. option:: --{name} {value}\n\n   {_escaped(text)}\n\n   *{_escaped(kind)}*; default: {_value(default)}."


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return f"``{str(value).lower()}``"
    return "``null``" if value is None else f"``{value}``"


def _before_attributes(made: Any) -> str:
    return " ".join((inspect.getdoc(made) or "").partition("Attributes:\n")[0].split())


def _escaped(text: str) -> str:
    """Plain words as reStructuredText; what stands in backticks is code."""
    parts = re.split(r"`([^`]*)`", text)
    parts[::2] = [re.sub(r"([\\*|]|_(?=\W|$))", r"\\\1", part) for part in parts[::2]]
    parts[1::2] = [f"``{part}``" for part in parts[1::2]]
    return " ".join("".join(parts).split())


def _heading(text: str, line: str) -> str:
    return f"{text}\n{line * len(text)}"
