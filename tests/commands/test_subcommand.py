"""Each subcommand's module has the interface, and shared arguments mean the same everywhere."""

import importlib

import pytest
from jsonargparse import ArgumentParser

from dalib.commands.parser import SUBCOMMANDS, make_parser
from dalib.commands.subcommand import add_groups, add_loudness, add_model, add_reading, add_run


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_a_subcommand_is_a_module_with_its_name(name):
    module = importlib.import_module(f"dalib.commands.{name}")
    assert module.HELP[0].islower()
    assert not module.HELP.endswith(".")
    assert module.DESCRIPTION.endswith(".")
    parser = ArgumentParser()
    module.add_arguments(parser)
    assert callable(module.run)
    assert name in make_parser([name])._subcommands_action._name_parser_map


def parsed(*arguments):
    parser = ArgumentParser()
    add_run(parser, ", or a model")
    add_model(parser)
    add_reading(parser, cache="ram")
    add_groups(parser)
    add_loudness(parser)
    return parser.parse_args(list(arguments))


def test_shared_arguments_have_their_defaults():
    assert vars(parsed("runs/a")) == {
        **{"run": "runs/a", "model": None, "device": "auto", "cache": "ram", "strict": False},
        **{"groups": None, "quiet": False, "verbose": False},
    }


def test_shared_arguments_are_taken():
    given = parsed("a", "--model", "aligned", "--cache", "off", "--strict", "--groups", "p_([0-9]+)", "--quiet")
    assert (given.model, given.cache, given.strict, given.groups) == ("aligned", "off", True, "p_([0-9]+)")
    assert (given.quiet, given.verbose) == (True, False)


def test_a_cache_that_is_none_is_refused(capsys):
    with pytest.raises(SystemExit):
        parsed("a", "--cache", "tape")
    assert "tape" in capsys.readouterr().err
