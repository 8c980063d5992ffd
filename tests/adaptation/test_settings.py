"""Settings are read from a method's file without torch, and are the same class when the file is imported."""

import dataclasses
import pickle
import subprocess
import sys
from importlib import import_module
from typing import Literal

import pytest

from dalib.adaptation.methods import MASKED_CONSISTENCY, METHODS, group_of, method_class, module_of, settings_of_method
from dalib.adaptation.settings import settings, settings_in
from dalib.core.errors import UserError
from dalib.run.settings.config import TrainConfig

WITH_SETTINGS = [method for method in METHODS if settings_of_method(method) is not None]


@pytest.mark.parametrize("method", WITH_SETTINGS)
def test_the_class_is_the_one_of_the_imported_file(method):
    read = settings_of_method(method)
    assert getattr(import_module(module_of(method)), read.__name__) is read
    assert pickle.loads(pickle.dumps(read())) == read()


@pytest.mark.parametrize("method", METHODS)
def test_each_line_of_the_list_leads_to_a_method(method):
    found = method_class(method)
    assert f"{found.__module__}.{found.__name__}" == METHODS[method]
    assert callable(found.build)


def test_only_source_only_has_no_settings():
    assert set(METHODS) - set(WITH_SETTINGS) == {"source-only"}


def test_the_configuration_has_a_group_for_each_method_in_the_order_of_the_list():
    names = [field.name for field in dataclasses.fields(TrainConfig)]
    groups = [group_of(method) for method in WITH_SETTINGS]
    first = names.index(groups[0])
    assert names[first : first + len(groups) + 1] == [*groups, "masked_consistency"]
    for group, method in zip(groups, WITH_SETTINGS, strict=True):
        assert getattr(TrainConfig(), group) == settings_of_method(method)()


def test_a_group_of_another_method_is_refused():
    with pytest.raises(UserError, match=r"mcc=FixMatchConfig.*: expected a MccConfig"):
        TrainConfig(mcc=settings_of_method("fixmatch")())


def test_settings_are_frozen_and_checked():
    made = settings_of_method("self-ensemble")
    with pytest.raises(dataclasses.FrozenInstanceError):
        made().alpha = 0.5
    with pytest.raises(UserError, match="alpha='high': expected a number"):
        made(alpha="high")
    with pytest.raises(UserError, match="distance='cosine': expected 'squared', 'bce' or 'kl'"):
        made(distance="cosine")


def test_every_setting_has_a_line_in_the_docstring():
    for module in [*map(module_of, WITH_SETTINGS), MASKED_CONSISTENCY.rpartition(".")[0]]:
        made = settings_in(module)
        for field in dataclasses.fields(made):
            assert f"\n        {field.name}: " in made.__doc__, (made, field.name)


@pytest.mark.parametrize("first", ["dalib.run.settings.config", "dalib.adaptation.fixmatch"])
def test_torch_is_not_loaded_for_settings_and_the_order_of_imports_does_not_matter(first):
    program = f"""
import sys, {first}
from dalib.commands.parser import make_parser
make_parser(["train"])
assert ("torch" in sys.modules) == ({first!r} != "dalib.run.settings.config")
from dalib.adaptation.fixmatch import FixMatchConfig
from dalib.run.settings.config import TrainConfig
assert type(TrainConfig().fixmatch) is FixMatchConfig
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def file_of(tmp_path, monkeypatch, text):
    name = f"method_of_{tmp_path.name}"  # another for each test, as imports are remembered by name
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_nothing_else_of_the_file_is_run(tmp_path, monkeypatch):
    text = (
        "1 / 0\n@settings\nclass Own:\n    kind: Literal['a', 'b'] = 'a'\n    share: float | None = 64 / 128\n1 / 0\n"
    )
    made = settings_in(file_of(tmp_path, monkeypatch, text))
    assert [(field.name, field.type) for field in dataclasses.fields(made)] == [
        ("kind", Literal["a", "b"]),
        ("share", float | None),
    ]
    assert made().share == 0.5


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("kind: Kind = 'a'", "Own: name 'Kind' is not defined; settings may use built-in names and Literal"),
        ("share: float = HALF", "name 'HALF' is not defined; settings may use built-in names and Literal"),
        ("share: float", "Own.share: expected a default"),
    ],
)
def test_what_settings_may_not_be_is_told(tmp_path, monkeypatch, body, expected):
    name = file_of(tmp_path, monkeypatch, f"@settings\nclass Own:\n    {body}\n")
    with pytest.raises(TypeError, match=expected):
        settings_in(name)


def test_a_file_without_its_source_is_imported(tmp_path, monkeypatch):
    text = "from dalib.adaptation.settings import settings\n@settings\nclass Own:\n    share: float = 0.5\n"
    name = file_of(tmp_path, monkeypatch, text)
    monkeypatch.setattr("importlib.machinery.SourceFileLoader.get_source", lambda loader, name: None)
    assert settings_in(name) is import_module(name).Own


def test_a_file_that_is_not_there_is_told():
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        settings_in("dalib.adaptation.nowhere")


def test_a_class_that_is_made_twice_is_one():
    def make():
        @settings
        class Own:
            share: float = 0.5

        return Own

    assert make() is make()
