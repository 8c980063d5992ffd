"""Any configuration of valid values comes back from its file as it was; anything else is refused in one line."""

from __future__ import annotations

import dataclasses
import tempfile
import types
import typing
from pathlib import Path

import pytest
import yaml
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from dalib.commands.config_file import read_config
from dalib.core.errors import UserError
from dalib.run.settings import config as configs
from dalib.run.settings.config import TrainConfig
from dalib.run.settings.config_file import config_text

# what YAML takes for a number, null or a list is left out: the command line takes a text of it for such a value too
texts = st.one_of(
    st.text(st.characters(exclude_categories=["C", "Z"]), max_size=12).map("a{}".format),
    st.sampled_from(
        ["a: b", "a #x", "a, b", "it's", 'say "a"', "/a b/ü", "../a", "C:\\a", "a ", "犬", "a\nb", "y", "=a"]
    ),
)


def values_of(kind: object) -> st.SearchStrategy[object]:
    """Valid values of an annotation."""
    if typing.get_origin(kind) is typing.Literal:
        return st.sampled_from(typing.get_args(kind))
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return st.one_of(*(values_of(each) for each in typing.get_args(kind)))
    if typing.get_origin(kind) is list:
        return st.lists(values_of(typing.get_args(kind)[0]), min_size=1, max_size=3)
    if typing.get_origin(kind) is dict:
        return st.dictionaries(*(values_of(each) for each in typing.get_args(kind)), min_size=1, max_size=3)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind, vars(configs))
        return st.builds(kind, **{name: values_of(hint) for name, hint in hints.items()})
    return {
        type(None): st.none(),
        bool: st.booleans(),
        int: st.integers(-(2**63), 2**63),
        float: st.floats(allow_nan=False, allow_infinity=False).map(float),
        str: texts,
    }[kind]


def come_back(text: str) -> TrainConfig:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(text, encoding="utf-8")
        return read_config(path)


@settings(max_examples=15, deadline=None, derandomize=True, phases=[Phase.generate])  # to shrink takes minutes
@given(values_of(TrainConfig))
def test_a_configuration_survives_its_file(config):
    found = come_back(config_text(config))
    assert found == config
    assert config_text(found) == config_text(config)


def _leaves(content, before=()):
    for name, value in content.items():
        yield from _leaves(value, (*before, name)) if isinstance(value, dict) else [(*before, name)]


DEFAULTS = yaml.safe_load(config_text(TrainConfig()))
LEAVES = list(_leaves(DEFAULTS))
WRONG = [{"a": 1}, [[1]], {"class_path": "os.system"}]


def changed(place, value):
    content = yaml.safe_load(config_text(TrainConfig()))
    holder = content
    for name in place[:-1]:
        holder = holder[name]
    holder[place[-1]] = value
    return yaml.safe_dump(content)


WRONG_AT = {("target",): {"a": 1}}  # names of several targets and their places are no other type


@pytest.mark.parametrize(
    ("place", "wrong"),
    [(place, WRONG_AT.get(place, wrong)) for place, wrong in zip(LEAVES, WRONG * len(LEAVES), strict=False)],
)
def test_a_value_of_another_type_is_refused(place, wrong):
    with pytest.raises(UserError, match=place[-1]):
        come_back(changed(place, wrong))


@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.sampled_from([(), ("data",), ("model",), ("views",), ("self_ensemble",), ("optimizer",), ("every",)]), texts)
def test_an_unknown_key_is_refused(group, key):
    place = (*group, key)
    if place in LEAVES or key in DEFAULTS:
        return
    with pytest.raises(UserError):
        come_back(changed(place, 1))


@pytest.mark.parametrize("text", ["", "[]", "a", "- a\n", "1", "steps: [1", "\x00", "steps: x", "? [a]\n: 1"])
def test_what_is_no_mapping_of_settings_is_refused(text):
    with pytest.raises(UserError):
        come_back(text)
