"""The pages that are made from the code tell all of it."""

import argparse
import re
from dataclasses import dataclass, fields, is_dataclass
from typing import Literal, get_type_hints

import pytest
from site_modules import DOCS, reference

from dalib.adaptation.methods import METHODS, group_of, module_of
from dalib.commands.parser import make_parser
from dalib.run.settings.config import TrainConfig
from dalib.run.settings.presets import PRESETS


def all_settings(made=TrainConfig, prefix=""):
    for field, hint in get_type_hints(made).items():
        if is_dataclass(hint):
            yield from all_settings(hint, f"{field}.")
        else:
            yield prefix + field


@pytest.mark.parametrize("setting", list(all_settings()))
def test_the_configuration_page_has_every_setting(setting):
    assert f"\n.. option:: --{setting} " in reference.configuration()


@pytest.mark.parametrize("made", [TrainConfig, *filter(is_dataclass, get_type_hints(TrainConfig).values())])
def test_every_setting_is_described(made):
    described = reference.descriptions(made)
    assert [field.name for field in fields(made) if not described.get(field.name)] == []


def test_a_description_is_of_its_setting_alone():
    @dataclass
    class Made:
        """Something.

        Attributes:
            first, second: in two
                lines: with a colon.
            third: last.
        """

        first: int = 1

    both = "in two lines: with a colon."
    assert reference.descriptions(Made) == {"first": both, "second": both, "third": "last."}


@pytest.mark.parametrize(
    ("hint", "words"),
    [(str, "text"), (bool, "true or false"), (float | None, "number, or null"), (Literal["a", "b", "c"], "a, b or c")],
)
def test_types_are_in_words(hint, words):
    assert reference.in_words(hint) == words


def test_what_would_be_markup_is_shown_as_it_is():
    assert reference._escaped("a * b, x_ and `code`") == r"a \* b, x\_ and ``code``"


def commands():
    (found,) = (action for action in make_parser()._actions if isinstance(action.choices, dict))
    return found.choices


@pytest.mark.parametrize("name", list(commands()))
def test_the_command_line_page_has_every_option(name):
    page = reference.command_line()
    _, _, after = page.partition(f"\n.. _command-{name}:\n")
    section = after.partition("\n.. _command-")[0]
    assert section
    assert ("every setting of" in section) == (name in ("train", "checks"))
    # which stand on the page of the configuration
    trains = name in ("train", "checks")
    settings, groups = set(all_settings()), {name.split(".")[0] for name in all_settings() if "." in name}
    for action in commands()[name]._actions:
        if action.help == argparse.SUPPRESS or "--help" in action.option_strings:
            continue
        elsewhere = trains and (action.dest in settings or action.dest.split(".")[0] in groups)
        if not elsewhere or action.nargs == 0:
            label = action.option_strings[0] if action.option_strings else action.metavar or action.dest
            assert f"\n.. option:: {label}" in section or f", {label}" in section, label


def test_the_presets_page_has_every_value():
    table = reference.presets()
    for preset, values in PRESETS.items():
        column = 2 + list(PRESETS).index(preset)
        for setting, value in values.items():
            (row,) = (row for row in table.split("   * - ") if row.startswith(f":option:`{setting} <"))
            assert row.split("\n     - ")[column].strip() == reference._value(value), (preset, setting)


@pytest.mark.parametrize("method", METHODS)
def test_the_methods_page_has_every_method_and_its_settings(method):
    _, _, after = reference.methods().partition(f"\n.. _method-{method}:\n")
    section = after.partition("\n.. _method-")[0]
    assert f"automodule:: {module_of(method)}" in section or f":mod:`{module_of(method)}`" in section
    linked = set(re.findall(r":option:`--(\S+) <dalib train --\1>`", section))
    assert linked == {name for name in all_settings() if name.startswith(f"{group_of(method)}.")}


def test_a_method_with_another_page_is_documented_there():
    pages = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "api").glob("*.md"))
    for module in reference.ON_ANOTHER_PAGE:
        assert f"automodule:: {module}\n" in pages


def test_pages_are_written_once(tmp_path):
    reference.write_pages(tmp_path)
    dates = {page: page.stat().st_mtime_ns for page in tmp_path.iterdir()}
    assert {page.name for page in dates} == {"configuration.rst", "methods.rst", "command-line.rst", "presets.rst"}
    reference.write_pages(tmp_path)
    assert {page: page.stat().st_mtime_ns for page in tmp_path.iterdir()} == dates
