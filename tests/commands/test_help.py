"""The help of the command line, as it is printed without a terminal."""

import argparse
import re

import pytest
from help_texts import text_of

from dalib.commands.help import MAIN, REST, TERMS
from dalib.commands.parser import SUBCOMMANDS, make_parser
from dalib.commands.settings import SettingsParser
from dalib.records.candidates import CANDIDATES

OPTION = re.compile(r"^  (?:-h, )?(--[\w.-]+)", re.MULTILINE)


def test_help_shows_the_options_that_most_people_need_and_help_all_the_rest(helped):
    main = OPTION.findall(helped("train", "--help"))
    assert len(main) <= 22
    assert main[-2:] == ["--help", "--help-all"]
    assert {"--source", "--target", "--out", "--preset", "--backbone", "--steps", "--resume"} < set(main)
    every = OPTION.findall(helped("train", "--help-all"))
    assert len(every) == len(set(every))
    parser = make_parser(["train"])._subcommands_action._name_parser_map["train"]
    shown = {action.dest for action in parser._actions if action.help != argparse.SUPPRESS}
    groups = {name for name in shown if any(other.startswith(f"{name}.") for other in shown)}
    named = {each.lstrip("-").replace("-", "_") for each in every}
    named = {"time_limit" if each == "time" else each for each in named}
    assert named == shown - groups
    assert set(main) < set(every)


@pytest.mark.parametrize("command", list(SUBCOMMANDS))
@pytest.mark.parametrize("asked", ["--help", "--help-all"])
def test_help_fits_in_80_columns_and_says_everything_once(command, asked, helped):
    if asked == "--help-all" and command not in ("train", "checks"):
        return
    said = helped(command, asked)
    assert max(map(len, said.splitlines())) < 80
    for noise in ("type:", "null)", "Optional[", "Literal[", "CONFIG\n", "\b"):
        assert noise not in said
    assert said.startswith(f"usage: dalib {command}")


def test_choices_stand_there_once(helped):
    said = helped("train", "--help-all")
    assert said.count("self-ensemble, mean-teacher") == 1
    assert said.count("strong-warp,") == 1
    assert "(as --views.source; default: warp)" in text_of(said, "--views.student")
    assert text_of(said, "--warm_start").startswith("{true,false} whether")
    assert said.count("photo-tllib and") == 1


@pytest.mark.parametrize(
    "term", ["consistency", "confidence mask", "pseudo-label", "EMA", "teacher", "view", "class prior", "student"]
)
def test_the_words_of_the_method_are_explained(term, helped):
    said = helped("train", "--help")
    assert re.search(rf"^  {term}  +\w", said, re.MULTILINE)
    assert "\n" not in TERMS[term]


def test_the_listed_options_are_there():
    parser = make_parser(["train"])._subcommands_action._name_parser_map["train"]
    assert isinstance(parser, SettingsParser)
    names = {action.dest for action in parser._actions}
    listed = [name for listed in (*MAIN.values(), *REST.values()) for name in listed]
    assert sorted(set(listed) - names - {"time_limit"}) == []
    assert len(listed) == len(set(listed))
    assert sum(map(len, MAIN.values())) == 20


def test_the_words_explain_each_model_of_a_run():
    assert {f"{each.name} model" for each in CANDIDATES} <= {*TERMS}
    assert not [text for text in TERMS.values() if "these two" in text or "two models" in text]


@pytest.mark.parametrize("command", ["train", "checks"])
def test_the_usage_names_no_list_of_eighty_options(command, helped):
    usage, _, _ = helped(command, "--help").partition("\n\n")
    assert usage.startswith(f"usage: dalib {command} --source SOURCE --target TARGET ")
    assert "--help_all" not in usage
    assert len(usage.splitlines()) <= 2


def test_every_option_stands_under_a_heading_that_says_what_it_is_about(helped):
    said = helped("train", "--help-all")
    assert "other options" not in said
    assert "print all settings" in text_of(said, "--print_config[=flags]")
    assert "lite0" in text_of(said, "--backbone")
